//! The files of a store that no action may change, and those that no execution may leave.
use lre_model::{Digest, DigestFunction};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What blobs and what is linked to them have as time.
const TIME: i64 = 315_532_800;
/// Where they are.
const KEPT: [&str; 3] = ["blobs", "inodes", "toolchains/trees"];

/// All that can be seen of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    time: i64,
    names: Vec<Vec<u8>>,
    content: Option<Vec<u8>>,
}

/// Blobs, inodes and toolchains.
#[derive(Debug)]
pub struct Untouched {
    files: BTreeMap<PathBuf, Seen>,
}

impl Untouched {
    /// Looks at all of them. Every blob must be what its name says.
    #[must_use]
    pub fn look(store: &Path) -> Self {
        let mut files = BTreeMap::new();
        for name in KEPT {
            walk(&store.join(name), &mut files);
        }
        for (path, seen) in &files {
            if path.starts_with(store.join("blobs")) && seen.content.is_some() {
                is_its_name(path, seen);
            }
        }
        Self { files }
    }

    /// Every file is there as it was; further ones may have come.
    pub fn must_be_in(&self, now: &Self) {
        for (path, before) in &self.files {
            let after = now.files.get(path).unwrap_or_else(|| panic!("{} is gone", path.display()));
            let same = (before.mode, before.owner, &before.content) == (after.mode, after.owner, &after.content);
            assert!(same, "{} has changed: mode {:o}, was {:o}", path.display(), after.mode, before.mode);
            // Folders of blobs get further files, those of a toolchain do not.
            let is_ours = path.ends_with("boot") || path.ends_with("trees");
            if is_ours {
                continue;
            }
            if before.content.is_some() || path.components().any(|c| c.as_os_str() == "trees") {
                assert_eq!(before.time, after.time, "{} has another time", path.display());
            }
            assert_eq!(before.names, after.names, "{} has other attributes", path.display());
        }
    }
}

fn walk(path: &Path, files: &mut BTreeMap<PathBuf, Seen>) {
    // What is being written may be renamed under our eyes, and has no name yet that counts.
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    if path.ends_with("temporary") {
        return;
    }
    let content = if meta.is_file() {
        Some(fs::read(path).expect("a file of the store"))
    } else if meta.is_symlink() {
        Some(fs::read_link(path).expect("a symlink of the store").as_os_str().as_bytes().to_vec())
    } else {
        for entry in fs::read_dir(path).expect("a folder of the store") {
            walk(&entry.expect("entry").path(), files);
        }
        None
    };
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect();
    let seen = Seen { mode: meta.mode(), owner: (meta.uid(), meta.gid()), time: meta.mtime(), names, content };
    files.insert(path.to_owned(), seen);
}

fn is_its_name(path: &Path, seen: &Seen) {
    let content = seen.content.as_ref().expect("a file");
    let function = if path.components().any(|c| c.as_os_str() == "blake3") {
        DigestFunction::Blake3
    } else {
        DigestFunction::Sha256
    };
    let digest = Digest::of(function, content);
    assert_eq!(Some(digest.hash_text().as_str()), path.file_name().and_then(|n| n.to_str()), "{}", path.display());
    assert_eq!((seen.mode & 0o7777, seen.time), (0o444, TIME), "{}", path.display());
}

/// What lies in the store and belongs to no execution and no upload.
///
/// A run directory may be kept for the next execution, empty.
pub(super) fn leftovers(store: &Path) -> Vec<PathBuf> {
    let mut left = Vec::new();
    for folder in ["temporary", "staging", "inodes/temporary"] {
        left.extend(entries(&store.join(folder)));
    }
    // slots/NUMBER/ROOM/{tree,run-...}
    for room in entries(&store.join("slots")).iter().flat_map(|slot| entries(slot)) {
        let runs: Vec<_> = entries(&room).into_iter().filter(|path| !path.ends_with("tree")).collect();
        left.extend(runs.iter().filter(|run| !is_empty(run)).cloned());
        left.extend(runs.into_iter().skip(2));
    }
    left
}

fn entries(path: &Path) -> Vec<PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// An upper layer with nothing in it, and folders and empty files for the kernel and the streams.
fn is_empty(run: &Path) -> bool {
    entries(&run.join("upper")).is_empty() && has_no_bytes(run, 8)
}

fn has_no_bytes(path: &Path, levels: usize) -> bool {
    // What cannot be looked at is being removed.
    let Ok(meta) = fs::symlink_metadata(path) else { return true };
    match meta.is_dir() {
        true => levels > 0 && entries(path).iter().all(|inner| has_no_bytes(inner, levels - 1)),
        false => meta.len() == 0,
    }
}
