//! From a tree in the store to a directory that can be mounted: once per machine, then bound
//! read-only for every action (TOOLCHAINS 2).
use crate::error::{ToolchainError, io_at};
use crate::import::blocking;
use futures::stream::{self, StreamExt, TryStreamExt};
use lre_model::{Digest, Directory, InputRoot, InputTree, Node};
use lre_store::{BlobStore, Hold, Inodes, MTIME_SECONDS, StoreError, boot_id};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::collections::{HashMap, HashSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest Directory message read, in bytes: one of 100,000 files is about 13 MiB.
const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Inodes asked for at the same time.
const PARALLEL_INODES: usize = 16;
/// How the names of unfinished trees begin.
const UNFINISHED: &str = ".new-";
/// Names the boot of the kernel under which the trees were made.
const BOOT: &str = "boot";

/// Reads all directories of a tree, and holds these and all its files.
///
/// # Errors
/// [`ToolchainError::Missing`] with all blobs that are not there, and what the store says.
pub async fn load_tree(store: &dyn BlobStore, digest: Digest) -> Result<(InputTree, Hold), ToolchainError> {
    let mut tree = InputTree::new(InputRoot(digest));
    let mut missing = Vec::new();
    loop {
        let wanted = tree.wanted();
        if wanted.is_empty() {
            break;
        }
        for wanted in wanted {
            let directory = match read_directory(store, wanted).await? {
                Some(directory) => directory,
                None => {
                    missing.push(wanted);
                    Directory::default()
                }
            };
            tree.add(wanted, Arc::new(directory));
        }
    }
    let mut all = tree.files();
    all.extend(tree.directories().map(|(digest, _)| *digest));
    all.sort_unstable();
    let (hold, gone) = store.hold(&all).await?;
    missing.extend(gone);
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok((tree, hold)) } else { Err(ToolchainError::Missing { toolchain: digest, missing }) }
}

/// A directory of the store; nothing where it is not there.
pub(crate) async fn read_directory(store: &dyn BlobStore, digest: Digest) -> Result<Option<Directory>, ToolchainError> {
    let blob = match store.read(digest).await {
        Ok(blob) => blob.into_bytes(DIRECTORY_BYTES_MAX).await?,
        Err(StoreError::Missing(_)) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let directory = Directory::decode(digest.function(), &blob);
    directory.map(Some).map_err(|source| ToolchainError::Directory { digest, source })
}

/// Lays the tree out at `into/<hash>-<size>/`, of hard links to the store's files, and returns
/// that path. Where it is there already nothing is done. It appears whole: two processes may
/// make the same one at the same time, and a crash leaves only a folder for [`sweep`].
///
/// # Errors
/// As [`load_tree`], and what the disk says.
pub async fn materialise(
    store: &dyn BlobStore,
    inodes: &Inodes,
    digest: Digest,
    into: &Path,
) -> Result<PathBuf, ToolchainError> {
    let target = into.join(format!("{}-{}", digest.hash_text(), digest.size_bytes()));
    if target.is_dir() {
        return Ok(target);
    }
    let (tree, _hold) = load_tree(store, digest).await?;
    let files = inodes_of(store, inodes, &tree).await?;
    let into = into.to_owned();
    blocking(move || {
        fs::create_dir_all(&into).map_err(io_at("make the directory", &into))?;
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&into)
            .map_err(io_at("make a directory in it", &into))?;
        lay_out(&tree, &files, digest, unfinished.path())?;
        match fs::rename(unfinished.path(), &target) {
            Ok(()) => {
                let _moved = unfinished.keep();
            }
            // Somebody else was faster; what they made is the same.
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
            Err(source) => return Err(io_at("move the tree into place", &target)(source)),
        }
        Ok(target)
    })
    .await
}

/// Removes what crashes left in `into`, and all trees that were made under another boot of the kernel:
/// after a power cut their files may be torn, and to link them again is cheaper than to hash them.
/// For the one process that materialises there, before it does.
///
/// # Errors
/// What the disk says.
pub fn sweep(into: &Path) -> Result<(), ToolchainError> {
    fs::create_dir_all(into).map_err(io_at("make the directory", into))?;
    let (mark, boot) = (into.join(BOOT), boot_id().unwrap_or_default());
    let same = !boot.is_empty() && fs::read_to_string(&mark).is_ok_and(|b| b == boot);
    for child in fs::read_dir(into).map_err(io_at("list the directory", into))? {
        let path = child.map_err(io_at("list the directory", into))?.path();
        let unfinished = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(UNFINISHED));
        if path.is_dir() && (unfinished || !same) {
            fs::remove_dir_all(&path).map_err(io_at("remove the directory", &path))?;
        }
    }
    fs::write(&mark, boot).map_err(io_at("write the file", &mark))
}

