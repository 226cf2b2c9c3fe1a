//! The bytes of a blob, in whichever form somebody already has them.
use crate::pieces;
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, Hasher};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempPath;

/// The bytes of a blob.
///
/// A worker that wants a hard link takes the path and copies only where there is none; nobody has
/// to guess which store stands behind the trait.
#[derive(Clone, Debug)]
pub enum Blob {
    /// In memory. Only for what is known to be small.
    Bytes(Bytes),
    /// In a file. However large, it is never in memory as a whole.
    File(FileBlob),
}

/// A blob in a file.
///
/// The open file keeps the bytes readable even if the name goes away.
#[derive(Clone, Debug)]
pub struct FileBlob {
    file: Arc<File>,
    path: PathBuf,
    size_bytes: u64,
    origin: Origin,
    proven: Option<Digest>,
    /// Where the name is to go when the last copy of this value goes.
    temporary: Option<Arc<TempPath>>,
}

/// What may be done with the file behind a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Belongs to a store and never changes: may be hard-linked, must not be touched.
    Store,
    /// Given up by its owner, and nobody has it open for writing: may be linked or renamed, its mode
    /// and times may change.
    Owned,
    /// Somebody else's, who may change it at any time: must be copied.
    Foreign,
}

impl FileBlob {
    /// Opens a file as a blob that nobody has hashed yet.
    ///
    /// # Errors
    /// The file cannot be opened, or is not a regular file; an owned one must not be a symlink either.
    pub fn open(path: impl Into<PathBuf>, origin: Origin) -> io::Result<Self> {
        let path = path.into();
        // A pipe must not keep us waiting for its writer, and what an action leaves must not lead us out.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, origin == Origin::Owned);
        let file = File::from(rustix::fs::open(&path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file: Arc::new(file), path, size_bytes: metadata.len(), origin, proven: None, temporary: None })
    }

    /// Opens a file and hashes it, once: the blob remembers that it was hashed, so that a verifying
    /// store need not do it again.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hash(path: impl Into<PathBuf>, origin: Origin, function: DigestFunction) -> io::Result<(Digest, Self)> {
        let mut blob = Self::open(path, origin)?;
        let digest = hash_reader(function, blob.reader())?;
        blob.size_bytes = digest.size_bytes();
        blob.prove(digest);
        Ok((digest, blob))
    }

    /// Remembers that the content was seen to have this digest. Only code of this crate that did
    /// the hashing may say so; a foreign file can change, so for it nothing is remembered.
    pub(crate) fn prove(&mut self, digest: Digest) {
        self.proven = (self.origin != Origin::Foreign).then_some(digest);
    }

    /// A file of a store, opened and measured by it.
    pub(crate) fn stored(file: File, path: PathBuf, digest: Digest) -> Self {
        let (size_bytes, proven) = (digest.size_bytes(), Some(digest));
        Self { file: Arc::new(file), path, size_bytes, origin: Origin::Store, proven, temporary: None }
    }

    /// A file whose name goes away with the last copy of the blob.
    pub(crate) fn temporary(path: TempPath) -> io::Result<Self> {
        let mut blob = Self::open(&*path, Origin::Owned)?;
        blob.temporary = Some(Arc::new(path));
        Ok(blob)
    }

    /// Reads from the beginning, whatever others read from the same open file.
    pub fn reader(&self) -> impl Read + use<> {
        PositionedReader { file: self.file.clone(), offset: 0 }
    }

    /// The digest that the content was seen to have, where it was hashed and cannot have changed.
    #[must_use]
    pub fn proven(&self) -> Option<Digest> {
        self.proven
    }

    /// The open file. Its position is shared: use positioned reads.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length in bytes, when it was opened.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What may be done with the file.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

struct PositionedReader {
    file: Arc<File>,
    offset: u64,
}

impl Read for PositionedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Hashes all that a reader gives.
///
/// # Errors
/// What the reader says.
pub fn hash_reader(function: DigestFunction, mut reader: impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new(function);
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

impl Blob {
    /// The length in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.size_bytes,
        }
    }

    /// Reads from the beginning. Blocks on files: call it where blocking is allowed.
    pub fn reader(&self) -> Box<dyn Read + Send> {
        match self {
            Self::Bytes(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Self::File(file) => Box::new(file.reader()),
        }
    }

    /// Up to `length` bytes from `offset`; fewer only at the end. Blocks on files: call it where
    /// blocking is allowed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(length).min(bytes.len())))
            }
            Self::File(file) => {
                use std::os::unix::fs::FileExt;
                let left = file.size_bytes.saturating_sub(offset);
                pieces::filled(length.min(usize::try_from(left).unwrap_or(usize::MAX)), |buffer| {
                    let mut filled = 0;
                    while filled < buffer.len() {
                        match file.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                            Ok(0) => break,
                            Ok(n) => filled += n,
                            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                            Err(e) => return Err(e),
                        }
                    }
                    Ok(filled)
                })
            }
        }
    }

    /// The whole content, where it is at most `at_most` bytes.
    ///
    /// # Errors
    /// Larger, or not readable.
    pub async fn into_bytes(self, at_most: u64) -> Result<Bytes, crate::StoreError> {
        let size = self.size_bytes();
        if size > at_most {
            return Err(crate::StoreError::TooLarge { size_bytes: size, at_most });
        }
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            // Small files are in the page cache as a rule; handing them to another thread costs more
            // than reading them.
            Self::File(_) if size <= 64 * 1024 => Ok(self.read_at(0, size as usize)?),
            Self::File(_) => {
                let read = tokio::task::spawn_blocking(move || self.read_at(0, size as usize));
                Ok(read.await.map_err(|e| io::Error::other(e.to_string()))??)
            }
        }
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "content").unwrap();
        symlink("file", at("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), Mode::RUSR).unwrap();
        for origin in [Origin::Foreign, Origin::Owned, Origin::Store] {
            assert_eq!(FileBlob::open(at("file"), origin).unwrap().size_bytes(), 7);
            assert_eq!(FileBlob::open(at("link"), origin).is_ok(), origin != Origin::Owned, "{origin:?}");
            assert!(FileBlob::open(at("pipe"), origin).is_err(), "nobody writes to it, nobody waits");
            assert!(FileBlob::open(dir.path(), origin).is_err());
            assert_eq!(FileBlob::open(at("none"), origin).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_foreign_file_is_never_proven() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        for function in DigestFunction::ALL {
            let (digest, foreign) = FileBlob::hash(&path, Origin::Foreign, function).unwrap();
            let (same, owned) = FileBlob::hash(&path, Origin::Owned, function).unwrap();
            assert_eq!((digest, same), (Digest::of(function, b"content"), digest));
            assert_eq!((foreign.proven(), owned.proven()), (None, Some(digest)));
        }
    }
}
