//! Where things lie in the store directory (docs/reference/store.md).
use lre_model::{Digest, DigestFunction};
use std::path::{Path, PathBuf};

/// The modification time of every file of the store, in seconds since 1970: 1980-01-01 UTC. Actions
/// see the files of the store by hard links, and a time that differs from run to run would be an
/// input that no digest names.
pub const MTIME_SECONDS: i64 = 315_532_800;

/// The mode of a blob that is not to be executed.
pub const MODE_PLAIN: u32 = 0o444;
/// The mode of a blob that is to be executed.
pub const MODE_EXECUTABLE: u32 = 0o555;

/// The version of the layout that this code writes.
pub(super) const VERSION: u32 = 2;
/// The first word of the version file.
pub(super) const FORMAT_WORD: &str = "lre-store";

/// What is, or in format 1 was, kept in files named by digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Blobs,
    /// Of format 1.
    Results,
    /// Of format 1.
    Names,
}

impl Room {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Results => "results",
            Self::Names => "names",
        }
    }

    /// The first bytes of the framed files of format 1.
    pub(super) fn magic(self) -> [u8; 4] {
        match self {
            Self::Blobs => [0; 4],
            Self::Results => *b"lreR",
            Self::Names => *b"lreN",
        }
    }
}

/// The paths below one store directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn synced(&self) -> PathBuf {
        self.root.join("synced")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub(super) fn room(&self, room: Room, function: DigestFunction) -> PathBuf {
        self.root.join(room.name()).join(function.name())
    }

    /// `{room}/{function}/{2 hex}/{hash}`. The size is not part of the name: one hash has one
    /// content, and a digest that says another size is the digest of nothing.
    pub(super) fn of(&self, room: Room, digest: Digest) -> PathBuf {
        let hash = digest.hash_text();
        let root = self.root.as_os_str();
        let mut path = PathBuf::with_capacity(root.len() + 96);
        path.push(root);
        path.push(room.name());
        path.push(digest.function().name());
        path.push(&hash[..2]);
        path.push(&hash);
        path
    }
}

/// The digest of a file of this name in the folder `prefix`, with a size to be filled in.
pub(super) fn parse_name(function: DigestFunction, prefix: &str, name: &str, size_bytes: u64) -> Option<Digest> {
    let size_bytes = i64::try_from(size_bytes).ok()?;
    Digest::parse(function, name, size_bytes).ok().filter(|_| name.starts_with(prefix) && prefix.len() == 2)
}
