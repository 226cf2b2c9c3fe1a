//! SHA-256 of a file as people and registries write it.
use lre_model::{Digest, DigestFunction, Hasher};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

/// Bytes hashed at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Names bytes, whatever their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Sha256([u8; 32]);

impl Sha256 {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::from(Digest::of(DigestFunction::Sha256, bytes))
    }

    /// Of a file.
    pub(crate) fn of_file(path: &Path) -> io::Result<Self> {
        let mut hasher = hasher();
        hash_into(&mut hasher, &mut File::open(path)?)?;
        Ok(Self::from(hasher.finish()))
    }
}

/// What it is made with.
pub(crate) fn hasher() -> Hasher {
    Hasher::new(DigestFunction::Sha256)
}

/// Hashes all that `from` still has.
pub(crate) fn hash_into(hasher: &mut Hasher, from: &mut impl Read) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(n) => hasher.update(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

impl From<Digest> for Sha256 {
    /// Of a digest that was made with [`hasher`].
    fn from(digest: Digest) -> Self {
        Self(*digest.hash())
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| format!("`{text}` is not a SHA-256: it has 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
