//! Tells of files of blobs that go away, so that nobody has to ask the disk a thousand times whether they are there.
//!
//! What somebody removes from outside must not stay known: a client that is told of blobs that are gone
//! uploads nothing and fails. So the kernel is asked to tell of names that go away (inotify), and before
//! each answer what it has told is read: one system call for all digests of a call, where a look at
//! each of 1,000 costs milliseconds. What is in a folder that is not watched is looked at each time.
use super::catalogue::{Catalogue, Key, Kind};
use super::layout::parse_name;
use super::unpoisoned;
use lre_model::{Digest, DigestFunction};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Folders of blobs for each digest function: one for each first byte of a hash.
const FOLDERS: usize = 256;

/// A folder of blobs.
type Folder = (DigestFunction, u8);

fn folder_of(key: &Key) -> Folder {
    (key.function, key.hash[0])
}

/// See the module.
pub(super) struct Watch {
    /// For each folder whether the kernel tells of it.
    watched: [[AtomicBool; FOLDERS]; DigestFunction::ALL.len()],
    queue: Option<Queue>,
}

struct Queue {
    inotify: OwnedFd,
    watches: Mutex<Watches>,
}

#[derive(Default)]
struct Watches {
    folders: HashMap<i32, Folder>,
    log: Option<i32>,
}

/// What is told of, beside what happens to single blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing that the catalogue does not know by now.
    Known,
    /// The folder of the log was removed or moved: with it all that was in it.
    LogGone,
}

impl Watch {
    pub(super) fn new() -> Self {
        let queue = match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
            Ok(inotify) => Some(Queue { inotify, watches: Mutex::default() }),
            Err(error) => {
                tracing::warn!(%error, "no inotify: the disk is asked for each file, which is slower");
                None
            }
        };
        Self { watched: std::array::from_fn(|_| std::array::from_fn(|_| AtomicBool::new(false))), queue }
    }

    fn is_on(&self, (function, byte): Folder) -> &AtomicBool {
        &self.watched[function as usize][usize::from(byte)]
    }

    /// Whether the kernel tells when the file of this blob goes away.
    pub(super) fn is_watched(&self, key: &Key) -> bool {
        self.is_on(folder_of(key)).load(Ordering::Acquire)
    }

    /// Asks the kernel to tell of the folder of this file. `false` where it does so already, or cannot:
    /// then nothing is known of that folder.
    pub(super) fn watch(&self, digest: Digest, file: &Path) -> bool {
        let folder = folder_of(&Key::blob(digest));
        let (Some(queue), Some(path)) = (&self.queue, file.parent()) else { return false };
        if self.is_on(folder).load(Ordering::Acquire) {
            return false;
        }
        let mut watches = unpoisoned(queue.watches.lock());
        let what = WatchFlags::DELETE | WatchFlags::MOVED_FROM | GOES;
        let Ok(id) = inotify::add_watch(&queue.inotify, path, what) else { return false };
        watches.folders.insert(id, folder);
        self.is_on(folder).store(true, Ordering::Release);
        true
    }

    /// Asks the kernel to tell when the folder of the log goes. By its name: of the folder itself it would tell when
    /// the last file in it is closed, and we have them open.
    pub(super) fn watch_log(&self, log: &Path) {
        if let (Some(queue), Some(root)) = (&self.queue, log.parent()) {
            let what = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
            unpoisoned(queue.watches.lock()).log = inotify::add_watch(&queue.inotify, root, what).ok();
        }
    }

    /// Takes in all that the kernel has told. What was removed before this call began is not known after it.
    pub(super) fn refresh(&self, catalogue: &Catalogue) -> Told {
        let Some(queue) = &self.queue else { return Told::Known };
        // Held to the end: whoever comes second must not answer before the first has taken in what it read.
        let mut watches = unpoisoned(queue.watches.lock());
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&queue.inotify, &mut buffer);
        let mut told = Told::Known;
        loop {
            match events.next() {
                Ok(event) if watches.log == Some(event.wd()) => {
                    if event.file_name() == Some(c"log") && watches.log.take().is_some() {
                        let _ = inotify::remove_watch(&queue.inotify, event.wd());
                        told = Told::LogGone;
                    }
                }
                Ok(event) => self.take_in(&event, queue, &mut watches, catalogue),
                Err(Errno::AGAIN) => return told,
                Err(Errno::INTR) => {}
                Err(_) => {
                    catalogue.doubt(|_| true);
                    return told;
                }
            }
        }
    }

    fn take_in(&self, event: &Event<'_>, queue: &Queue, watches: &mut Watches, catalogue: &Catalogue) {
        let events = event.events();
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return catalogue.doubt(|_| true);
        }
        if events.intersects(GONE) {
            if let Some(folder) = watches.folders.remove(&event.wd()) {
                // Fails where the kernel has dropped it with the folder.
                let _ = inotify::remove_watch(&queue.inotify, event.wd());
                self.is_on(folder).store(false, Ordering::Release);
                catalogue.doubt(|key| folder_of(key) == folder);
            }
            return;
        }
        if let (Some(&(function, byte)), Some(Ok(name))) =
            (watches.folders.get(&event.wd()), event.file_name().map(|name| name.to_str()))
            && let Some(digest) = parse_name(function, &hex::encode([byte]), name, 1)
        {
            catalogue.doubt_one(&Key::new(Kind::Blob, digest));
        }
    }
}

/// A folder itself goes.
const GOES: WatchFlags =
    WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF).union(WatchFlags::ONLYDIR).union(WatchFlags::DONT_FOLLOW);

/// A folder itself has gone.
const GONE: ReadFlags =
    ReadFlags::IGNORED.union(ReadFlags::DELETE_SELF).union(ReadFlags::MOVE_SELF).union(ReadFlags::UNMOUNT);
