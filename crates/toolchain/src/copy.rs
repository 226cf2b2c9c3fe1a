//! A tree from one store to another, by digest: from a colleague's server to ours, from ours to a fleet's.
//!
//! Only what is missing is copied, many blobs in a call, several calls at a time, and a bounded number of bytes
//! in memory. What has arrived is kept, so that a copy that broke off goes on where it was.
use crate::error::{BadSource, ToolchainError};
use crate::import::Imported;
use crate::progress::{Progress, Stage};
use futures::stream::{self, StreamExt, TryStreamExt};
use lre_model::{Digest, Directory, InputRoot, InputTree};
use lre_store::{Blob, BlobStore, Hold, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in one call, but for a blob that is larger by itself: that one is streamed.
const PART_BYTES: u64 = 2 * 1024 * 1024;
/// Blobs in one call. From a disk each comes as an open file, and a process may have 1,024 of them as a rule.
const PART_BLOBS: usize = 128;
/// Calls at the same time: while one part is written the next ones are on their way.
const PARTS_IN_FLIGHT: usize = 4;
/// Most paths of a tree, all counted: forty directories can describe 2^40, and somebody will lay them out.
pub(crate) const TREE_NODES_MAX: u64 = 2_000_000;
/// Deepest tree, in directories: half of what `PATH_MAX` allows with names of one byte.
pub(crate) const TREE_DEPTH_MAX: u64 = 1_000;
/// Largest Directory message, in bytes: one of 100,000 files is about 13 MiB.
const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

const _: () = assert!(PARTS_IN_FLIGHT * PART_BLOBS <= 512, "files that a copy has open");
const _: () = assert!(PARTS_IN_FLIGHT as u64 * PART_BYTES <= 16 * 1024 * 1024, "what a copy has in memory");

/// Copies the tree `digest`. When this returns, `to` has all of it and holds it.
///
/// # Errors
/// [`ToolchainError::Fetched`] where `from` is at fault: it does not have all of the tree, sends other bytes than it
/// was asked for, or does not answer. Everything else is the fault of `to`.
pub async fn copy_tree(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    digest: Digest,
    progress: &dyn Progress,
) -> Result<Imported, ToolchainError> {
    progress.update(Stage::Finding, 0, 0);
    let (tree, above) = copy_directories(from, to, digest, progress).await?;
    let files = copy_missing(from, to, &tree.files(), progress).await?;
    Ok(Imported::of_tree(&tree, Vec::new(), above.and(files)))
}

/// The directories, level by level: what is below one is known only when it is here.
async fn copy_directories(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    root: Digest,
    progress: &dyn Progress,
) -> Result<(InputTree, Hold), ToolchainError> {
    let mut tree = InputTree::new(InputRoot(root));
    let mut all = Hold::default();
    loop {
        let wanted = tree.wanted();
        if wanted.is_empty() {
            break;
        }
        if let Some(large) = wanted.iter().find(|d| d.size_bytes() > DIRECTORY_BYTES_MAX) {
            return Err(bad(StoreError::TooLarge { size_bytes: large.size_bytes(), at_most: DIRECTORY_BYTES_MAX }));
        }
        all = all.and(copy_missing(from, to, &wanted, &()).await?);
        for part in parts(&wanted) {
            for (digest, read) in part.iter().zip(to.read_many(&part).await) {
                let blob = read?.into_bytes(DIRECTORY_BYTES_MAX).await?;
                let directory = Directory::decode(digest.function(), &blob);
                let directory = directory.map_err(|source| ToolchainError::Directory { digest: *digest, source })?;
                tree.add(*digest, Arc::new(directory));
            }
        }
        let found = tree.directories().count() as u64;
        progress.update(Stage::Finding, found, 0);
        check_extent(&tree)?;
    }
    Ok((tree, all))
}

/// Looked at after each level, before what is below it is asked for.
pub(crate) fn check_extent(tree: &InputTree) -> Result<(), ToolchainError> {
    let extent = tree.extent();
    if extent.nodes <= TREE_NODES_MAX && extent.depth <= TREE_DEPTH_MAX {
        return Ok(());
    }
    let problem = format!(
        "it has {} paths on {} levels; at most {TREE_NODES_MAX} and {TREE_DEPTH_MAX} are taken",
        extent.nodes, extent.depth
    );
    Err(ToolchainError::unusable(tree.root.0.to_string(), problem))
}

/// Copies what `to` does not have of `digests`, and holds all of them there.
async fn copy_missing(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    digests: &[Digest],
    progress: &dyn Progress,
) -> Result<Hold, ToolchainError> {
    let (present, missing) = to.hold(digests).await?;
    if missing.is_empty() {
        return Ok(present);
    }
    // Asked before anything is sent: a source that has half of it is no source, and is left at once.
    let (_kept_there, nowhere) = from.hold(&missing).await.map_err(bad)?;
    if !nowhere.is_empty() {
        return Err(ToolchainError::Fetched(BadSource::Incomplete(nowhere)));
    }
    let total: u64 = missing.iter().map(|d| d.size_bytes()).sum();
    let done = AtomicU64::new(0);
    let parts = parts(&missing);
    stream::iter(parts)
        .map(|part| {
            copy_part(from, to, part, |bytes| {
                let so_far = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                progress.update(Stage::Fetching, so_far, total);
            })
        })
        .buffer_unordered(PARTS_IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    // "Written" is not believed but looked at.
    let (arrived, gone) = to.hold(&missing).await?;
    match gone.first() {
        None => Ok(present.and(arrived)),
        Some(digest) => Err(StoreError::Missing(*digest).into()),
    }
}

async fn copy_part(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    part: Vec<Digest>,
    told: impl Fn(u64),
) -> Result<(), ToolchainError> {
    let read = from.read_many(&part).await;
    let mut problem = None;
    let mut arrived: Vec<(Digest, Blob)> = Vec::new();
    for (digest, read) in part.iter().zip(read) {
        match read {
            Ok(blob) => arrived.push((*digest, blob)),
            Err(e) => problem = problem.or(Some(bad(e))),
        }
    }
    // What did arrive is kept, whatever became of the rest.
    let sizes: Vec<_> = arrived.iter().map(|(digest, _)| digest.size_bytes()).collect();
    for (size, written) in sizes.into_iter().zip(to.write_many(arrived).await) {
        match written {
            Ok(()) => told(size),
            // Some stores hash what they read, others leave it to those that keep it.
            Err(e @ StoreError::Corrupt { .. }) => problem = problem.or(Some(bad(e))),
            Err(e) => return Err(e.into()),
        }
    }
    problem.map_or(Ok(()), Err)
}

fn bad(problem: StoreError) -> ToolchainError {
    ToolchainError::Fetched(match problem {
        StoreError::Missing(digest) => BadSource::Incomplete(vec![digest]),
        problem => BadSource::Failed(problem),
    })
}

/// Splits digests into what goes in one call.
pub(crate) fn parts(digests: &[Digest]) -> Vec<Vec<Digest>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for digest in digests {
        if !part.is_empty() && (bytes + digest.size_bytes() > PART_BYTES || part.len() == PART_BLOBS) {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        part.push(*digest);
        bytes += digest.size_bytes();
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}
