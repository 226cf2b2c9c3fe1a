//! A tree that is yet to be imported: what stands where, before anything is read.
use crate::error::{ToolchainError, io_at};
use crate::import::Warning;
use bytes::Bytes;
use lre_model::{Digest, RelPath};
use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::ops::Bound;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What stands at one place of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file with the content and the executable bit of this file of the host.
    Host(PathBuf),
    /// A regular file made by us.
    Bytes {
        /// Its content.
        content: Bytes,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A regular file whose content is in the store already.
    Stored {
        /// Of its content.
        digest: Digest,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symbolic link, verbatim.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// A directory, which may be empty. Parents of other entries need not be named.
    Directory,
}

/// What stands where, by path inside the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    entries: BTreeMap<RelPath, Entry>,
}

impl Layout {
    /// Puts `entry` at `path`, in place of what was there.
    pub fn insert(&mut self, path: RelPath, entry: Entry) {
        self.entries.insert(path, entry);
    }

    /// Puts `entry` at `path` as a later layer does: a directory keeps what is below it where a directory stands,
    /// anything else replaces all that stands at or below `path`.
    pub fn replace(&mut self, path: RelPath, entry: Entry) {
        if entry != Entry::Directory {
            self.clear(&path);
        }
        self.insert(path, entry);
    }

    /// Removes what stands at `path`, and all below it.
    pub fn remove(&mut self, path: &RelPath) {
        self.clear(path);
        self.entries.remove(path);
    }

    /// Removes all that stands below `path`.
    pub fn clear(&mut self, path: &RelPath) {
        let gone: Vec<_> = self.below(path).map(|(path, _)| path.clone()).collect();
        gone.iter().for_each(|path| drop(self.entries.remove(path)));
    }

    /// All entries below `path`, without its own.
    pub fn below(&self, path: &RelPath) -> impl Iterator<Item = (&RelPath, &Entry)> {
        // What is below a path follows it at once, in the order of paths.
        let range = (Bound::Excluded(path), Bound::Unbounded);
        self.entries.range(range).take_while(move |(p, _)| p.segments().starts_with(path.segments()))
    }

    /// What stands at `path`.
    #[must_use]
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All entries, in byte order of their paths, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Entry)> {
        self.entries.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The layout of a directory of the host, as it is. What a tree cannot hold is left out and
    /// named: devices, sockets, pipes (TOOLCHAINS 1: "dropped by design").
    ///
    /// # Errors
    /// A directory cannot be read, or a name in it is not UTF-8.
    pub fn of_directory(top: &Path) -> Result<(Self, Vec<Warning>), ToolchainError> {
        let (mut layout, mut warnings) = (Self::default(), Vec::new());
        layout.add_directory(top, &RelPath::root(), &mut warnings)?;
        Ok((layout, warnings))
    }

    /// Adds a directory of the host and all that is below it at `inside`.
    pub(crate) fn add_directory(
        &mut self,
        host: &Path,
        inside: &RelPath,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ToolchainError> {
        let mut left = vec![(host.to_owned(), inside.clone())];
        while let Some((host, inside)) = left.pop() {
            if !inside.is_root() {
                self.insert(inside.clone(), Entry::Directory);
            }
            for child in fs::read_dir(&host).map_err(io_at("list the directory", &host))? {
                let child = child.map_err(io_at("list the directory", &host))?;
                let path = child.path();
                let name = child.file_name().into_string().map_err(|_| ToolchainError::NotUtf8(path.clone()))?;
                let inside = inside.join(&name)?;
                let kind = child.file_type().map_err(io_at("look at it", &path))?;
                if kind.is_dir() {
                    left.push((path, inside));
                } else if let Some(entry) = entry_of(&path, kind)? {
                    self.insert(inside, entry);
                } else {
                    warnings.push(Warning::Special { path, kind: special(kind) });
                }
            }
        }
        Ok(())
    }
}

/// The entry for something that is not a directory; nothing for what a tree cannot hold.
pub(crate) fn entry_of(host: &Path, kind: FileType) -> Result<Option<Entry>, ToolchainError> {
    if kind.is_file() {
        return Ok(Some(Entry::Host(host.to_owned())));
    }
    if !kind.is_symlink() {
        return Ok(None);
    }
    let target = fs::read_link(host).map_err(io_at("read the symlink", host))?;
    let target = target.into_os_string().into_string().map_err(|_| ToolchainError::NotUtf8(host.to_owned()))?;
    Ok(Some(Entry::Symlink { target }))
}

fn special(kind: FileType) -> &'static str {
    match kind {
        k if k.is_socket() => "a socket",
        k if k.is_fifo() => "a named pipe",
        k if k.is_block_device() || k.is_char_device() => "a device",
        _ => "neither file, directory nor symlink",
    }
}

/// What of a file's attributes gets lost, for the warnings.
pub(crate) fn dropped_attributes(host: &Path, metadata: &fs::Metadata, warnings: &mut Vec<Warning>) {
    if metadata.mode() & 0o6000 != 0 {
        warnings.push(Warning::Setuid(host.to_owned()));
    }
    // Any list is longer than one byte. A file system without attributes answers with another error.
    let list = rustix::fs::llistxattr(host, &mut [0; 1]);
    if matches!(list, Ok(1..) | Err(rustix::io::Errno::RANGE)) {
        warnings.push(Warning::Attributes(host.to_owned()));
    }
}
