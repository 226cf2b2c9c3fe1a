//! The weighing room: outputs -> digests -> store -> `ActionResult`.
mod directory;
mod properties;

use crate::layers::{Found, Layers};
use crate::{Breach, Failure, Limited};
use directory::escaped;
use lre_model::{Command, Digest, DigestFunction, OutputPath, Outputs, RelPath, Subtree, wire};
use lre_store::{Blob, FileBlob, Origin, StoreError};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Symlinks that are followed one after the other to see what kind of thing an output points to; Linux follows 40.
const LINKS_MAX: usize = 40;

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
            Some(Found::Directory(directory)) => self.directory(output, directory)?,
            Some(link @ Found::Symlink { .. }) => self.symlink(output, link, wanted)?,
            Some(file) => {
                let properties = properties::of(&file, &self.command.output_properties);
                let (digest, executable) = self.file(output, file)?;
                self.gathered.result.output_files.push(wire::OutputFile {
                    path: output.requested.clone(),
                    digest: Some(digest.to_wire()),
                    is_executable: executable,
                    contents: Vec::new(),
                    node_properties: properties.map(|p| p.to_wire()),
                });
            }
        }
        Ok(())
    }

    /// Not followed: it is itself the output, wherever it points, dangling or not.
    #[expect(deprecated, reason = "clients of REAPI 2.0 look for symlinks in the two older fields")]
    fn symlink(&mut self, output: &OutputPath, found: Found, wanted: Wanted) -> Result<(), Failure> {
        let properties = properties::of(&found, &self.command.output_properties);
        let Found::Symlink { target, .. } = found else { return Ok(()) };
        let wrong = |problem: String| Failure::Output { path: output.requested.clone(), problem };
        let target = target
            .into_string()
            .map_err(|target| wrong(format!("is a symlink to `{}`, which is not UTF-8", escaped(&target))))?;
        match (wanted, self.leads_to_a_directory(&output.path, &target)) {
            (Wanted::File, Some(true)) => {
                return Err(wrong(format!(
                    "is a symlink to the directory `{target}`, and `output_files` promised a file"
                )));
            }
            (Wanted::Directory, Some(false)) => {
                let problem = "and `output_directories` promised a directory";
                return Err(wrong(format!("is a symlink to `{target}`, which is none, {problem}")));
            }
            _ => {}
        }
        let result = &mut self.gathered.result;
        let link = wire::OutputSymlink {
            path: output.requested.clone(),
            target,
            node_properties: properties.map(|p| p.to_wire()),
        };
        match wanted {
            Wanted::Any => result.output_symlinks.push(link),
            Wanted::File => result.output_file_symlinks.push(link),
            Wanted::Directory => result.output_directory_symlinks.push(link),
        }
        Ok(())
    }

    /// Whether what a symlink points to is a directory; nothing where it is not there, or outside of the input root.
    fn leads_to_a_directory(&self, link: &RelPath, target: &str) -> Option<bool> {
        let (mut at, mut target) = (link.parent()?, target.to_owned());
        for _ in 0..LINKS_MAX {
            let path = at.join(&target).ok()?;
            match self.layers.find(path.segments()).ok()?? {
                Found::Directory(_) => return Some(true),
                Found::Symlink { target: next, .. } => (at, target) = (path.parent()?, next.into_string().ok()?),
                _ => return Some(false),
            }
        }
        None
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
}

/// What cannot be read is the store's trouble, except a path that no call takes: the command has made it.
fn unreadable(output: &OutputPath, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidFilename {
        let problem = "has paths of more than 4,096 bytes, which Linux cannot open".to_owned();
        return Failure::Output { path: output.requested.clone(), problem };
    }
    Failure::Store {
        doing: "reading the outputs",
        source: StoreError::Io(io::Error::new(error.kind(), format!("{}: {error}", output.requested))),
    }
}
