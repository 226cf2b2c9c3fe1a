//! Names that are no digests: what a client that does not speak the API calls a value (`/ac/…` of the HTTP cache, a
//! WebDAV path), and what `PushBlob` and `PushDirectory` were told of a URI.
//!
//! The value is a blob like any other, in the same store and the same byte budget; a name is a small
//! [framed](super::frame) file that says which. An entry whose blob has gone is as good as none: whoever asks looks
//! ([`crate::first_absent_of`]), and the sweep removes it.
use super::layout::{Room, parse_name};
use super::{Inner, Look, frame, unpoisoned};
use crate::StoreError;
use lre_model::{Digest, DigestFunction, Hasher};
use prost::Message;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names in each of 256 folders, at most: 524,288 in all, which is 2 GiB in blocks of 4 KiB beside the blobs. When a
/// folder is full those that nobody has asked for the longest go, an eighth of it at once.
const NAMES_PER_FOLDER_MAX: usize = 2048;

/// How old the mark of the last use may be until a use renews it, in seconds. A mark for each use would write to the
/// disk for each read.
const USE_MARK_SECONDS: i64 = 3600;

/// Whose names they are. Nothing that is put under one of them is ever seen under another, or as the result of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// `/ac/…` of the HTTP cache.
    HttpActions,
    /// Files below `/webdav/`.
    WebDav,
    /// `PushBlob`.
    AssetBlobs,
    /// `PushDirectory`.
    AssetDirectories,
}

impl Namespace {
    fn text(self) -> &'static str {
        match self {
            Self::HttpActions => "http/ac",
            Self::WebDav => "webdav",
            Self::AssetBlobs => "asset/blob",
            Self::AssetDirectories => "asset/directory",
        }
    }
}

/// A name in a namespace: the BLAKE3 of both. However long it was, it is this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name(Digest);

impl Name {
    /// The name that these parts make, in this order.
    #[must_use]
    pub fn new<'a>(namespace: Namespace, parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Hasher::new(DigestFunction::Blake3);
        for part in std::iter::once(namespace.text()).chain(parts) {
            // With their lengths: `ab`, `c` is not `a`, `bc`.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.finish())
    }
}

/// What the blob of a name is, and so what must be there for it to be of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bytes.
    Opaque,
    /// An `ActionResult`, with all that it names.
    ActionResult,
    /// A `Directory`, with its whole tree.
    Directory,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The blob.
    pub digest: Digest,
    /// What it is.
    pub form: Form,
    /// When it was put here; to the microsecond.
    pub written_at: SystemTime,
    /// From then on there is no such name; to the microsecond.
    pub expires_at: Option<SystemTime>,
    /// Blobs without which the name is of no use.
    pub blobs: Vec<Digest>,
    /// The same of `Directory`s and their trees.
    pub directories: Vec<Digest>,
}

impl Record {
    /// A record of a blob alone.
    #[must_use]
    pub fn of(digest: Digest, form: Form, written_at: SystemTime) -> Self {
        Self { digest, form, written_at, expires_at: None, blobs: Vec::new(), directories: Vec::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let form = match self.form {
            Form::Opaque => 0,
            Form::ActionResult => 1,
            Form::Directory => 2,
        };
        let texts = |digests: &[Digest]| digests.iter().map(ToString::to_string).collect();
        let wire = Payload {
            digest: self.digest.to_string(),
            form,
            written_micros: micros(self.written_at),
            expires_micros: self.expires_at.map(micros),
            blobs: texts(&self.blobs),
            directories: texts(&self.directories),
        };
        wire.encode_to_vec()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let wire = Payload::decode(bytes).map_err(|e| e.to_string())?;
        let digest = |text: &String| Digest::from_text(text).map_err(|e| e.to_string());
        let form = match wire.form {
            0 => Form::Opaque,
            1 => Form::ActionResult,
            2 => Form::Directory,
            other => return Err(format!("it is of the unknown form {other}")),
        };
        Ok(Self {
            digest: digest(&wire.digest)?,
            form,
            written_at: time(wire.written_micros),
            expires_at: wire.expires_micros.map(time),
            blobs: wire.blobs.iter().map(digest).collect::<Result<_, _>>()?,
            directories: wire.directories.iter().map(digest).collect::<Result<_, _>>()?,
        })
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The payload of the file of a name (docs/reference/store.md).
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(string, tag = "1")]
    digest: String,
    #[prost(uint32, tag = "2")]
    form: u32,
    #[prost(int64, tag = "3")]
    written_micros: i64,
    #[prost(int64, optional, tag = "4")]
    expires_micros: Option<i64>,
    #[prost(string, repeated, tag = "5")]
    blobs: Vec<String>,
    #[prost(string, repeated, tag = "6")]
    directories: Vec<String>,
}

fn micros(time: SystemTime) -> i64 {
    let of = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -of(before.duration()), of)
}

