//! Blobs are named by a hash, a size and the function that made the hash.
use lre_proto::re;
use sha2::Digest as _;
use std::fmt;

/// How blobs are named.
///
/// SHA-256 is what every client speaks; BLAKE3 is what large inputs want. Both live in one store
/// and are never mixed: the function is part of the digest (PROTOCOL, 23).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum DigestFunction {
    /// SHA-256, 32 bytes.
    #[default]
    Sha256,
    /// BLAKE3, 32 bytes.
    Blake3,
}

impl DigestFunction {
    /// All functions, in the order in which they are advertised.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Blake3];

    /// The `DigestFunction.Value` of a request. `UNKNOWN` means SHA-256: of the functions that
    /// may be left out (REAPI, `digest_function`: "if this field is unset, the server should
    /// infer it from the length of the hash"), 64 hexadecimal digits can only be that one here.
    ///
    /// # Errors
    /// The number, where it is a function that this server does not speak.
    pub fn from_wire(value: i32) -> Result<Self, BadDigest> {
        match re::digest_function::Value::try_from(value) {
            Ok(re::digest_function::Value::Unknown | re::digest_function::Value::Sha256) => Ok(Self::Sha256),
            Ok(re::digest_function::Value::Blake3) => Ok(Self::Blake3),
            _ => Err(BadDigest::Function(value)),
        }
    }

    /// The `DigestFunction.Value`.
    #[must_use]
    pub fn to_wire(self) -> i32 {
        match self {
            Self::Sha256 => re::digest_function::Value::Sha256 as i32,
            Self::Blake3 => re::digest_function::Value::Blake3 as i32,
        }
    }

    /// The lower-case name, as in resource names and in the folders of the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }
}

