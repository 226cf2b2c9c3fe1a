//! How a blob gets its name: hashed, complete, and in one step.
use super::catalogue::{Key, Place, RECORD_HEAD_BYTES, Stamp};
use super::layout::{MODE_PLAIN, MTIME_SECONDS, Room};
use super::{Inner, PACKED_BYTES_MAX, PACKED_OWNED_BYTES_MAX};
use crate::{Blob, FileBlob, Origin, StoreError};
use lre_model::{Digest, Hasher};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// What files take on the disk is rounded up to this, in bytes.
const BLOCK_BYTES: u64 = 4096;

/// A file that goes away unless it gets its name.
struct Temporary {
    path: PathBuf,
    placed: bool,
}

impl Drop for Temporary {
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
    pub(super) fn keep(&self, digest: Digest, blob: &Blob, stamp: Stamp) -> Result<(), StoreError> {
        match blob {
            Blob::Bytes(bytes) => {
                same(digest, Digest::of(digest.function(), bytes))?;
                if digest.size_bytes() <= PACKED_BYTES_MAX {
                    return self.pack(digest, bytes, stamp);
                }
                if self.has_before_write(digest, stamp)? {
                    return Ok(());
                }
                self.admit_file(digest)?;
                self.write_file(digest, &mut &bytes[..], None, stamp)
            }
            Blob::File(file) => match small(file)? {
                Some(bytes) => {
                    same(digest, Digest::of(digest.function(), &bytes))?;
                    self.pack(digest, &bytes, stamp)
                }
                None => self.keep_file(digest, file, stamp),
            },
        }
    }

    /// Keeps bytes of this digest in the log, if there is nothing of it yet.
    fn pack(&self, digest: Digest, bytes: &[u8], stamp: Stamp) -> Result<(), StoreError> {
        if !digest.is_empty_blob() && !self.has_before_write(digest, stamp)? {
            let key = Key::blob(digest);
            self.admit(digest.size_bytes() + RECORD_HEAD_BYTES)?;
            self.catalogue.put(key, digest.size_bytes(), bytes, stamp)?;
            self.after_eviction([&key]);
            self.dirty();
        }
        Ok(())
    }

    /// Keeps many small blobs with one write to the log. Those that are not what their digest says, or not small, are left for
    /// [`Inner::keep`]: `false`.
    pub(super) fn pack_many(&self, blobs: &[(Digest, Blob)], stamp: Stamp) -> Result<Vec<bool>, StoreError> {
        let mut new = Vec::new();
        let mut kept = Vec::with_capacity(blobs.len());
        for (digest, blob) in blobs {
            let Blob::Bytes(bytes) = blob else {
                kept.push(false);
                continue;
            };
            let size = digest.size_bytes();
            let mine = size <= PACKED_BYTES_MAX && Digest::of(digest.function(), bytes) == *digest;
            kept.push(mine);
            if mine && !digest.is_empty_blob() && !self.has_before_write(*digest, stamp)? {
                new.push((Key::blob(*digest), size, &bytes[..]));
            }
        }
        if !new.is_empty() {
            self.admit(new.iter().map(|(_, size, _)| size + RECORD_HEAD_BYTES).sum())?;
            self.catalogue.put_many(&new, stamp)?;
            self.after_eviction(new.iter().map(|(key, ..)| key));
            self.dirty();
        }
        Ok(kept)
    }

    /// Gives a blob that is in the log a file of its own.
    pub(super) fn unpack(&self, digest: Digest, bytes: &[u8], stamp: Stamp) -> Result<(), StoreError> {
        self.admit_file(digest)?;
        self.write_file(digest, &mut &bytes[..], None, stamp)
    }

    /// Asked before a file is made.
    fn admit_file(&self, digest: Digest) -> Result<(), StoreError> {
        self.admit(digest.size_bytes().saturating_add(BLOCK_BYTES + RECORD_HEAD_BYTES))
    }

    fn keep_file(&self, digest: Digest, file: &FileBlob, stamp: Stamp) -> Result<(), StoreError> {
        if file.proven().is_some_and(|p| p.function() == digest.function() && p != digest) {
            return Err(StoreError::Corrupt { expected: digest, actual: file.proven().unwrap_or(digest) });
        }
        let proven = file.proven() == Some(digest);
        // A file that will be copied is hashed on the way; what is there need not be copied, but
        // the promise that wrong bytes are refused holds all the same.
        let copy = file.origin() != Origin::Owned;
        let there = digest.is_empty_blob() || self.has_before_write(digest, stamp)?;
        if !proven && (!copy || there) {
            same(digest, crate::hash_reader(digest.function(), file.reader())?)?;
        }
        if there {
            return Ok(());
        }
        self.admit_file(digest)?;
        if !copy && self.link(digest, file, stamp)? {
            return Ok(());
        }
        self.write_file(digest, &mut file.reader(), Some(digest), stamp)
    }