fn time(micros: i64) -> SystemTime {
    let duration = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 { UNIX_EPOCH.checked_sub(duration) } else { UNIX_EPOCH.checked_add(duration) };
    time.unwrap_or(UNIX_EPOCH)
}

/// The names of a store. Copies are the same names.
#[derive(Clone)]
pub struct Names(Arc<Inner>);

impl Names {
    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// What is known of a name, unless its time is over. Whether its blob is still there is not looked at.
    ///
    /// # Errors
    /// The disk failed.
    pub fn get(&self, name: Name, now: SystemTime) -> Result<Option<Record>, StoreError> {
        let record = self.0.get_framed(Room::Names, name.0, Record::decode)?.filter(|record| !record.is_over(now));
        if record.is_some() {
            mark_use(&self.0.layout.of(Room::Names, name.0), now);
        }
        Ok(record)
    }

    /// Remembers a name, in place of what it meant before.
    ///
    /// # Errors
    /// The disk failed or is full, or the record has more references than fit (1 MiB).
    pub fn put(&self, name: Name, record: &Record) -> Result<(), StoreError> {
        self.0.make_room(name.0)?;
        self.0.put_framed(Room::Names, name.0, &record.encode())
    }

    /// Forgets a name; `false` where there was none.
    ///
    /// # Errors
    /// The disk failed.
    pub fn remove(&self, name: Name) -> Result<bool, StoreError> {
        Ok(remove_file(&self.0.layout.of(Room::Names, name.0))?)
    }

