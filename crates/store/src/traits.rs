//! The two traits of persistence.
use crate::Blob;
use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use lre_model::{ActionDigest, ActionResult, Digest, Subtree};
use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// While this value lives, the blobs it names stay.
#[must_use = "a hold that is dropped holds nothing"]
#[derive(Default)]
pub struct Hold {
    digests: Vec<Digest>,
    /// Held with all that they name. Kept as they are: to list 10,000 inputs for each action costs more than to run it.
    trees: Vec<Arc<Subtree>>,
    guards: Vec<Box<dyn Any + Send + Sync>>,
}

impl Hold {
    /// A hold on `digests`; dropping `guard` ends it.
    pub fn new(digests: Vec<Digest>, guard: impl Any + Send + Sync) -> Self {
        Self { digests, trees: Vec::new(), guards: vec![Box::new(guard)] }
    }

    /// The same, and all that a tree names.
    pub fn with_tree(mut self, tree: Arc<Subtree>) -> Self {
        self.trees.push(tree);
        self
    }

    /// The trees that are held.
    #[must_use]
    pub fn trees(&self) -> &[Arc<Subtree>] {
        &self.trees
    }

    /// What is held beside the trees.
    #[must_use]
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Both holds as one.
    pub fn and(mut self, other: Self) -> Self {
        self.digests.extend(other.digests);
        self.trees.extend(other.trees);
        self.guards.extend(other.guards);
        self
    }
}

/// Blobs by digest.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Holds what is present and names what is missing, in one step. Two steps would leave a moment
    /// in which a present blob may go. Missing digests come in the order asked, each once.
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError>;

    /// Holds all that a tree names, itself included, and the `digests` beside it, as [`BlobStore::hold`] does. A
    /// store that knows of some directory that nothing below it has gone since it was held the last time need not
    /// look for each file of it.
    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        self.hold(&[digests, &tree.blobs()].concat()).await
    }

    /// The blob; [`StoreError::Missing`] where it is not there.
    async fn read(&self, digest: Digest) -> Result<Blob, StoreError>;

    /// Keeps the blob. Bytes that do not hash to `digest` are refused with
    /// [`StoreError::Corrupt`], and nothing is kept.
    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError>;

    /// The file of a blob that is known to be there, on this machine, of the store and never to be changed; for
    /// whoever wants to link to it and not to read it. `None`: read it. It may go away at any moment unless it is
    /// held.
    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        let _ = digest;
        None
    }

    /// The same of a blob that may have no file of its own yet: it gets one where the store has files, because whoever lays
    /// out an input tree links to files. `None`: this store has none.
    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        Ok(self.file_of(digest))
    }

    /// As many times [`BlobStore::read`], with answers in the order asked. A store for which a call costs more
    /// than what it carries puts many into one. All that is small is in memory at once: the caller asks for
    /// no more than there is room for.
    async fn read_many(&self, digests: &[Digest]) -> Vec<Result<Blob, StoreError>> {
        let reads = digests.iter().copied().map(|digest| self.read(digest));
        stream::iter(reads).buffered(MANY_IN_FLIGHT).collect().await
    }

    /// As many times [`BlobStore::write`], with answers in the order given.
    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        let writes = blobs.into_iter().map(|(digest, blob)| self.write(digest, blob));
        stream::iter(writes).buffered(MANY_IN_FLIGHT).collect().await
    }
}

/// Of many blobs, how many a store is asked for at the same time that takes one in a call.
const MANY_IN_FLIGHT: usize = 8;

/// Results by action.
#[async_trait]
pub trait ActionCache: Send + Sync {
    /// The result, or nothing.
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError>;

    /// Remembers the result, in place of an older one.
    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError>;

    /// Forgets a result that turned out to be of no use. A store that is not the owner of its results does nothing.
    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        let _ = action;
        Ok(())
    }
}

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The client's turn: upload it.
    #[error("the blob {0} is not in the store")]
    Missing(Digest),
    /// The client's turn: these are other bytes.
    #[error("the blob {expected} arrived as {actual}")]
    Corrupt {
        /// What it was said to be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The caller's turn: read it in pieces.
    #[error("the blob has {size_bytes} bytes, at most {at_most} are taken here")]
    TooLarge {
        /// Its size in bytes.
        size_bytes: u64,
        /// The limit in bytes.
        at_most: u64,
    },
    /// The user's turn: the disk, or the budget, is full.
    #[error("the disk of the store is full")]
    Full(#[source] io::Error),
    /// The operator's turn.
    #[error("the disk of the store failed")]
    Io(#[source] io::Error),
    /// Somebody else's service did not answer, or answered with an error.
    #[error("the upstream failed: {0}")]
    Upstream(String),
}

impl From<io::Error> for StoreError {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(e),
            _ => Self::Io(e),
        }
    }
}

#[async_trait]
impl<S: BlobStore + ?Sized> BlobStore for Arc<S> {
    async fn hold(&self, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        (**self).hold(digests).await
    }
    async fn hold_tree(&self, tree: &Arc<Subtree>, digests: &[Digest]) -> Result<(Hold, Vec<Digest>), StoreError> {
        (**self).hold_tree(tree, digests).await
    }
    fn file_of(&self, digest: Digest) -> Option<PathBuf> {
        (**self).file_of(digest)
    }
    async fn promote(&self, digest: Digest) -> Result<Option<PathBuf>, StoreError> {
        (**self).promote(digest).await
    }
    async fn read(&self, digest: Digest) -> Result<Blob, StoreError> {
        (**self).read(digest).await
    }
    async fn write(&self, digest: Digest, blob: Blob) -> Result<(), StoreError> {
        (**self).write(digest, blob).await
    }
    async fn read_many(&self, digests: &[Digest]) -> Vec<Result<Blob, StoreError>> {
        (**self).read_many(digests).await
    }
    async fn write_many(&self, blobs: Vec<(Digest, Blob)>) -> Vec<Result<(), StoreError>> {
        (**self).write_many(blobs).await
    }
}

#[async_trait]
impl<C: ActionCache + ?Sized> ActionCache for Arc<C> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        (**self).get(action).await
    }
    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        (**self).put(action, result).await
    }
    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        (**self).forget(action).await
    }
}
