//! From a layout to a tree in the store. The digest of its root is the toolchain's identity, and it
//! depends on names, contents, executable bits and symlinks only (TOOLCHAINS 1).
use crate::copy::parts;
use crate::error::{ToolchainError, io_at};
use crate::layout::{Entry, Layout, dropped_attributes};
use crate::progress::{Progress, Stage};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use lre_model::{Digest, DigestFunction, Directory, InputTree, Node, RelPath};
use lre_store::{Blob, BlobStore, FileBlob, Hold, Origin, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Files read or written at the same time. Enough to keep a disk busy; each has one file open.
const PARALLEL_FILES: usize = 8;
/// Parts that are written at the same time; each has its files open.
const PARALLEL_PARTS: usize = 2;

/// A tree that is in the store.
pub struct Imported {
    /// Its root: the identity of the toolchain.
    pub digest: Digest,
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Bytes in all regular files, equal ones counted as often as they occur.
    pub bytes: u64,
    /// What was lost or looks odd, in order.
    pub warnings: Vec<Warning>,
    /// Keeps the tree in the store until somebody else holds it.
    pub hold: Hold,
}

impl Imported {
    /// A tree that the store has.
    pub(crate) fn of_tree(tree: &InputTree, warnings: Vec<Warning>, hold: Hold) -> Self {
        let (mut files, mut directories, mut bytes) = (0, 0, 0);
        // As often as they occur, as in an import.
        let mut left = vec![tree.root.0];
        while let Some(directory) = left.pop().and_then(|digest| tree.get(&digest)) {
            directories += 1;
            for (_, node) in directory.children() {
                match node {
                    Node::File { digest, .. } => {
                        files += 1;
                        bytes += digest.size_bytes();
                    }
                    Node::Directory { digest } => left.push(*digest),
                    Node::Symlink { .. } => {}
                }
            }
        }
        Self { digest: tree.root.0, files, directories, bytes, warnings, hold }
    }
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { digest, files, directories, bytes, warnings, .. } = self;
        write!(f, "{digest}: {files} files, {directories} directories, {bytes} bytes, {warnings:?}")
    }
}

/// What of the host did not make it into the tree, or will be trouble elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// The file is setuid or setgid on the host and will not be in the tree.
    Setuid(PathBuf),
    /// The file has extended attributes, which a tree does not hold.
    Attributes(PathBuf),
    /// Not in the tree at all.
    Special {
        /// Where, on the host.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Two names of one directory that differ only in case, inside the tree.
    CaseCollision(String, String),
    /// A source has something else to say.
    Note(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setuid(path) => write!(f, "{} is setuid or setgid; in the toolchain it is not", path.display()),
            Self::Attributes(path) => write!(f, "{} has extended attributes; they are dropped", path.display()),
            Self::Special { path, kind } => write!(f, "{} is {kind}; it is left out", path.display()),
            Self::CaseCollision(a, b) => write!(f, "`{a}` and `{b}` differ only in case"),
            Self::Note(text) => f.write_str(text),
        }
    }
}

/// Imports a directory of the host as it is.
///
/// # Errors
/// What cannot be read or named, files that change meanwhile, and what the store says.
pub async fn import_directory(
    store: &dyn BlobStore,
    function: DigestFunction,
    path: &Path,
    progress: &dyn Progress,
) -> Result<Imported, ToolchainError> {
    let top = path.to_owned();
    let (layout, warnings) = blocking(move || Layout::of_directory(&top)).await?;
    import_layout(store, function, &layout, warnings, progress).await
}

/// Imports a layout. Only what the store does not have is written.
///
/// # Errors
/// As [`import_directory`].
pub async fn import_layout(
    store: &dyn BlobStore,
    function: DigestFunction,
    layout: &Layout,
    mut warnings: Vec<Warning>,
    progress: &dyn Progress,
) -> Result<Imported, ToolchainError> {
    progress.update(Stage::Finding, layout.len() as u64, layout.len() as u64);
    let (mut tree, sources) = read_all(function, layout, &mut warnings, progress).await?;
    let digest = tree.build(&RelPath::root(), &layout_nodes(layout, &tree), &mut warnings)?;
    warnings.sort();
    warnings.dedup();
    let Tree { directories, files, bytes, .. } = tree;
    let count = directories.count;
    let hold = write_missing(store, directories.blobs, sources, progress).await?;
    Ok(Imported { digest, files, directories: count, bytes, warnings, hold })
}