/// A file for each content and executable bit.
type Files = HashMap<(Digest, bool), PathBuf>;

async fn inodes_of(store: &dyn BlobStore, inodes: &Inodes, tree: &InputTree) -> Result<Files, ToolchainError> {
    let mut wanted = HashSet::new();
    for (_, directory) in tree.directories() {
        for (_, node) in directory.children() {
            if let Node::File { digest, executable } = node {
                wanted.insert((*digest, *executable));
            }
        }
    }
    let found = stream::iter(wanted).map(|(digest, executable)| async move {
        let path = inodes.path(store, digest, executable).await?;
        Ok::<_, ToolchainError>(((digest, executable), path))
    });
    found.buffer_unordered(PARALLEL_INODES).try_collect().await
}

/// Fills `at`, which exists, with the directory of this digest.
fn lay_out(tree: &InputTree, files: &Files, digest: Digest, at: &Path) -> Result<(), ToolchainError> {
    let directory = tree.get(&digest).ok_or(StoreError::Missing(digest))?;
    for (name, node) in directory.children() {
        let path = at.join(name.as_str());
        match node {
            Node::File { digest, executable } => {
                let file = files.get(&(*digest, *executable)).ok_or(StoreError::Missing(*digest))?;
                or_copy(fs::hard_link(file, &path), file, &path).map_err(io_at("make the file", &path))?;
            }
            Node::Directory { digest } => {
                fs::create_dir(&path).map_err(io_at("make the directory", &path))?;
                lay_out(tree, files, *digest, &path)?;
            }
            Node::Symlink { target } => {
                symlink(target, &path).map_err(io_at("make the symlink", &path))?;
                set_mtime(&path).map_err(io_at("set the time of it", &path))?;
            }
        }
    }
    // After its children, which change the time; and whatever the umask is.
    fs::set_permissions(at, Permissions::from_mode(0o755)).map_err(io_at("set the mode of it", at))?;
    set_mtime(at).map_err(io_at("set the time of it", at))
}

/// An inode takes only so many links (ext4: 65,000). The few contents that occur more often, as
/// empty files may, are copied.
fn or_copy(linked: io::Result<()>, from: &Path, to: &Path) -> io::Result<()> {
    match linked {
        Err(e) if e.kind() == io::ErrorKind::TooManyLinks => {
            // Copies the mode as well.
            fs::copy(from, to)?;
            set_mtime(to)
        }
        linked => linked,
    }
}

fn set_mtime(path: &Path) -> io::Result<()> {
    let constant = Timespec { tv_sec: MTIME_SECONDS, tv_nsec: 0 };
    let times = Timestamps { last_access: constant, last_modification: constant };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// 65,000 links to one file are too slow a test; the answer of the kernel is given instead.
    #[test]
    fn a_file_with_too_many_links_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, "x").unwrap();
        fs::set_permissions(&from, Permissions::from_mode(0o555)).unwrap();
        or_copy(Err(io::ErrorKind::TooManyLinks.into()), &from, &to).unwrap();
        let metadata = fs::metadata(&to).unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.mtime(), metadata.nlink()), (0o555, MTIME_SECONDS, 1));
        assert!(or_copy(Err(io::ErrorKind::PermissionDenied.into()), &from, &dir.path().join("c")).is_err());
    }

    #[test]
    fn a_sweep_removes_what_a_crash_left_and_what_is_from_another_boot() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        sweep(dir.path()).unwrap();
        for name in ["abc-1", ".new-x"] {
            fs::create_dir(at(name)).unwrap();
        }
        sweep(dir.path()).unwrap();
        assert!(at("abc-1").exists() && !at(".new-x").exists());
        fs::write(at(BOOT), "another").unwrap();
        sweep(dir.path()).unwrap();
        assert!(!at("abc-1").exists());
    }
}
