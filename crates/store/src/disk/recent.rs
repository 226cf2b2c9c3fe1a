//! The content of small blobs that came a moment ago.
//!
//! A client uploads an Action, its Command and the directories that changed, and asks for the execution: all of them
//! are read back at once, and to open a file, ask for its size, read and close it costs ten times the decoding.
use bytes::Bytes;
use lre_model::{ByDigest, Digest};
use std::collections::HashMap;
use std::sync::Mutex;

use super::unpoisoned;

/// Largest blob that is kept, in bytes: a directory of some hundred files.
const BLOB_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of one generation; there are two. What one action brings is a hundredth of that.
const GENERATION_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What a blob costs beside its bytes.
const ENTRY_BYTES: usize = 128;

/// See the module. Two generations: when the young one is full, it becomes the old one and the old one goes.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Bytes, ByDigest>,
    old: HashMap<Digest, Bytes, ByDigest>,
    young_bytes: usize,
}

impl Recent {
    /// Keeps a blob, if it is small. It was hashed.
    pub(super) fn keep(&self, digest: Digest, bytes: &[u8]) {
        if bytes.len() > BLOB_BYTES_MAX {
            return;
        }
        // A copy: the bytes that came are a part of a message, and would keep all of it.
        let bytes = Bytes::copy_from_slice(bytes);
        let mut generations = unpoisoned(self.0.lock());
        let size = bytes.len() + ENTRY_BYTES;
        if generations.young_bytes + size > GENERATION_BYTES_MAX {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        if generations.young.insert(digest, bytes).is_none() {
            generations.young_bytes += size;
        }
    }

    /// The content; whether the blob is still there is for the caller to know.
    pub(super) fn get(&self, digest: &Digest) -> Option<Bytes> {
        let generations = unpoisoned(self.0.lock());
        generations.young.get(digest).or_else(|| generations.old.get(digest)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    #[test]
    fn the_latest_are_there_and_the_memory_is_bounded() {
        let recent = Recent::default();
        let blob = |n: u32| [n.to_le_bytes().as_slice(), &[0; 10_000]].concat();
        let of = |n| Digest::of(DigestFunction::Sha256, &blob(n));
        (0..1000).for_each(|n| recent.keep(of(n), &blob(n)));
        assert!(recent.get(&of(0)).is_none());
        assert_eq!(recent.get(&of(999)).unwrap(), blob(999));
        recent.keep(of(0), &[0; BLOB_BYTES_MAX + 1]);
        assert!(recent.get(&of(0)).is_none(), "too large");
        let generations = recent.0.lock().unwrap();
        let kept: usize = generations.young.values().chain(generations.old.values()).map(Bytes::len).sum();
        assert!(kept <= 2 * GENERATION_BYTES_MAX);
    }
}
