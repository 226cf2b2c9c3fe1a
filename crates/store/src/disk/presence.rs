//! Which blobs are known to be there, and which not, so that nobody has to ask the disk a thousand times.
//!
//! Filled as blobs are written and first used, and by the sweep at the start, which reads the names of all
//! folders: a blob of a folder that was listed and whose name nobody has seen is absent. What is put there from
//! outside after that is not seen; who is told that it is absent uploads it, and no more.
//!
//! What somebody removes from outside must not stay known: a client that is told of blobs that are gone
//! uploads nothing and fails. So the kernel is asked to tell of names that go away (inotify), and before
//! each answer what it has told is read: one system call for all digests of a call, where a look at
//! each of 1,000 costs milliseconds. A folder that is not watched has nothing known.
use super::layout::parse_name;
use super::unpoisoned;
use lre_model::{ByDigest, Digest, DigestFunction};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};

/// Folders of blobs for each digest function: one for each first byte of a hash.
pub(super) const FOLDERS: usize = 256;

/// Names up to which folders are listed. Each takes some 70 bytes, so that this is 35 MB; a store of more blobs
/// asks the disk for those that it has not used yet.
const NAMES_MAX: usize = 500_000;

/// In the place of a size: there is, or was, something of this name; look.
const LOOK: u64 = u64::MAX;

/// A folder of blobs.
type Folder = (DigestFunction, u8);

fn folder_of(digest: Digest) -> Folder {
    (digest.function(), digest.hash()[0])
}

/// What is known about blobs; see the module.
pub(super) struct Presence {
    known: RwLock<Known>,
    /// For each folder whether every name in it is known.
    listed: [[AtomicBool; FOLDERS]; DigestFunction::ALL.len()],
    /// For each folder whether the kernel tells of it.
    watched: [[AtomicBool; FOLDERS]; DigestFunction::ALL.len()],
    watch: Option<Watch>,
}

#[derive(Default)]
struct Known {
    /// Only what was seen in the store: hashes that somebody has only named are looked up and never put here.
    /// Nothing is taken out, because what is not here is absent where its folder was listed.
    sizes: HashMap<(DigestFunction, [u8; 32]), u64, ByDigest>,
    /// Counts the times that something went away.
    losses: u64,
}

impl Known {
    fn size(&self, digest: &Digest) -> Option<u64> {
        self.sizes.get(&(digest.function(), *digest.hash())).copied()
    }

    fn knows(&self, digest: &Digest) -> bool {
        self.size(digest) == Some(digest.size_bytes())
    }

    /// What was known of this blob is to be looked at again.
    fn doubt(&mut self, digest: Digest) {
        if let Some(size) = self.sizes.get_mut(&(digest.function(), *digest.hash()))
            && digest.size_bytes() > 0
        {
            *size = LOOK;
            self.losses += 1;
        }
    }
}

struct Watch {
    inotify: OwnedFd,
    folders: Mutex<HashMap<i32, Folder>>,
}

/// That a look at the disk began; what it finds may be remembered if nothing went away meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    losses: Option<u64>,
}

