//! Resource names of ByteStream.
use crate::digest::shortened;
use crate::{BadDigest, Digest, DigestFunction};

/// How the bytes of a stream are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compressor {
    /// As they are.
    Identity,
    /// Zstandard frames.
    Zstd,
}

/// `[{instance}/]blobs/…` or `[{instance}/]compressed-blobs/zstd/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResource {
    /// Free text, may be empty, may have several segments.
    pub instance: String,
    /// The form on the wire.
    pub compressor: Compressor,
    /// The uncompressed blob.
    pub digest: Digest,
}

/// `[{instance}/]uploads/{uuid}/blobs/…` and its compressed form; trailing metadata is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteResource {
    /// Free text, may be empty, may have several segments.
    pub instance: String,
    /// Chosen by the client, one for each upload (not more than a hint: REAPI lets two blobs share one).
    pub upload: String,
    /// The form on the wire.
    pub compressor: Compressor,
    /// The uncompressed blob.
    pub digest: Digest,
}

/// A name that is none of the forms of the API. The client's author must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BadResource {
    /// Not the shape of a resource name.
    #[error("`{0}` is not a resource name of this kind")]
    Shape(String),
    /// A compressor that was not advertised.
    #[error("the compressor `{0}` is not supported: zstd is")]
    Compressor(String),
    /// The digest part.
    #[error(transparent)]
    Digest(#[from] BadDigest),
}

/// REAPI: segments that can never be part of an instance name.
const KEYWORDS: [&str; 7] =
    ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"];

/// Splits into the instance name and the segments from the first keyword on.
fn split(name: &str) -> Result<(String, Vec<&str>), BadResource> {
    let segments: Vec<_> = name.split('/').collect();
    let at = segments.iter().position(|s| KEYWORDS.contains(s)).ok_or_else(|| BadResource::Shape(shortened(name)))?;
    let (instance, rest) = segments.split_at(at);
    Ok((instance.join("/"), rest.to_vec()))
}

/// Parses `blobs/[{function}/]{hash}/{size}` or `compressed-blobs/{compressor}/…`; what follows is
/// returned.
fn blob<'a>(name: &str, segments: &'a [&'a str]) -> Result<(Compressor, Digest, &'a [&'a str]), BadResource> {
    let shape = || BadResource::Shape(shortened(name));
    let (compressor, rest) = match segments {
        ["blobs", rest @ ..] => (Compressor::Identity, rest),
        ["compressed-blobs", "zstd", rest @ ..] => (Compressor::Zstd, rest),
        ["compressed-blobs", other, ..] => return Err(BadResource::Compressor(shortened(other))),
        _ => return Err(shape()),
    };
    let (function, rest) = match rest {
        ["blake3", rest @ ..] => (DigestFunction::Blake3, rest),
        ["sha256", rest @ ..] => (DigestFunction::Sha256, rest),
        rest => (DigestFunction::Sha256, rest),
    };
    let [hash, size, rest @ ..] = rest else { return Err(shape()) };
    // `parse` would take a sign.
    let size: i64 = size.parse().ok().filter(|_| size.bytes().all(|b| b.is_ascii_digit())).ok_or_else(shape)?;
    Ok((compressor, Digest::parse(function, hash, size)?, rest))
}

impl ReadResource {
    /// Parses the name of a `Read`.
    ///
    /// # Errors
    /// See [`BadResource`].
    pub fn parse(name: &str) -> Result<Self, BadResource> {
        let (instance, segments) = split(name)?;
        let (compressor, digest, rest) = blob(name, &segments)?;
        if !rest.is_empty() {
            return Err(BadResource::Shape(shortened(name)));
        }
        Ok(Self { instance, compressor, digest })
    }
}

impl WriteResource {
    /// Parses the name of a `Write` or `QueryWriteStatus`.
    ///
    /// # Errors
    /// See [`BadResource`].
    pub fn parse(name: &str) -> Result<Self, BadResource> {
        let (instance, segments) = split(name)?;
        match segments.as_slice() {
            ["uploads", upload, rest @ ..] if !upload.is_empty() => {
                let (compressor, digest, _metadata) = blob(name, rest)?;
                Ok(Self { instance, upload: (*upload).to_owned(), compressor, digest })
            }
            _ => Err(BadResource::Shape(shortened(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_in_all_forms() {
        for (name, instance, compressor, function) in [
            (format!("blobs/{H}/0"), "", Compressor::Identity, DigestFunction::Sha256),
            (format!("main/blobs/{H}/0"), "main", Compressor::Identity, DigestFunction::Sha256),
            (format!("a/b/c/blobs/blake3/{H}/0"), "a/b/c", Compressor::Identity, DigestFunction::Blake3),
            (format!("compressed-blobs/zstd/{H}/0"), "", Compressor::Zstd, DigestFunction::Sha256),
        ] {
            let r = ReadResource::parse(&name).unwrap();
            assert_eq!((r.instance.as_str(), r.compressor, r.digest.function()), (instance, compressor, function));
            let upload = match instance {
                "" => format!("uploads/u-1/{name}/meta.data"),
                _ => format!("{instance}/uploads/u-1/{}", name.strip_prefix(&format!("{instance}/")).unwrap()),
            };
            let w = WriteResource::parse(&upload).unwrap();
            assert_eq!((w.instance.as_str(), w.compressor, w.upload.as_str()), (instance, compressor, "u-1"));
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for bad in [
            String::new(),
            "blobs".into(),
            format!("blobs/{H}"),
            format!("blobs/{H}/-1"),
            format!("blobs/{H}/x"),
            format!("blobs/{H}/+0"),
            format!("blobs/{H}/0/extra"),
            format!("blobs/../{H}/0"),
            format!("compressed-blobs/brotli/{H}/0"),
            format!("uploads/u/blobs/{H}/0"),
        ] {
            assert!(ReadResource::parse(&bad).is_err(), "{bad}");
        }
        for bad in [format!("blobs/{H}/0"), format!("uploads//blobs/{H}/0"), format!("uploads/u/{H}/0")] {
            assert!(WriteResource::parse(&bad).is_err(), "{bad}");
        }
    }
}
