//! The store as everything of `lre` uses it: [`DiskStore`], through [`BlobStore`].
use super::data::{BATCH, Named, blobs};
use anyhow::{Result, ensure};
use lre_model::Digest;
use lre_store::{Blob, BlobStore, DiskStore};
use std::path::Path;
use std::time::{Duration, Instant};

/// One call for each.
pub async fn write(store: &DiskStore, blobs: &[Named]) -> Result<()> {
    for (digest, content) in blobs {
        store.write(*digest, Blob::Bytes(content.clone())).await?;
    }
    Ok(())
}

/// One call for all.
pub async fn write_many(store: &DiskStore, blobs: &[Named]) -> Result<()> {
    let blobs = blobs.iter().map(|(digest, content)| (*digest, Blob::Bytes(content.clone()))).collect();
    for written in store.write_many(blobs).await {
        written?;
    }
    Ok(())
}

/// How many are not there.
pub async fn missing(store: &DiskStore, digests: &[Digest]) -> Result<usize> {
    let (_hold, missing) = store.hold(digests).await?;
    Ok(missing.len())
}

/// How many bytes they have, with a call for each.
pub async fn read(store: &DiskStore, digests: &[Digest]) -> Result<u64> {
    let mut bytes = 0;
    for digest in digests {
        bytes += length(&store.read(*digest).await?)?;
    }
    Ok(bytes)
}

/// How many bytes they have, with one call.
pub async fn read_many(store: &DiskStore, digests: &[Digest]) -> Result<u64> {
    let mut bytes = 0;
    for blob in store.read_many(digests).await {
        bytes += length(&blob?)?;
    }
    Ok(bytes)
}

/// Of the bytes, in memory: where the blob is a file they are read.
fn length(blob: &Blob) -> Result<u64> {
    let content = blob.read_at(0, usize::try_from(blob.size_bytes())?)?;
    Ok(std::hint::black_box(content).len() as u64)
}

/// A store in this folder with the blobs of these numbers, closed as a server closes it; how long the writes took.
pub async fn filled(folder: &Path, count: u64) -> Result<Duration> {
    let store = DiskStore::open(folder)?;
    let mut elapsed = Duration::ZERO;
    for start in (0..count).step_by(BATCH) {
        let batch = blobs(start..count.min(start + BATCH as u64));
        let began = Instant::now();
        write_many(&store, &batch).await?;
        elapsed += began.elapsed();
    }
    store.sync()?;
    let last = blobs([count - 1])[0].0;
    ensure!(missing(&store, &[last]).await? == 0, "what was written is missing");
    Ok(elapsed)
}
