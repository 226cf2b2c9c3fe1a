//! `BlobStore` and `ActionCache`, and their implementations.
//!
//! One concern, one wrapper, one file; [`compose`] puts them together and is read from top to
//! bottom.
#![forbid(unsafe_code)]

mod blob;
mod traits;

pub use blob::{Blob, FileBlob, Origin, hash_reader};
pub use traits::{ActionCache, BlobStore, Hold, StoreError};
