//! A store that breaks.
use async_trait::async_trait;
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest};
use lre_store::{ActionCache, Blob, BlobStore, Hold, StoreError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a store breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every call fails with an input/output error.
    Io,
    /// Every call fails with a full disk.
    Full,
    /// Every call fails as a service does that cannot be reached.
    Upstream,
    /// Nothing is there any more; writes are lost in silence.
    Forgets,
    /// Reads give other bytes; everything else works.
    Lies,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Io, Self::Full, Self::Upstream, Self::Forgets, Self::Lies];
    /// Those that say that they failed.
    pub const HONEST: [Self; 3] = [Self::Io, Self::Full, Self::Upstream];

    fn error(self) -> Option<StoreError> {
        match self {
            Self::Io => Some(StoreError::Io(io::Error::other("injected"))),
            Self::Full => Some(StoreError::Full(io::ErrorKind::StorageFull.into())),
            Self::Upstream => Some(StoreError::Upstream("injected".into())),
            Self::Forgets | Self::Lies => None,
        }
    }
}

/// Works for a number of calls, and is broken from then on, whichever call that is.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    fault: Fault,
    calls: AtomicU64,
    sound: AtomicU64,
}

impl<S> Faulty<S> {
    /// Breaks `inner` after `sound` calls.
    pub fn after(sound: u64, fault: Fault, inner: S) -> Self {
        Self { inner, fault, calls: AtomicU64::new(0), sound: AtomicU64::new(sound) }
    }

    /// Calls so far, broken ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Breaks after `sound` more calls.
    pub fn break_after(&self, sound: u64) {
        self.sound.store(self.calls() + sound, Ordering::SeqCst);
    }

    /// Works again, for ever.
    pub fn heal(&self) {
        self.sound.store(u64::MAX, Ordering::SeqCst);
    }

    /// What is inside, unbroken.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The fault of this call, where it has one that is not an error.
    fn tick(&self) -> Result<Option<Fault>, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call < self.sound.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.fault.error().map_or(Ok(Some(self.fault)), Err)
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for Faulty<S> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => {
                let mut missing: Vec<Digest> = Vec::new();
                for digest in digests {
                    if !missing.contains(digest) {
                        missing.push(*digest);
                    }
                }
                Ok((Hold::default(), missing))
            }
            _ => self.inner.hold(digests).await,
        }
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => Err(StoreError::Missing(digest)),
            Some(Fault::Lies) => Ok(Bytes::from(vec![0x5a; usize::try_from(digest.size_bytes()).unwrap_or(1)]).into()),
            _ => self.inner.read(digest).await,
        }
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => Ok(()),
            _ => self.inner.write(digest, blob).await,
        }
    }

    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => Err(StoreError::Missing(digest)),
            // A liar's bytes can be read and not linked to.
            Some(Fault::Lies) => Ok(None),
            _ => self.inner.promote(digest).await,
        }
    }
}

#[async_trait]
impl<C: ActionCache> ActionCache for Faulty<C> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => Ok(None),
            _ => self.inner.get(action).await,
        }
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => Ok(()),
            _ => self.inner.put(action, result).await,
        }
    }

    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        match self.tick()? {
            Some(Fault::Forgets) => Ok(()),
            _ => self.inner.forget(action).await,
        }
    }
}
