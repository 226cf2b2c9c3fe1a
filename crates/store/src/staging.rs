//! Where bytes wait that nobody has named yet: uploads of any size in bounded memory.
use crate::{Blob, FileBlob};
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, Hasher};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// Bytes up to which a staged blob stays in memory. A file costs some 50 us more than that many bytes
/// in memory; uploads run by the dozen, not by the thousand.
const IN_MEMORY_BYTES: usize = 64 * 1024;

/// Room that is taken of the disk at a time for a blob whose length was announced. Twice as quick as room that is found write by
/// write, and a disk that is full is noticed before it is written to. No more at a time: who announces a terabyte and
/// sends nothing must not have it.
const ROOM_BYTES: u64 = 16 * 1024 * 1024;

/// A folder for files on their way in.
#[derive(Debug, Clone)]
pub struct Staging {
    directory: PathBuf,
}

/// A blob that is being written.
#[derive(Debug)]
pub struct StagedBlob {
    directory: PathBuf,
    hasher: HasherBox,
    buffer: Vec<u8>,
    file: Option<(File, TempPath)>,
    /// Bytes that were announced, and those for which there is room already.
    announced: u64,
    room: u64,
}

struct HasherBox(Hasher);

impl std::fmt::Debug for HasherBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.size_bytes())
    }
}

impl Staging {
    /// Takes the folder `dir`, which is made where it does not exist, and removes what a process that
    /// was killed has left there. The folder must be this value's and its copies' alone: that of a
    /// store that this process has open is.
    ///
    /// # Errors
    /// The folder cannot be made or cleaned.
    pub fn new(dir: impl AsRef<Path>) -> io::Result<Self> {
        let directory = std::path::absolute(dir)?;
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { directory })
    }

    /// A file that is nobody's blob, for reading and writing. It has no name: when it is closed it is gone.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn unnamed(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.directory)
    }

    /// Begins a blob.
    ///
    /// # Errors
    /// None today: the file is made when the bytes no longer fit in memory.
    pub fn create(&self, function: DigestFunction) -> io::Result<StagedBlob> {
        let (hasher, directory) = (HasherBox(Hasher::new(function)), self.directory.clone());
        Ok(StagedBlob { directory, hasher, buffer: Vec::new(), file: None, announced: 0, room: 0 })
    }

    /// Begins a blob of this digest; what comes may be another, and then the end says so.
    ///
    /// # Errors
    /// As [`Staging::create`].
    pub fn create_for(&self, digest: Digest) -> io::Result<StagedBlob> {
        Ok(StagedBlob { announced: digest.size_bytes(), ..self.create(digest.function())? })
    }
}

impl StagedBlob {
    /// Takes the next bytes. Blocks no longer than a write to the page cache.
    ///
    /// # Errors
    /// The file cannot be written; the blob is of no use any more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() {
            self.take_room(bytes.len() as u64)?;
        }
        if let Some((file, _)) = &mut self.file {
            file.write_all(bytes)?;
        } else if self.buffer.len() + bytes.len() <= IN_MEMORY_BYTES {
            self.buffer.extend_from_slice(bytes);
        } else {
            let (mut file, path) = tempfile::NamedTempFile::new_in(&self.directory)?.into_parts();
            file.write_all(&self.buffer)?;
            self.buffer = Vec::new();
            self.file = Some((file, path));
            self.take_room(bytes.len() as u64)?;
            if let Some((file, _)) = &mut self.file {
                file.write_all(bytes)?;
            }
        }
        self.hasher.0.update(bytes);
        Ok(())
    }

    /// Sees to it that there is room for the next bytes, as far as they were announced.
    fn take_room(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.size_bytes() + bytes;
        if end <= self.room || self.room >= self.announced {
            return Ok(());
        }
        let room = end.next_multiple_of(ROOM_BYTES).min(self.announced);
        let Some((file, _)) = &self.file else { return Ok(()) };
        let more = room.saturating_sub(self.room);
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, self.room, more) {
            Ok(()) => self.room = room,
            Err(full @ (Errno::NOSPC | Errno::DQUOT)) => return Err(full.into()),
            // This file system cannot do it: room is found write by write.
            Err(_) => self.room = self.announced,
        }
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.hasher.0.size_bytes()
    }

    /// The blob and its digest. Its file goes away with the last copy of the value; a store that it
    /// was written to has its own name for it.
    ///
    /// # Errors
    /// The file cannot be opened for reading.
    pub fn finish(self) -> io::Result<(Digest, Blob)> {
        let digest = self.hasher.0.finish();
        let Some((file, path)) = self.file else { return Ok((digest, Bytes::from(self.buffer).into())) };
        // Opened anew for reading only, after the writer is closed: the file may become a program,
        // and one that is open for writing cannot be executed.
        drop(file);
        let mut blob = FileBlob::temporary(path)?;
        blob.prove(digest);
        Ok((digest, Blob::File(blob)))
    }
}
