//! Makes everything that is named at least as young as what names it.
//!
//! A client looks for the root of a tree and not for each file of it, and a hit marks the result and what it lists; so a
//! leaf that ten trees share may seem old while the trees are young. Before a pass, what results, names and directories
//! name is lifted to their age. Then age alone says what may go, and a leaf never goes before what names it.
//!
//! The young first: whatever is reached for the first time is reached from the youngest that reaches it, so each directory is read once,
//! whatever ranks say, and one that names itself (its file was changed from outside) ends nothing but its own walk.
//! The second lift of a life reads only what was used since the first: what is older has been lifted already, marks never go
//! back, and whatever comes anew is young.
use super::super::Inner;
use super::super::catalogue::{Entry, Key, Kind, Payload, Stamp};
use super::super::names::{Form, Record};
use super::order::{DIRECTORY_RANK_MAX, TREE_RANK, first, rank};
use bytes::Bytes;
use lre_model::{ActionResult, Digest, Directory, decode_tree};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;

/// Of those that name something, how many are looked up at once: 72 bytes each.
const AT_ONCE: usize = 32 * 1024;

/// Marks that are looked at under one lock of the catalogue.
const MARKS_AT_ONCE: usize = 512;

/// Largest message read into memory here, in bytes; as in [`crate::Complete`].
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a lift has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lifted {
    /// Results, names, Trees and directories that were read.
    pub read: u64,
    /// Entries that became younger or higher.
    pub lifted: u64,
    /// What could not be read or is not what it should be.
    pub unreadable: u64,
    /// Nobody stopped it.
    pub whole: bool,
}

/// Lifts. Roots, and all that is below them, become as young as `now`; of the rest, what was used before `since` has been
/// lifted already.
pub(super) fn lift(inner: &Inner, roots: &[Digest], now: u32, since: u32, stop: &dyn Fn() -> bool) -> Lifted {
    let mut lift = Lift { inner, stop, walked: HashSet::new(), done: Lifted::default() };
    lift.done.whole = lift.all(roots, now, since).is_some();
    lift.done
}

struct Lift<'a> {
    inner: &'a Inner,
    stop: &'a dyn Fn() -> bool,
    /// Directories and Trees that were read, by the first half of their hash: 17 to 34 bytes each.
    walked: HashSet<[u8; 16]>,
    done: Lifted,
}

/// What a digest is said to be. The same may be said to be both, and is then read as both.
#[derive(Clone, Copy)]
enum What {
    Directory = 0,
    Tree = 1,
}

/// A directory whose children are being walked.
struct Open {
    digest: Digest,
    left: Vec<Digest>,
    /// The highest rank below.
    below: u8,
}

