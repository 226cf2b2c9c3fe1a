//! Resource names and digests.
use super::word;
use lre_model::{Compressor, Digest, DigestFunction, ReadResource, WriteResource};

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub fn resources() -> Vec<Vec<u8>> {
    [
        format!("blobs/{HASH}/0"),
        format!("main/blobs/{HASH}/1234"),
        format!("a/b/blobs/blake3/{HASH}/9223372036854775807"),
        format!("compressed-blobs/zstd/{HASH}/5"),
        format!("main/compressed-blobs/zstd/blake3/{HASH}/5"),
        format!("uploads/2e8f0f0b-0a4b-4f3a-9b4f-0d6e4d5b9a77/blobs/{HASH}/17"),
        format!("main/uploads/u/compressed-blobs/zstd/{HASH}/17/meta/data.txt"),
    ]
    .map(String::into_bytes)
    .to_vec()
}

fn printed(instance: &str, between: &str, compressor: Compressor, digest: Digest) -> String {
    let kind = match compressor {
        Compressor::Identity => "blobs",
        Compressor::Zstd => "compressed-blobs/zstd",
    };
    let slash = if instance.is_empty() { "" } else { "/" };
    format!("{instance}{slash}{between}{kind}/{digest}")
}

/// Any text: what is taken says the same again when it is printed, and is a digest that is one.
pub fn resource(input: &[u8]) -> String {
    // Names are strings on the wire: what is no UTF-8 does not come this far.
    let name = String::from_utf8_lossy(input);
    let read = match ReadResource::parse(&name) {
        Ok(read) => {
            let again = ReadResource::parse(&printed(&read.instance, "", read.compressor, read.digest));
            assert_eq!(again.as_ref(), Ok(&read), "of {name:?}");
            let size = name.rsplit('/').next().unwrap_or_default();
            assert!(size.bytes().all(|byte| byte.is_ascii_digit()), "the size {size:?} is taken");
            format!("read {:?} {:?}", read.compressor, read.digest.function())
        }
        Err(error) => word(&error),
    };
    let write = match WriteResource::parse(&name) {
        Ok(write) => {
            assert!(!write.upload.is_empty() && !write.upload.contains('/'), "the upload {:?}", write.upload);
            let between = format!("uploads/{}/", write.upload);
            let again = WriteResource::parse(&printed(&write.instance, &between, write.compressor, write.digest));
            assert_eq!(again.as_ref(), Ok(&write), "of {name:?}");
            format!("write {:?} {:?}", write.compressor, write.digest.function())
        }
        Err(error) => word(&error),
    };
    format!("{read} / {write}")
}

pub fn digests() -> Vec<Vec<u8>> {
    [format!("{HASH}/0"), format!("blake3/{HASH}/12"), format!("{HASH}/9223372036854775807")]
        .map(String::into_bytes)
        .to_vec()
}

/// What is taken is printed as it was, and names no path.
pub fn digest(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    match Digest::from_text(&text) {
        Ok(digest) => {
            let hash = digest.hash_text();
            assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_eq!(Digest::from_text(&digest.to_string()), Ok(digest), "of {text:?}");
            assert_eq!(Digest::from_wire(digest.function(), Some(&digest.to_wire())), Ok(digest), "of {text:?}");
            let other = DigestFunction::ALL.into_iter().find(|function| *function != digest.function());
            assert!(other.is_some_and(|other| Digest::from_wire(other, Some(&digest.to_wire())) != Ok(digest)));
            format!("{:?} {}", digest.function(), digest.is_empty_blob())
        }
        Err(error) => word(&error),
    }
}
