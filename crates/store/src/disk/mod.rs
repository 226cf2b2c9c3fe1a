//! Blobs and action results in a directory: a file for each, named by its digest.
//!
//! A blob is a file because inputs of actions are hard links to it and outputs of actions become it
//! by a hard link. What is served is what the name says: every blob is hashed on its way in, gets
//! its name when it is complete, and is never written again.
#[allow(dead_code)]
mod catalogue;
mod frame;
#[allow(dead_code)]
mod holds;
mod keeper;
mod layout;
mod lock;
mod names;
mod place;
mod presence;
mod recent;
mod results;
#[allow(dead_code)]
mod usage;
mod watermark;
mod whole;

pub use keeper::Swept;
pub use layout::{MODE_EXECUTABLE, MODE_PLAIN, MTIME_SECONDS};
pub use lock::OpenError;
pub use names::{Form, Name, Names, Namespace, Record};
pub(crate) use place::{settle, with_folder};
pub use usage::{Amount, InvocationUsage, ToolchainUsage, Usage};
pub use watermark::boot_id;

use crate::{ActionCache, Blob, BlobStore, FileBlob, Hold, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use keeper::Keeper;
use layout::{Layout, Room};
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, Subtree};
use presence::Presence;
use recent::Recent;
use rustix::fs::{Mode, OFlags};
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use watermark::Watermark;
use whole::Whole;

/// Bytes up to which hashing and writing is done in place. Handing work to another thread and back
/// costs 20-60 us on the measured machine; hashing this much costs as much.
pub(crate) const IN_PLACE_BYTES: u64 = 64 * 1024;

/// Unknown digests up to which `hold` looks at the disk in place; a look costs 2-5 us.
const IN_PLACE_LOOKS: usize = 32;

/// Blobs and action results in a directory of this process alone.
pub struct DiskStore {
    // Stops before `inner` goes: while the keeper works, the directory stays locked.
    _keeper: Keeper,
    inner: Arc<Inner>,
}

/// What was found of a blob without reading it.
enum Look {
    Present,
    Absent,
    /// There is something under its name, and only its bytes can tell whether it is the blob.
    Doubtful,
}

struct Inner {
    layout: Layout,
    presence: Presence,
    whole: Mutex<Whole>,
    recent: Recent,
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
    crowd: names::Crowd,
    serial: AtomicU64,
    quarantined: AtomicU64,
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
        let lock = lock::take(&layout)?;
        let boot = boot_id();
        if !layout.room(Room::Blobs, DigestFunction::Sha256).exists() {
            // In a store that is made now there is nothing to doubt, and nothing to look through first.
            Watermark { boot: boot.clone(), until: 0 }.write(&layout.synced()).map_err(io)?;
        }
        let watermark = Watermark::read_before(&layout.synced(), watermark::now()).map_err(io)?;
        let inner = Arc::new(Inner {
            doubt_since: AtomicI64::new(watermark.doubt_since(boot.as_deref())),
            watermark: Mutex::new(watermark),
            boot,
            presence: Presence::new(),
            whole: Mutex::default(),
            recent: Recent::default(),
            dirty: AtomicBool::new(true),
            repair: Mutex::new(()),
            sweeping: Mutex::new(()),
            crowd: names::Crowd::default(),
            serial: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            _lock: lock,
            layout,
        });
        inner.prepare().map_err(io)?;
        Ok(Self { _keeper: Keeper::start(inner.clone()).map_err(io)?, inner })
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
    pub fn invocation(&self, name: &str, tool: &str) -> io::Result<crate::Invoker> {
        let _ = (name, tool);
        Ok(crate::Invoker::default())
    }

    /// Lets time pass for everything here that counts minutes. For tests.
    #[doc(hidden)]
    pub fn pass_time(&self, time: std::time::Duration) {
        let _ = time;
    }

    /// Files moved to `quarantine/` since the store was opened.
    #[must_use]
    pub fn quarantined(&self) -> u64 {
        self.inner.quarantined.load(Ordering::Relaxed)
    }

