//! Action results: a small file for each action, framed so that a file torn by a power cut, or put
//! there by somebody else, is noticed.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `lreR` |
//! | 4 | version of the frame, 1 |
//! | 5 | digest function: 0 SHA-256, 1 BLAKE3 |
//! | 6..8 | zero |
//! | 8..16 | size of the action in bytes, little-endian |
//! | 16..24 | length of the payload in bytes, little-endian |
//! | 24..56 | BLAKE3 of bytes 0..24, the hash of the action, and the payload |
//! | 56.. | payload: the `ActionResult` message |
use super::layout::Room;
use super::{Inner, open_regular, unpoisoned};
use crate::StoreError;
use lre_model::{ActionDigest, ActionResult, Digest, DigestFunction, Hasher};
use std::io::{self, Read};
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"lreR";
const VERSION: u8 = 1;
const HEAD: usize = 24;
const FRAME: usize = HEAD + 32;

/// Largest file read as a result, in bytes. Results are small; a file of another kind under the name
/// of a result must not fill the memory.
const RESULT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What lies under the name of an action.
#[derive(Debug, PartialEq)]
enum Framed<'a> {
    Payload(&'a [u8]),
    /// A sound result, of the action with this hash and another size: not this one.
    OtherSize,
    Bad(&'static str),
}

fn head(action: Digest, length: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&MAGIC);
    head[4] = VERSION;
    head[5] = match action.function() {
        DigestFunction::Sha256 => 0,
        DigestFunction::Blake3 => 1,
    };
    head[8..16].copy_from_slice(&action.size_bytes().to_le_bytes());
    head[16..24].copy_from_slice(&(length as u64).to_le_bytes());
    head
}

fn checksum(head: &[u8], action: Digest, payload: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new(DigestFunction::Blake3);
    for part in [head, action.hash(), payload] {
        hasher.update(part);
    }
    *hasher.finish().hash()
}

fn frame(action: Digest, payload: &[u8]) -> Vec<u8> {
    let head = head(action, payload.len());
    [&head[..], &checksum(&head, action, payload), payload].concat()
}

fn unframe(action: Digest, bytes: &[u8]) -> Framed<'_> {
    let Some((framing, payload)) = bytes.split_at_checked(FRAME) else { return Framed::Bad("it is too short") };
    let (found, sum) = framing.split_at(HEAD);
    if found[..4] != MAGIC || found[4] != VERSION {
        return Framed::Bad("it is no action result of a known version");
    }
    if sum != checksum(found, action, payload) {
        return Framed::Bad("its checksum is wrong");
    }
    if found != head(action, payload.len()) {
        return Framed::OtherSize;
    }
    Framed::Payload(payload)
}

impl Inner {
    pub(super) fn get_result(&self, action: ActionDigest) -> Result<Option<Arc<ActionResult>>, StoreError> {
        let path = self.layout.of(Room::Results, action.0);
        let file = match open_regular(&path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.quarantine(&unpoisoned(self.repair.lock()), &path, "it is not a regular file")?;
                return Ok(None);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut bytes = Vec::new();
        file.take(RESULT_BYTES_MAX).read_to_end(&mut bytes)?;
        let why = match unframe(action.0, &bytes) {
            Framed::Payload(payload) => match ActionResult::decode(action.0.function(), payload) {
                Ok(result) => return Ok(Some(Arc::new(result))),
                Err(e) => e.to_string(),
            },
            Framed::OtherSize => return Ok(None),
            Framed::Bad(why) => why.to_owned(),
        };
        self.quarantine(&unpoisoned(self.repair.lock()), &path, &why)?;
        Ok(None)
    }

    pub(super) fn put_result(&self, action: ActionDigest, result: &ActionResult) -> Result<(), StoreError> {
        let bytes = frame(action.0, &result.encode());
        if bytes.len() as u64 >= RESULT_BYTES_MAX {
            return Err(StoreError::TooLarge { size_bytes: bytes.len() as u64, at_most: RESULT_BYTES_MAX - 1 });
        }
        self.write_file(Room::Results, action.0, &mut &bytes[..], None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: DigestFunction = DigestFunction::Sha256;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let action = Digest::of(F, b"action");
        let bytes = frame(action, b"payload");
        assert_eq!(unframe(action, &bytes), Framed::Payload(b"payload"));
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            assert!(matches!(unframe(action, &flipped), Framed::Bad(_)), "bit in byte {i}");
            assert!(matches!(unframe(action, &bytes[..i]), Framed::Bad(_)), "cut at {i}");
        }
        assert!(matches!(unframe(action, &[&bytes[..], b"x"].concat()), Framed::Bad(_)), "something behind it");
    }

    #[test]
    fn a_result_is_bound_to_its_action() {
        let action = Digest::of(F, b"action");
        let bytes = frame(action, b"");
        assert!(matches!(unframe(Digest::of(F, b"another"), &bytes), Framed::Bad(_)));
        let other_size = Digest::parse(F, &action.hash_text(), 99).unwrap();
        assert_eq!(unframe(other_size, &bytes), Framed::OtherSize, "the file is right, the question is not");
    }
}
