//! The copies in `inodes/`: files to link to, of blobs that have none of their own or are to be executed ([`crate::Inodes`]).
//! They are of this store's making, so they are of its budget, and go with their blob.
use super::super::layout::{Layout, parse_name};
use lre_model::{Digest, DigestFunction};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a file of this length takes on the disk, in bytes.
fn taken(length: u64) -> u64 {
    length.next_multiple_of(4096)
}

fn rooms(layout: &Layout, function: DigestFunction) -> [PathBuf; 2] {
    let of = layout.root().join("inodes").join(function.name());
    [of.join("executable"), of.join("plain")]
}

/// Bytes of all copies of which `keeps` says that they stay. A look at each: some microseconds.
pub(super) fn count(
    layout: &Layout,
    stop: &dyn Fn() -> bool,
    keeps: &dyn Fn(Digest, &Path) -> io::Result<bool>,
) -> io::Result<u64> {
    let mut bytes = 0;
    for function in DigestFunction::ALL {
        for folder in rooms(layout, function).iter().map(|room| entries(room)).collect::<io::Result<Vec<_>>>()? {
            for prefix in folder {
                let prefix = prefix?;
                for copy in entries(&prefix.path())? {
                    if stop() {
                        return Ok(bytes);
                    }
                    bytes += bytes_of(function, &prefix, &copy?, keeps)?;
                }
            }
        }
    }
    Ok(bytes)
}

fn bytes_of(
    function: DigestFunction,
    prefix: &fs::DirEntry,
    copy: &fs::DirEntry,
    keeps: &dyn Fn(Digest, &Path) -> io::Result<bool>,
) -> io::Result<u64> {
    // One that goes meanwhile is none.
    let Ok(metadata) = copy.metadata() else { return Ok(0) };
    let (prefix, name) = (prefix.file_name(), copy.file_name());
    let named = prefix.to_str().zip(name.to_str());
    let digest = named.and_then(|(prefix, name)| parse_name(function, prefix, name, metadata.len()));
    let stays = metadata.is_file() && digest.map_or(Ok(true), |digest| keeps(digest, &copy.path()))?;
    Ok(if stays { taken(metadata.len()) } else { 0 })
}

fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None.into_iter().flatten())
        }
        Err(e) => Err(e),
    }
}

/// The copies of a blob that there are, each with what it takes.
pub(super) fn of(layout: &Layout, digest: Digest) -> Vec<(PathBuf, u64)> {
    let hash = digest.hash_text();
    let paths = rooms(layout, digest.function()).map(|room| room.join(&hash[..2]).join(&hash));
    let there = |path: PathBuf| fs::symlink_metadata(&path).ok().map(|m| (path, taken(m.len())));
    paths.into_iter().filter_map(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_count_and_what_is_foreign_does_not_fail() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        let digest = Digest::of(DigestFunction::Sha256, b"a");
        let (go, all) = (|| false, |_, _: &Path| Ok(true));
        assert_eq!((count(&layout, &go, &all).unwrap(), of(&layout, digest).len()), (0, 0), "no folder");
        let hash = digest.hash_text();
        for (kind, length) in [("executable", 1), ("plain", 5000)] {
            let folder = dir.path().join("inodes/sha256").join(kind).join(&hash[..2]);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(&hash), vec![0; length]).unwrap();
        }
        fs::write(dir.path().join("inodes/sha256/plain/file"), b"x").unwrap();
        fs::create_dir_all(dir.path().join("inodes/sha256/plain/00/folder")).unwrap();
        assert_eq!(count(&layout, &go, &all).unwrap(), 4096 + 8192);
        let not_it = |of: Digest, _: &Path| Ok(of.hash() != digest.hash());
        assert_eq!(count(&layout, &go, &not_it).unwrap(), 0);
        let sizes: Vec<_> = of(&layout, digest).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(sizes, [4096, 8192]);
        assert_eq!(count(&layout, &|| true, &all).unwrap(), 0, "stopped");
    }
}
