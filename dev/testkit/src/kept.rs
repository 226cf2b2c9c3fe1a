//! A store together with what it needs to live.
use async_trait::async_trait;
use lre_model::{ActionDigest, ActionResult, Digest};
use lre_store::{ActionCache, Blob, BlobStore, Hold, StoreError};
use std::any::Any;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

/// A store, and the temporary directory or the server behind it, which goes after the store.
pub struct Kept<S> {
    store: S,
    _needs: Box<dyn Any + Send + Sync>,
}

impl<S> Kept<S> {
    /// Keeps `needs` while `store` lives.
    pub fn new(store: S, needs: impl Any + Send + Sync) -> Self {
        Self { store, _needs: Box::new(needs) }
    }
}

impl<S> Deref for Kept<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.store
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for Kept<S> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.store.hold(digests).await
    }
    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.store.room_for(bytes)
    }
    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        self.store.read(digest).await
    }
    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        self.store.write(digest, blob).await
    }
    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        self.store.promote(digest).await
    }
    async fn read_many(&self, digests: &[Digest]) -> Vec<Result<Blob, StoreError>> {
        self.store.read_many(digests).await
    }
    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        self.store.write_many(blobs).await
    }
}

#[async_trait]
impl<S: ActionCache> ActionCache for Kept<S> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        self.store.get(action).await
    }
    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.store.put(action, result).await
    }
    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.store.forget(action).await
    }
}
