//! `BlobStore` and `ActionCache`, and their implementations.
//!
//! One concern, one wrapper, one file; [`compose`] puts them together and is read from top to
//! bottom.
#![forbid(unsafe_code)]

mod blob;
pub mod chunking;
mod complete;
mod compose;
mod disk;
mod inodes;
mod invocation;
mod memory;
mod metered;
mod pieces;
mod read_through;
mod staging;
mod traits;
pub mod upstream;
mod verified;

pub use blob::{Blob, FileBlob, Origin, hash_reader};
pub use complete::{Complete, first_absent_of};
pub use compose::{Far, Stores, compose};
pub use disk::{
    Amount, Budget, Checked, Collected, Damage, DiskStore, Form, InvocationUsage, MODE_EXECUTABLE, MODE_PLAIN,
    MTIME_SECONDS, Name, Names, Namespace, OpenError, Progress, Record, Scrubbed, Step, Swept, Told, ToolchainUsage,
    Usage, boot_id,
};
pub use inodes::Inodes;
pub use invocation::Invoker;
pub use memory::MemoryStore;
pub use metered::{Counters, Counts, Metered};
pub use read_through::ReadThrough;
pub use staging::{StagedBlob, Staging};
pub use traits::{ActionCache, BlobStore, Hold, StoreError};
pub use verified::Verified;
