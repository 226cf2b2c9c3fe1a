//! A toolchain in one file, for a machine without a network: `FILE.tar.zst`.
//!
//! ```text
//! lre-toolchain.json   what it is: as in lre.lock, with the digest of the tree
//! lre-tree.binpb       all its directories: a Tree message of the API, with the digest of every file
//! tree/...             the tree itself, to look at and to unpack with tar
//! ```
//!
//! The entries of `tree/` follow from the directories, in an order that follows from them too ([`walk`]). So the same
//! toolchain gives the same bytes, and whoever reads the file knows of each entry what it must be before it comes: the
//! first one that differs is named, and nothing is kept of it.
mod read;
mod walk;
mod write;

use crate::error::ToolchainError;
use crate::import::Imported;
use crate::lock::Locked;
use serde::{Deserialize, Serialize};
use std::path::Path;

pub use read::import;
pub use write::export;

/// Of the file. A newer one is refused, never guessed at.
const SCHEMA_VERSION: u32 = 1;
/// The first entry.
const MANIFEST: &str = "lre-toolchain.json";
/// The second one.
const DIRECTORIES: &str = "lre-tree.binpb";
/// What is before every path of the tree.
const TREE: &str = "tree";
/// Largest manifest, in bytes. The facts of a compiler are some 20 KiB.
const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Largest message with all directories, in bytes: some 2,000,000 files.
const DIRECTORIES_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What [`MANIFEST`] says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema_version: u32,
    toolchain: Locked,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Regular files in the tree.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the file that was written.
    pub written_bytes: u64,
}

/// A toolchain that came in a file, and is in the store. Register [`Locked::toolchain`] while `imported.hold` lives.
#[derive(Debug)]
pub struct Carried {
    /// As it was pinned where it was exported, facts included.
    pub locked: Locked,
    /// The tree.
    pub imported: Imported,
}

fn refused(file: &Path, problem: impl ToString) -> ToolchainError {
    ToolchainError::Export { file: file.to_owned(), problem: problem.to_string() }
}
