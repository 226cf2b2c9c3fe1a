//! Reads everything that a store has and compares it with what it should be: `lre cache verify`.
//!
//! What is wrong is repaired by forgetting: it goes to `quarantine/`, nobody is told of it any more, and what needs it is
//! forgotten as well, so that clients upload or build it again. Nobody waits meanwhile: what is read is read without a lock, in
//! steps; what comes or goes between two steps is no problem. Two threads at most: one reads the log, one the files.
mod files;
mod notes;
mod whole;

pub(super) use notes::Notes;

use super::catalogue::{Entry, Key, Kind, Payload};
use super::usage::Amount;
use super::{DiskStore, Inner, keeper, names, unpoisoned};
use lre_model::{ActionResult, Digest};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Read of the log before anything else is looked at, in bytes: between two such steps others get their turn, and what was found is told.
const STEP_BYTES: u64 = 32 * 1024 * 1024;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checked {
    /// A blob that is a file of its own.
    FileBlob,
    /// A blob in the log.
    PackedBlob,
    /// An action result.
    Result,
    /// What a name means.
    Name,
    /// A copy in `inodes/` that input trees link to.
    Copy,
    /// A file that is nobody's in a folder that is the store's.
    Foreign,
    /// A link to something damaged in an input tree, or in a toolchain that is laid out.
    Tree,
    /// Bytes of the log that were records, and could not be read when the store was opened.
    Log,
}

impl Checked {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::FileBlob, Self::PackedBlob, Self::Result, Self::Name, Self::Copy, Self::Foreign, Self::Tree, Self::Log];

    /// For people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FileBlob => "file-blob",
            Self::PackedBlob => "packed-blob",
            Self::Result => "result",
            Self::Name => "name",
            Self::Copy => "copy",
            Self::Foreign => "foreign",
            Self::Tree => "tree",
            Self::Log => "log",
        }
    }

    pub(super) fn packed(kind: Kind) -> Self {
        match kind {
            Kind::Blob => Self::PackedBlob,
            Kind::Result => Self::Result,
            Kind::Name => Self::Name,
        }
    }
}

/// Something was wrong, and has been repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What it is.
    pub what: Checked,
    /// Which: a digest, or a path below the store.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// What was done.
    pub done: String,
}

/// What is told while [`DiskStore::verify`] works, by both of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// How far it has come.
    Progress {
        /// What is being done.
        stage: &'static str,
        /// Read so far.
        bytes: u64,
        /// To be read, as far as is known.
        of_bytes: u64,
    },
    /// Something was wrong.
    Damage(Damage),
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many of each sort were read, and how many bytes of them.
    pub checked: Vec<(Checked, Amount)>,
    /// How many problems there were.
    pub problems: u64,
    /// How long it took.
    pub time: Duration,
    /// Not everything was looked at: it was told to end.
    pub interrupted: bool,
}

impl DiskStore {
    /// Reads everything and compares; see the module. What was found damaged since the store was opened, and not told yet, is told
    /// here as well. Blocks, for as long as the disk needs. `cancel` ends it soon: nothing is half done then.
    ///
    /// # Errors
    /// The disk failed.
    pub fn verify(&self, told: &(dyn Fn(Told) + Sync), cancel: &AtomicBool) -> io::Result<Scrubbed> {
        let inner = &*self.inner;
        // After the look through the store that follows a start; and one at a time.
        let _one = unpoisoned(inner.sweeping.lock());
        let begun = Instant::now();
        let stats = inner.catalogue.stats();
        let round = Round {
            inner,
            told,
            cancel,
            bytes: AtomicU64::new(0),
            of_bytes: AtomicU64::new(stats.live_bytes + stats.file_bytes),
            checked: Mutex::default(),
            problems: AtomicU64::new(0),
        };
        round.all()?;
        let checked = *unpoisoned(round.checked.lock());
        Ok(Scrubbed {
            checked: Checked::ALL.into_iter().zip(checked).collect(),
            problems: round.problems.load(Ordering::Relaxed),
            time: begun.elapsed(),
            interrupted: round.is_over(),
        })
    }
}

/// One run through the store.
struct Round<'a> {
    inner: &'a Inner,
    told: &'a (dyn Fn(Told) + Sync),
    cancel: &'a AtomicBool,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
    checked: Mutex<[Amount; Checked::ALL.len()]>,
    problems: AtomicU64,
}

impl Round<'_> {
    fn all(&self) -> io::Result<()> {
        self.progress("looking through the names");
        keeper::look_through(self.inner, self.cancel)?;
        self.foreign()?;
        std::thread::scope(|threads| {
            let log = threads.spawn(|| self.log());
            let files = self.files().and_then(|()| self.copies());
            let log = log.join().unwrap_or_else(|_| Err(io::Error::other("the thread that reads the log broke")));
            files.and(log)
        })?;
        self.whole()?;
        self.tell_notes();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }

    fn count(&self, what: Checked, bytes: u64) {
        unpoisoned(self.checked.lock())[what as usize].add(bytes);
    }

    fn read(&self, stage: &'static str, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.progress(stage);
    }

    fn progress(&self, stage: &'static str) {
        let (bytes, of_bytes) = (self.bytes.load(Ordering::Relaxed), self.of_bytes.load(Ordering::Relaxed));
        (self.told)(Told::Progress { stage, bytes, of_bytes: of_bytes.max(bytes) });
    }

    fn tell(&self, damage: Damage) {
        self.problems.fetch_add(1, Ordering::Relaxed);
        (self.told)(Told::Damage(damage));
    }

    /// Tells what was noted by whoever found it: this run, the look after the start, a request.
    fn tell_notes(&self) {
        self.inner.notes.take().into_iter().for_each(|damage| self.tell(damage));
    }

    /// All records of the log that count.
    fn log(&self) -> io::Result<()> {
        let mut from = None;
        while !self.is_over() {
            let (mut bad, mut read) = (Vec::new(), 0);
            from = self.inner.catalogue.scrub(from, STEP_BYTES, |key, entry, payload| {
                self.count(Checked::packed(key.kind), u64::from(entry.stored_bytes));
                read += entry.log_bytes();
                match payload {
                    Payload::Bytes(bytes) => {
                        bad.extend(wrong_with(key, entry, &bytes).map(|why| (*key, bytes.to_vec(), Some(why))));
                    }
                    Payload::Damaged(found) => bad.push((*key, found, None)),
                    Payload::File | Payload::Absent => {}
                }
            })?;
            for (key, found, why) in bad {
                match why {
                    Some(why) => self.inner.discard(&key, &found, &why)?,
                    None => self.inner.keep_damaged(&key, &found, "its checksum is wrong")?,
                }
            }
            self.tell_notes();
            self.read("reading the log", read);
            if from.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// What is wrong with the bytes of a record whose checksum is right.
fn wrong_with(key: &Key, entry: &Entry, bytes: &[u8]) -> Option<String> {
    match key.kind {
        Kind::Blob => {
            let actual = Digest::of(key.function, bytes);
            let right = *actual.hash() == key.hash && actual.size_bytes() == entry.size_bytes;
            (!right).then(|| format!("its content is that of {actual}"))
        }
        Kind::Result => ActionResult::decode(key.function, bytes).err().map(|e| e.to_string()),
        Kind::Name => names::Record::decode(bytes).err(),
    }
}
