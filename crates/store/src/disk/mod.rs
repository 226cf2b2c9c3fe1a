//! Blobs, action results and names in a directory.
//!
//! Small blobs, results and names are records of an append log; a large blob, or one that input trees need, is a file named by its digest,
//! because inputs of actions are hard links to it and outputs of actions become it by a hard link. The [`catalogue`] knows
//! of all. What is served is what the name says: every blob is hashed on its way in, is there when it is complete, and
//! is never written again.
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

use crate::{ActionCache, Blob, BlobStore, Hold, Invoker, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use catalogue::{Catalogue, Entry, Key, Place, Stamp};
use files::Look;
use holds::{Clock, Holds, MARK_MINUTES};
use keeper::Keeper;
use layout::{Layout, Room};
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, Subtree};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Watch;
use watermark::Watermark;
use whole::{Epoch, Unseen, Whole};

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

/// Unknown digests up to which `hold` looks at the disk in place; a look costs 2-5 us.
const IN_PLACE_LOOKS: usize = 32;

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
impl BlobStore for DiskStore {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.inner.refresh()?;
        self.inner.hold(digests).await
    }

    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let inner = &self.inner;
        inner.refresh()?;
        let minute = inner.clock.minute();
        let held = inner.holds.enter(minute);
        let epoch = Epoch { losses: inner.catalogue.losses(), period: minute / MARK_MINUTES };
        let unseen = unpoisoned(inner.whole.lock()).unseen(tree, epoch);
        let mut missing = inner.missing_async(&unseen.blobs).await?;
        inner.rank(&unseen)?;
        if missing.is_empty() && inner.all_known(&unseen.blobs, epoch.losses) {
            unpoisoned(inner.whole.lock()).seen(&unseen, epoch);
        }
        let (hold, gone) = inner.hold(digests).await?;
        let told: HashSet<_> = missing.iter().copied().collect();
        missing.extend(gone.into_iter().filter(|digest| !told.contains(digest)));
        Ok((hold.and(Hold::new(Vec::new(), held)).with_tree(Arc::clone(tree)), missing))
    }

    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        let key = Key::blob(digest);
        let entry = self.inner.catalogue.get(&key)?;
        let there = entry.place == Place::File && self.inner.is_there(&key, &entry, digest) == Some(true);
        there.then(|| self.inner.layout.of(Room::Blobs, digest))
    }

    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let path = inner.layout.of(Room::Blobs, digest);
        if !inner.clone().has_async(digest).await? {
            return Err(StoreError::Missing(digest));
        }
        match inner.packed(digest)? {
            Some(bytes) => inner.unpack(digest, &bytes, inner.stamp(0))?,
            // There is no file of the empty blob.
            None if digest.is_empty_blob() => return Ok(None),
            None => {}
        }
        Ok(Some(path))
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        if digest.is_empty_blob() {
            return Ok(Bytes::new().into());
        }
        let inner = &self.inner;
        inner.refresh()?;
        if let Some(bytes) = inner.packed(digest)? {
            inner.mark(&Key::blob(digest))?;
            return Ok(bytes.into());
        }
        // Twice: what is known may have been changed from outside, and is then looked at anew.
        for _ in 0..2 {
            if !inner.clone().has_async(digest).await? {
                return Err(StoreError::Missing(digest));
            }
            match inner.open(digest)? {
                Some(file) => {
                    inner.mark(&Key::blob(digest))?;
                    return Ok(Blob::File(file));
                }
                None => inner.catalogue.doubt_one(&Key::blob(digest)),
            }
        }
        Err(StoreError::Missing(digest))
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        let stamp = inner.stamp(0);
        match &blob {
            Blob::Bytes(bytes) if bytes.len() as u64 <= IN_PLACE_BYTES => inner.keep(digest, &blob, stamp),
            // A link is as quick as a small file.
            Blob::File(file) if file.proven() == Some(digest) && file.origin() == crate::Origin::Owned => {
                inner.keep(digest, &blob, stamp)
            }
            Blob::File(file) if file.size_bytes() <= IN_PLACE_BYTES => inner.keep(digest, &blob, stamp),
            _ => blocking(move || inner.keep(digest, &blob, stamp)).await,
        }
    }

    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        let (inner, stamp) = (self.inner.clone(), self.inner.stamp(0));
        let bytes: u64 = blobs.iter().map(|(digest, _)| digest.size_bytes()).fold(0, u64::saturating_add);
        let pack = move || {
            // One that cannot be kept in one write is told of one by one.
            let kept = inner.pack_many(&blobs, stamp).unwrap_or_else(|_| vec![false; blobs.len()]);
            Ok((kept, blobs))
        };
        let packed = if bytes <= IN_PLACE_BYTES { pack() } else { blocking(pack).await };
        let (kept, blobs) = match packed {
            Ok(packed) => packed,
            // Whoever asked is told at least that it failed.
            Err(error) => return vec![Err(error)],
        };
        let mut results = Vec::with_capacity(blobs.len());
        for ((digest, blob), kept) in blobs.into_iter().zip(kept) {
            results.push(if kept { Ok(()) } else { self.write(digest, blob).await });
        }
        results
    }
}

/// What is known of some digests at a glance.
#[derive(Default)]
struct Glance {
    /// Those that are not known to be there: known to be absent (`Some(false)`), or to be looked for.
    unknown: Vec<(Digest, Option<bool>)>,
    /// Those of the others, and of those to be looked for, whose mark is old.
    stale: Vec<Key>,
}

