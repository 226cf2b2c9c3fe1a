//! Which blobs are known to be there, so that nobody has to ask the disk a thousand times.
//!
//! Filled as blobs are written and first used. A scan at the start would know the missing ones too, but
//! takes seconds for a million blobs, and a blob that is missing is about to be uploaded: beside that
//! a look at the disk is nothing.
//!
//! What somebody removes from outside must not stay known: a client that is told of blobs that are gone
//! uploads nothing and fails. So the kernel is asked to tell of names that go away (inotify), and before
//! each answer what it has told is read: one system call for all digests of a call, where a look at
//! each of 1,000 costs milliseconds. A folder that is not watched has nothing known.
use super::layout::parse_name;
use super::unpoisoned;
use lre_model::{Digest, DigestFunction};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, RwLock};

/// Folders of blobs for each digest function: one for each first byte of a hash.
const FOLDERS: usize = 256;

/// A folder of blobs.
type Folder = (DigestFunction, u8);

fn folder_of(digest: Digest) -> Folder {
    (digest.function(), digest.hash()[0])
}

/// What is known about blobs; see the module.
pub(super) struct Presence {
    known: RwLock<Known>,
    /// For each folder whether the kernel tells of it.
    watched: [[AtomicBool; FOLDERS]; DigestFunction::ALL.len()],
    watch: Option<Watch>,
}

#[derive(Default)]
struct Known {
    sizes: HashMap<(DigestFunction, [u8; 32]), u64>,
    /// Counts the times that something went away.
    losses: u64,
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
        known.sizes.clear();
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

    /// Remembers what a look at the disk has found.
    pub(super) fn remember(&self, begun: Begun, digest: Digest) {
        let mut known = unpoisoned(self.known.write());
        // What went away after the look has been told already, maybe this very blob; so it is not known.
        let watched = self.is_watched(folder_of(digest)).load(Ordering::Acquire);
        if begun.losses == Some(known.losses) && watched {
            known.sizes.insert((digest.function(), *digest.hash()), digest.size_bytes());
        }
    }

    /// Forgets a blob whose file was found gone or wrong.
    pub(super) fn forget(&self, digest: Digest) {
        if digest.size_bytes() > 0 {
            unpoisoned(self.known.write()).sizes.remove(&(digest.function(), *digest.hash()));
        }
    }

    /// Forgets a blob whose file the kernel says is gone.
    fn lose(&self, digest: Digest) {
        let mut known = unpoisoned(self.known.write());
        known.losses += 1;
        known.sizes.remove(&(digest.function(), *digest.hash()));
    }

    /// Whether the blob is there; `None`: the disk must be asked. [`Presence::refresh`] first.
    pub(super) fn of(&self, digest: Digest) -> Option<bool> {
        let known = unpoisoned(self.known.read());
        known.sizes.get(&(digest.function(), *digest.hash())).map(|size| *size == digest.size_bytes())
    }

    /// Those that are not known to be there.
    pub(super) fn unknown(&self, digests: &[Digest]) -> Vec<Digest> {
        let known = unpoisoned(self.known.read());
        let unknown = |d: &&Digest| known.sizes.get(&(d.function(), *d.hash())) != Some(&d.size_bytes());
        digests.iter().filter(unknown).copied().collect()
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
            self.lose(digest);
        }
    }

    fn forget_folder(&self, folder: Folder) {
        self.is_watched(folder).store(false, Ordering::Release);
        let mut known = unpoisoned(self.known.write());
        known.losses += 1;
        known.sizes.retain(|(function, hash), size| *size == 0 || (*function, hash[0]) != folder);
    }
}
