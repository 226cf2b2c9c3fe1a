//! Blobs, action results and names in a directory.
//!
//! Small blobs, results and names are records of an append log; a large blob, or one that input trees need, is a file named by its digest,
//! because inputs of actions are hard links to it and outputs of actions become it by a hard link. The [`catalogue`] knows
//! of all. What is served is what the name says: every blob is hashed on its way in, is there when it is complete, and
//! is never written again.
mod blobs;
mod catalogue;
mod evict;
mod files;
mod holds;
mod keeper;
mod layout;
mod lock;
mod migrate;
mod names;
mod place;
mod results;
mod usage;
mod verify;
mod watch;
mod watermark;
mod whole;

pub use evict::{Budget, Collected, Progress, Step};
pub use keeper::Swept;
pub use layout::{MODE_EXECUTABLE, MODE_PLAIN, MTIME_SECONDS};
pub use lock::OpenError;
pub use names::{Form, Name, Names, Namespace, Record};
pub(crate) use place::{settle, with_folder};
pub use usage::{Amount, InvocationUsage, ToolchainUsage, Usage};
pub use verify::{Checked, Damage, Scrubbed, Told};
pub use watermark::boot_id;

use crate::{ActionCache, Invoker, StoreError};
use async_trait::async_trait;
use catalogue::{Catalogue, Entry, Key, Stamp};
use holds::{Clock, Holds, MARK_MINUTES};
use keeper::Keeper;
use layout::{Layout, Room};
use lre_model::{ActionDigest, ActionResult, DigestFunction};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Watch;
use watermark::Watermark;
use whole::Whole;

/// Bytes up to which hashing and writing is done in place. Handing work to another thread and back
/// costs 20-60 us on the measured machine; hashing this much costs as much.
pub(crate) const IN_PLACE_BYTES: u64 = 64 * 1024;

/// Blobs up to this size are records of the log until an input tree needs a file: a file takes 4 KiB at least, and a hundred times
/// as long to make.
const PACKED_BYTES_MAX: u64 = 16 * 1024;

/// The same for files that their owner gives up, which could be linked instead.
const PACKED_OWNED_BYTES_MAX: u64 = 4 * 1024;

/// Largest result in bytes: it is in memory as a whole.
const RESULT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Locks for making and removing files of blobs; see [`Inner::placing`].
const PLACING_LOCKS: usize = 64;

/// Blobs and action results in a directory of this process alone.
pub struct DiskStore {
    // These stop before `inner` goes: while they work, the directory stays locked.
    _keeper: Keeper,
    tender: Mutex<Option<evict::Tender>>,
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    catalogue: Catalogue,
    watch: Watch,
    whole: Mutex<Whole>,
    holds: Holds,
    evict: evict::Evict,
    clock: Clock,
    /// Files changed at or after this moment are in doubt; see [`watermark`].
    doubt_since: AtomicI64,
    /// What the store was opened with; replaced when a sync is done.
    watermark: Mutex<Watermark>,
    boot: Option<String>,
    /// Something was written since the last sync.
    dirty: AtomicBool,
    /// One at a time moves files aside: else a file put right by one could be moved by another that
    /// has looked at the wrong one, and two could take the same name in `quarantine/`.
    repair: Mutex<()>,
    /// One sweep at a time: the second finds little to do.
    sweeping: Mutex<()>,
    placing: [Mutex<()>; PLACING_LOCKS],
    serial: AtomicU64,
    quarantined: AtomicU64,
    /// What was found damaged, and was not told yet.
    notes: verify::Notes,
    // Last: the directory is free when all the rest is gone.
    _lock: File,
}

