//! Output directories: from what lies there to `Directory` messages, without recursion, since a stack has an end and a
//! command makes as many levels as it likes.
use super::{Gather, properties, unreadable};
use crate::Failure;
use crate::layers::{Found, Merged};
use bytes::Bytes;
use lre_model::{BadDirectory, Digest, Directory, DirectoryFormat, Node, OutputPath, encode_tree, wire};
use lre_store::Blob;
use std::collections::{BTreeMap, btree_set};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Most levels of an output directory: as many as an input tree may have, so that what one action makes another one can
/// read.
const OUTPUT_LEVELS_MAX: usize = 1_000;

/// A directory whose children are being read.
struct Level {
    /// In the one above it.
    name: String,
    merged: Merged,
    left: btree_set::IntoIter<OsString>,
    directory: Directory,
}

/// A name or a target as far as it is text; what is not is shown as `\xff`.
pub(super) fn escaped(name: &OsStr) -> String {
    name.to_str().map_or_else(|| name.as_bytes().escape_ascii().to_string(), str::to_owned)
}

impl Gather<'_> {
    pub(super) fn directory(&mut self, output: &OutputPath, directory: Merged) -> Result<(), Failure> {
        let mut all = BTreeMap::new();
        let root = self.tree(output, directory, &mut all)?;
        let mut wire = wire::OutputDirectory {
            path: output.requested.clone(),
            // REAPI 2.2: true only where parents come before their children, each once.
            is_topologically_sorted: true,
            ..Default::default()
        };
        if self.command.directory_format != DirectoryFormat::Directory {
            wire.tree_digest = Some(self.keep(encode_tree(&root, &all)).to_wire());
        }
        if self.command.directory_format != DirectoryFormat::Tree {
            for directory in all.values() {
                self.keep(directory.encode());
            }
            wire.root_directory_digest = Some(self.keep(root.encode()).to_wire());
        }
        self.gathered.result.output_directories.push(wire);
        Ok(())
    }

    fn keep(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(self.function, &bytes);
        self.gathered.blobs.push((digest, Blob::Bytes(Bytes::from(bytes))));
        digest
    }

    /// The directory itself; all that are below it are put into `all`.
    fn tree(
        &mut self,
        output: &OutputPath,
        merged: Merged,
        all: &mut BTreeMap<Digest, Directory>,
    ) -> Result<Directory, Failure> {
        let mut path = vec![self.level(output, String::new(), merged)?];
        loop {
            let Some(level) = path.last_mut() else { return Ok(Directory::default()) };
            let Some(name) = level.left.next() else {
                // All of its children are known.
                let Some(Level { name, directory, .. }) = path.pop() else { return Ok(Directory::default()) };
                let Some(above) = path.last_mut() else { return Ok(directory) };
                let digest = Digest::of(self.function, &directory.encode());
                all.insert(digest, directory);
                let inserted = above.directory.insert(&name, Node::Directory { digest });
                inserted.map_err(|e| wrong(output, e.to_string()))?;
                continue;
            };
            let found = self.layers.child(&level.merged, &name).map_err(|e| unreadable(output, &e))?;
            let Some(found) = found else { continue };
            let Some(text) = name.to_str().map(str::to_owned) else {
                let place = place(&path, &name);
                let problem = format!("holds `{place}`, whose name is not UTF-8; REAPI cannot say it");
                return Err(wrong(output, problem));
            };
            if let Found::Directory(merged) = found {
                if path.len() == OUTPUT_LEVELS_MAX {
                    return Err(wrong(output, format!("is more than {OUTPUT_LEVELS_MAX} directories deep")));
                }
                path.push(self.level(output, text, merged)?);
            } else {
                let node = self.node(output, found, || place(&path, &name))?;
                let Some(level) = path.last_mut() else { return Ok(Directory::default()) };
                put(&mut level.directory, &text, node).map_err(|e| wrong(output, e.to_string()))?;
            }
        }
    }

    fn level(&self, output: &OutputPath, name: String, merged: Merged) -> Result<Level, Failure> {
        let left = self.layers.names(&merged).map_err(|e| unreadable(output, &e))?.into_iter();
        let found = Found::Directory(merged.clone());
        let mut directory = Directory::default();
        if let Some(properties) = properties::of(&found, &self.command.output_properties) {
            directory.describe(properties);
        }
        Ok(Level { name, merged, left, directory })
    }

    /// One that is no directory, with what is to be told of it.
    fn node(
        &mut self,
        output: &OutputPath,
        found: Found,
        place: impl Fn() -> String,
    ) -> Result<(Node, Option<lre_model::NodeProperties>), Failure> {
        let properties = properties::of(&found, &self.command.output_properties);
        let node = match found {
            Found::Special(kind) => return Err(wrong(output, format!("holds `{}`, a {kind}", place()))),
            Found::Symlink { target, .. } => match target.into_string() {
                Ok(target) => Node::Symlink { target },
                Err(target) => {
                    let (place, target) = (place(), escaped(&target));
                    let problem = format!("holds `{place}`, a symlink to `{target}`, which is not UTF-8");
                    return Err(wrong(output, problem));
                }
            },
            file => {
                let (digest, executable) = self.file(output, file)?;
                Node::File { digest, executable }
            }
        };
        Ok((node, properties))
    }
}

fn put(
    directory: &mut Directory,
    name: &str,
    (node, properties): (Node, Option<lre_model::NodeProperties>),
) -> Result<(), BadDirectory> {
    directory.insert(name, node)?;
    if let Some(properties) = properties {
        directory.describe_child(name, properties)?;
    }
    Ok(())
}

/// Where somebody has to look, from the output on.
fn place(path: &[Level], name: &OsStr) -> String {
    let above = path.iter().map(|level| level.name.as_str()).filter(|name| !name.is_empty());
    above.map(str::to_owned).chain([escaped(name)]).collect::<Vec<_>>().join("/")
}

fn wrong(output: &OutputPath, problem: String) -> Failure {
    Failure::Output { path: output.requested.clone(), problem }
}
