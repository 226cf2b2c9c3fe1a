//! The weighing room: outputs -> digests -> store -> `ActionResult`.
use crate::layers::{Found, Layers, Merged};
use crate::slot_tree::MTIME_SECONDS;
use crate::{Breach, Failure, Limited};
use bytes::Bytes;
use lre_model::{
    Command, Digest, DigestFunction, Directory, DirectoryFormat, Node, OutputPath, Outputs, Property, Subtree,
    encode_tree, protobuf, wire,
};
use lre_store::{Blob, FileBlob, Origin, StoreError};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// Most levels of an output directory. They are read by calls, and a stack has an end: some thousand levels, which a
/// command makes in a moment, would end the server.
const OUTPUT_LEVELS_MAX: usize = 200;

/// What was found: the part of the result that speaks of outputs, and the blobs to store first.
#[derive(Default)]
pub(crate) struct Gathered {
    /// Only the output fields are set.
    pub result: wire::ActionResult,
    /// In the store before the result is.
    pub blobs: Vec<(Digest, Blob)>,
}

/// Finds and hashes all outputs of a command. Blocks.
///
/// `bytes_max`: of all of them, holes included. A file of nothing but a hole takes no disk while the command runs,
/// and hours to hash.
///
/// # Errors
/// More than that, an output of the wrong type, a name that is not UTF-8, a file that cannot be read.
pub(crate) fn gather(
    upper: &Path,
    lower: &Arc<Subtree>,
    command: &Command,
    bytes_max: u64,
) -> Result<Gathered, Failure> {
    let function = lower.digest().function();
    let layers = Layers::new(upper, lower);
    let mut gather = Gather { layers, function, command, gathered: Gathered::default(), bytes: 0, bytes_max };
    match &command.outputs {
        Outputs::Paths(paths) => paths.iter().try_for_each(|path| gather.output(path, Wanted::Any))?,
        Outputs::Typed { files, directories } => {
            files.iter().try_for_each(|path| gather.output(path, Wanted::File))?;
            directories.iter().try_for_each(|path| gather.output(path, Wanted::Directory))?;
        }
    }
    Ok(gather.gathered)
}

/// Bytes up to which outputs are hashed without changing threads: to change there and back costs 20 to 60 us on the
/// measured machine, and hashing this much costs as much.
const IN_PLACE_BYTES: u64 = 64 * 1024;

/// Outputs up to which this is so; to find and open one costs 10 us.
const IN_PLACE_OUTPUTS: usize = 8;

/// Runs [`gather`] and [`stream`], in place where little was written.
pub(crate) async fn work<T: Send + 'static>(little: bool, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    if little { Ok(work()) } else { tokio::task::spawn_blocking(work).await.map_err(io::Error::other) }
}

/// Whether a command has written so little that all of it is read in the time of a change of threads.
pub(crate) fn is_little(streams: [&Path; 2], upper: &Path, lower: &Arc<Subtree>, command: &Command) -> bool {
    let mut left = IN_PLACE_BYTES;
    let mut fits = |size| {
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    if !streams.into_iter().all(|stream| std::fs::symlink_metadata(stream).is_ok_and(|m| fits(m.len()))) {
        return false;
    }
    let layers = Layers::new(upper, lower);
    command.outputs.all().take(IN_PLACE_OUTPUTS + 1).enumerate().all(|(n, output)| {
        n < IN_PLACE_OUTPUTS
            && match layers.find(output.path.segments()) {
                Ok(Some(Found::Written { metadata, .. })) => fits(metadata.len()),
                Ok(Some(Found::Directory(_))) | Err(_) => false,
                Ok(_) => true,
            }
    })
}

/// Hashes stdout or stderr. Blocks. Nothing written: nothing to store.
pub(crate) fn stream(path: &Path, function: DigestFunction) -> io::Result<Option<(Digest, Blob)>> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // The launcher opens it; where it did not come so far, nothing was written.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    if metadata.len() == 0 {
        return Ok(None);
    }
    readable(path, &metadata)?;
    let (digest, blob) = FileBlob::hash(path, Origin::Owned, function)?;
    Ok(Some((digest, Blob::File(blob))))
}

/// A command may take the owner's right to read away from what it writes, its stdout included
/// (`chmod 0 /dev/stdout`); an ordinary user then cannot read it either.
fn readable(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let mode = metadata.permissions().mode();
    if mode & 0o400 != 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | 0o400))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    File,
    Directory,
}

struct Gather<'a> {
    layers: Layers,
    function: DigestFunction,
    command: &'a Command,
    gathered: Gathered,
    /// Of the outputs so far, and of all at most.
    bytes: u64,
    bytes_max: u64,
}

