//! A store that writes down what it is asked.
use async_trait::async_trait;
use lre_model::{ActionDigest, ActionResult, Digest};
use lre_store::{ActionCache, Blob, BlobStore, Hold, StoreError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `BlobStore::hold` of this many digests.
    Hold(usize),
    /// `BlobStore::read`.
    Read(Digest),
    /// `BlobStore::write`.
    Write(Digest),
    /// `ActionCache::get`.
    Get(ActionDigest),
    /// `BlobStore::promote`.
    Promote(Digest),
    /// `ActionCache::put`.
    Put(ActionDigest),
    /// `ActionCache::forget`.
    Forget(ActionDigest),
}

/// Passes everything on, and remembers the order.
#[derive(Debug, Default)]
pub struct Recorded<S> {
    inner: S,
    calls: Mutex<Vec<Call>>,
}

impl<S> Recorded<S> {
    /// Records the calls of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    /// The calls so far; the record starts anew.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is inside; calls to it are not recorded.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn record(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for Recorded<S> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.record(Call::Hold(digests.len()));
        self.inner.hold(digests).await
    }
    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.inner.room_for(bytes)
    }
    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        self.record(Call::Read(digest));
        self.inner.read(digest).await
    }
    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        self.record(Call::Write(digest));
        self.inner.write(digest, blob).await
    }
    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        self.record(Call::Promote(digest));
        self.inner.promote(digest).await
    }
}

#[async_trait]
impl<C: ActionCache> ActionCache for Recorded<C> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.record(Call::Get(action));
        self.inner.get(action).await
    }
    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.record(Call::Put(action));
        self.inner.put(action, result).await
    }
    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.record(Call::Forget(action));
        self.inner.forget(action).await
    }
}
