//! The whole storage of the product.
use crate::{ActionCache, BlobStore, Complete, Counters, DiskStore, Metered, ReadThrough};
use std::sync::Arc;

/// Somebody else's service behind ours.
pub type Far = (Arc<dyn BlobStore>, Arc<dyn ActionCache>);

/// What the rest of the product sees of storage.
#[derive(Clone)]
pub struct Stores {
    /// The blobs.
    pub blobs: Arc<dyn BlobStore>,
    /// The results; only those whose blobs are all there.
    pub results: Arc<dyn ActionCache>,
    /// What was asked of both.
    pub counters: Arc<Counters>,
}

/// Puts the stores together, innermost first.
#[must_use]
pub fn compose(disk: Arc<DiskStore>, far: Option<Far>) -> Stores {
    // The disk hashes what it keeps, so whatever comes from afar is checked there.
    let (blobs, results): (Arc<dyn BlobStore>, Arc<dyn ActionCache>) = match far {
        None => (disk.clone(), disk),
        Some((far_blobs, far_results)) => {
            (Arc::new(ReadThrough::new(disk.clone(), far_blobs)), Arc::new(ReadThrough::new(disk, far_results)))
        }
    };
    // Completeness is asked of the same composition that will be read from.
    let results = Complete::new(results, blobs.clone());
    // Outermost, so that what is counted is what was asked and not what it took.
    let counters = Arc::<Counters>::default();
    Stores {
        blobs: Arc::new(Metered::sharing(blobs, counters.clone())),
        results: Arc::new(Metered::sharing(results, counters.clone())),
        counters,
    }
}
