//! Small files under the digest of what they are asked by, framed so that one torn by a power cut, or put
//! there by somebody else, is noticed. Results of actions and names are kept so.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `lreR` a result, `lreN` a name |
//! | 4 | version of the frame, 1 |
//! | 5 | function of the digest: 0 SHA-256, 1 BLAKE3 |
//! | 6..8 | zero |
//! | 8..16 | the digest's size in bytes, little-endian |
//! | 16..24 | length of the payload in bytes, little-endian |
//! | 24..56 | BLAKE3 of bytes 0..24, the digest's hash, and the payload |
//! | 56.. | payload |
use super::layout::Room;
use super::{Inner, open_regular, unpoisoned};
use crate::StoreError;
use lre_model::{Digest, DigestFunction, Hasher};
use std::io::{self, Read};
use std::path::Path;

const VERSION: u8 = 1;
const HEAD: usize = 24;
const FRAME: usize = HEAD + 32;

/// What lies under a name.
#[derive(Debug, PartialEq)]
pub(super) enum Framed<'a> {
    Payload(&'a [u8]),
    /// A sound file, of the digest with this hash and another size: not this one.
    OtherSize,
    Bad(&'static str),
}

fn head(magic: [u8; 4], digest: Digest, length: usize) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&magic);
    head[4] = VERSION;
    head[5] = match digest.function() {
        DigestFunction::Sha256 => 0,
        DigestFunction::Blake3 => 1,
    };
    head[8..16].copy_from_slice(&digest.size_bytes().to_le_bytes());
    head[16..24].copy_from_slice(&(length as u64).to_le_bytes());
    head
}

fn checksum(head: &[u8], digest: Digest, payload: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::new(DigestFunction::Blake3);
    for part in [head, digest.hash(), payload] {
        hasher.update(part);
    }
    *hasher.finish().hash()
}

fn frame(magic: [u8; 4], digest: Digest, payload: &[u8]) -> Vec<u8> {
    let head = head(magic, digest, payload.len());
    [&head[..], &checksum(&head, digest, payload), payload].concat()
}

fn unframe(magic: [u8; 4], digest: Digest, bytes: &[u8]) -> Framed<'_> {
    let Some((framing, payload)) = bytes.split_at_checked(FRAME) else { return Framed::Bad("it is too short") };
    let (found, sum) = framing.split_at(HEAD);
    if found[..4] != magic || found[4] != VERSION {
        return Framed::Bad("it is of no known kind or version");
    }
    if sum != checksum(found, digest, payload) {
        return Framed::Bad("its checksum is wrong");
    }
    if found != head(magic, digest, payload.len()) {
        return Framed::OtherSize;
    }
    Framed::Payload(payload)
}

/// The size that a frame names, where there is one.
pub(super) fn size_named(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?))
}

impl Inner {
    /// Reads the file of `digest` in `room`, and what it says by `read`. What is no such file, or cannot be read, is
    /// moved aside and not there.
    pub(super) fn get_framed<T>(
        &self,
        room: Room,
        digest: Digest,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, StoreError> {
        let path = self.layout.of(room, digest);
        let Some(bytes) = self.framed_bytes(&path, room)? else { return Ok(None) };
        let why = match unframe(room.magic(), digest, &bytes) {
            Framed::Payload(payload) => match read(payload) {
                Ok(read) => return Ok(Some(read)),
                Err(why) => why,
            },
            Framed::OtherSize => return Ok(None),
            Framed::Bad(why) => why.to_owned(),
        };
        self.quarantine(&unpoisoned(self.repair.lock()), &path, &why)?;
        Ok(None)
    }

    /// All bytes of such a file.
    pub(super) fn framed_bytes(&self, path: &Path, room: Room) -> Result<Option<Vec<u8>>, StoreError> {
        let file = match open_regular(path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                self.quarantine(&unpoisoned(self.repair.lock()), path, "it is not a regular file")?;
                return Ok(None);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut bytes = Vec::new();
        file.take(room.file_bytes_max()).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    pub(super) fn put_framed(&self, room: Room, digest: Digest, payload: &[u8]) -> Result<(), StoreError> {
        let bytes = frame(room.magic(), digest, payload);
        if bytes.len() as u64 >= room.file_bytes_max() {
            return Err(StoreError::TooLarge { size_bytes: bytes.len() as u64, at_most: room.file_bytes_max() - 1 });
        }
        self.write_file(room, digest, &mut &bytes[..], None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: DigestFunction = DigestFunction::Sha256;
    const MAGIC: [u8; 4] = *b"lreR";

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let action = Digest::of(F, b"action");
        let bytes = frame(MAGIC, action, b"payload");
        assert_eq!(unframe(MAGIC, action, &bytes), Framed::Payload(b"payload"));
        assert!(matches!(unframe(*b"lreN", action, &bytes), Framed::Bad(_)), "of another kind");
        for i in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1;
            assert!(matches!(unframe(MAGIC, action, &flipped), Framed::Bad(_)), "bit in byte {i}");
            assert!(matches!(unframe(MAGIC, action, &bytes[..i]), Framed::Bad(_)), "cut at {i}");
        }
        assert!(matches!(unframe(MAGIC, action, &[&bytes[..], b"x"].concat()), Framed::Bad(_)), "something behind it");
    }

    #[test]
    fn a_frame_is_bound_to_its_digest() {
        let action = Digest::of(F, b"action");
        let bytes = frame(MAGIC, action, b"");
        assert!(matches!(unframe(MAGIC, Digest::of(F, b"another"), &bytes), Framed::Bad(_)));
        let other_size = Digest::parse(F, &action.hash_text(), 99).unwrap();
        assert_eq!(unframe(MAGIC, other_size, &bytes), Framed::OtherSize, "the file is right, the question is not");
        assert_eq!(size_named(&bytes), Some(action.size_bytes()));
        assert_eq!(size_named(b"short"), None);
    }
}