    /// Whether a blob is there, which is then used now. A file is looked at, whatever is known of it.
    fn has_before_write(&self, digest: Digest, stamp: Stamp) -> io::Result<bool> {
        let key = Key::blob(digest);
        match self.catalogue.get(&key) {
            None => Ok(false),
            Some(entry) if entry.place == Place::File && !self.has_file(digest)? => Ok(false),
            Some(entry) => self.renew(&key, &entry, stamp),
        }
    }

    /// Says that the file at the name of a blob is the blob. Where that cannot be said, there is no file.
    fn placed(&self, digest: Digest, path: &Path, stamp: Stamp) -> io::Result<()> {
        let said = self.catalogue.put_file(Key::blob(digest), digest.size_bytes(), stamp);
        if said.is_err() {
            let _ = fs::remove_file(path);
        }
        self.dirty();
        said
    }

    /// Makes the file of an owner the file of the blob; `false` where it cannot be and must be copied.
    fn link(&self, digest: Digest, file: &FileBlob, stamp: Stamp) -> Result<bool, StoreError> {
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
        let link = || {
            self.watch.watch(digest, &path);
            Ok(rustix::fs::linkat(CWD, open.as_str(), CWD, &path, AtFlags::SYMLINK_FOLLOW)?)
        };
        let key = Key::blob(digest);
        let _one = self.placing(&key);
        match with_folder(&path, link) {
            Ok(()) => {
                self.placed(digest, &path, stamp)?;
                Ok(true)
            }
            // Somebody else was quicker, with the same bytes; or it is nobody's, and is replaced.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(self.catalogue.get(&key).is_some()),
            // Another file system, too many links, no /proc: a copy does as well.
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Err(e.into()),
            Err(_) => Ok(false),
        }
    }

    /// Writes a file under a temporary name and renames it. Where `check` is given, what was read is
    /// hashed on the way, and other bytes get no name.
    fn write_file(
        &self,
        digest: Digest,
        from: &mut dyn Read,
        check: Option<Digest>,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let path = self.layout.temporary().join(serial.to_string());
        let mut file = create(&path)?;
        let mut temporary = Temporary { path, placed: false };
        match check {
            Some(expected) => same(expected, copy_and_hash(from, &mut file, expected)?)?,
            None => drop(io::copy(from, &mut file)?),
        }
        settle(&file, MODE_PLAIN)?;
        // Closed before it has its name: a program that is open for writing cannot be executed.
        drop(file);
        let path = self.layout.of(Room::Blobs, digest);
        let _one = self.placing(&Key::blob(digest));
        with_folder(&path, || {
            // Before there is anything to go away.
            self.watch.watch(digest, &path);
            fs::rename(&temporary.path, &path)
        })?;
        temporary.placed = true;
        Ok(self.placed(digest, &path, stamp)?)
    }
}

/// The bytes of a file that is to be packed; `None` where it is to stay a file. What its owner gives up is linked, which costs
/// little more, and is likely to be linked again.
fn small(file: &FileBlob) -> io::Result<Option<Vec<u8>>> {
    let at_most = if file.origin() == Origin::Owned { PACKED_OWNED_BYTES_MAX } else { PACKED_BYTES_MAX };
    if file.size_bytes() > at_most {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // One more than announced: a file that grows is not what it was.
    file.reader().take(file.size_bytes() + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn same(expected: Digest, actual: Digest) -> Result<(), StoreError> {
    if expected == actual { Ok(()) } else { Err(StoreError::Corrupt { expected, actual }) }
}

/// Bytes of a large file that are copied at a time.
const COPY_BYTES: u64 = 256 * 1024;

/// Copies all of `from`, and says what it was. Copies no more than was announced and one byte: a
/// file that grows while it is read must not fill the disk.
fn copy_and_hash(from: &mut dyn Read, to: &mut File, expected: Digest) -> io::Result<Digest> {
    let mut hasher = Hasher::new(expected.function());
    // A small one is read at once, with its end. Of a large one each piece begins with a page, or the page cache holds it in small parts.
    let length = if expected.size_bytes() < COPY_BYTES { expected.size_bytes() + 1 } else { COPY_BYTES };
    let mut buffer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
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
