//! The files of blobs, the copies beside them, and what links to those that are damaged.
use super::super::catalogue::Place;
use super::super::files::open_regular;
use super::super::layout::{MODE_EXECUTABLE, MODE_PLAIN, MTIME_SECONDS, Room};
use super::super::place::settle;
use super::{Checked, Damage, Round};
use lre_model::{Digest, DigestFunction, Hasher};
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Read at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// What says which file it is, whatever its names.
type Inode = (u64, u64);

impl Round<'_> {
    /// All blobs that are files.
    pub(super) fn files(&self) -> io::Result<()> {
        // In parts, because a list of a million takes as much memory as all the rest.
        for part in 0..16 {
            let mut digests = Vec::new();
            self.inner.catalogue.each(|key, entry| {
                if entry.place == Place::File && key.hash[0] >> 4 == part {
                    digests.extend(key.digest(entry.size_bytes));
                }
            });
            // As they lie in their folders.
            digests.sort_unstable_by_key(|digest| *digest.hash());
            for digest in digests {
                if self.is_over() {
                    return Ok(());
                }
                self.file(digest)?;
                self.tell_notes();
            }
        }
        Ok(())
    }

    fn file(&self, digest: Digest) -> io::Result<()> {
        let path = self.inner.layout.of(Room::Blobs, digest);
        let file = match open_regular(&path) {
            Ok(Some(file)) => file,
            // Evicted meanwhile, removed from outside, or something else under its name: that is told apart there.
            Ok(None) => return self.inner.prove(digest).map(drop),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return self.inner.prove(digest).map(drop),
            Err(e) => return Err(e),
        };
        let Some(actual) = self.hash(digest.function(), &file)? else { return Ok(()) };
        self.count(Checked::FileBlob, actual.size_bytes());
        if actual == digest {
            return self.settled(&file, &path, digest);
        }
        // Once more, as whoever would be served it: what was put in its place meanwhile is maybe right.
        self.inner.prove(digest).map(drop)
    }

    /// The mode of a file is that of all its links: whoever may write could write through any of them.
    fn settled(&self, file: &File, path: &Path, digest: Digest) -> io::Result<()> {
        let metadata = file.metadata()?;
        if is_settled(&metadata, MODE_PLAIN) || path.symlink_metadata().is_err() {
            return Ok(());
        }
        let problem = unsettled(&metadata);
        let done = match settle(file, MODE_PLAIN) {
            Ok(()) => "put right".to_owned(),
            Err(error) => format!("it cannot be put right: {error}"),
        };
        self.tell(Damage { what: Checked::FileBlob, subject: digest.to_string(), problem, done });
        Ok(())
    }

    /// The digest of all bytes; `None` where the run is over.
    fn hash(&self, function: DigestFunction, mut file: &File) -> io::Result<Option<Digest>> {
        let mut hasher = Hasher::new(function);
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Some(hasher.finish())),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    self.read("reading files", n as u64);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if self.is_over() {
                return Ok(None);
            }
        }
    }

    /// What nobody knows in the folders that are the store's alone. What is in the folders of `blobs/` has been looked at.
    pub(super) fn foreign(&self) -> io::Result<()> {
        let layout = &self.inner.layout;
        let blobs = layout.root().join(Room::Blobs.name());
        let functions = DigestFunction::ALL.map(DigestFunction::name);
        self.aside(&blobs, |name| functions.contains(&name))?;
        self.aside(&layout.log(), is_of_the_log)?;
        self.tell_notes();
        Ok(())
    }

    fn aside(&self, folder: &Path, is_ours: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&is_ours) {
                self.inner.move_foreign(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The copies in `inodes/`, and then what links to any that is damaged. A copy is made again when it is wanted.
    pub(super) fn copies(&self) -> io::Result<()> {
        let mut damaged = self.in_quarantine();
        for function in DigestFunction::ALL {
            for (kind, mode) in [("executable", MODE_EXECUTABLE), ("plain", MODE_PLAIN)] {
                let top = self.inner.layout.root().join("inodes").join(function.name()).join(kind);
                for folder in listed(&top) {
                    for path in listed(&folder) {
                        if self.is_over() {
                            return Ok(());
                        }
                        damaged.extend(self.copy(function, &path, mode)?);
                    }
                }
            }
        }
        self.links(&damaged);
        Ok(())
    }

    /// Looks at a copy, and removes it where it is no copy of what it is named after. Then which file it was.
    fn copy(&self, function: DigestFunction, path: &Path, mode: u32) -> io::Result<Option<Inode>> {
        let (metadata, problem) = match open_regular(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
            Ok(None) => (fs::symlink_metadata(path)?, "it is not a regular file".to_owned()),
            Ok(Some(file)) => {
                let metadata = file.metadata()?;
                self.of_bytes.fetch_add(metadata.len(), std::sync::atomic::Ordering::Relaxed);
                let Some(actual) = self.hash(function, &file)? else { return Ok(None) };
                self.count(Checked::Copy, actual.size_bytes());
                match path.file_name().and_then(|name| name.to_str()) == Some(&*actual.hash_text()) {
                    true if is_settled(&metadata, mode) => return Ok(None),
                    true => (metadata.clone(), unsettled(&metadata)),
                    false => (metadata, format!("its content is that of {actual}")),
                }
            }
        };
        let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        let done = match removed {
            Ok(()) => "removed; it is copied again when it is wanted".to_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => format!("it cannot be removed: {error}"),
        };
        let subject = self.below(path);
        self.tell(Damage { what: Checked::Copy, subject, problem, done });
        Ok((metadata.nlink() > 1).then(|| (metadata.dev(), metadata.ino())))
    }

    /// Files that were moved aside and have further names.
    fn in_quarantine(&self) -> HashSet<Inode> {
        let metadata = |path: PathBuf| fs::symlink_metadata(path).ok();
        let moved = listed(&self.inner.layout.quarantine()).into_iter().filter_map(metadata);
        moved.filter(|m| m.is_file() && m.nlink() > 1).map(|m| (m.dev(), m.ino())).collect()
    }

    /// Removes what links to something damaged. A slot notices that, and lays out its tree afresh; a toolchain is laid out
    /// afresh by the next server.
    fn links(&self, damaged: &HashSet<Inode>) {
        if damaged.is_empty() {
            return;
        }
        for path in links_below(&self.inner.layout.root().join("slots"), damaged) {
            if fs::remove_file(&path).is_ok() {
                let done = "removed; the tree is laid out afresh for the next action";
                self.tell_tree(&path, done);
            }
        }
        for tree in listed(&self.inner.layout.root().join("toolchains/trees")) {
            if let Some(path) = links_below(&tree, damaged).first() {
                let done = match discard_tree(&tree) {
                    Ok(()) => "removed; it is laid out afresh by the next server: restart one that runs".to_owned(),
                    Err(error) => format!("it cannot be removed: {error}"),
                };
                self.tell_tree(path, &done);
            }
        }
    }

    fn tell_tree(&self, path: &Path, done: &str) {
        let problem = "it is a link to something damaged".to_owned();
        self.tell(Damage { what: Checked::Tree, subject: self.below(path), problem, done: done.to_owned() });
    }

    fn below(&self, path: &Path) -> String {
        path.strip_prefix(self.inner.layout.root()).unwrap_or(path).display().to_string()
    }
}

/// Segments, and the checkpoint with what becomes one.
fn is_of_the_log(name: &str) -> bool {
    let number = name.strip_suffix(".seg").filter(|number| number.len() == 8);
    name.starts_with("checkpoint") || number.is_some_and(|number| u32::from_str_radix(number, 16).is_ok())
}

fn is_settled(metadata: &Metadata, mode: u32) -> bool {
    metadata.mode() & 0o7777 == mode && metadata.mtime() == MTIME_SECONDS
}

fn unsettled(metadata: &Metadata) -> String {
    format!("its mode is {:04o}, its time {}", metadata.mode() & 0o7777, metadata.mtime())
}

/// Gone in one step, since nobody must take a part of it for the whole: to the name of one that is not finished, which a start
/// removes where this does not.
fn discard_tree(tree: &Path) -> io::Result<()> {
    let parent = tree.parent().unwrap_or(tree);
    let unfinished = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    fs::rename(tree, unfinished.path())
}

/// What is in a folder; nothing where there is none or where nobody may look.
fn listed(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// All names below `top` of these files.
fn links_below(top: &Path, inodes: &HashSet<Inode>) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![top.to_owned()]);
    while let Some(folder) = pending.pop() {
        for path in listed(&folder) {
            match fs::symlink_metadata(&path) {
                Ok(m) if m.is_dir() => pending.push(path),
                Ok(m) if inodes.contains(&(m.dev(), m.ino())) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    found
}
