//! Files that may be hard-linked into input trees and toolchains.
use crate::disk::{IN_PLACE_BYTES, MODE_EXECUTABLE, MODE_PLAIN, boot_id, settle, with_folder};
use crate::{Blob, BlobStore, Origin, StoreError};
use lre_model::Digest;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives each blob a file to link to: the store's own for a plain blob where there is one, else a
/// copy that is kept here. Plain and executable are separate inodes, because links share the mode.
#[derive(Debug)]
pub struct Inodes {
    directory: PathBuf,
    device: u64,
    serial: AtomicU64,
}

impl Inodes {
    /// Takes the folder `dir`, which is made where it does not exist; it must be on the file system
    /// on which the links will be made, and this value's alone. What was copied under another boot
    /// of the kernel is removed: the copies are never synced, so after a power cut their bytes may
    /// be missing, and to copy again is cheaper than to hash.
    ///
    /// # Errors
    /// The folder cannot be made or cleaned.
    pub fn new(dir: impl AsRef<Path>) -> io::Result<Self> {
        let directory = std::path::absolute(dir)?;
        fs::create_dir_all(&directory)?;
        let (mark, boot) = (directory.join("boot"), boot_id());
        let same = boot.is_some() && fs::read_to_string(&mark).ok() == boot;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                // The folder stays: on a full disk there might be no room for another one.
                true if entry.file_name() == "temporary" => {
                    for left in fs::read_dir(entry.path())? {
                        fs::remove_file(left?.path())?;
                    }
                }
                true if !same => fs::remove_dir_all(entry.path())?,
                false if entry.file_name() != "boot" => fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        fs::create_dir_all(directory.join("temporary"))?;
        if !same {
            match fs::write(&mark, boot.unwrap_or_default()) {
                // Then the next start removes the copies of this boot too.
                Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {}
                written => written?,
            }
        }
        let device = fs::metadata(&directory)?.dev();
        Ok(Self { directory, device, serial: AtomicU64::new(0) })
    }

    /// A file on this file system that holds exactly the blob, with mode 0444 or 0555 and the constant
    /// time. It may be linked to, and must not be changed.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the store does not have the blob; a full or failing disk.
    pub async fn path(&self, store: &dyn BlobStore, digest: Digest, executable: bool) -> Result<PathBuf, StoreError> {
        if !executable
            && let Some(path) = store.file_of(digest)
            && self.is_linkable(&path, digest)
        {
            return Ok(path);
        }
        if !executable
            && let Some(path) = store.promote(digest).await?
            && self.is_linkable(&path, digest)
        {
            return Ok(path);
        }
        let copy = self.copy_of(digest, executable);
        if is_copy(&copy, digest, executable) {
            return Ok(copy);
        }
        let blob = store.read(digest).await?;
        if let Blob::File(file) = &blob
            && !executable
            && file.origin() == Origin::Store
            && file.file().metadata()?.dev() == self.device
        {
            return Ok(file.path().to_owned());
        }
        let temporary = self.directory.join("temporary").join(self.serial.fetch_add(1, Ordering::Relaxed).to_string());
        let write = move || {
            let written = write_copy(&blob, &temporary, &copy, executable);
            if written.is_err() {
                // The first error is the one to tell; the next start cleans up.
                let _ = fs::remove_file(&temporary);
            }
            written.map(|()| copy)
        };
        if digest.size_bytes() <= IN_PLACE_BYTES {
            return Ok(write()?);
        }
        let written = tokio::task::spawn_blocking(write).await.map_err(|e| StoreError::Io(io::Error::other(e)))?;
        Ok(written?)
    }

    /// Whether a file of a store is where links can be made to it, and as long as it should be.
    fn is_linkable(&self, path: &Path, digest: Digest) -> bool {
        fs::symlink_metadata(path)
            .is_ok_and(|m| m.is_file() && m.len() == digest.size_bytes() && m.dev() == self.device)
    }

    fn copy_of(&self, digest: Digest, executable: bool) -> PathBuf {
        let hash = digest.hash_text();
        let kind = if executable { "executable" } else { "plain" };
        self.directory.join(digest.function().name()).join(kind).join(&hash[..2]).join(&hash)
    }
}

/// Whether there is a copy, and nobody has changed what can be seen without reading it.
fn is_copy(path: &Path, digest: Digest, executable: bool) -> bool {
    let mode = if executable { MODE_EXECUTABLE } else { MODE_PLAIN };
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file() && m.len() == digest.size_bytes() && m.mode() & 0o7777 == mode)
}

fn write_copy(blob: &Blob, temporary: &Path, path: &Path, executable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    match blob {
        Blob::Bytes(bytes) => io::copy(&mut &bytes[..], &mut file)?,
        Blob::File(from) if from.size_bytes() <= IN_PLACE_BYTES => io::copy(&mut from.reader(), &mut file)?,
        Blob::File(from) => copy_file(from, &mut file)?,
    };
    settle(&file, if executable { MODE_EXECUTABLE } else { MODE_PLAIN })?;
    drop(file);
    with_folder(path, || fs::rename(temporary, path))
}

/// By the kernel where the file still has its name; the copy then does not pass through our memory.
fn copy_file(from: &crate::FileBlob, to: &mut File) -> io::Result<u64> {
    match File::open(from.path()) {
        Ok(mut file) if file.metadata()?.len() == from.size_bytes() => io::copy(&mut file, to),
        _ => io::copy(&mut from.reader(), to),
    }
}
