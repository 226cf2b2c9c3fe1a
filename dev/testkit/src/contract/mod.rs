//! The cases of the contracts; see [`crate::blob_store_contract`].
pub mod blobs;
pub mod results;
