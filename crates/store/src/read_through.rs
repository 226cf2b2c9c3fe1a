//! A near store before a far one.
use crate::{ActionCache, Blob, BlobStore, Hold, StoreError};
use async_trait::async_trait;
use lre_model::{ActionDigest, ActionResult, Digest, Subtree};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads from `near`, else from `far`, and keeps what it fetched. Writes go near only.
///
/// The far store is somebody else's service: where it does not answer, or lies, a blob is missing and
/// a result unknown, and no more. So no action fails because of it, and what was fetched once is there
/// when it is gone. `near` must refuse bytes that do not hash to their name.
#[derive(Debug, Default)]
pub struct ReadThrough<N, F> {
    near: N,
    far: F,
    failures: AtomicU64,
}

impl<N, F> ReadThrough<N, F> {
    /// Puts `near` before `far`.
    pub fn new(near: N, far: F) -> Self {
        Self { near, far, failures: AtomicU64::new(0) }
    }

    /// How often the far store failed, or sent other bytes than it was asked for.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn failed(&self, doing: &'static str, error: &StoreError) {
        // One line for each would bury the log of a build whose upstream is down: the first one is
        // told, all are counted.
        if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(doing, %error, "the upstream failed; going on without it");
        } else {
            tracing::debug!(doing, %error, "the upstream failed");
        }
    }
}

impl<N: BlobStore, F: BlobStore> ReadThrough<N, F> {
    /// Looks afar for what is missing near.
    async fn hold_rest(&self, near: Hold, missing: Vec<Digest>) -> Result<(Hold, Vec<Digest>), StoreError> {
        if missing.is_empty() {
            return Ok((near, missing));
        }
        match self.far.hold(&missing).await {
            Ok((far, missing)) => Ok((near.and(far), missing)),
            Err(e) => {
                self.failed("looking for blobs", &e);
                Ok((near, missing))
            }
        }
    }
}

#[async_trait]
impl<N: BlobStore, F: BlobStore> BlobStore for ReadThrough<N, F> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let (near, missing) = self.near.hold(digests).await?;
        self.hold_rest(near, missing).await
    }

    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let (near, missing) = self.near.hold_tree(tree, digests).await?;
        self.hold_rest(near, missing).await
    }

    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        self.near.file_of(digest)
    }

    /// Nothing is fetched for it: what is to be linked has been held, and what was held afar has been read.
    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        self.near.promote(digest).await
    }

    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.near.room_for(bytes)
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        match self.near.read(digest).await {
            Err(StoreError::Missing(_)) => {}
            answer => return answer,
        }
        let blob = match self.far.read(digest).await {
            Ok(blob) => blob,
            Err(StoreError::Missing(_)) => return Err(StoreError::Missing(digest)),
            Err(e) => {
                self.failed("reading a blob", &e);
                return Err(StoreError::Missing(digest));
            }
        };
        match self.near.write(digest, blob).await {
            Ok(()) => self.near.read(digest).await,
            Err(e @ StoreError::Corrupt { .. }) => {
                self.failed("reading a blob", &e);
                Err(StoreError::Missing(digest))
            }
            Err(e) => Err(e),
        }
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        self.near.write(digest, blob).await
    }

    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        self.near.write_many(blobs).await
    }
}

#[async_trait]
impl<N: ActionCache, F: ActionCache> ActionCache for ReadThrough<N, F> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        if let Some(result) = self.near.get(action).await? {
            return Ok(Some(result));
        }
        match self.far.get(action).await {
            Ok(Some(result)) => {
                self.near.put(action, result.clone()).await?;
                Ok(Some(result))
            }
            Ok(None) => Ok(None),
            Err(e) => {
                self.failed("looking for a result", &e);
                Ok(None)
            }
        }
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.near.put(action, result).await
    }

    /// What is remembered afar is not ours to forget; a result that is of no use here is asked for there again.
    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.near.forget(action).await
    }
}