impl DiskStore {
    /// Opens the store in `dir`, which is made where it does not exist. Temporary files of a
    /// process that was killed are removed; files that have no business among the blobs are moved
    /// to `quarantine/` in the background.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { directory: dir.to_owned(), source };
        // Paths are handed to other threads and processes, so they must not depend on where we are.
        let layout = Layout::new(std::path::absolute(dir).map_err(io)?);
        let (lock, format) = lock::take(&layout)?;
        let boot = boot_id();
        if !layout.room(Room::Blobs, DigestFunction::Sha256).exists() {
            // In a store that is made now there is nothing to doubt, and nothing to look through first.
            Watermark { boot: boot.clone(), until: 0 }.write(&layout.synced()).map_err(io)?;
        }
        let watermark = Watermark::read_before(&layout.synced(), watermark::now()).map_err(io)?;
        let (catalogue, opened) = Catalogue::open(&layout.log()).map_err(io)?;
        if opened.torn_bytes > 0 {
            tracing::info!(
                opened.torn_bytes,
                "the tail of the log was torn when the machine went down; it is forgotten"
            );
        }
        let inner = Arc::new(Inner {
            doubt_since: AtomicI64::new(watermark.doubt_since(boot.as_deref())),
            watermark: Mutex::new(watermark),
            boot,
            watch: Watch::new(),
            catalogue,
            whole: Mutex::default(),
            holds: Holds::default(),
            evict: evict::Evict::default(),
            clock: Clock::starting(opened.minute),
            dirty: AtomicBool::new(true),
            repair: Mutex::new(()),
            sweeping: Mutex::new(()),
            placing: std::array::from_fn(|_| Mutex::new(())),
            serial: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            notes: verify::Notes::default(),
            _lock: lock,
            layout,
        });
        if opened.torn_bytes > 0 {
            let problem = format!("{} bytes of it are no records", opened.torn_bytes);
            inner.notes.note(Checked::Log, "log/", &problem, "left out; what they were is forgotten");
        }
        inner.prepare().map_err(io)?;
        if opened.fresh || format < layout::VERSION {
            inner.migrate().map_err(io)?;
        }
        inner.watch.watch_log(&inner.layout.log());
        Ok(Self { _keeper: Keeper::start(inner.clone()).map_err(io)?, tender: Mutex::default(), inner })
    }

    /// The directory, absolute. Neighbours of the store keep what they derive from it in folders
    /// there, so that all is on one file system and hard links work.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.inner.layout.root()
    }

    /// What is known here under other names than digests.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::of(Arc::clone(&self.inner))
    }

    /// The invocation of a client, by what it calls itself, which is seen now: what it was told of stays until it has been silent
    /// for three hours. Nobody where it has no name.
    ///
    /// # Errors
    /// The disk failed or is full.
    pub fn invocation(&self, name: &str, tool: &str) -> io::Result<Invoker> {
        if name.is_empty() {
            return Ok(Invoker::default());
        }
        let inner = &self.inner;
        let number = inner.catalogue.invocation(name, tool, inner.clock.minute())?;
        inner.dirty();
        Ok(Invoker(number))
    }

    /// Lets time pass for everything here that counts minutes. For tests.
    #[doc(hidden)]
    pub fn pass_time(&self, time: Duration) {
        self.inner.clock.skip(time);
    }

    /// Files moved to `quarantine/` since the store was opened.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.inner.quarantined.load(Ordering::Relaxed)
    }

    /// Writes everything to the disk, and remembers that it is there, with a checkpoint of the log. Blocks; may take as long as
    /// the disk needs for all that the machine has written. Nobody has to call it: it is done
    /// every [`keeper::PERIOD`], and what a power cut takes is noticed.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        self.inner.sync()?;
        self.inner.catalogue.checkpoint(true)?;
        Ok(())
    }

    /// Looks through all names, moves aside what is not named by a digest, and, after the machine
    /// went down, hashes every blob in doubt. Done in the background after each start; blocks.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sweep(&self) -> io::Result<Swept> {
        keeper::sweep(&self.inner, &AtomicBool::new(false))
    }
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("directory", &self.directory()).finish_non_exhaustive()
    }
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    // Every critical section is one call of a map: nothing is half done in it.
    result.unwrap_or_else(PoisonError::into_inner)
}

/// Runs what may take long where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(StoreError::Io(io::Error::other(e))),
    }
}

