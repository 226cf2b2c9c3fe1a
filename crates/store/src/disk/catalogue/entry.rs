//! The words of the catalogue: keys and what is known of them.
use lre_model::{ActionDigest, Digest, DigestFunction};

/// What a record costs in the log beside its payload, in bytes.
pub(crate) const RECORD_HEAD_BYTES: u64 = 64;

/// What is kept under a hash. The same hash can be the key of all three: an action is a blob and has a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Blob = 1,
    Result = 2,
    Name = 3,
}

/// A hash and what is kept under it. The size is not part of it: one hash has one content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub kind: Kind,
    pub function: DigestFunction,
    pub hash: [u8; 32],
}

impl Key {
    pub(crate) fn new(kind: Kind, digest: Digest) -> Self {
        Self { kind, function: digest.function(), hash: *digest.hash() }
    }

    pub(crate) fn blob(digest: Digest) -> Self {
        Self::new(Kind::Blob, digest)
    }

    pub(crate) fn result(action: ActionDigest) -> Self {
        Self::new(Kind::Result, action.0)
    }

    /// The digest with this hash and the size of the entry.
    pub(crate) fn digest(&self, size_bytes: u64) -> Option<Digest> {
        Digest::parse(self.function, &hex::encode(self.hash), i64::try_from(size_bytes).ok()?).ok()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.function.name(), hex::encode(self.hash))
    }
}

/// Where the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the log.
    Packed,
    /// In a file of their own.
    File,
}

/// When and by whom something is used, and as what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Minutes since 1970.
    pub minute: u32,
    /// Number of the invocation; 0 where nobody said.
    pub invocation: u16,
    /// How high it stands above the files of its tree: 0 a leaf; a directory one more than the highest that it names.
    pub rank: u8,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The size that its digest has; of a result that of its action.
    pub size_bytes: u64,
    pub place: Place,
    /// Length of its payload in the log; 0 for a file.
    pub stored_bytes: u32,
    /// When it was used last, in minutes since 1970, to [`super::super::holds::MARK_MINUTES`].
    pub used: u32,
    /// Who marked it.
    pub invocation: u16,
    /// See [`Stamp::rank`].
    pub rank: u8,
    /// Of a file: it was looked at since the start, and the kernel tells of it when it goes.
    pub seen: bool,
}

impl Entry {
    pub(crate) fn mark(&mut self, stamp: Stamp) {
        if stamp.minute >= self.used {
            self.used = stamp.minute;
            self.invocation = stamp.invocation;
        }
        self.rank = self.rank.max(stamp.rank);
    }

    /// What it takes in the log, in bytes.
    pub(crate) fn log_bytes(&self) -> u64 {
        RECORD_HEAD_BYTES + u64::from(self.stored_bytes)
    }

    /// What its file takes on the disk, in bytes; 0 where it has none.
    pub(crate) fn file_bytes(&self) -> u64 {
        match self.place {
            Place::Packed => 0,
            Place::File => self.size_bytes.next_multiple_of(4096),
        }
    }
}