impl Gather<'_> {
    /// REAPI, `Command.output_paths`: what is not there is left out, without an error.
    fn output(&mut self, output: &OutputPath, wanted: Wanted) -> Result<(), Failure> {
        let wrong = |problem: &str| Failure::Output { path: output.requested.clone(), problem: problem.to_owned() };
        let found = self.layers.find(output.path.segments()).map_err(|e| unreadable(output, &e))?;
        match found {
            None => {}
            Some(Found::Special(kind)) => {
                return Err(wrong(&format!("is a {kind}: only files, directories and symlinks are outputs")));
            }
            Some(Found::Directory(_)) if wanted == Wanted::File => {
                return Err(wrong("is a directory, and `output_files` promised a file"));
            }
            Some(Found::Written { .. } | Found::Input { .. }) if wanted == Wanted::Directory => {
                return Err(wrong("is a file, and `output_directories` promised a directory"));
            }
            Some(Found::Directory(directory)) => self.directory(output, &directory)?,
            Some(Found::Symlink(target)) => {
                let target = target.ok_or_else(|| wrong("is a symlink whose target is not UTF-8"))?;
                self.symlink(output, target, wanted);
            }
            Some(file) => {
                let properties = self.properties(&file);
                let (digest, executable) = self.file(output, file)?;
                self.gathered.result.output_files.push(wire::OutputFile {
                    path: output.requested.clone(),
                    digest: Some(digest.to_wire()),
                    is_executable: executable,
                    contents: Vec::new(),
                    node_properties: properties,
                });
            }
        }
        Ok(())
    }

    #[expect(deprecated, reason = "clients of REAPI 2.0 look for symlinks in the two older fields")]
    fn symlink(&mut self, output: &OutputPath, target: String, wanted: Wanted) {
        let result = &mut self.gathered.result;
        let link = wire::OutputSymlink { path: output.requested.clone(), target, node_properties: None };
        match wanted {
            Wanted::Any => result.output_symlinks.push(link),
            Wanted::File => result.output_file_symlinks.push(link),
            Wanted::Directory => result.output_directory_symlinks.push(link),
        }
    }

    /// The digest and the executable bit of a file; one that was written joins the blobs to store.
    fn file(&mut self, output: &OutputPath, found: Found) -> Result<(Digest, bool), Failure> {
        match found {
            Found::Input { digest, executable } => Ok((digest, executable)),
            Found::Written { path, metadata } => {
                self.bytes = self.bytes.saturating_add(metadata.len());
                if self.bytes > self.bytes_max {
                    let (limit, seen) = (self.bytes_max, self.bytes);
                    return Err(Failure::Limit(Breach { what: Limited::Disk, limit, seen }));
                }
                let mode = metadata.permissions().mode();
                let hashed =
                    readable(&path, &metadata).and_then(|()| FileBlob::hash(path, Origin::Owned, self.function));
                let (digest, blob) = hashed.map_err(|e| unreadable(output, &e))?;
                self.gathered.blobs.push((digest, Blob::File(blob)));
                Ok((digest, mode & 0o111 != 0))
            }
            _ => Err(unreadable(output, &io::ErrorKind::InvalidInput.into())),
        }
    }

    fn directory(&mut self, output: &OutputPath, directory: &Merged) -> Result<(), Failure> {
        let mut all = BTreeMap::new();
        let root = self.tree(output, directory, &mut all, 1)?;
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

    fn tree(
        &mut self,
        output: &OutputPath,
        merged: &Merged,
        all: &mut BTreeMap<Digest, Directory>,
        level: usize,
    ) -> Result<Directory, Failure> {
        let wrong = |problem: String| Failure::Output { path: output.requested.clone(), problem };
        if level > OUTPUT_LEVELS_MAX {
            return Err(wrong(format!("is more than {OUTPUT_LEVELS_MAX} directories deep")));
        }
        let mut directory = Directory::default();
        for name in self.layers.names(merged).map_err(|e| unreadable(output, &e))? {
            let Some(found) = self.layers.child(merged, &name).map_err(|e| unreadable(output, &e))? else { continue };
            let name = name.to_str().ok_or_else(|| {
                wrong(format!("holds `{}`, whose name is not UTF-8; REAPI cannot say it", name.to_string_lossy()))
            })?;
            let node = match found {
                Found::Special(kind) => return Err(wrong(format!("holds `{name}`, a {kind}"))),
                Found::Symlink(None) => {
                    return Err(wrong(format!("holds `{name}`, a symlink whose target is not UTF-8")));
                }
                Found::Symlink(Some(target)) => Node::Symlink { target },
                Found::Directory(merged) => {
                    let child = self.tree(output, &merged, all, level + 1)?;
                    let digest = Digest::of(self.function, &child.encode());
                    all.insert(digest, child);
                    Node::Directory { digest }
                }
                file => {
                    let (digest, executable) = self.file(output, file)?;
                    Node::File { digest, executable }
                }
            };
            directory.insert(name, node).map_err(|e| wrong(e.to_string()))?;
        }
        Ok(directory)
    }

    /// REAPI, `Command.output_node_properties`: only what was asked for.
    fn properties(&self, found: &Found) -> Option<wire::NodeProperties> {
        if self.command.output_properties.is_empty() {
            return None;
        }
        let metadata: Option<&Metadata> = match found {
            Found::Written { metadata, .. } => Some(metadata),
            _ => None,
        };
        let mut properties = wire::NodeProperties::default();
        for property in &self.command.output_properties {
            match property {
                Property::Mtime => {
                    properties.mtime = Some(protobuf::Timestamp {
                        seconds: metadata.map_or(MTIME_SECONDS, MetadataExt::mtime),
                        nanos: metadata.and_then(|m| i32::try_from(m.mtime_nsec()).ok()).unwrap_or(0),
                    });
                }
                Property::UnixMode => {
                    let input = if matches!(found, Found::Input { executable: true, .. }) { 0o555 } else { 0o444 };
                    let value = metadata.map_or(input, |m| m.permissions().mode() & 0o7777);
                    properties.unix_mode = Some(protobuf::UInt32Value { value });
                }
            }
        }
        Some(properties)
    }
}

fn unreadable(output: &OutputPath, error: &io::Error) -> Failure {
    Failure::Store {
        doing: "reading the outputs",
        source: StoreError::Io(io::Error::new(error.kind(), format!("{}: {error}", output.requested))),
    }
}