    /// The digest of the blob with the hash of `hash`, whatever size that says: clients of the HTTP cache know no sizes.
    /// Only what reading says is certain.
    ///
    /// # Errors
    /// The disk failed.
    pub fn find(&self, hash: Digest) -> Result<Option<Digest>, StoreError> {
        let empty = Digest::empty(hash.function());
        if hash.hash() == empty.hash() {
            return Ok(Some(empty));
        }
        match fs::symlink_metadata(self.0.layout.of(Room::Blobs, hash)) {
            Ok(found) if found.is_file() => {
                let size = i64::try_from(found.len()).unwrap_or(i64::MAX);
                Ok(Digest::parse(hash.function(), &hash.hash_text(), size).ok())
            }
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("directory", &self.0.layout.root()).finish_non_exhaustive()
    }
}

/// The time of the inode is the time of the last use: it moves with every change, of the times too.
fn mark_use(path: &Path, now: SystemTime) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    if micros(now) / 1_000_000 - metadata.ctime() > USE_MARK_SECONDS {
        let time = Timespec { tv_sec: super::MTIME_SECONDS, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        // Not marked, it goes a little earlier than it should; that is all.
        let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// How many names there are in each folder, or more: one that was replaced counts twice until it is counted again.
#[derive(Default)]
pub(super) struct Crowd(Mutex<HashMap<u8, usize>>);

impl Inner {
    fn make_room(&self, name: Digest) -> io::Result<()> {
        let path = self.layout.of(Room::Names, name);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut counts = unpoisoned(self.crowd.0.lock());
        let count = match counts.get(&name.hash()[0]) {
            Some(count) if *count < NAMES_PER_FOLDER_MAX => *count,
            _ => thin_out(folder, NAMES_PER_FOLDER_MAX)?,
        };
        counts.insert(name.hash()[0], count + 1);
        Ok(())
    }

    /// Removes a name that is over, or whose blob is gone.
    pub(super) fn sweep_name(&self, function: DigestFunction, prefix: &str, name: &str) -> Result<bool, StoreError> {
        let named = |size| parse_name(function, prefix, name, size);
        let Some(path) = named(0).map(|digest| self.layout.of(Room::Names, digest)) else { return Ok(false) };
        let Some(bytes) = self.framed_bytes(&path, Room::Names)? else { return Ok(false) };
        let Some(digest) = named(frame::size_named(&bytes).unwrap_or(0)) else { return Ok(false) };
        let Some(record) = self.get_framed(Room::Names, digest, Record::decode)? else { return Ok(false) };
        let gone = !record.digest.is_empty_blob() && matches!(self.look(record.digest)?, Look::Absent);
        if !gone && !record.is_over(SystemTime::now()) {
            return Ok(false);
        }
        // One that was put anew in between goes too: a miss, and no more.
        Ok(remove_file(&path)?)
    }
}

/// `false` where there was none.
fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Counts the files of a folder. Of `at_most` or more an eighth goes, those used the longest ago.
fn thin_out(folder: &Path, at_most: usize) -> io::Result<usize> {
    let mut files: Vec<((i64, i64), PathBuf)> = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        // One that has gone meanwhile is one less.
        if let Ok(metadata) = entry.metadata() {
            files.push(((metadata.ctime(), metadata.ctime_nsec()), entry.path()));
        }
    }
    if files.len() < at_most {
        return Ok(files.len());
    }
    files.sort_unstable();
    let kept = at_most - at_most.div_ceil(8);
    let over = files.len() - kept;
    for (_, path) in &files[..over] {
        let _ = fs::remove_file(path);
    }
    tracing::debug!(folder = %folder.display(), removed = over, "names that nobody has used for long were removed");
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_namespaces_do_not_run_together() {
        let names = [
            Name::new(Namespace::WebDav, ["ab", "c"]),
            Name::new(Namespace::WebDav, ["a", "bc"]),
            Name::new(Namespace::WebDav, ["abc"]),
            Name::new(Namespace::HttpActions, ["ab", "c"]),
        ];
        for (i, one) in names.iter().enumerate() {
            assert!(names[i + 1..].iter().all(|other| one != other), "{i}");
        }
        assert_eq!(names[0], Name::new(Namespace::WebDav, ["ab", "c"]));
    }

    #[test]
    fn records_round_trip() {
        let digest = |text: &[u8]| Digest::of(DigestFunction::Blake3, text);
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let plain = Record::of(digest(b"a"), Form::Opaque, at);
        let full = Record {
            form: Form::Directory,
            expires_at: Some(UNIX_EPOCH - Duration::from_secs(5)),
            blobs: vec![digest(b"b"), Digest::of(DigestFunction::Sha256, b"")],
            directories: vec![digest(b"c")],
            ..plain.clone()
        };
        for record in [plain, full] {
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
        assert!(Record::decode(b"").is_err() && Record::decode(b"\xff").is_err());
    }

    /// The limit on names: the ones that nobody has used for the longest time go.
    #[test]
    fn a_full_folder_loses_its_oldest_eighth() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(thin_out(&dir.path().join("none"), 16).unwrap(), 0);
        for n in 0..16 {
            fs::write(dir.path().join(format!("{n:02}")), "").unwrap();
        }
        let changed = |name: &str| {
            let metadata = fs::symlink_metadata(dir.path().join(name)).unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        // The clock of inodes is coarse: until it has moved on, all of them are of one moment.
        while changed("00") <= changed("15") {
            mark_use(&dir.path().join("00"), SystemTime::now() + Duration::from_secs(2 * 3600));
        }
        assert_eq!(thin_out(dir.path(), 17).unwrap(), 16, "not full");
        assert_eq!(thin_out(dir.path(), 16).unwrap(), 14);
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 14);
        assert!(left.iter().any(|name| name == "00"), "used last: {left:?}");
    }
}
