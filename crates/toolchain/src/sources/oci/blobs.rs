//! Where the blobs of an image are.
use super::super::http::{Expected, Http, Sha256};
use super::image::{DOCUMENT_BYTES_MAX, Descriptor};
use super::layers::Opened;
use super::packed::Packed;
use super::registry::Registry;
use crate::error::{ToolchainError, io_at};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(super) enum Blobs {
    /// An OCI layout as a directory.
    Folder { path: PathBuf, http: Http },
    /// One in a tar archive, or what `docker save` writes.
    Packed { path: PathBuf, packed: Packed, http: Http },
    /// Somewhere else.
    Registry(Registry),
}

impl Blobs {
    /// What this path of the machine has.
    pub(super) fn open(path: &Path, spool: &Path, http: Http) -> Result<Self, ToolchainError> {
        let metadata = std::fs::metadata(path).map_err(io_at("look at it", path))?;
        let path = path.to_owned();
        if metadata.is_dir() {
            return Ok(Self::Folder { path, http });
        }
        let packed = Packed::open(&path, spool)?;
        Ok(Self::Packed { path, packed, http })
    }

    /// Named in errors.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Folder { path, .. } | Self::Packed { path, .. } => path.display().to_string(),
            Self::Registry(registry) => registry.shown(),
        }
    }

    /// A file that the image's format gives a name: `index.json`. A registry has none.
    pub(super) fn file(&self, name: &str) -> Result<Option<Vec<u8>>, ToolchainError> {
        let Some(reader) = self.named(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = reader.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|e| ToolchainError::unusable(self.shown(), format!("`{name}` cannot be read: {e}")))?;
        match bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            true => {
                let problem = format!("`{name}` is larger than {DOCUMENT_BYTES_MAX} bytes");
                Err(ToolchainError::unusable(self.shown(), problem))
            }
            false => Ok(Some(bytes)),
        }
    }

    /// A file by its name, to be read.
    pub(super) fn named(&self, name: &str) -> Result<Option<Box<dyn Read + Send>>, ToolchainError> {
        match self {
            Self::Folder { path, .. } => {
                let path = path.join(name);
                match File::open(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(io_at("read the file", &path)(e)),
                }
            }
            Self::Packed { packed, .. } => Ok(packed.read(name).map(|section| Box::new(section) as _)),
            Self::Registry(_) => Ok(None),
        }
    }

    /// A manifest or index.
    pub(super) fn manifest(&self, digest: Sha256) -> Result<Vec<u8>, ToolchainError> {
        match self {
            Self::Registry(registry) => self.checked(registry.manifest(digest)?, digest),
            _ => self.document(digest),
        }
    }

    /// A configuration.
    pub(super) fn config(&self, digest: Sha256) -> Result<Vec<u8>, ToolchainError> {
        match self {
            Self::Registry(registry) => self.checked(registry.config(digest)?, digest),
            _ => self.document(digest),
        }
    }

    fn document(&self, digest: Sha256) -> Result<Vec<u8>, ToolchainError> {
        match self.file(&blob(digest))? {
            Some(bytes) => self.checked(bytes, digest),
            None => Err(self.missing(digest)),
        }
    }

    fn checked(&self, bytes: Vec<u8>, wanted: Sha256) -> Result<Vec<u8>, ToolchainError> {
        match Sha256::of(&bytes) {
            found if found == wanted => Ok(bytes),
            found => {
                let problem = format!("the SHA-256 of one of its documents is {found}, but {wanted} was expected");
                Err(ToolchainError::unusable(self.shown(), problem))
            }
        }
    }

    /// A layer. One that is foreign may be elsewhere.
    pub(super) fn layer(&self, layer: &Descriptor, digest: Sha256) -> Result<Opened, ToolchainError> {
        let http = match self {
            Self::Registry(registry) => return registry.layer(layer, digest),
            Self::Folder { http, .. } | Self::Packed { http, .. } => http,
        };
        if let Some(bytes) = self.named(&blob(digest))? {
            return Ok(Opened { bytes, download: None });
        }
        let mut fetched = Err(self.missing(digest));
        for url in &layer.urls {
            if fetched.is_err() {
                fetched = http.fetch(url, Expected { sha256: Some(digest), size: Some(layer.size) });
            }
        }
        let download = fetched?;
        let file = File::open(&download.path).map_err(io_at("read the file", &download.path))?;
        Ok(Opened { bytes: Box::new(file), download: Some(download) })
    }

    fn missing(&self, digest: Sha256) -> ToolchainError {
        ToolchainError::unusable(self.shown(), format!("its blob sha256:{digest} is missing"))
    }
}

/// Where a layout keeps a blob.
fn blob(digest: Sha256) -> String {
    format!("blobs/sha256/{digest}")
}
