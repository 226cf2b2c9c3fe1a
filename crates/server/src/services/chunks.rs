//! Blobs as lists of chunks (PROTOCOL, 85): `SplitBlob` and `SpliceBlob`, and the streams that follow them in later versions
//! of the API, `GetChunkMapping` and `RegisterChunkMapping`.
//!
//! A client that has an older version of a large blob asks for its chunks and fetches those that it has not got; one that
//! made a new version sends what is new. Chunks are blobs like all others. Where a blob was cut is remembered while the
//! process lives: to find it again costs one reading of the blob and always gives the same.
use super::work;
use crate::limits;
use crate::status::{self, Refusal};
use bytes::Bytes;
use lre_model::{ByDigest, Digest, Invalid};
use lre_proto::re::chunking_function::Value as Function;
use lre_store::{Blob, BlobStore, Hold, StagedBlob, Staging, StoreError, chunking};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc};
use tonic::Status;

/// Chunks that are cut and hashed ahead of being stored.
const CUT_AHEAD: usize = 2;

/// Where a blob is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Put together in this order they are the blob.
    pub(super) chunks: Arc<[Digest]>,
    /// Who said where to cut.
    pub(super) function: Function,
}

/// All blobs of a store, as lists of chunks.
pub(super) struct Chunks {
    blobs: Arc<dyn BlobStore>,
    staging: Staging,
    known: Mutex<Known>,
    /// Each turn has some chunks in memory and a thread that reads.
    turns: Semaphore,
}

