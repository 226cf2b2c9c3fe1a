//! The thread that keeps a store in order: looks through it at the start, syncs from time to time.
use super::catalogue::{Key, Place};
use super::layout::{Room, parse_name};
use super::watermark::{NO_DOUBT, Watermark};
use super::{Inner, unpoisoned};
use lre_model::{Digest, DigestFunction};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time between a write and the sync that brings it to the disk. The kernel writes back after
/// 30 s by itself, so that a sync after that finds little to do.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Bytes moved in a step of compaction, and steps after a sync: a quarter of a segment a minute, of which nobody notices anything.
const COMPACT_BYTES: u64 = 1024 * 1024;
const COMPACT_STEPS: usize = 32;

/// What a sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Files and folders that no digest names, moved aside.
    pub foreign: u64,
    /// Blobs in doubt that were hashed.
    pub hashed: u64,
    /// Of those, the ones that were moved aside.
    pub corrupt: u64,
    /// Names of blobs that are gone, and names whose time is over, removed.
    pub stale: u64,
    /// Blobs that the log did not know of, taken in.
    pub adopted: u64,
    /// Blobs of which the log knew, and whose files are gone.
    pub gone: u64,
}

pub(super) struct Keeper {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    now: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Keeper {
    pub(super) fn start(inner: Arc<Inner>) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let seen = stop.clone();
        let (begun, has_begun) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("store-keeper".into()).spawn(move || run(&inner, &seen, begun))?;
        // So that whoever asks for a sweep from now on gets one that comes after that of the start, and is the only one.
        let _ = has_begun.recv();
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        {
            let _guard = unpoisoned(self.stop.lock.lock());
            self.stop.now.store(true, Ordering::SeqCst);
        }
        self.stop.wake.notify_all();
        // A panic of the thread has been printed by itself; nothing is lost by it but the sync.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(inner: &Inner, stop: &Stop, begun: mpsc::Sender<()>) {
    let one = unpoisoned(inner.sweeping.lock());
    drop(begun);
    let swept = look_through(inner, &stop.now);
    drop(one);
    if let Err(error) = swept {
        tracing::warn!(directory = %inner.layout.root().display(), %error, "the store could not be looked through");
    }
    while !stop.now.load(Ordering::SeqCst) {
        let guard = unpoisoned(stop.lock.lock());
        if stop.now.load(Ordering::SeqCst) {
            break;
        }
        let (guard, waited) = stop.wake.wait_timeout(guard, PERIOD).unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(guard);
        if waited.timed_out()
            && inner.dirty.load(Ordering::SeqCst)
            && let Err(error) = keep(inner, &stop.now)
        {
            tracing::warn!(directory = %inner.layout.root().display(), %error, "the store could not be synced");
        }
    }
    // Where much was written since the last one, the next start is spared reading it.
    if let Err(error) = inner.catalogue.checkpoint(false) {
        tracing::warn!(directory = %inner.layout.root().display(), %error, "no checkpoint could be written");
    }
}

/// What is done from time to time, if something was written.
fn keep(inner: &Inner, stop: &AtomicBool) -> io::Result<()> {
    inner.sync()?;
    inner.catalogue.checkpoint(false)?;
    // Small blobs that were given files, results that were replaced: their records are dead, and take room.
    for _ in 0..COMPACT_STEPS {
        if stop.load(Ordering::SeqCst) || !inner.catalogue.compact(COMPACT_BYTES, false)? {
            break;
        }
    }
    Ok(())
}

/// See [`super::DiskStore::sweep`].
pub(super) fn sweep(inner: &Inner, stop: &AtomicBool) -> io::Result<Swept> {
    let _one = unpoisoned(inner.sweeping.lock());
    look_through(inner, stop)
}

/// The sweep itself, for whoever has the lock.
pub(super) fn look_through(inner: &Inner, stop: &AtomicBool) -> io::Result<Swept> {
    let mut swept = Swept::default();
    for function in DigestFunction::ALL {
        sweep_files(inner, function, stop, &mut swept)?;
    }
    look_for_files(inner, stop, &mut swept)?;
    swept.stale = inner.sweep_names(stop).map_err(io::Error::other)?;
    if inner.doubt_since.load(Ordering::Relaxed) != NO_DOUBT && !stop.load(Ordering::SeqCst) {
        // All that was in doubt has been hashed. The mark does not move: nothing was synced. But from
        // now on it is a mark of this boot, whose page cache we have just seen to be right.
        let mut watermark = unpoisoned(inner.watermark.lock());
        *watermark = Watermark { boot: inner.boot.clone(), until: watermark.until };
        watermark.write(&inner.layout.synced())?;
        inner.doubt_since.store(NO_DOUBT, Ordering::Relaxed);
        tracing::info!(swept.hashed, swept.corrupt, "blobs in doubt after the machine went down have been hashed");
    }
    Ok(swept)
}

fn sweep_files(inner: &Inner, function: DigestFunction, stop: &AtomicBool, swept: &mut Swept) -> io::Result<()> {
    for folder in fs::read_dir(inner.layout.room(Room::Blobs, function))? {
        let folder = folder?;
        let prefix = folder.file_name();
        let hex = |p: &&str| p.len() == 2 && p.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let Some(prefix) = prefix.to_str().filter(hex).filter(|_| folder.file_type().is_ok_and(|t| t.is_dir())) else {
            aside(inner, &folder.path(), swept)?;
            continue;
        };
        for entry in fs::read_dir(folder.path())? {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            sweep_file(inner, function, prefix, &entry?, swept)?;
        }
    }
    Ok(())
}

/// Looks at one file of the folder `prefix`: it is moved aside where no digest names it, taken in where the log does not know of it,
/// and hashed where it is in doubt.
fn sweep_file(
    inner: &Inner,
    function: DigestFunction,
    prefix: &str,
    entry: &fs::DirEntry,
    swept: &mut Swept,
) -> io::Result<()> {
    let name = entry.file_name();
    let named = |size| name.to_str().and_then(|name| parse_name(function, prefix, name, size));
    let Some(digest) = named(0).filter(|_| entry.file_type().is_ok_and(|t| t.is_file())) else {
        return aside(inner, &entry.path(), swept);
    };
    let known = inner.catalogue.get(&Key::blob(digest));
    let doubts = inner.doubt_since.load(Ordering::Relaxed) != NO_DOUBT;
    if known.is_some_and(|known| known.seen || !doubts) {
        return Ok(());
    }
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    let Some(digest) = named(metadata.len()) else { return Ok(()) };
    if known.is_none() {
        return adopt(inner, digest, &entry.path(), swept);
    }
    if inner.is_in_doubt(&metadata) {
        swept.hashed += 1;
        if !inner.prove(digest)? {
            swept.corrupt += 1;
        }
    }
    Ok(())
}

/// Takes in a file that the log does not know of: made by a process that was killed before it could say so, or of a log whose tail was
/// lost. Nobody vouches for its bytes, so it is hashed.
fn adopt(inner: &Inner, digest: Digest, path: &Path, swept: &mut Swept) -> io::Result<()> {
    {
        let key = Key::blob(digest);
        let _one = inner.placing(&key);
        // Whoever is making it says so before the lock is free.
        if inner.catalogue.get(&key).is_some() || fs::symlink_metadata(path).is_err() {
            return Ok(());
        }
        inner.catalogue.put_file(key, digest.size_bytes(), inner.stamp(0))?;
        inner.catalogue.doubt_one(&key);
    }
    swept.hashed += 1;
    if inner.prove(digest)? {
        swept.adopted += 1;
    } else {
        swept.corrupt += 1;
    }
    Ok(())
}

/// Looks for the files of all blobs of which nobody has seen one since the start; those that are gone are forgotten.
fn look_for_files(inner: &Inner, stop: &AtomicBool, swept: &mut Swept) -> io::Result<()> {
    if inner.catalogue.stats().files == 0 {
        return Ok(());
    }
    // In parts, because a list of a million takes as much memory as all the rest.
    for part in 0..16 {
        let mut unseen = Vec::new();
        inner.catalogue.each(|key, entry| {
            if entry.place == Place::File && !entry.seen && key.hash[0] >> 4 == part {
                unseen.extend(key.digest(entry.size_bytes));
            }
        });
        for digest in unseen {
            if stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            if !inner.has_file(digest)? {
                swept.gone += 1;
            }
        }
    }
    Ok(())
}

fn aside(inner: &Inner, path: &Path, swept: &mut Swept) -> io::Result<()> {
    swept.foreign += 1;
    inner.move_foreign(path)
}
