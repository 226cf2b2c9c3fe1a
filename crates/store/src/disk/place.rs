//! How a blob gets its name: hashed, complete, and in one step.
use super::layout::{MODE_PLAIN, MTIME_SECONDS, Room};
use super::presence::Begun;
use super::{IN_PLACE_BYTES, Inner};
use crate::{Blob, FileBlob, Origin, StoreError};
use lre_model::{Digest, Hasher};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A file that goes away unless it gets its name.
struct Temporary<'a> {
    inner: &'a Inner,
    path: PathBuf,
    placed: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.placed {
            // The error that brought us here is the one to tell; the next start cleans up.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives a file the mode and the time that every file of the store has.
pub(crate) fn settle(file: &File, mode: u32) -> io::Result<()> {
    let time = Timespec { tv_sec: MTIME_SECONDS, tv_nsec: 0 };
    rustix::fs::fchmod(file, Mode::from_bits_truncate(mode))?;
    rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?;
    Ok(())
}

/// Runs what makes a name in a folder, and makes the folder first where it is not there.
pub(crate) fn with_folder<T>(path: &Path, name: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match name() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            name()
        }
        other => other,
    }
}

/// A new file. The folder may have been removed under us, with a store that somebody thought unused.
fn create(path: &Path) -> io::Result<File> {
    with_folder(path, || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
}

impl Inner {
    /// Keeps a blob. Blocks.
    pub(super) fn keep(&self, digest: Digest, blob: &Blob) -> Result<(), StoreError> {
        match blob {
            Blob::Bytes(bytes) => {
                let actual = Digest::of(digest.function(), bytes);
                same(digest, actual)?;
                if !digest.is_empty_blob() && !self.has_before_write(digest)? {
                    let begun = self.begin_write(digest);
                    self.keeping(digest, begun, self.write_file(Room::Blobs, digest, &mut &bytes[..], None))?;
                }
                self.recent.keep(digest, bytes);
                Ok(())
            }
            Blob::File(file) => self.keep_file(digest, file),
        }
    }

    fn keep_file(&self, digest: Digest, file: &FileBlob) -> Result<(), StoreError> {
        if file.proven().is_some_and(|p| p.function() == digest.function() && p != digest) {
            return Err(StoreError::Corrupt { expected: digest, actual: file.proven().unwrap_or(digest) });
        }
        let proven = file.proven() == Some(digest);
        // A file that will be copied is hashed on the way; what is there need not be copied, but
        // the promise that wrong bytes are refused holds all the same.
        let copy = file.origin() != Origin::Owned;
        let there = digest.is_empty_blob() || self.has_before_write(digest)?;
        if !proven && (!copy || there) {
            same(digest, crate::hash_reader(digest.function(), file.reader())?)?;
        }
        if there {
            return Ok(());
        }
        let begun = self.begin_write(digest);
        self.keeping(digest, begun, self.link_or_copy(digest, file, copy))
    }

    /// Asks to be told of what goes away before anything is put there, so that what is written is known.
    fn begin_write(&self, digest: Digest) -> Begun {
        self.presence.watch(digest, &self.layout.of(Room::Blobs, digest));
        self.presence.begin(digest)
    }

    /// Remembers what came of a write.
    fn keeping(&self, digest: Digest, begun: Begun, written: Result<(), StoreError>) -> Result<(), StoreError> {
        match written {
            Ok(()) => self.presence.remember(begun, digest),
            // There may be a file all the same: it must not be taken for absent.
            Err(_) => self.presence.name(&[digest]),
        }
        written
    }

    fn link_or_copy(&self, digest: Digest, file: &FileBlob, copy: bool) -> Result<(), StoreError> {
        if copy || !self.link(digest, file)? {
            self.write_file(Room::Blobs, digest, &mut file.reader(), Some(digest))?;
        }
        Ok(())
    }

    /// As [`Inner::has`]. What is known to be absent is not looked for: where somebody put it there from
    /// outside, it is replaced by the same bytes.
    fn has_before_write(&self, digest: Digest) -> io::Result<bool> {
        if self.presence.of(digest) == Some(false) { Ok(false) } else { self.has(digest) }
    }

    /// Makes the file of an owner the file of the blob; `false` where it cannot be and must be copied.
    fn link(&self, digest: Digest, file: &FileBlob) -> Result<bool, StoreError> {
        let metadata = file.file().metadata()?;
        // Where the file has another name, somebody might write through that name later. And only
        // its user may give it the mode of a blob.
        if metadata.nlink() != 1 || metadata.uid() != rustix::process::geteuid().as_raw() {
            return Ok(false);
        }
        settle(file.file(), MODE_PLAIN)?;
        let path = self.layout.of(Room::Blobs, digest);
        // By the open file, not by its name: what was hashed is what gets the name.
        let open = format!("/proc/self/fd/{}", file.file().as_raw_fd());
        let link = || Ok(rustix::fs::linkat(CWD, open.as_str(), CWD, &path, AtFlags::SYMLINK_FOLLOW)?);
        match with_folder(&path, link) {
            Ok(()) => {
                self.dirty.store(true, Ordering::SeqCst);
                Ok(true)
            }
            // Somebody else was quicker, with the same bytes.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            // Another file system, too many links, no /proc: a copy does as well.
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Err(e.into()),
            Err(_) => Ok(false),
        }
    }

    /// Writes a file under a temporary name and renames it. Where `check` is given, what was read is
    /// hashed on the way, and other bytes get no name.
    pub(super) fn write_file(
        &self,
        room: Room,
        digest: Digest,
        from: &mut dyn Read,
        check: Option<Digest>,
    ) -> Result<(), StoreError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let path = self.layout.temporary().join(serial.to_string());
        let mut file = create(&path)?;
        let mut temporary = Temporary { inner: self, path, placed: false };
        match check {
            Some(expected) => same(expected, copy_and_hash(from, &mut file, expected)?)?,
            None => drop(io::copy(from, &mut file)?),
        }
        settle(&file, MODE_PLAIN)?;
        // Closed before it has its name: a program that is open for writing cannot be executed.
        drop(file);
        temporary.place(&self.layout.of(room, digest))
    }
}

impl Temporary<'_> {
    fn place(&mut self, path: &Path) -> Result<(), StoreError> {
        with_folder(path, || fs::rename(&self.path, path))?;
        self.placed = true;
        self.inner.dirty.store(true, Ordering::SeqCst);
        Ok(())
    }
}

fn same(expected: Digest, actual: Digest) -> Result<(), StoreError> {
    if expected == actual { Ok(()) } else { Err(StoreError::Corrupt { expected, actual }) }
}

/// Copies all of `from`, and says what it was. Copies no more than was announced and one byte: a
/// file that grows while it is read must not fill the disk.
fn copy_and_hash(from: &mut dyn Read, to: &mut File, expected: Digest) -> io::Result<Digest> {
    let mut hasher = Hasher::new(expected.function());
    let mut buffer = vec![0; usize::try_from(expected.size_bytes().clamp(1, IN_PLACE_BYTES)).unwrap_or(1) + 1];
    let mut from = from.take(expected.size_bytes().saturating_add(1));
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
