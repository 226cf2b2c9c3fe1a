//! Only results that can be had in full.
use crate::{ActionCache, BlobStore, Form, Record, StoreError};
use async_trait::async_trait;
use lre_model::{ActionDigest, ActionResult, Digest, Directory, Node, decode_tree};
use std::collections::HashSet;
use std::sync::Arc;

/// Largest Tree or Directory read into memory here, in bytes. One that is larger makes its result
/// unknown, which costs a rerun and no more.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An action cache that returns a result only while everything that it names is in the store: output
/// files, stdout and stderr, Trees and the files in them (REAPI, `GetActionResult`; PROTOCOL, 44). A
/// client that takes only a part of the outputs would otherwise fail later, with "lost inputs". One of which something
/// is absent is forgotten: it would not be found whole again before its action has run anew. Where the store could not say what is there,
/// that is the answer, and nothing is forgotten.
#[derive(Debug)]
pub struct Complete<C, S> {
    results: C,
    blobs: S,
}

impl<C, S> Complete<C, S> {
    /// Checks the results of `results` against `blobs`.
    pub fn new(results: C, blobs: S) -> Self {
        Self { results, blobs }
    }
}

#[async_trait]
impl<C: ActionCache, S: BlobStore> ActionCache for Complete<C, S> {
    async fn get(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let Some(result) = self.results.get(action).await? else { return Ok(None) };
        match first_absent(&result, &self.blobs).await? {
            None => Ok(Some(result)),
            Some(absent) => {
                tracing::debug!(%action, %absent, "a result is forgotten: not all that it names is in the store");
                // For the client it is unknown all the same, and it will be looked at again.
                if let Err(error) = self.results.forget(action).await {
                    tracing::debug!(%action, %error, "a result cannot be forgotten");
                }
                Ok(None)
            }
        }
    }

    async fn put(&self, action: ActionDigest, result: Arc<ActionResult>) -> Result<(), StoreError> {
        self.results.put(action, result).await
    }

    async fn forget(&self, action: ActionDigest) -> Result<(), StoreError> {
        self.results.forget(action).await
    }
}

/// Something that the result names and the store does not have, or nothing.
async fn first_absent(result: &ActionResult, blobs: &dyn BlobStore) -> Result<Option<Digest>, StoreError> {
    first_absent_below(result.blobs(), result.trees(), result.directories(), blobs).await
}

/// Something that a name needs and the store does not have, or nothing: its blob, what that names by its form, and what
/// the record refers to. While this returns nothing, the name can be answered.
///
/// # Errors
/// The store failed in another way than by not having a blob.
pub async fn first_absent_of(record: &Record, blobs: &dyn BlobStore) -> Result<Option<Digest>, StoreError> {
    let mut directories = record.directories.clone();
    if record.form == Form::Directory {
        directories.push(record.digest);
    }
    let named = [&[record.digest], &record.blobs[..]].concat();
    if let Some(absent) = first_absent_below(&named, &[], &directories, blobs).await? {
        return Ok(Some(absent));
    }
    if record.form != Form::ActionResult {
        return Ok(None);
    }
    let Some(bytes) = message(record.digest, blobs).await? else { return Ok(Some(record.digest)) };
    match ActionResult::decode(record.digest.function(), &bytes) {
        Ok(result) => first_absent(&result, blobs).await,
        Err(_) => Ok(Some(record.digest)),
    }
}

/// The first of these blobs, `Tree`s and roots of directories, or of what is below them, that is not in the store.
async fn first_absent_below(
    others: &[Digest],
    trees: &[Digest],
    directories: &[Digest],
    blobs: &dyn BlobStore,
) -> Result<Option<Digest>, StoreError> {
    // One call for all that is named itself: most results end here.
    let named = [others, trees, directories].concat();
    let (_hold, missing) = blobs.hold(&named).await?;
    if let Some(absent) = missing.first() {
        return Ok(Some(*absent));
    }
    let mut files = HashSet::new();
    for tree in trees {
        match read_tree(*tree, blobs).await? {
            Some(found) => files.extend(found),
            None => return Ok(Some(*tree)),
        }
    }
    let mut seen = HashSet::new();
    let mut wanted: Vec<_> = directories.to_vec();
    while let Some(digest) = wanted.pop() {
        if !seen.insert(digest) {
            continue;
        }
        let Some(directory) = read_directory(digest, blobs).await? else { return Ok(Some(digest)) };
        wanted.extend(directory.subdirectories());
        files.extend(files_of(&directory));
    }
    if files.is_empty() {
        return Ok(None);
    }
    let files: Vec<_> = files.into_iter().collect();
    let (_hold, missing) = blobs.hold(&files).await?;
    Ok(missing.first().copied())
}

/// The bytes of a message; `None` where there is none that could be read.
async fn message(digest: Digest, blobs: &dyn BlobStore) -> Result<Option<bytes::Bytes>, StoreError> {
    let read = match blobs.read(digest).await {
        Ok(blob) => blob.into_bytes(MESSAGE_BYTES_MAX).await,
        Err(e) => Err(e),
    };
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing(_) | StoreError::TooLarge { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The files of a Tree; `None` where it is not there, is no Tree, or does not hold a directory that
/// it names.
async fn read_tree(digest: Digest, blobs: &dyn BlobStore) -> Result<Option<HashSet<Digest>>, StoreError> {
    let Some(bytes) = message(digest, blobs).await? else { return Ok(None) };
    let Ok((root, children)) = decode_tree(digest.function(), &bytes) else { return Ok(None) };
    let mut files = HashSet::new();
    for directory in children.values().chain([&root]) {
        if directory.subdirectories().any(|child| !child.is_empty_blob() && !children.contains_key(&child)) {
            return Ok(None);
        }
        files.extend(files_of(directory));
    }
    Ok(Some(files))
}

async fn read_directory(digest: Digest, blobs: &dyn BlobStore) -> Result<Option<Directory>, StoreError> {
    let bytes = message(digest, blobs).await?;
    Ok(bytes.and_then(|bytes| Directory::decode(digest.function(), &bytes).ok()))
}

fn files_of(directory: &Directory) -> impl Iterator<Item = Digest> {
    directory.children().filter_map(|(_, node)| match node {
        Node::File { digest, .. } => Some(*digest),
        _ => None,
    })
}