impl Lift<'_> {
    /// `None` where it was stopped.
    fn all(&mut self, roots: &[Digest], now: u32, since: u32) -> Option<()> {
        for root in roots {
            self.directory(*root, Stamp { minute: now, ..Stamp::default() })?;
        }
        let mut after = None;
        loop {
            let order = |key: &Key, entry: &Entry| {
                let rank = rank(key, entry);
                let order = (Reverse(entry.used), Reverse(rank), *key);
                (rank > 0 && entry.used >= since && after.is_none_or(|after| order > after)).then_some(order)
            };
            let naming = first(&self.inner.catalogue, AT_ONCE, order);
            after = Some(naming.last()?.order).filter(|_| naming.len() == AT_ONCE);
            for picked in &naming {
                self.naming(&picked.order.2, &picked.entry)?;
            }
            if after.is_none() {
                return Some(());
            }
        }
    }

    fn naming(&mut self, key: &Key, entry: &Entry) -> Option<()> {
        let stamp = Stamp { minute: entry.used, invocation: entry.invocation, rank: 0 };
        match key.kind {
            Kind::Result => {
                let function = key.function;
                let result = self.message(key, entry.size_bytes, |bytes| ActionResult::decode(function, bytes).ok());
                result.map_or(Some(()), |result| self.result(&result, stamp))
            }
            Kind::Name => {
                let record = self.message(key, entry.size_bytes, |bytes| Record::decode(bytes).ok());
                record.map_or(Some(()), |record| self.record(&record, stamp))
            }
            Kind::Blob if entry.rank == TREE_RANK => {
                key.digest(entry.size_bytes).map_or(Some(()), |digest| self.tree(digest, stamp))
            }
            Kind::Blob => key.digest(entry.size_bytes).map_or(Some(()), |digest| self.directory(digest, stamp)),
        }
    }

    fn result(&mut self, result: &ActionResult, stamp: Stamp) -> Option<()> {
        self.mark(result.blobs().iter().copied(), stamp);
        result.trees().iter().try_for_each(|tree| self.tree(*tree, stamp))?;
        result.directories().iter().try_for_each(|root| self.directory(*root, stamp))
    }

    fn record(&mut self, record: &Record, stamp: Stamp) -> Option<()> {
        self.mark(record.blobs.iter().copied().chain([record.digest]), stamp);
        record.directories.iter().try_for_each(|root| self.directory(*root, stamp))?;
        match record.form {
            Form::Opaque => Some(()),
            Form::Directory => self.directory(record.digest, stamp),
            Form::ActionResult => {
                let (key, function) = (Key::blob(record.digest), record.digest.function());
                let size = record.digest.size_bytes();
                let result = self.message(&key, size, |bytes| ActionResult::decode(function, bytes).ok());
                result.map_or(Some(()), |result| self.result(&result, stamp))
            }
        }
    }

    /// A `Tree` message and the files in it. One that is none, whatever a result says, gets no rank.
    fn tree(&mut self, digest: Digest, stamp: Stamp) -> Option<()> {
        if (self.stop)() {
            return None;
        }
        self.mark([digest], stamp);
        if !self.begin(digest, What::Tree) {
            return Some(());
        }
        let decode = |bytes: &[u8]| decode_tree(digest.function(), bytes).ok();
        if let Some((root, children)) = self.message(&Key::blob(digest), digest.size_bytes(), decode) {
            self.mark([digest], Stamp { rank: TREE_RANK, ..stamp });
            for directory in children.values().chain([&root]) {
                self.mark(directory.files(), stamp);
            }
        }
        Some(())
    }

    /// A directory and all below it. Without recursion: a tree may be as deep as somebody likes.
    fn directory(&mut self, root: Digest, stamp: Stamp) -> Option<()> {
        let mut path: Vec<Open> = self.open(root, stamp).into_iter().collect();
        while let Some(mut open) = path.pop() {
            if (self.stop)() {
                return None;
            }
            let Some(child) = open.left.pop() else {
                let rank = open.below.saturating_add(1).min(DIRECTORY_RANK_MAX);
                self.mark([open.digest], Stamp { rank, ..stamp });
                let rank = self.rank_of(open.digest);
                path.iter_mut().rev().take(1).for_each(|parent| parent.below = parent.below.max(rank));
                continue;
            };
            let below = self.open(child, stamp);
            if below.is_none() {
                open.below = open.below.max(self.rank_of(child));
            }
            path.push(open);
            path.extend(below);
        }
        Some(())
    }

    /// A directory to walk; `None` where it has been walked, or is none.
    fn open(&mut self, digest: Digest, stamp: Stamp) -> Option<Open> {
        if digest.is_empty_blob() || !self.begin(digest, What::Directory) {
            return None;
        }
        let decode = |bytes: &[u8]| Directory::decode(digest.function(), bytes).ok();
        let Some(directory) = self.message(&Key::blob(digest), digest.size_bytes(), decode) else {
            // What names it names it all the same.
            self.mark([digest], stamp);
            return None;
        };
        // A file of it may be a directory elsewhere.
        let below = self.mark(directory.files(), stamp).min(DIRECTORY_RANK_MAX);
        Some(Open { digest, left: directory.subdirectories().collect(), below })
    }

    fn rank_of(&self, digest: Digest) -> u8 {
        self.inner.catalogue.get(&Key::blob(digest)).map_or(0, |entry| entry.rank.min(DIRECTORY_RANK_MAX))
    }

    /// Whether this is the first time.
    fn begin(&mut self, digest: Digest, what: What) -> bool {
        let Some(mut half) = digest.hash().first_chunk::<16>().copied() else { return false };
        half[0] ^= what as u8;
        self.walked.insert(half)
    }

    fn message<T>(&mut self, key: &Key, size_bytes: u64, decode: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        self.done.read += 1;
        match read(self.inner, key, size_bytes) {
            Ok(None) => None,
            Ok(Some(bytes)) => decode(&bytes).or_else(|| {
                self.done.unreadable += 1;
                None
            }),
            Err(error) => {
                // It cannot be served either. What it names is as old as others say.
                tracing::warn!(?key, %error, "could not be read to find out what it names");
                self.done.unreadable += 1;
                None
            }
        }
    }

    /// Makes them as young as this, and as high. Returns how high the highest of them stood.
    fn mark(&mut self, digests: impl IntoIterator<Item = Digest>, stamp: Stamp) -> u8 {
        let mut keys = digests.into_iter().filter(|digest| !digest.is_empty_blob()).map(Key::blob).peekable();
        let mut highest = 0;
        while keys.peek().is_some() {
            let mut behind = Vec::new();
            self.inner.catalogue.look(keys.by_ref().take(MARKS_AT_ONCE), |key, entry| {
                let Some(entry) = entry else { return };
                highest = highest.max(entry.rank);
                if entry.used < stamp.minute || entry.rank < stamp.rank {
                    behind.push(key);
                }
            });
            self.inner.catalogue.lift(&behind, stamp);
            self.done.lifted += behind.len() as u64;
        }
        highest
    }
}

/// The payload of an entry. `None`: there is none, it is too large for a message, or it is damaged; then it is
/// forgotten, and nobody needs what it names.
fn read(inner: &Inner, key: &Key, size_bytes: u64) -> io::Result<Option<Bytes>> {
    if key.kind == Kind::Blob {
        let digest = key.digest(size_bytes);
        return Ok(digest.map_or(Ok(None), |digest| inner.message(digest, MESSAGE_BYTES_MAX))?.map(Bytes::from));
    }
    match inner.catalogue.read(key)? {
        Payload::Bytes(bytes) => Ok(Some(bytes)),
        Payload::Absent | Payload::File => Ok(None),
        Payload::Damaged(found) => {
            inner.keep_damaged(key, &found, "its checksum is wrong")?;
            Ok(None)
        }
    }
}
