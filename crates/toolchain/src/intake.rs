//! Contents on their way into the store while an archive is read. Nothing is unpacked to disk: what is
//! read is hashed, given to the store, and named in the layout by its digest.
//!
//! The archive is read where waiting is allowed, on one thread; what it holds goes through a channel
//! to the store, which takes several blobs at a time.
use crate::access::Access;
use crate::error::ToolchainError;
use crate::import::blocking;
use crate::layout::Entry;
use crate::progress::{Progress, Stage};
use crate::scratch::Scratch;
use futures::stream::{StreamExt, TryStreamExt};
use lre_model::{Digest, DigestFunction};
use lre_store::{Blob, BlobStore, Hold, Staging};
use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Blobs between the reader and the store. Those above 64 KiB wait in files, so that this bounds memory.
const WAITING_BLOBS: usize = 64;
/// Calls of the store at the same time, each with as many blobs as have come meanwhile.
const PARALLEL_CALLS: usize = 2;
/// Bytes read from an archive at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// Takes contents in. For the thread that reads the archive.
pub(crate) struct Intake {
    function: DigestFunction,
    staging: Staging,
    blobs: mpsc::Sender<(Digest, Blob)>,
    progress: Arc<dyn Progress>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    bytes: u64,
    /// Equal contents are given to the store once.
    digests: HashSet<Digest>,
}

impl Intake {
    /// Takes one file's content, all that `content` has.
    ///
    /// # Errors
    /// The archive cannot be read (named as `what`), there is no room to stage it, or the store has failed.
    pub(crate) fn take(&self, what: &str, mut content: impl Read) -> Result<Digest, ToolchainError> {
        let broken = |e: std::io::Error| ToolchainError::unusable(what, format!("it cannot be read: {e}"));
        let staged = |e| ToolchainError::Store(lre_store::StoreError::from(e));
        let mut blob = self.staging.create(self.function).map_err(staged)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match content.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => blob.write(&chunk[..n]).map_err(staged)?,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(e)),
            }
        }
        let (digest, blob) = blob.finish().map_err(staged)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.bytes += digest.size_bytes();
        self.progress.update(Stage::Unpacking, taken.bytes, 0);
        if taken.digests.insert(digest) {
            // The other end is gone only when the store has failed, and that is the error that is told.
            self.blobs.blocking_send((digest, blob)).map_err(|_| ToolchainError::unusable(what, "the store failed"))?;
        }
        Ok(digest)
    }

    /// As [`Intake::take`], as an entry of a layout.
    pub(crate) fn file(&self, what: &str, content: impl Read, executable: bool) -> Result<Entry, ToolchainError> {
        Ok(Entry::Stored { digest: self.take(what, content)?, executable })
    }
}

/// Runs `read` where waiting is allowed; what it takes in is in the store, and held, when this returns.
///
/// # Errors
/// What `read` says, and what the store says.
pub(crate) async fn take_in<T: Send + 'static>(
    store: &dyn BlobStore,
    function: DigestFunction,
    access: &Access,
    progress: Arc<dyn Progress>,
    read: impl FnOnce(&Intake) -> Result<T, ToolchainError> + Send + 'static,
) -> Result<(T, Hold), ToolchainError> {
    let scratch = Scratch::new(&access.directory)?;
    let staging = scratch.staging.clone();
    let (sender, receiver) = mpsc::channel(WAITING_BLOBS);
    let intake = Intake { function, staging, blobs: sender, progress, taken: Mutex::default() };
    let reading = blocking(move || read(&intake));
    let storing = ReceiverStream::new(receiver)
        .ready_chunks(WAITING_BLOBS)
        .map(|blobs| store_some(store, blobs))
        .buffer_unordered(PARALLEL_CALLS)
        .try_fold(Hold::default(), |all, one| async move { Ok(all.and(one)) });
    // A store that fails drops the receiver, which ends the reader at its next file.
    let (read, stored) = tokio::join!(reading, storing);
    match (read, stored) {
        (_, Err(e)) | (Err(e), _) => Err(e),
        (Ok(read), Ok(hold)) => Ok((read, hold)),
    }
}

/// What has come together while the store was busy; a store behind a connection takes it in few calls.
async fn store_some(store: &dyn BlobStore, mut blobs: Vec<(Digest, Blob)>) -> Result<Hold, ToolchainError> {
    let digests: Vec<_> = blobs.iter().map(|(digest, _)| *digest).collect();
    let (present, missing) = store.hold(&digests).await?;
    if missing.is_empty() {
        return Ok(present);
    }
    let missing_too: HashSet<_> = missing.iter().copied().collect();
    blobs.retain(|(digest, _)| missing_too.contains(digest));
    for written in store.write_many(blobs).await {
        written?;
    }
    let (arrived, gone) = store.hold(&missing).await?;
    match gone.first() {
        None => Ok(present.and(arrived)),
        Some(digest) => Err(lre_store::StoreError::Missing(*digest).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_store::{DiskStore, MemoryStore, StoreError};

    const F: DigestFunction = DigestFunction::Sha256;

    #[tokio::test]
    async fn what_is_taken_in_is_in_the_store_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        let access = Access::at(dir.path().join("access"));
        let large = vec![7_u8; 300_000];
        let contents = [b"small".to_vec(), large.clone(), b"small".to_vec(), Vec::new()];
        let (digests, hold) = take_in(&store, F, &access, Arc::new(()), move |intake| {
            contents.iter().map(|c| intake.take("x", &c[..])).collect::<Result<Vec<_>, _>>()
        })
        .await
        .unwrap();
        assert_eq!(digests[1], Digest::of(F, &large));
        assert_eq!(digests[0], digests[2]);
        assert_eq!(hold.digests().len(), 3);
        let read = store.read(digests[1]).await.unwrap().into_bytes(1 << 20).await.unwrap();
        assert_eq!(read, large);
        assert_eq!(std::fs::read_dir(dir.path().join("access")).unwrap().count(), 0, "nothing stays behind");
    }

    /// A store that fails is what is told, and the reader does not go on for ever.
    #[tokio::test]
    async fn a_store_that_fails_ends_the_reading() {
        struct Full;
        #[async_trait::async_trait]
        impl BlobStore for Full {
            async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
                MemoryStore::default().hold(digests).await
            }
            async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
                Err(StoreError::Missing(digest))
            }
            async fn write(&self, _: Digest, _: Blob) -> Result<(), StoreError> {
                Err(StoreError::Full(std::io::ErrorKind::StorageFull.into()))
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let access = Access::at(dir.path().to_owned());
        let taken = take_in(&Full, F, &access, Arc::new(()), |intake| {
            (0..1_000_000_u64).try_for_each(|n| intake.take("x", &n.to_le_bytes()[..]).map(drop))
        })
        .await;
        assert!(matches!(taken.err(), Some(ToolchainError::Store(StoreError::Full(_)))));
    }
}