/// The hash and the length of a blob, and how the hash was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    function: DigestFunction,
    hash: [u8; 32],
    size_bytes: u64,
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(function: DigestFunction, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(function);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest of no bytes at all. REAPI: the empty blob is always present.
    #[must_use]
    pub fn empty(function: DigestFunction) -> Self {
        Self::of(function, b"")
    }

    /// A digest from its parts.
    ///
    /// # Errors
    /// REAPI, `Digest`: the hash is lower-case hexadecimal, of exactly the length of the
    /// function, and the size is not negative.
    pub fn parse(function: DigestFunction, hash: &str, size_bytes: i64) -> Result<Self, BadDigest> {
        let bad = || match other_function(hash) {
            Some(name) if size_bytes >= 0 => BadDigest::OtherFunction { hash: shortened(hash), name },
            _ => BadDigest::Malformed { hash: shortened(hash), size_bytes },
        };
        let mut raw = [0; 32];
        let lowercase = !hash.bytes().any(|b| b.is_ascii_uppercase());
        match (hex::decode_to_slice(hash, &mut raw), u64::try_from(size_bytes)) {
            (Ok(()), Ok(size_bytes)) if lowercase => Ok(Self { function, hash: raw, size_bytes }),
            _ => Err(bad()),
        }
    }

    /// A digest from the wire.
    ///
    /// # Errors
    /// As [`Digest::parse`]; an absent digest is malformed too.
    pub fn from_wire(function: DigestFunction, wire: Option<&re::Digest>) -> Result<Self, BadDigest> {
        let wire = wire.ok_or(BadDigest::Absent)?;
        Self::parse(function, &wire.hash, wire.size_bytes)
    }

    /// The inverse of [`fmt::Display`]: `hash/size`, or `blake3/hash/size`.
    ///
    /// # Errors
    /// As [`Digest::parse`].
    pub fn from_text(text: &str) -> Result<Self, BadDigest> {
        let (function, rest) = match text.strip_prefix("blake3/") {
            Some(rest) => (DigestFunction::Blake3, rest),
            None => (DigestFunction::Sha256, text),
        };
        let bad = || BadDigest::Malformed { hash: shortened(text), size_bytes: -1 };
        let (hash, size) = rest.split_once('/').ok_or_else(bad)?;
        let plain = !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit());
        let size = size.parse().ok().filter(|_| plain).ok_or_else(bad)?;
        Self::parse(function, hash, size)
    }

    /// The wire form.
    #[must_use]
    pub fn to_wire(self) -> re::Digest {
        // No blob of ours is longer than i64::MAX bytes: `parse` takes an i64 and files are shorter.
        re::Digest { hash: self.hash_text(), size_bytes: i64::try_from(self.size_bytes).unwrap_or(i64::MAX) }
    }

    /// The function that made it.
    #[must_use]
    pub fn function(self) -> DigestFunction {
        self.function
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The hash in lower-case hexadecimal.
    #[must_use]
    pub fn hash_text(self) -> String {
        hex::encode(self.hash)
    }

    /// The length of the blob, in bytes.
    #[must_use]
    pub fn size_bytes(self) -> u64 {
        self.size_bytes
    }

    /// Whether this names the empty blob. A size of zero with another hash names nothing.
    #[must_use]
    pub fn is_empty_blob(self) -> bool {
        self.size_bytes == 0 && self == Self::empty(self.function)
    }

    /// The subject of a MISSING violation (REAPI, `Execute`): `blobs/{hash}/{size}`, with the
    /// function where it is not the default.
    #[must_use]
    pub fn subject(self) -> String {
        format!("blobs/{self}")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.function == DigestFunction::Blake3 {
            f.write_str("blake3/")?;
        }
        write!(f, "{}/{}", hex::encode(self.hash), self.size_bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_text(&text).map_err(serde::de::Error::custom)
    }
}

/// Hashes digests for maps whose keys are digests of blobs that were seen: a digest is as good as chance already, so
/// a part of it serves. Not for digests that somebody only names: he can choose them so that all of them
/// collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByDigest(u64);

impl std::hash::BuildHasher for ByDigest {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

impl std::hash::Hasher for ByDigest {
    fn write(&mut self, bytes: &[u8]) {
        // Of all that a digest tells, only the hash is this long.
        if let Some(eight) = bytes.first_chunk::<8>()
            && bytes.len() >= 32
        {
            self.0 ^= u64::from_le_bytes(*eight);
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// Why something is not a digest. The client's author must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BadDigest {
    /// Not hexadecimal, wrong length, upper case, negative size.
    #[error("`{hash}/{size_bytes}` is not a digest: 64 lower-case hexadecimal digits and a size are needed")]
    Malformed {
        /// As it came.
        hash: String,
        /// As it came, in bytes.
        size_bytes: i64,
    },
    /// A digest, but of a function that this server does not speak (PROTOCOL, 22).
    #[error(
        "`{hash}` has the length of {name}: this server speaks SHA256 and BLAKE3 (64 digits; BLAKE3 is named in the request)"
    )]
    OtherFunction {
        /// As it came.
        hash: String,
        /// By its length.
        name: &'static str,
    },
    /// The field is not set.
    #[error("a digest is needed here")]
    Absent,
    /// Neither SHA-256 nor BLAKE3.
    #[error("digest function {0} is not supported: this server speaks SHA256 and BLAKE3")]
    Function(i32),
}

/// The function that makes hashes of this length, where it is none of ours.
fn other_function(hash: &str) -> Option<&'static str> {
    let hexadecimal = hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match hash.len() {
        32 if hexadecimal => Some("MD5 or MURMUR3"),
        40 if hexadecimal => Some("SHA1"),
        66 if hexadecimal => Some("VSO"),
        96 if hexadecimal => Some("SHA384"),
        128 if hexadecimal => Some("SHA512"),
        _ => None,
    }
}

/// What somebody sent, as far as it helps him to find it: an error that repeats 100 KiB does not fit the trailers of its
/// answer, and HTTP/2 closes the connection over it.
pub(crate) fn shortened(text: &str) -> String {
    const BYTES_MAX: usize = 160;
    let cut = (0..=BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    match cut == text.len() {
        true => text.to_owned(),
        false => format!("{}… ({} bytes)", &text[..cut], text.len()),
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    size_bytes: u64,
}

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new(function: DigestFunction) -> Self {
        let state = match function {
            DigestFunction::Sha256 => State::Sha256(sha2::Sha256::new()),
            DigestFunction::Blake3 => State::Blake3(Box::new(blake3::Hasher::new())),
        };
        Self { state, size_bytes: 0 }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (function, hash) = match self.state {
            State::Sha256(hasher) => (DigestFunction::Sha256, hasher.finalize().into()),
            State::Blake3(hasher) => (DigestFunction::Blake3, *hasher.finalize().as_bytes()),
        };
        Digest { function, hash, size_bytes: self.size_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn wire_form_is_strict() {
        let sha = DigestFunction::Sha256;
        assert_eq!(Digest::parse(sha, EMPTY, 0), Ok(Digest::empty(sha)));
        for (hash, size) in [
            (EMPTY.to_uppercase().as_str(), 0),
            (EMPTY, -1),
            (&EMPTY[2..], 0),
            ("", 0),
            ("../../../../etc/passwd", 3),
            (&format!("{EMPTY}00"), 0),
        ] {
            assert!(Digest::parse(sha, hash, size).is_err(), "{hash}/{size}");
        }
    }

    /// PROTOCOL 22, bad input: hashes of other functions are told from nonsense, and by name.
    #[test]
    fn hashes_of_other_functions_are_named() {
        let sha = DigestFunction::Sha256;
        for (length, name) in [(32, "MD5"), (40, "SHA1"), (66, "VSO"), (96, "SHA384"), (128, "SHA512")] {
            let text = Digest::parse(sha, &"a".repeat(length), 5).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("SHA256 and BLAKE3"), "{text}");
            let nonsense = Digest::parse(sha, &"x".repeat(length), 5);
            assert!(matches!(nonsense, Err(BadDigest::Malformed { .. })), "{nonsense:?}");
        }
    }

    /// PROTOCOL 21, bad input: what is said about a name of any length is short.
    #[test]
    fn errors_do_not_repeat_all_that_was_sent() {
        for long in ["a".repeat(100 << 10), "é".repeat(50_001), format!("x{}", "é".repeat(50_000))] {
            let text = Digest::parse(DigestFunction::Sha256, &long, 1).unwrap_err().to_string();
            assert!(text.len() < 400 && text.contains("bytes"), "{text}");
        }
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn text_round_trips_and_names_the_function() {
        for function in DigestFunction::ALL {
            let digest = Digest::of(function, b"hello");
            assert_eq!(Digest::from_text(&digest.to_string()), Ok(digest));
        }
        assert!(Digest::of(DigestFunction::Blake3, b"").subject().starts_with("blobs/blake3/"));
        for bad in ["", "/", "abc/1", &format!("{EMPTY}/+0"), &format!("{EMPTY}/-1"), &format!("{EMPTY}/")] {
            assert!(Digest::from_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn zero_size_with_another_hash_is_not_the_empty_blob() {
        let zeros = Digest::parse(DigestFunction::Sha256, &"00".repeat(32), 0).unwrap();
        assert!(!zeros.is_empty_blob());
        assert!(Digest::empty(DigestFunction::Blake3).is_empty_blob());
    }

    #[test]
    fn maps_by_digest_spread_them() {
        use std::hash::BuildHasher;
        let hashes: std::collections::HashSet<_> = (0..1000_u32)
            .map(|n| ByDigest::default().hash_one(Digest::of(DigestFunction::Sha256, &n.to_le_bytes())))
            .collect();
        assert_eq!(hashes.len(), 1000);
    }

    #[test]
    fn functions_that_we_do_not_speak_are_refused() {
        assert_eq!(DigestFunction::from_wire(0), Ok(DigestFunction::Sha256));
        assert!(DigestFunction::from_wire(re::digest_function::Value::Md5 as i32).is_err());
        assert!(DigestFunction::from_wire(4711).is_err());
    }
}