    /// Writes everything to the disk, and remembers that it is there. Blocks; may take as long as
    /// the disk needs for all that the machine has written. Nobody has to call it: it is done
    /// every [`keeper::PERIOD`], and what a power cut takes is noticed.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        self.inner.sync()
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
        for room in Room::ALL {
            for function in DigestFunction::ALL {
                fs::create_dir_all(self.layout.room(room, function))?;
            }
        }
        fs::create_dir_all(self.layout.quarantine())?;
        let temporary = self.layout.temporary();
        fs::create_dir_all(&temporary)?;
        for entry in fs::read_dir(temporary)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    fn is_in_doubt(&self, metadata: &Metadata) -> bool {
        // The time of the inode, not of the content: that one is constant here. A hard link makes
        // it younger, which at worst has a sound blob hashed once more.
        metadata.ctime() >= self.doubt_since.load(Ordering::Relaxed)
    }

    /// Looks at the disk, not at what is known.
    fn look(&self, digest: Digest) -> io::Result<Look> {
        let path = self.layout.of(Room::Blobs, digest);
        let mut begun = self.presence.begin(digest);
        let mut found = fs::symlink_metadata(&path);
        // A folder is watched when the first blob is found in it, and what was found before that counts
        // no more. What is absent costs one look.
        if found.is_ok() && self.presence.watch(digest, &path) {
            begun = self.presence.begin(digest);
            found = fs::symlink_metadata(&path);
        }
        match found {
            Ok(m) if m.is_file() && m.len() == digest.size_bytes() && !self.is_in_doubt(&m) => {
                self.presence.remember(begun, digest);
                Ok(Look::Present)
            }
            Ok(_) => Ok(Look::Doubtful),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.presence.forget(digest);
                Ok(Look::Absent)
            }
            Err(e) => Err(e),
        }
    }

    /// Reads what lies under the name of `digest`: it is the blob, or the blob of another size with
    /// the hash of that name (then the asked one does not exist), or it is moved aside.
    fn prove(&self, digest: Digest) -> io::Result<bool> {
        let one = unpoisoned(self.repair.lock());
        let path = self.layout.of(Room::Blobs, digest);
        let begun = self.presence.begin(digest);
        let file = match open_regular(&path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.quarantine(&one, &path, "it is not a regular file")?;
                return Ok(false);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let actual = crate::hash_reader(digest.function(), file)?;
        if actual.hash() == digest.hash() {
            self.presence.remember(begun, actual);
            return Ok(actual == digest);
        }
        self.quarantine(&one, &path, &format!("its content is that of {actual}"))?;
        Ok(false)
    }

    /// Whether the blob is there and right. Blocks.
    fn has(&self, digest: Digest) -> io::Result<bool> {
        match self.look(digest)? {
            Look::Present => Ok(true),
            Look::Absent => Ok(false),
            Look::Doubtful => self.prove(digest),
        }
    }

    /// Moves a file out of the way, for a person to look at. It is never served again.
    fn quarantine(&self, _one: &MutexGuard<'_, ()>, path: &Path, why: &str) -> io::Result<()> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut to: PathBuf = self.layout.quarantine().join(&name);
        let mut n = 0;
        while to.symlink_metadata().is_ok() {
            n += 1;
            to = self.layout.quarantine().join(format!("{name}.{n}"));
        }
        match fs::rename(path, &to) {
            Ok(()) => {
                self.quarantined.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(file = %path.display(), moved_to = %to.display(), why, "moved aside, not served");
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The open file of a blob that is known to be right; `None` where it is gone or another.
    fn open(&self, digest: Digest) -> io::Result<Option<FileBlob>> {
        let path = self.layout.of(Room::Blobs, digest);
        match open_regular(&path) {
            Ok(Some(file)) if file.metadata()?.len() == digest.size_bytes() => {
                Ok(Some(FileBlob::stored(file, path, digest)))
            }
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
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

/// Opens a file for reading without following a symlink and without waiting for the writer of a
/// pipe; `None` where it is not a regular file.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => {
            let file = File::from(fd);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[async_trait]
impl BlobStore for DiskStore {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.inner.presence.refresh();
        self.inner.hold(digests).await
    }

    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let inner = &self.inner;
        inner.presence.refresh();
        let losses = inner.presence.losses();
        let unseen = unpoisoned(inner.whole.lock()).unseen(tree, losses);
        let mut missing = inner.missing_async(&unseen.blobs).await?;
        if missing.is_empty() && inner.presence.all_known(&unseen.blobs, losses) {
            unpoisoned(inner.whole.lock()).seen(unseen, losses);
        }
        let (hold, gone) = inner.hold(digests).await?;
        let told: HashSet<_> = missing.iter().copied().collect();
        missing.extend(gone.into_iter().filter(|digest| !told.contains(digest)));
        Ok((hold.with_tree(Arc::clone(tree)), missing))
    }

    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        let known = digest.size_bytes() > 0 && self.inner.presence.of(digest) == Some(true);
        known.then(|| self.inner.layout.of(Room::Blobs, digest))
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        if digest.is_empty_blob() {
            return Ok(Bytes::new().into());
        }
        if let Some(bytes) = self.inner.recent.get(&digest) {
            self.inner.presence.refresh();
            if self.inner.presence.of(digest) == Some(true) {
                return Ok(bytes.into());
            }
        }
        // Twice: what is known may have been changed from outside, and is then looked at anew.
        for _ in 0..2 {
            if !self.inner.clone().has_async(digest).await? {
                return Err(StoreError::Missing(digest));
            }
            match self.inner.open(digest)? {
                Some(file) => return Ok(Blob::File(file)),
                None => self.inner.presence.forget(digest),
            }
        }
        Err(StoreError::Missing(digest))
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        let inner = self.inner.clone();
        match &blob {
            Blob::Bytes(bytes) if bytes.len() as u64 <= IN_PLACE_BYTES => inner.keep(digest, &blob),
            // A link is as quick as a small file.
            Blob::File(file) if file.proven() == Some(digest) && file.origin() == crate::Origin::Owned => {
                inner.keep(digest, &blob)
            }
            Blob::File(file) if file.size_bytes() <= IN_PLACE_BYTES => inner.keep(digest, &blob),
            _ => blocking(move || inner.keep(digest, &blob)).await,
        }
    }
}

impl Inner {
    /// [`BlobStore::hold`]; [`Presence::refresh`] first.
    async fn hold(self: &Arc<Self>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let missing = self.missing_async(digests).await?;
        // The common case, warm: the disk was not asked.
        if missing.is_empty() {
            return Ok((Hold::new(digests.to_vec(), ()), missing));
        }
        let absent: HashSet<_> = missing.iter().copied().collect();
        let present = digests.iter().copied().filter(|d| !absent.contains(d)).collect();
        Ok((Hold::new(present, ()), missing))
    }

    /// What is missing of `digests`, each once, in order.
    async fn missing_async(self: &Arc<Self>, digests: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let unknown = self.presence.unknown(digests);
        let looks = unknown.iter().filter(|(_, there)| there.is_none()).count();
        if looks <= IN_PLACE_LOOKS
            && let Some(missing) = self.missing_at_a_glance(&unknown)?
        {
            return Ok(missing);
        }
        let inner = Arc::clone(self);
        blocking(move || Ok(inner.missing(&unknown)?)).await
    }

    /// What is missing of digests that are not known to be there, each once, in order. Blocks.
    fn missing(&self, unknown: &[(Digest, Option<bool>)]) -> io::Result<Vec<Digest>> {
        let (mut missing, mut seen) = (Vec::new(), HashSet::new());
        for (digest, there) in unknown {
            if seen.insert(*digest) && !there.map_or_else(|| self.has(*digest), Ok)? {
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

    /// As [`Inner::has`]; what must be hashed is hashed elsewhere.
    async fn has_async(self: Arc<Self>, digest: Digest) -> Result<bool, StoreError> {
        if let Some(same_size) = self.presence.of(digest) {
            return Ok(same_size);
        }
        match self.look(digest)? {
            Look::Present => Ok(true),
            Look::Absent => Ok(false),
            Look::Doubtful => blocking(move || Ok(self.prove(digest)?)).await,
        }
    }
}

#[async_trait]
impl ActionCache for DiskStore {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.inner.get_result(action)
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.inner.put_result(action, &result)
    }
}
