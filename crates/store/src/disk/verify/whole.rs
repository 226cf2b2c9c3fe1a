//! Whether all that results and names need is there.
use super::super::catalogue::{Entry, Key, Kind, Payload, Place};
use super::super::files::open_regular;
use super::super::layout::Room;
use super::super::names::{Form, Record};
use super::{Checked, Damage, Round};
use lre_model::{ActionResult, Digest, Directory, Node, decode_tree};
use std::collections::HashSet;
use std::io::{self, Read};

/// Largest message read into memory here, in bytes; what is larger is of no use to a result.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// `Tree`s and `Directory`s below which everything is there: results share most of theirs.
type Known = HashSet<Digest>;

impl Round<'_> {
    /// Forgets all results and names that need what is not there. Nothing is marked as used by that.
    pub(super) fn whole(&self) -> io::Result<()> {
        let mut known = Known::new();
        for part in 0..16 {
            let mut keys = Vec::new();
            self.inner.catalogue.each(|key, entry| {
                if key.kind != Kind::Blob && key.hash[0] >> 4 == part {
                    keys.push((*key, *entry));
                }
            });
            for (key, entry) in keys {
                if self.is_over() {
                    return Ok(());
                }
                self.progress("looking for what results need");
                self.one(&key, &entry, &mut known)?;
            }
        }
        Ok(())
    }

    fn one(&self, key: &Key, entry: &Entry, known: &mut Known) -> io::Result<()> {
        let Payload::Bytes(bytes) = self.inner.catalogue.read(key)? else { return Ok(()) };
        let absent = match key.kind {
            Kind::Result => match ActionResult::decode(key.function, &bytes) {
                Ok(result) => self.absent_of(&result, known)?,
                // It was told of when it was read.
                Err(_) => None,
            },
            Kind::Name => match Record::decode(&bytes) {
                Ok(record) => self.absent_of_name(&record, known)?,
                Err(_) => None,
            },
            Kind::Blob => None,
        };
        let Some(absent) = absent else { return Ok(()) };
        // One that was put anew in between stays.
        let same = |_: &Key, now: &Entry| now.stored_bytes == entry.stored_bytes && now.size_bytes == entry.size_bytes;
        if self.inner.catalogue.forget_if(&[*key], same)?.is_empty() {
            return Ok(());
        }
        let what = Checked::packed(key.kind);
        let subject = key.digest(entry.size_bytes).map(|digest| digest.to_string()).unwrap_or_default();
        let problem = format!("it needs {absent}, which is not there");
        self.tell(Damage { what, subject, problem, done: "forgotten".to_owned() });
        Ok(())
    }

    fn absent_of(&self, result: &ActionResult, known: &mut Known) -> io::Result<Option<Digest>> {
        self.absent_below(result.blobs(), result.trees(), result.directories(), known)
    }

    fn absent_of_name(&self, record: &Record, known: &mut Known) -> io::Result<Option<Digest>> {
        let mut directories = record.directories.clone();
        if record.form == Form::Directory {
            directories.push(record.digest);
        }
        let named = [&[record.digest], &record.blobs[..]].concat();
        if let Some(absent) = self.absent_below(&named, &[], &directories, known)? {
            return Ok(Some(absent));
        }
        if record.form != Form::ActionResult {
            return Ok(None);
        }
        let Some(bytes) = self.message(record.digest)? else { return Ok(Some(record.digest)) };
        match ActionResult::decode(record.digest.function(), &bytes) {
            Ok(result) => self.absent_of(&result, known),
            Err(_) => Ok(Some(record.digest)),
        }
    }

    /// The first of these blobs, `Tree`s and roots of directories, or of what is below them, that is not there.
    fn absent_below(
        &self,
        others: &[Digest],
        trees: &[Digest],
        directories: &[Digest],
        known: &mut Known,
    ) -> io::Result<Option<Digest>> {
        if let Some(absent) = self.absent(others.iter().chain(trees).chain(directories).copied()) {
            return Ok(Some(absent));
        }
        for tree in trees {
            if !known.contains(tree) {
                let bytes = self.message(*tree)?;
                let Some(files) = bytes.and_then(|bytes| files_of_tree(*tree, &bytes)) else { return Ok(Some(*tree)) };
                if let Some(absent) = self.absent(files) {
                    return Ok(Some(absent));
                }
                known.insert(*tree);
            }
        }
        let (mut pending, mut seen) = (directories.to_vec(), Vec::new());
        while let Some(digest) = pending.pop() {
            if known.contains(&digest) || seen.contains(&digest) {
                continue;
            }
            seen.push(digest);
            let bytes = self.message(digest)?;
            let decoded = bytes.and_then(|bytes| Directory::decode(digest.function(), &bytes).ok());
            let Some(directory) = decoded else { return Ok(Some(digest)) };
            if let Some(absent) = self.absent(files_of(&directory)) {
                return Ok(Some(absent));
            }
            pending.extend(directory.subdirectories());
        }
        known.extend(seen);
        Ok(None)
    }

    fn absent(&self, digests: impl IntoIterator<Item = Digest>) -> Option<Digest> {
        let digests: Vec<_> = digests.into_iter().filter(|digest| !digest.is_empty_blob()).collect();
        let (mut absent, mut n) = (None, 0);
        self.inner.catalogue.look(digests.iter().map(|digest| Key::blob(*digest)), |_, entry| {
            if entry.is_none_or(|entry| entry.size_bytes != digests[n].size_bytes()) {
                absent = absent.or(Some(digests[n]));
            }
            n += 1;
        });
        absent
    }

    /// The bytes of a message; `None` where there is none that could be read.
    fn message(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        if digest.is_empty_blob() {
            return Ok(Some(Vec::new()));
        }
        self.inner.message(digest, MESSAGE_BYTES_MAX)
    }
}

impl super::super::Inner {
    /// The bytes of a blob of at most `at_most` bytes, without marking it as used; `None` where there is none.
    pub(in super::super) fn message(&self, digest: Digest, at_most: u64) -> io::Result<Option<Vec<u8>>> {
        let key = Key::blob(digest);
        let Some(entry) = self.catalogue.get(&key) else { return Ok(None) };
        if entry.size_bytes != digest.size_bytes() || entry.size_bytes > at_most {
            return Ok(None);
        }
        if entry.place == Place::Packed {
            match self.catalogue.read(&key)? {
                Payload::Bytes(bytes) => return Ok(Some(bytes.to_vec())),
                Payload::Damaged(found) => {
                    self.keep_damaged(&key, &found, "its checksum is wrong")?;
                    return Ok(None);
                }
                Payload::Absent => return Ok(None),
                // Promoted meanwhile.
                Payload::File => {}
            }
        }
        let file = match open_regular(&self.layout.of(Room::Blobs, digest)) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut bytes = Vec::new();
        file.take(at_most).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 == digest.size_bytes()).then_some(bytes))
    }
}

/// The files of a Tree; `None` where it is no Tree, or does not hold a directory that it names.
fn files_of_tree(digest: Digest, bytes: &[u8]) -> Option<Vec<Digest>> {
    let (root, children) = decode_tree(digest.function(), bytes).ok()?;
    let mut files = Vec::new();
    for directory in children.values().chain([&root]) {
        if directory.subdirectories().any(|child| !child.is_empty_blob() && !children.contains_key(&child)) {
            return None;
        }
        files.extend(files_of(directory));
    }
    Some(files)
}

fn files_of(directory: &Directory) -> impl Iterator<Item = Digest> {
    directory.children().filter_map(|(_, node)| match node {
        Node::File { digest, .. } => Some(*digest),
        _ => None,
    })
}
