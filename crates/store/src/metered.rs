//! Counts what a store is asked.
use crate::{ActionCache, Blob, BlobStore, Hold, StoreError};
use async_trait::async_trait;
use lre_model::{ActionDigest, ActionResult, Digest, Subtree};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a store was asked since the start. Shared: clones count together.
#[derive(Debug, Default)]
pub struct Counters {
    held: AtomicU64,
    missing: AtomicU64,
    reads: AtomicU64,
    read_bytes: AtomicU64,
    writes: AtomicU64,
    written_bytes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    puts: AtomicU64,
    errors: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Digests found present by `hold`; a tree that is held counts as one.
    pub held: u64,
    /// Digests found missing by `hold`, and reads of blobs that were not there.
    pub missing: u64,
    /// Blobs read.
    pub reads: u64,
    /// Their bytes.
    pub read_bytes: u64,
    /// Blobs written.
    pub writes: u64,
    /// Their bytes.
    pub written_bytes: u64,
    /// Results found.
    pub hits: u64,
    /// Results not found.
    pub misses: u64,
    /// Results stored.
    pub puts: u64,
    /// Calls that failed, other than by a blob that is missing.
    pub errors: u64,
}

impl Counters {
    /// All counts now. They are read one after the other, so they fit together only when nothing runs.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            held: get(&self.held),
            missing: get(&self.missing),
            reads: get(&self.reads),
            read_bytes: get(&self.read_bytes),
            writes: get(&self.writes),
            written_bytes: get(&self.written_bytes),
            hits: get(&self.hits),
            misses: get(&self.misses),
            puts: get(&self.puts),
            errors: get(&self.errors),
        }
    }

    fn asked(&self, answer: &Result<(Hold, Vec<Digest>), StoreError>) {
        match answer {
            Ok((hold, missing)) => {
                add(&self.held, (hold.digests().len() + hold.trees().len()) as u64);
                add(&self.missing, missing.len() as u64);
            }
            Err(e) => self.failed(e),
        }
    }

    fn written(&self, digest: Digest, answer: &Result<(), StoreError>) {
        match answer {
            Ok(()) => {
                add(&self.writes, 1);
                add(&self.written_bytes, digest.size_bytes());
            }
            Err(e) => self.failed(e),
        }
    }

    fn failed(&self, error: &StoreError) {
        add(if matches!(error, StoreError::Missing(_)) { &self.missing } else { &self.errors }, 1);
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// A store whose calls are counted.
#[derive(Debug, Default)]
pub struct Metered<S> {
    inner: S,
    counters: Arc<Counters>,
}

impl<S> Metered<S> {
    /// Counts the calls of `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// Counts them together with those of other stores.
    pub fn sharing(inner: S, counters: Arc<Counters>) -> Self {
        Self { inner, counters }
    }

    /// The counters; keep them before the store becomes a trait object.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

#[async_trait]
impl<S: BlobStore> BlobStore for Metered<S> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let answer = self.inner.hold(digests).await;
        self.counters.asked(&answer);
        answer
    }

    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        let answer = self.inner.hold_tree(tree, digests).await;
        self.counters.asked(&answer);
        answer
    }

    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        self.inner.file_of(digest)
    }

    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        self.inner.promote(digest).await
    }

    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        self.inner.room_for(bytes)
    }

    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        let answer = self.inner.read(digest).await;
        match &answer {
            Ok(blob) => {
                add(&self.counters.reads, 1);
                add(&self.counters.read_bytes, blob.size_bytes());
            }
            Err(e) => self.counters.failed(e),
        }
        answer
    }

    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        let answer = self.inner.write(digest, blob).await;
        self.counters.written(digest, &answer);
        answer
    }

    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        let digests: Vec<_> = blobs.iter().map(|(digest, _)| *digest).collect();
        let answers = self.inner.write_many(blobs).await;
        digests.into_iter().zip(&answers).for_each(|(digest, answer)| self.counters.written(digest, answer));
        answers
    }
}

#[async_trait]
impl<C: ActionCache> ActionCache for Metered<C> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let answer = self.inner.get(action).await;
        match &answer {
            Ok(Some(_)) => add(&self.counters.hits, 1),
            Ok(None) => add(&self.counters.misses, 1),
            Err(e) => self.counters.failed(e),
        }
        answer
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        let answer = self.inner.put(action, result).await;
        match &answer {
            Ok(()) => add(&self.counters.puts, 1),
            Err(e) => self.counters.failed(e),
        }
        answer
    }

    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.inner.forget(action).await
    }
}
