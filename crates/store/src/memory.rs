//! A store that is gone with the process; for tests and for what is small.
use crate::{ActionCache, Blob, BlobStore, Hold, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use lre_model::{ActionDigest, ActionResult, Digest};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Blobs and results in memory. It believes what it is told: put [`crate::Verified`] before it.
#[derive(Default, Debug)]
pub struct MemoryStore {
    blobs: RwLock<HashMap<Digest, Bytes>>,
    results: RwLock<HashMap<ActionDigest, Arc<ActionResult>>>,
}

impl MemoryStore {
    /// Removes a blob, as an eviction would.
    pub fn remove(&self, digest: Digest) {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).remove(&digest);
    }
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        let (present, mut missing): (Vec<_>, Vec<_>) =
            digests.iter().copied().partition(|d| d.is_empty_blob() || blobs.contains_key(d));
        let mut seen = HashSet::new();
        missing.retain(|d| seen.insert(*d));
        Ok((Hold::new(present, ()), missing))
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        if digest.is_empty_blob() {
            return Ok(Bytes::new().into());
        }
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        blobs.get(&digest).cloned().map(Blob::Bytes).ok_or(StoreError::Missing(digest))
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        let bytes = blob.into_bytes(u64::MAX).await?;
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).insert(digest, bytes);
        Ok(())
    }
}

#[async_trait]
impl ActionCache for MemoryStore {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        Ok(self.results.read().unwrap_or_else(PoisonError::into_inner).get(&action).cloned())
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.results.write().unwrap_or_else(PoisonError::into_inner).insert(action, result);
        Ok(())
    }

    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.results.write().unwrap_or_else(PoisonError::into_inner).remove(&action);
        Ok(())
    }
}
