//! Files that a command may read, each read once: what is looked through is what is hashed and sent.
use super::include::Asks;
use super::roots::{EXEC, Roots};
use crate::client::{ClientError, Entry, Inputs};
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, RelPath};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Most files that are taken as whole directories, where it cannot be known which ones are needed.
const WHOLE_FILES_MAX: usize = 50_000;
/// Most bytes of them.
const WHOLE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A file of this machine, as a command sees it.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its bytes; empty for a file that is sent from the disk.
    pub content: Bytes,
    digest: Option<Digest>,
    host: PathBuf,
    executable: bool,
    /// It has `#pragma once` in it.
    once: bool,
    /// No list of dependencies names it.
    pub unlisted: bool,
}

/// What was found so far.
#[derive(Default)]
pub struct Files {
    /// By where the command sees it.
    files: BTreeMap<String, Read>,
    directories: BTreeSet<String>,
    listings: HashMap<PathBuf, Option<HashSet<OsString>>>,
    taken: (usize, u64),
}

/// The canonical form of a path in the input root.
#[must_use]
pub fn tidy(path: &str) -> Option<String> {
    let path = path.strip_prefix(EXEC).unwrap_or(path);
    RelPath::parse(path.trim_start_matches('/')).ok().map(|path| path.to_string()).filter(|path| !path.is_empty())
}

impl Files {
    /// Whether there is a file `name`, which may have directories in it, in the directory `host`. Directories are listed
    /// once, so that looking for hundreds of headers in tens of directories costs little.
    pub fn has(&mut self, host: &Path, name: &str) -> bool {
        let (first, deeper) = name.split_once('/').map_or((name, false), |(first, _)| (first, true));
        // Most names are settled by the first part.
        if first != ".." && first != "." && !self.lists(host, OsStr::new(first)) {
            return false;
        }
        if !deeper {
            return true;
        }
        let path = host.join(name);
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else { return false };
        self.lists(parent, file)
    }

    fn lists(&mut self, directory: &Path, name: &OsStr) -> bool {
        if !self.listings.contains_key(directory) {
            self.listings.insert(directory.to_owned(), list(directory));
        }
        self.listings[directory].as_ref().is_some_and(|names| names.contains(name))
    }

    /// Whether it is here already.
    #[must_use]
    pub fn knows(&self, inside: &str) -> bool {
        tidy(inside).is_some_and(|inside| self.files.contains_key(&inside))
    }

    /// Says that no list of dependencies will name it.
    pub fn unlisted(&mut self, inside: &str) {
        if let Some(read) = tidy(inside).and_then(|inside| self.files.get_mut(&inside)) {
            read.unlisted = true;
        }
    }

