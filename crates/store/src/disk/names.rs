//! Names that are no digests: what a client that does not speak the API calls a value (`/ac/…` of the HTTP cache, a
//! WebDAV path), and what `PushBlob` and `PushDirectory` were told of a URI.
//!
//! The value is a blob like any other, in the same store and the same byte budget; a name is a small
//! record of the log that says which. An entry whose blob has gone is as good as none: whoever asks looks
//! ([`crate::first_absent_of`]), and the sweep removes it. Names that nobody uses go like all else that nobody uses.
use super::Inner;
use super::catalogue::{Key, Kind, Place, RECORD_HEAD_BYTES};
use super::files::Look;
use crate::StoreError;
use lre_model::{Digest, DigestFunction, Hasher};
use prost::Message;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Largest record in bytes.
const NAME_BYTES_MAX: u64 = 1024 * 1024;

/// Names stand above all that they name, like results.
const RANK: u8 = u8::MAX;

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
        let key = Key::new(Kind::Name, name.0);
        let record = self.0.record(&key, name.0)?.filter(|record| !record.is_over(now));
        if record.is_some() {
            self.0.mark(&key)?;
        }
        Ok(record)
    }

    /// Remembers a name, in place of what it meant before.
    ///
    /// # Errors
    /// The disk failed or is full, or the record has more references than fit (1 MiB).
    pub fn put(&self, name: Name, record: &Record) -> Result<(), StoreError> {
        let bytes = record.encode();
        if bytes.len() as u64 > NAME_BYTES_MAX {
            return Err(StoreError::TooLarge { size_bytes: bytes.len() as u64, at_most: NAME_BYTES_MAX });
        }
        self.0.admit(bytes.len() as u64 + RECORD_HEAD_BYTES)?;
        self.0.catalogue.put(Key::new(Kind::Name, name.0), name.0.size_bytes(), &bytes, self.0.stamp(RANK))?;
        self.0.dirty();
        Ok(())
    }

    /// Forgets a name; `false` where there was none.
    ///
    /// # Errors
    /// The disk failed.
    pub fn remove(&self, name: Name) -> Result<bool, StoreError> {
        Ok(self.0.catalogue.forget(Key::new(Kind::Name, name.0))?)
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
        self.0.refresh()?;
        let key = Key::blob(hash);
        Ok(self.0.catalogue.get(&key).and_then(|entry| key.digest(entry.size_bytes)))
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("directory", &self.0.layout.root()).finish_non_exhaustive()
    }
}

impl Inner {
    /// What the log says of a name. What cannot be read is forgotten.
    fn record(&self, key: &Key, name: Digest) -> Result<Option<Record>, StoreError> {
        let Some((_, payload)) = self.payload(key, name)? else { return Ok(None) };
        match Record::decode(&payload) {
            Ok(record) => Ok(Some(record)),
            Err(why) => {
                self.discard(key, &payload, &why)?;
                Ok(None)
            }
        }
    }

    /// Removes the names that are over, or whose blob is gone; counts them.
    pub(super) fn sweep_names(&self, stop: &std::sync::atomic::AtomicBool) -> Result<u64, StoreError> {
        let mut names = Vec::new();
        self.catalogue.each(|key, entry| {
            if key.kind == Kind::Name {
                names.push((*key, *entry));
            }
        });
        let mut removed = 0;
        for (key, entry) in names {
            if stop.load(std::sync::atomic::Ordering::SeqCst) {
                break;
            }
            let Some(name) = key.digest(entry.size_bytes) else { continue };
            let Some(record) = self.record(&key, name)? else { continue };
            if record.is_over(SystemTime::now()) || !self.may_be_there(record.digest)? {
                // One that was put anew in between stays.
                removed += self.catalogue.forget_if(&[key], |_, now| *now == entry)?.len() as u64;
            }
        }
        Ok(removed)
    }

    fn may_be_there(&self, digest: Digest) -> Result<bool, StoreError> {
        match self.catalogue.get(&Key::blob(digest)) {
            None => Ok(digest.is_empty_blob()),
            Some(entry) if entry.place == Place::File => Ok(!matches!(self.look(digest)?, Look::Absent)),
            Some(_) => Ok(true),
        }
    }
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
}