/// The nodes of files while directories are being made.
struct Tree {
    function: DigestFunction,
    /// By path: what the file became.
    nodes: HashMap<RelPath, Node>,
    directories: Directories,
    files: u64,
    bytes: u64,
}

#[derive(Default)]
struct Directories {
    blobs: BTreeMap<Digest, Bytes>,
    count: u64,
}

fn layout_nodes<'a>(layout: &'a Layout, tree: &Tree) -> Vec<(&'a [String], Option<Node>)> {
    layout
        .iter()
        .map(|(path, entry)| {
            let node = match entry {
                Entry::Symlink { target } => Some(Node::Symlink { target: target.clone() }),
                Entry::Host(_) | Entry::Bytes { .. } | Entry::Stored { .. } => tree.nodes.get(path).cloned(),
                Entry::Directory => None,
            };
            (path.segments(), node)
        })
        .collect()
}

impl Tree {
    /// Makes the directory at `at` of all entries below it, and returns its digest. The entries
    /// come sorted, so that those of one child stand together.
    fn build(
        &mut self,
        at: &RelPath,
        entries: &[(&[String], Option<Node>)],
        warnings: &mut Vec<Warning>,
    ) -> Result<Digest, ToolchainError> {
        let mut directory = Directory::default();
        let mut folded: HashMap<String, String> = HashMap::new();
        let depth = at.segments().len();
        for group in entries.chunk_by(|a, b| a.0.get(depth) == b.0.get(depth)) {
            // The entry of this directory itself has nothing below it.
            let Some(name) = group[0].0.get(depth) else { continue };
            let here = at.join(name)?;
            let node = match group {
                [(path, Some(node))] if path.len() == depth + 1 => node.clone(),
                // A symlink or file that other entries lie below.
                [(path, Some(_)), ..] if path.len() == depth + 1 => {
                    return Err(ToolchainError::unusable(
                        here.to_string(),
                        "it is not a directory, but has entries below it",
                    ));
                }
                group => Node::Directory { digest: self.build(&here, group, warnings)? },
            };
            directory.insert(name, node).map_err(|e| ToolchainError::unusable(here.to_string(), e))?;
            if let Some(other) = folded.insert(name.to_lowercase(), here.to_string()) {
                warnings.push(Warning::CaseCollision(other, here.to_string()));
            }
        }
        let blob = Bytes::from(directory.encode());
        let digest = Digest::of(self.function, &blob);
        self.directories.count += 1;
        self.directories.blobs.insert(digest, blob);
        Ok(digest)
    }
}

/// Where the bytes of a digest can be had.
enum Content {
    File(PathBuf),
    Bytes(Bytes),
    /// It should be in the store.
    Stored,
}

/// Hashes every file, once, and remembers where the bytes of each digest are.
async fn read_all(
    function: DigestFunction,
    layout: &Layout,
    warnings: &mut Vec<Warning>,
    progress: &dyn Progress,
) -> Result<(Tree, BTreeMap<Digest, Content>), ToolchainError> {
    let mut tree = Tree { function, nodes: HashMap::new(), directories: Directories::default(), files: 0, bytes: 0 };
    let mut sources = BTreeMap::new();
    let files: Vec<_> = layout
        .iter()
        .filter_map(|(path, entry)| match entry {
            Entry::Host(host) => Some((path.clone(), host.clone())),
            _ => None,
        })
        .collect();
    let looked_at = files.clone();
    // A file that cannot be looked at is an error below, where it is named.
    let size = |host: &PathBuf| fs::symlink_metadata(host).map_or(0, |m| m.len());
    let total = blocking(move || Ok(looked_at.iter().map(|(_, host)| size(host)).sum())).await?;
    let mut hashed = stream::iter(files)
        .map(|(path, host)| blocking(move || Ok((path, hash(&host, function)?, host))))
        .buffer_unordered(PARALLEL_FILES);
    while let Some((path, (node, digest, lost), host)) = hashed.try_next().await? {
        warnings.extend(lost);
        tree.add(path, node, digest);
        sources.entry(digest).or_insert(Content::File(host));
        progress.update(Stage::Hashing, tree.bytes, total);
    }
    for (path, entry) in layout.iter() {
        let (digest, executable) = match entry {
            Entry::Bytes { content, executable } => {
                let digest = Digest::of(function, content);
                sources.entry(digest).or_insert_with(|| Content::Bytes(content.clone()));
                (digest, *executable)
            }
            Entry::Stored { digest, executable } => {
                sources.entry(*digest).or_insert(Content::Stored);
                (*digest, *executable)
            }
            _ => continue,
        };
        tree.add(path.clone(), Node::File { digest, executable }, digest);
    }
    Ok((tree, sources))
}