    /// Takes a text that may ask for others; what it asks for. `None`: no file is there, or it is here already.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn take_text(&mut self, inside: &str, host: &Path, roots: &Roots) -> Result<Option<Asks>, ClientError> {
        let Some(inside) = tidy(inside).filter(|inside| !self.files.contains_key(inside)) else { return Ok(None) };
        let Some(content) = read(host)? else { return Ok(None) };
        let asks = Asks::of(&content);
        let content = map_includes(content, &asks, roots);
        let read = Read {
            digest: None,
            once: asks.once,
            content: content.into(),
            host: host.to_owned(),
            executable: false,
            unlisted: false,
        };
        self.files.insert(inside, read);
        Ok(Some(asks))
    }

    /// Takes a file as it is: an object, a library, whatever an option names. Whether there was one.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn take(&mut self, inside: &str, host: &Path) -> Result<bool, ClientError> {
        let Some(inside) = tidy(inside) else { return Ok(false) };
        let metadata = match fs::metadata(host) {
            Ok(metadata) => metadata,
            Err(e) if is_absence(&e) => return Ok(false),
            Err(source) => return Err(ClientError::Local { path: host.to_owned(), source }),
        };
        if !metadata.is_file() {
            return Ok(false);
        }
        let executable = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
        let read = Read {
            content: Bytes::new(),
            digest: None,
            host: host.to_owned(),
            executable,
            once: false,
            unlisted: true,
        };
        // From the disk: it may be large.
        self.files.entry(inside).or_insert(Read { digest: None, ..read });
        Ok(true)
    }

    /// Takes a directory with all that is below it.
    ///
    /// # Errors
    /// Too much, or something that cannot be read.
    pub fn take_tree(&mut self, inside: &str, host: &Path) -> Result<(), ClientError> {
        let local = |source| ClientError::Local { path: host.to_owned(), source };
        let Ok(entries) = fs::read_dir(host) else { return self.take(inside, host).map(drop) };
        self.directory(inside);
        for entry in entries {
            let entry = entry.map_err(local)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if matches!(name, ".git" | ".hg" | ".jj" | ".svn") {
                continue;
            }
            let (inside, host) = (format!("{inside}/{name}"), entry.path());
            // A link to a directory could lead in a circle; the kernel counts to 40, and so does what is too much here.
            match fs::metadata(&host) {
                Ok(metadata) if metadata.is_dir() && !entry.path().is_symlink() => self.take_tree(&inside, &host)?,
                Ok(metadata) if metadata.is_file() => {
                    self.taken = (self.taken.0 + 1, self.taken.1 + metadata.len());
                    if self.taken.0 > WHOLE_FILES_MAX || self.taken.1 > WHOLE_BYTES_MAX {
                        return Err(ClientError::TooMuchInput { entries: self.taken.0, bytes: self.taken.1 });
                    }
                    self.take(&inside, &host)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes sure that a directory is there.
    pub fn directory(&mut self, inside: &str) {
        self.directories.extend(tidy(inside));
    }

    /// All files, by where the command sees them.
    pub fn paths(&self) -> impl Iterator<Item = (&str, &Read)> {
        self.files.iter().map(|(path, read)| (path.as_str(), read))
    }

    /// As inputs of an action: those that `wanted` says.
    ///
    /// # Errors
    /// Paths that cannot be.
    pub fn inputs(&mut self, wanted: impl Fn(&str, &Read) -> bool) -> Result<Inputs, ClientError> {
        let mut inputs = Inputs::default();
        for directory in &self.directories {
            inputs.add_directory(directory)?;
        }
        let mut equal: HashMap<Digest, usize> = HashMap::new();
        for (path, read) in &mut self.files {
            let mut entry = read.entry();
            // Counted among all, so that a command sees what its scan saw.
            if let Some(digest) = read.digest.filter(|_| read.once) {
                let before = equal.entry(digest).or_default();
                if *before > 0 {
                    entry = read.apart(*before);
                }
                *before += 1;
            }
            if wanted(path, read) {
                inputs.add(path, entry)?;
            }
        }
        Ok(inputs)
    }
}

impl Read {
    /// Where it is on this machine.
    #[must_use]
    pub fn host(&self) -> &Path {
        &self.host
    }

    /// With as many empty lines at its end. gcc takes two files with `#pragma once` for one where bytes and time are equal, and clang
    /// where they are one file of the disk; in a sandbox all times are equal, and equal files may be one.
    fn apart(&self, lines: usize) -> Entry {
        let mut content = self.content.to_vec();
        content.resize(content.len() + lines, b'\n');
        let digest = Digest::of(DigestFunction::Sha256, &content);
        Entry::Hashed { content: content.into(), digest, executable: self.executable }
    }

    /// Hashed once, however many actions it is an input of.
    fn entry(&mut self) -> Entry {
        if self.content.is_empty() && self.digest.is_none() && fs::metadata(&self.host).is_ok_and(|m| m.len() > 0) {
            return Entry::File(self.host.clone());
        }
        let digest = *self.digest.get_or_insert_with(|| Digest::of(DigestFunction::Sha256, &self.content));
        Entry::Hashed { content: self.content.clone(), digest, executable: self.executable }
    }
}

fn list(directory: &Path) -> Option<HashSet<OsString>> {
    let entries = fs::read_dir(directory).ok()?;
    Some(entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect())
}

/// Nothing there, or nothing that can be read as a file.
fn is_absence(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}

fn read(host: &Path) -> Result<Option<Vec<u8>>, ClientError> {
    match fs::read(host) {
        Ok(content) => Ok(Some(content)),
        Err(e) if is_absence(&e) => Ok(None),
        Err(source) => Err(ClientError::Local { path: host.to_owned(), source }),
    }
}

/// Generators write `#include "/…/a.cc"`: such a path is mapped like one of the command line, so it leads somewhere, and
/// to the same for everybody.
fn map_includes(content: Vec<u8>, asks: &Asks, roots: &Roots) -> Vec<u8> {
    if asks.absolute.is_empty() {
        return content;
    }
    let mut out = Vec::with_capacity(content.len());
    let mut at = 0;
    for range in &asks.absolute {
        let path = String::from_utf8_lossy(&content[range.clone()]);
        out.extend_from_slice(&content[at..range.start]);
        out.extend_from_slice(roots.argument(&path).as_bytes());
        at = range.end;
    }
    out.extend_from_slice(&content[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two stubs of the same text: gcc reads the second only if it can tell them apart, and its scan would not list it.
    #[test]
    fn equal_headers_that_are_read_once_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots::find(dir.path(), &[], None);
        let mut files = Files::default();
        for (name, text) in
            [("a.h", "#pragma once\n"), ("b.h", "#pragma once\n"), ("c.h", "int i;\n"), ("d.h", "int i;\n")]
        {
            fs::write(dir.path().join(name), text).unwrap();
            files.take_text(&format!("src/{name}"), &dir.path().join(name), &roots).unwrap().unwrap();
        }
        let merkle = |inputs: Inputs| inputs.merkle(DigestFunction::Sha256).unwrap();
        let all = merkle(files.inputs(|_, _| true).unwrap());
        // Two directories, two texts of `#pragma once`, and one for both others.
        assert_eq!((all.files, all.blobs.len()), (4, 5));
        let one = |text: &'static str| {
            let mut inputs = Inputs::default();
            inputs.add("src/b.h", Entry::Bytes { content: text.into(), executable: false }).unwrap();
            merkle(inputs).root
        };
        let second = merkle(files.inputs(|path, _| path == "src/b.h").unwrap()).root;
        assert_eq!(second, one("#pragma once\n\n"), "whatever else is an input");
        assert_eq!(merkle(files.inputs(|path, _| path == "src/a.h").unwrap()).files, 1);
    }
}
