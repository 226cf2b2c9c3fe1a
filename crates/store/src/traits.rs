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

    /// Whether a blob of so many bytes would be taken now; for whoever would let them all come in before they are written. That it is
    /// so promises nothing.
    ///
    /// # Errors
    /// What [`BlobStore::write`] would say.
    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        let _ = bytes;
        Ok(())
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
    /// The user's turn: the disk is full.
    #[error("the disk of the store is full")]
    Full(#[source] io::Error),
    /// The user's turn: this does not fit into the byte budget beside what may not be evicted.
    #[error("{}", over_budget(*.needed_bytes, *.budget_bytes, *.used_bytes, *.held_bytes, .holder.as_deref()))]
    OverBudget {
        /// What was to be written, in bytes.
        needed_bytes: u64,
        /// The budget, in bytes.
        budget_bytes: u64,
        /// What the store takes, in bytes.
        used_bytes: u64,
        /// Of that, what is held, in bytes.
        held_bytes: u64,
        /// Who holds most of it and since when, where one is known.
        holder: Option<String>,
    },
    /// The operator's turn.
    #[error("the disk of the store failed")]
    Io(#[source] io::Error),
    /// Somebody else's service did not answer, or answered with an error.
    #[error("the upstream failed: {0}")]
    Upstream(String),
}

fn over_budget(needed: u64, budget: u64, used: u64, held: u64, holder: Option<&str>) -> String {
    let (wanted, all) = (Size(needed), Size(budget));
    if needed > budget {
        return format!("{wanted} do not fit into the budget of the store, which is {all}: raise store_bytes_max");
    }
    let holder = holder.map(|holder| format!(", most of it by {holder}")).unwrap_or_default();
    format!(
        "{wanted} more do not fit into the budget of the store: of {all}, {} are used and {} are held{holder}: raise \
         store_bytes_max, or wait until builds have been idle for three hours (`lre cache gc` shows what can go)",
        Size(used),
        Size(held),
    )
}

/// A size for people.
pub(crate) struct Size(pub u64);

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut left = self.0;
        let mut below = 0;
        let mut unit = None;
        for name in UNITS.iter().take_while(|_| self.0 >= 1024) {
            (below, left, unit) = (left % 1024, left / 1024, Some(name));
            if left < 1024 {
                break;
            }
        }
        match unit {
            None => write!(f, "{left} bytes"),
            Some(unit) => write!(f, "{left}.{} {unit}", below * 10 / 1024),
        }
    }
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
    fn room_for(&self, bytes: u64) -> Result<(), StoreError> {
        (**self).room_for(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        let texts = [0, 1023, 1024, 1536, 10 << 20, (5 << 30) + (512 << 20), u64::MAX].map(|n| Size(n).to_string());
        assert_eq!(texts, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "10.0 MiB", "5.5 GiB", "16383.9 PiB"]);
    }

    #[test]
    fn who_is_over_the_budget_is_told_why_and_what_to_do() {
        let error = |needed_bytes, holder: Option<&str>| {
            let holder = holder.map(str::to_owned);
            let (budget_bytes, used_bytes, held_bytes) = (10 << 30, 10 << 30, 9 << 30);
            StoreError::OverBudget { needed_bytes, budget_bytes, used_bytes, held_bytes, holder }.to_string()
        };
        let held = error(12 << 20, Some("bazel 1234, since 2 h 5 min"));
        for part in [
            "12.0 MiB",
            "of 10.0 GiB",
            "9.0 GiB are held, most of it by bazel 1234, since 2 h 5 min:",
            "store_bytes_max",
        ] {
            assert!(held.contains(part), "{held}");
        }
        assert!(error(11 << 30, None).contains("11.0 GiB do not fit into the budget of the store, which is 10.0 GiB"));
    }
}