impl Tree {
    fn add(&mut self, path: RelPath, node: Node, digest: Digest) {
        self.nodes.insert(path, node);
        self.files += 1;
        self.bytes += digest.size_bytes();
    }
}

fn hash(host: &Path, function: DigestFunction) -> Result<(Node, Digest, Vec<Warning>), ToolchainError> {
    let metadata = fs::symlink_metadata(host).map_err(io_at("look at the file", host))?;
    let mut lost = Vec::new();
    dropped_attributes(host, &metadata, &mut lost);
    let (digest, _) = FileBlob::hash(host, Origin::Foreign, function).map_err(io_at("read the file", host))?;
    // One bit is kept. The owner's is the one that a umask never takes away.
    let executable = metadata.permissions().mode() & 0o100 != 0;
    Ok((Node::File { digest, executable }, digest, lost))
}

/// Writes what the store does not have, and holds all of it.
async fn write_missing(
    store: &dyn BlobStore,
    directories: BTreeMap<Digest, Bytes>,
    mut sources: BTreeMap<Digest, Content>,
    progress: &dyn Progress,
) -> Result<Hold, ToolchainError> {
    sources.extend(directories.into_iter().map(|(digest, blob)| (digest, Content::Bytes(blob))));
    let all: Vec<_> = sources.keys().copied().collect();
    let (first_hold, missing) = store.hold(&all).await?;
    let total: u64 = missing.iter().map(|d| d.size_bytes()).sum();
    let done = AtomicU64::new(0);
    let parts = parts(&missing).into_iter().map(|part| {
        let contents = part.iter().filter_map(|digest| Some((*digest, sources.remove(digest)?)));
        contents.collect::<Vec<_>>()
    });
    stream::iter(parts)
        .map(|part| async {
            let written: u64 = part.iter().map(|(digest, _)| digest.size_bytes()).sum();
            write(store, part).await?;
            let so_far = done.fetch_add(written, Ordering::Relaxed) + written;
            progress.update(Stage::Storing, so_far, total);
            Ok::<_, ToolchainError>(())
        })
        .buffer_unordered(PARALLEL_PARTS)
        .try_collect::<()>()
        .await?;
    // What was written is held as well, and "written" is not believed but looked at.
    let (hold, gone) = store.hold(&missing).await?;
    match gone.first() {
        None => Ok(first_hold.and(hold)),
        Some(digest) => Err(StoreError::Missing(*digest).into()),
    }
}

/// Writes a part in one call: a store behind a connection takes many blobs as quickly as one.
async fn write(store: &dyn BlobStore, part: Vec<(Digest, Content)>) -> Result<(), ToolchainError> {
    let open = |(digest, from)| match from {
        Content::Stored => Err(StoreError::Missing(digest).into()),
        Content::Bytes(bytes) => Ok(((digest, Blob::Bytes(bytes)), None)),
        Content::File(path) => {
            let file = FileBlob::open(&path, Origin::Foreign).map_err(io_at("read the file", &path))?;
            Ok(((digest, Blob::File(file)), Some(path)))
        }
    };
    let opened = blocking(move || part.into_iter().map(open).collect::<Result<Vec<_>, ToolchainError>>()).await?;
    let (blobs, paths): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
    for (written, path) in store.write_many(blobs).await.into_iter().zip(paths) {
        match (written, path) {
            (Err(StoreError::Corrupt { .. }), Some(path)) => return Err(ToolchainError::Changed(path)),
            (written, _) => written?,
        }
    }
    Ok(())
}

/// Runs what waits for the disk where waiting is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ToolchainError> + Send + 'static,
) -> Result<T, ToolchainError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(StoreError::Io(std::io::Error::other(e)).into()),
    }
}