impl Inner {
    /// Whether a blob with this entry is there; `None`: the disk must be asked.
    fn is_there(&self, key: &Key, entry: &Entry, digest: Digest) -> Option<bool> {
        if entry.size_bytes != digest.size_bytes() {
            return Some(false);
        }
        (entry.place == Place::Packed || (entry.seen && self.watch.is_watched(key))).then_some(true)
    }

    fn glance(&self, digests: &[Digest]) -> Glance {
        let (mut glance, mut asked, minute) = (Glance::default(), digests.iter(), self.clock.minute());
        self.catalogue.look(digests.iter().map(|digest| Key::blob(*digest)), |key, entry| {
            let Some(digest) = asked.next().filter(|digest| !digest.is_empty_blob()) else { return };
            let there = entry.map_or(Some(false), |entry| self.is_there(&key, &entry, *digest));
            if there != Some(true) {
                glance.unknown.push((*digest, there));
            }
            if there != Some(false) && entry.is_some_and(|entry| self.is_stale(&entry, minute)) {
                glance.stale.push(key);
            }
        });
        glance
    }

    /// [`BlobStore::hold`]; [`Inner::refresh`] first.
    async fn hold(self: &Arc<Self>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        // Before the look: what is seen from now on stays.
        let held = self.holds.enter(self.clock.minute());
        let missing = self.missing_async(digests).await?;
        // The common case, warm: the disk was not asked.
        if missing.is_empty() {
            return Ok((Hold::new(digests.to_vec(), held), missing));
        }
        let absent: HashSet<_> = missing.iter().copied().collect();
        let present = digests.iter().copied().filter(|d| !absent.contains(d)).collect();
        Ok((Hold::new(present, held), missing))
    }

    /// What is missing of `digests`, each once, in order. What is there is marked as used.
    async fn missing_async(self: &Arc<Self>, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let Glance { unknown, stale } = self.glance(digests);
        let stamp = self.stamp(0);
        let looks = unknown.iter().filter(|(_, there)| there.is_none()).count();
        let at_a_glance = if looks <= IN_PLACE_LOOKS { self.missing_at_a_glance(&unknown)? } else { None };
        let mut missing = match at_a_glance {
            Some(missing) => missing,
            None => {
                let inner = Arc::clone(self);
                blocking(move || Ok(inner.missing(&unknown)?)).await?
            }
        };
        if !stale.is_empty() {
            let gone: HashSet<_> = self.touch(&stale, stamp)?.into_iter().collect();
            if !gone.is_empty() {
                let mut told: HashSet<_> = missing.iter().copied().collect();
                let went = |digest: &&Digest| gone.contains(&Key::blob(**digest)) && told.insert(**digest);
                missing.extend(digests.iter().filter(went).copied().collect::<Vec<_>>());
            }
        }
        Ok(missing)
    }

    /// What is missing of digests that are not known to be there, each once, in order. Blocks.
    fn missing(&self, unknown: &[(Digest, Option<bool>)]) -> io::Result<Vec<Digest>> {
        let (mut missing, mut seen) = (Vec::new(), HashSet::new());
        for (digest, there) in unknown {
            if seen.insert(*digest) && !there.map_or_else(|| self.has_file(*digest), Ok)? {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    /// The same, where it can be said with few looks and nothing to hash.
    fn missing_at_a_glance(&self, unknown: &[(Digest, Option<bool>)]) -> io::Result<Option<Vec<Digest>>> {
        let (mut missing, mut seen) = (Vec::new(), HashSet::new());
        for (digest, there) in unknown {
            if !seen.insert(*digest) {
                continue;
            }
            match there {
                Some(true) => {}
                Some(false) => missing.push(*digest),
                None => match self.look(*digest)? {
                    Look::Present => {}
                    Look::Absent => missing.push(*digest),
                    Look::Doubtful => return Ok(None),
                },
            }
        }
        Ok(Some(missing))
    }

    /// Whether a blob is there and right; what must be hashed is hashed elsewhere.
    async fn has_async(self: Arc<Self>, digest: Digest) -> Result<bool, StoreError> {
        let key = Key::blob(digest);
        let Some(entry) = self.catalogue.get(&key) else { return Ok(digest.is_empty_blob()) };
        if let Some(there) = self.is_there(&key, &entry, digest) {
            return Ok(there);
        }
        match self.look(digest)? {
            Look::Present => Ok(true),
            Look::Absent => Ok(false),
            Look::Doubtful => blocking(move || Ok(self.prove(digest)?)).await,
        }
    }

    /// Whether all are known to be there, at this count of losses.
    fn all_known(&self, digests: &[Digest], losses: u64) -> bool {
        let unknown = self.glance(digests).unknown;
        unknown.is_empty() && self.catalogue.losses() == losses
    }

    /// Remembers of directories that they are, and how high they stand: of one moment the highest is evicted first.
    fn rank(&self, unseen: &Unseen) -> io::Result<()> {
        let mut higher: BTreeMap<u8, Vec<Key>> = BTreeMap::new();
        let mut ranks = unseen.directories.iter().map(|(_, rank)| *rank);
        let keys = unseen.directories.iter().map(|(digest, _)| Key::blob(*digest));
        self.catalogue.look(keys, |key, entry| {
            let rank = ranks.next().unwrap_or(0);
            if entry.is_some_and(|entry| entry.rank < rank) {
                higher.entry(rank).or_default().push(key);
            }
        });
        for (rank, keys) in higher {
            self.touch(&keys, self.stamp(rank))?;
        }
        Ok(())
    }

    /// The bytes of a blob that is in the log. Of one whose record is damaged there are none, and no blob any more.
    fn packed(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.payload(&Key::blob(digest), digest)
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