impl Presence {
    pub(super) fn new() -> Self {
        let watch = match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
            Ok(inotify) => Some(Watch { inotify, folders: Mutex::default() }),
            Err(error) => {
                tracing::warn!(%error, "no inotify: the disk is asked for each blob, which is slower");
                None
            }
        };
        let presence = Self {
            known: RwLock::default(),
            listed: std::array::from_fn(|_| std::array::from_fn(|_| AtomicBool::new(false))),
            watched: std::array::from_fn(|_| std::array::from_fn(|_| AtomicBool::new(false))),
            watch,
        };
        presence.forget_all();
        presence
    }

    /// Nothing is known but the empty blobs. REAPI: they are always present. They have no file.
    fn forget_all(&self) {
        let mut known = unpoisoned(self.known.write());
        known.losses += 1;
        known.sizes.values_mut().for_each(|size| *size = LOOK);
        for function in DigestFunction::ALL {
            known.sizes.insert((function, *Digest::empty(function).hash()), 0);
        }
    }

    fn is_watched(&self, (function, byte): Folder) -> &AtomicBool {
        &self.watched[function as usize][usize::from(byte)]
    }

    /// Begins a look at the disk for `digest`.
    pub(super) fn begin(&self, digest: Digest) -> Begun {
        if !self.is_watched(folder_of(digest)).load(Ordering::Acquire) {
            return Begun { losses: None };
        }
        Begun { losses: Some(unpoisoned(self.known.read()).losses) }
    }

    /// Asks the kernel to tell of the folder of this file. `false` where it does so already, or cannot:
    /// then nothing is known of that folder.
    pub(super) fn watch(&self, digest: Digest, file: &Path) -> bool {
        let folder = folder_of(digest);
        let (Some(watch), Some(path)) = (&self.watch, file.parent()) else { return false };
        if self.is_watched(folder).load(Ordering::Acquire) {
            return false;
        }
        let mut folders = unpoisoned(watch.folders.lock());
        let what = WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        let Ok(id) = inotify::add_watch(&watch.inotify, path, what) else { return false };
        folders.insert(id, folder);
        self.is_watched(folder).store(true, Ordering::Release);
        true
    }

    /// Remembers what a look at the disk has found, or a write has put there.
    pub(super) fn remember(&self, begun: Begun, digest: Digest) {
        let mut known = unpoisoned(self.known.write());
        // What went away after the look has been told already, maybe this very blob; so it is not known.
        let watched = self.is_watched(folder_of(digest)).load(Ordering::Acquire);
        let key = (digest.function(), *digest.hash());
        if begun.losses == Some(known.losses) && watched {
            known.sizes.insert(key, digest.size_bytes());
        } else {
            // It may be there: never absent without a look.
            known.sizes.entry(key).or_insert(LOOK);
        }
    }

    /// Remembers that there is something of these names. They were read in a listing of the store.
    pub(super) fn name(&self, digests: &[Digest]) {
        let mut known = unpoisoned(self.known.write());
        for digest in digests {
            known.sizes.entry((digest.function(), *digest.hash())).or_insert(LOOK);
        }
    }

    /// All names of this folder that were there when its listing began have been told of.
    pub(super) fn listed(&self, function: DigestFunction, byte: u8) {
        if unpoisoned(self.known.read()).sizes.len() <= NAMES_MAX {
            self.listed[function as usize][usize::from(byte)].store(true, Ordering::Release);
        }
    }

    /// Doubts a blob whose file was found gone or wrong.
    pub(super) fn forget(&self, digest: Digest) {
        unpoisoned(self.known.write()).doubt(digest);
    }

    /// Whether the blob is there; `None`: the disk must be asked. [`Presence::refresh`] first.
    pub(super) fn of(&self, digest: Digest) -> Option<bool> {
        let known = unpoisoned(self.known.read());
        self.answer(&known, digest)
    }

    fn answer(&self, known: &Known, digest: Digest) -> Option<bool> {
        match known.size(&digest) {
            Some(LOOK) => None,
            Some(size) => Some(size == digest.size_bytes()),
            None => {
                let (function, byte) = folder_of(digest);
                self.listed[function as usize][usize::from(byte)].load(Ordering::Acquire).then_some(false)
            }
        }
    }

    /// Those that are not known to be there, with what is known of them.
    pub(super) fn unknown(&self, digests: &[Digest]) -> Vec<(Digest, Option<bool>)> {
        let known = unpoisoned(self.known.read());
        let unknown = |digest: &Digest| (*digest, self.answer(&known, *digest));
        digests.iter().map(unknown).filter(|(_, there)| *there != Some(true)).collect()
    }

    /// Counts the times that something went away. What was known to be there at one count is still there while
    /// it is the same. [`Presence::refresh`] first.
    pub(super) fn losses(&self) -> u64 {
        unpoisoned(self.known.read()).losses
    }

    /// Whether all are known to be there, at this count of losses.
    pub(super) fn all_known(&self, digests: &[Digest], losses: u64) -> bool {
        let known = unpoisoned(self.known.read());
        known.losses == losses && digests.iter().all(|digest| known.knows(digest))
    }

    /// Takes in all that the kernel has told. What was removed before this call began is not known after it.
    pub(super) fn refresh(&self) {
        let Some(watch) = &self.watch else { return };
        // Held to the end: whoever comes second must not answer before the first has taken in what it read.
        let mut folders = unpoisoned(watch.folders.lock());
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut told = Reader::new(&watch.inotify, &mut buffer);
        loop {
            match told.next() {
                Ok(event) => self.take_in(&event, watch, &mut folders),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => return self.forget_all(),
            }
        }
    }

    fn take_in(&self, event: &Event<'_>, watch: &Watch, folders: &mut HashMap<i32, Folder>) {
        let events = event.events();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.forget_all();
        }
        if events.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
            if let Some(folder) = folders.remove(&event.wd()) {
                // Fails where the kernel has dropped it with the folder.
                let _ = inotify::remove_watch(&watch.inotify, event.wd());
                self.forget_folder(folder);
            }
            return;
        }
        if let (Some(&(function, byte)), Some(Ok(name))) =
            (folders.get(&event.wd()), event.file_name().map(|name| name.to_str()))
            && let Some(digest) = parse_name(function, &hex::encode([byte]), name, 1)
        {
            unpoisoned(self.known.write()).doubt(digest);
        }
    }

    fn forget_folder(&self, folder: Folder) {
        self.is_watched(folder).store(false, Ordering::Release);
        let mut known = unpoisoned(self.known.write());
        known.losses += 1;
        for ((function, hash), size) in &mut known.sizes {
            if *size > 0 && (*function, hash[0]) == folder {
                *size = LOOK;
            }
        }
    }
}
