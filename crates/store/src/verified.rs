//! Hashes what is written before it is kept.
use crate::{Blob, BlobStore, Hold, Origin, StoreError, hash_reader};
use async_trait::async_trait;
use lre_model::{Digest, Subtree};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A store that refuses bytes that do not hash to their name.
///
/// It stands next to a store that believes what it is told, so that a wrong blob from an upstream is
/// refused like a wrong blob from a client: a store that has once been poisoned answers wrongly for
/// ever. [`crate::DiskStore`] hashes by itself, while it copies.
#[derive(Debug, Default)]
pub struct Verified<S>(pub S);

#[async_trait]
impl<S: BlobStore> BlobStore for Verified<S> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.0.hold(digests).await
    }

    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.0.hold_tree(tree, digests).await
    }

    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        self.0.file_of(digest)
    }

    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        self.0.promote(digest).await
    }

    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.0.room_for(bytes)
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        self.0.read(digest).await
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        let blob = fixed(blob).await?;
        let (actual, blob) =
            tokio::task::spawn_blocking(move || hash(digest, blob)).await.map_err(io::Error::other)??;
        if actual != digest {
            return Err(StoreError::Corrupt { expected: digest, actual });
        }
        self.0.write(digest, blob).await
    }
}

/// A file of somebody else may change between the hashing and the keeping, so its bytes are taken
/// first.
async fn fixed(blob: Blob) -> Result<Blob, StoreError> {
    match blob {
        Blob::File(file) if file.origin() == Origin::Foreign => Ok(Blob::File(file).into_bytes(u64::MAX).await?.into()),
        other => Ok(other),
    }
}

fn hash(digest: Digest, blob: Blob) -> io::Result<(Digest, Blob)> {
    let actual = match &blob {
        Blob::Bytes(bytes) => Digest::of(digest.function(), bytes),
        Blob::File(file) => match file.proven() {
            Some(proven) if proven.function() == digest.function() => proven,
            _ => hash_reader(digest.function(), file.reader())?,
        },
    };
    Ok((actual, blob))
}