impl Inner {
    fn prepare(&self) -> io::Result<()> {
        for function in DigestFunction::ALL {
            fs::create_dir_all(self.layout.room(Room::Blobs, function))?;
        }
        fs::create_dir_all(self.layout.quarantine())?;
        let temporary = self.layout.temporary();
        fs::create_dir_all(&temporary)?;
        for entry in fs::read_dir(temporary)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// What is said of a use now, for whom this task works.
    fn stamp(&self, rank: u8) -> Stamp {
        Stamp { minute: self.clock.minute(), invocation: Invoker::current().0, rank }
    }

    fn dirty(&self) {
        self.dirty.store(true, Ordering::SeqCst);
    }

    /// Held while the file of a blob gets its name, or loses it, until the catalogue says so too. Else a file made by one could be
    /// removed by another that has forgotten the one before it.
    fn placing(&self, key: &Key) -> MutexGuard<'_, ()> {
        unpoisoned(self.placing[usize::from(key.hash[1]) % PLACING_LOCKS].lock())
    }

    /// Waits until whoever has just forgotten one of these has removed what it had in files, which has names that may be given
    /// anew from now on. For what is put in the log, without the lock.
    fn after_eviction<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) {
        let mut waited = [false; PLACING_LOCKS];
        for key in keys {
            let one = usize::from(key.hash[1]) % PLACING_LOCKS;
            if !std::mem::replace(&mut waited[one], true) {
                drop(self.placing(key));
            }
        }
    }

    /// Takes in what happened to the files from outside.
    fn refresh(&self) -> io::Result<()> {
        match self.watch.refresh(&self.catalogue) {
            watch::Told::Known => Ok(()),
            watch::Told::LogGone => {
                tracing::warn!(directory = %self.layout.root().display(), "the store was removed while it was in use: it is empty now");
                self.catalogue.reset()?;
                self.watch.watch_log(&self.layout.log());
                Ok(())
            }
        }
    }

    /// Whether the mark of the last use is so old that a use renews it.
    fn is_stale(&self, entry: &Entry, minute: u32) -> bool {
        entry.used.saturating_add(MARK_MINUTES) <= minute
    }

    /// Marks an entry as used, if its mark is old. `false` where it has gone meanwhile.
    fn renew(&self, key: &Key, entry: &Entry, stamp: Stamp) -> io::Result<bool> {
        if !self.is_stale(entry, stamp.minute) {
            return Ok(true);
        }
        Ok(self.touch(&[*key], stamp)?.is_empty())
    }

    /// The same for whoever has only read it: what has gone by now was read all the same.
    fn mark(&self, key: &Key) -> io::Result<()> {
        if let Some(entry) = self.catalogue.get(key) {
            self.renew(key, &entry, self.stamp(0))?;
        }
        Ok(())
    }

    /// Marks entries as used, and returns those that have gone. A full disk takes nothing from those who only read: then the marks
    /// are in memory alone.
    fn touch(&self, keys: &[Key], stamp: Stamp) -> io::Result<Vec<Key>> {
        match self.catalogue.touch(keys, stamp) {
            Ok(gone) => {
                self.dirty();
                Ok(gone)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                self.catalogue.lift(keys, stamp);
                let mut gone = Vec::new();
                self.catalogue.look(keys.iter().copied(), |key, entry| gone.extend(entry.is_none().then_some(key)));
                Ok(gone)
            }
            Err(e) => Err(e),
        }
    }

    /// Forgets an entry whose payload says nothing that could be meant.
    fn discard(&self, key: &Key, payload: &[u8], why: &str) -> io::Result<()> {
        self.catalogue.forget(*key)?;
        self.keep_damaged(key, payload, why)
    }

    fn sync(&self) -> io::Result<()> {
        // What is written from here on is of the next period, whether or not this sync takes it along.
        self.dirty.store(false, Ordering::SeqCst);
        let until = watermark::now();
        let synced = File::open(self.layout.root()).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        if let Err(e) = synced {
            self.dirty.store(true, Ordering::SeqCst);
            return Err(e);
        }
        if self.doubt_since.load(Ordering::Relaxed) != watermark::NO_DOUBT {
            // What another boot left in doubt is not made right by a sync.
            return Ok(());
        }
        let mut watermark = unpoisoned(self.watermark.lock());
        *watermark = Watermark { boot: self.boot.clone(), until };
        watermark.write(&self.layout.synced())
    }
}

#[async_trait]
impl ActionCache for DiskStore {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.inner.refresh()?;
        self.inner.get_result(action)
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.inner.put_result(action, &result)
    }

    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.inner.catalogue.forget(Key::result(action))?;
        Ok(())
    }
}