impl Chunks {
    pub(super) fn new(blobs: Arc<dyn BlobStore>, staging: Staging) -> Self {
        Self { blobs, staging, known: Mutex::default(), turns: Semaphore::new(limits::CHUNKINGS_AT_ONCE_MAX) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn absent(&self, digests: &[Digest]) -> Result<Vec<Digest>, Status> {
        let (_hold, missing) = self.blobs.hold(digests).await.map_err(status::of)?;
        Ok(missing)
    }

    /// The chunks of a blob; all of them are in the store when this returns.
    ///
    /// # Errors
    /// NOT_FOUND where the blob is missing.
    pub(super) async fn of(&self, blob: Digest) -> Result<Mapping, Status> {
        if !self.absent(&[blob]).await?.is_empty() {
            return Err(status::of(StoreError::Missing(blob)));
        }
        // REAPI: blobs below this size are not chunked.
        if blob.size_bytes() <= chunking::MAX_BYTES as u64 {
            return Ok(Mapping { chunks: Arc::new([blob]), function: Function::FastCdc2020 });
        }
        if let Some(mapping) = self.remembered(blob).await? {
            return Ok(mapping);
        }
        let _turn = self.turn().await?;
        // Somebody else may have had the turn for the same blob.
        if let Some(mapping) = self.remembered(blob).await? {
            return Ok(mapping);
        }
        let mapping = Mapping { chunks: self.cut(blob).await?.into(), function: Function::FastCdc2020 };
        self.known().keep(blob, mapping.clone());
        Ok(mapping)
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Status> {
        self.turns.acquire().await.map_err(|_| status::of(Refusal::Stopping))
    }

    /// What is known of a blob, where all chunks are still there.
    async fn remembered(&self, blob: Digest) -> Result<Option<Mapping>, Status> {
        let Some(mapping) = self.known().get(blob) else { return Ok(None) };
        let whole = self.absent(&mapping.chunks).await?.is_empty();
        Ok(whole.then_some(mapping))
    }

    /// Cuts a blob and stores its chunks, a few of them in memory at a time.
    async fn cut(&self, blob: Digest) -> Result<Vec<Digest>, Status> {
        let content = self.blobs.read(blob).await.map_err(status::of)?;
        let (send, mut pieces) = mpsc::channel(CUT_AHEAD);
        let cutting = tokio::task::spawn_blocking(move || {
            for chunk in chunking::chunks(content.reader()) {
                let chunk = chunk.map(|bytes| (Digest::of(blob.function(), &bytes), bytes));
                // Nobody listens any more: the client went away, or the store failed.
                if send.blocking_send(chunk).is_err() {
                    return;
                }
            }
        });
        let mut chunks = Vec::new();
        let mut holds = Hold::default();
        while let Some(piece) = pieces.recv().await {
            let (chunk, bytes): (Digest, Bytes) = piece.map_err(|e| status::of(StoreError::from(e)))?;
            holds = holds.and(self.keep(chunk, bytes).await?);
            chunks.push(chunk);
        }
        cutting.await.map_err(|e| status::of(StoreError::Io(io::Error::other(e))))?;
        let bytes: u64 = chunks.iter().map(|chunk| chunk.size_bytes()).sum();
        if bytes != blob.size_bytes() {
            let shorter = io::Error::new(io::ErrorKind::UnexpectedEof, "the file of the blob has become shorter");
            return Err(status::of(StoreError::from(shorter)));
        }
        Ok(chunks)
    }

    /// Stores a chunk unless it is there, and holds it.
    async fn keep(&self, chunk: Digest, bytes: Bytes) -> Result<Hold, Status> {
        let (hold, missing) = self.blobs.hold(&[chunk]).await.map_err(status::of)?;
        if missing.is_empty() {
            return Ok(hold);
        }
        self.blobs.write(chunk, bytes.into()).await.map_err(status::of)?;
        Ok(self.blobs.hold(&[chunk]).await.map_err(status::of)?.0)
    }

    /// Makes a blob of chunks that are in the store, and remembers where it was cut.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where the chunks are not the blob, NOT_FOUND where one is missing, ALREADY_EXISTS where the blob is
    /// there and cut elsewhere.
    pub(super) async fn splice(&self, blob: Digest, mapping: Mapping) -> Result<(), Status> {
        if self.absent(&[blob]).await?.is_empty() {
            return self.spliced_already(blob, &mapping);
        }
        let bytes = mapping.chunks.iter().try_fold(0_u64, |sum, chunk| sum.checked_add(chunk.size_bytes()));
        if bytes != Some(blob.size_bytes()) {
            let problem =
                format!("these chunks have {} bytes together, the blob {blob} has not", bytes.unwrap_or(u64::MAX));
            return Err(status::of(Invalid::new("chunk_digests", problem)));
        }
        let (_hold, missing) = self.blobs.hold(&mapping.chunks).await.map_err(status::of)?;
        if !missing.is_empty() {
            return Err(status::of(Refusal::MissingChunks(missing)));
        }
        self.blobs.room_for(blob.size_bytes()).map_err(status::of)?;
        let _turn = self.turn().await?;
        let staged = self.staging.create_for(blob).map_err(|e| status::of(StoreError::from(e)))?;
        let (actual, whole) = self.join(staged, &mapping.chunks).await.map_err(status::of)?;
        if actual != blob {
            return Err(status::of(StoreError::Corrupt { expected: blob, actual }));
        }
        self.blobs.write(blob, whole).await.map_err(status::of)?;
        self.known().keep(blob, mapping);
        Ok(())
    }

    /// REAPI: a blob that is there may be taken as done, and a server keeps the cuts that it has. ALREADY_EXISTS says that
    /// they are others; where none are known there is nothing to contradict.
    fn spliced_already(&self, blob: Digest, mapping: &Mapping) -> Result<(), Status> {
        match self.known().get(blob) {
            Some(kept) if kept.chunks != mapping.chunks => Err(status::of(Refusal::CutElsewhere(blob))),
            _ => Ok(()),
        }
    }

    async fn join(&self, mut staged: StagedBlob, chunks: &[Digest]) -> Result<(Digest, Blob), StoreError> {
        for chunk in chunks {
            let content = self.blobs.read(*chunk).await?;
            let bytes = usize::try_from(content.size_bytes()).unwrap_or(usize::MAX);
            staged = work(bytes, move || append(staged, &content)).await?;
        }
        Ok(staged.finish()?)
    }
}

/// A chunk is as long as its client likes: it goes piece by piece.
fn append(mut staged: StagedBlob, chunk: &Blob) -> io::Result<StagedBlob> {
    let mut offset = 0;
    while offset < chunk.size_bytes() {
        let bytes = chunk.read_at(offset, limits::CHUNK_BYTES)?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of a chunk has become shorter"));
        }
        staged.write(&bytes)?;
        offset += bytes.len() as u64;
    }
    Ok(staged)
}

/// Where blobs are cut, as far as it is remembered: two generations, of which the older goes when the younger is full.
#[derive(Default)]
struct Known {
    young: HashMap<Digest, Mapping, ByDigest>,
    old: HashMap<Digest, Mapping, ByDigest>,
    /// Digests in the younger one.
    chunks: usize,
}

impl Known {
    fn get(&mut self, blob: Digest) -> Option<Mapping> {
        if let Some(mapping) = self.young.get(&blob) {
            return Some(mapping.clone());
        }
        let mapping = self.old.remove(&blob)?;
        self.keep(blob, mapping.clone());
        Some(mapping)
    }

    fn keep(&mut self, blob: Digest, mapping: Mapping) {
        if self.chunks + mapping.chunks.len() > limits::CHUNKS_REMEMBERED_MAX {
            self.old = std::mem::take(&mut self.young);
            self.chunks = 0;
        }
        self.chunks += mapping.chunks.len();
        if let Some(before) = self.young.insert(blob, mapping) {
            self.chunks -= before.chunks.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest_stays() {
        let mut known = Known::default();
        let of = |n: u32| Digest::of(DigestFunction::Sha256, &n.to_le_bytes());
        let chunks: Arc<[Digest]> = vec![of(0); limits::CHUNKS_REMEMBERED_MAX / 10].into();
        let mapping = Mapping { chunks, function: Function::Unknown };
        for n in 1..100 {
            known.keep(of(n), mapping.clone());
            assert!(known.get(of(1)).is_some(), "what is asked for stays");
        }
        assert!(known.get(of(2)).is_none() && known.get(of(99)).is_some());
        let kept: usize = known.young.values().chain(known.old.values()).map(|mapping| mapping.chunks.len()).sum();
        assert!(kept <= 2 * limits::CHUNKS_REMEMBERED_MAX);
    }
}
