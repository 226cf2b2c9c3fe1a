//! Where a large blob is cut, so that one that changed a little has most of its chunks unchanged.
//!
//! The function is FAST_CDC_2020 of the API (REAPI, `FastCdc2020Params`; PROTOCOL, 18 and 85): the crate is one of the two
//! implementations that the API names. A cut that differs from the one a client makes is not wrong, but shares nothing
//! with it, so the tests hold the crate to the text of the API and not to itself.
use bytes::Bytes;
use fastcdc::v2020::{Normalization, StreamCDC};
use std::io::{self, Read};

/// The expected length of a chunk in bytes: the API recommends this one, and chunks are shared only by those who use the
/// same.
pub const AVERAGE_BYTES: usize = 512 * 1024;

/// The shortest chunk in bytes, the last of a blob excepted (REAPI: a quarter of the average).
pub const MIN_BYTES: usize = AVERAGE_BYTES / 4;

/// The longest chunk in bytes (REAPI: four times the average). A blob up to this size is not cut.
pub const MAX_BYTES: usize = AVERAGE_BYTES * 4;

/// The seed of the rolling hash. REAPI recommends 0: whoever has another shares nothing with the others.
pub const SEED: u32 = 0;

/// The chunks of all that `reader` gives, one after the other, with no more than two of the longest in memory.
///
/// # Errors
/// Those of the reader; nothing comes after one.
pub fn chunks(reader: impl Read) -> impl Iterator<Item = io::Result<Bytes>> {
    let level = Normalization::Level2;
    let chunker = StreamCDC::with_level_and_seed(reader, MIN_BYTES, AVERAGE_BYTES, MAX_BYTES, level, u64::from(SEED));
    chunker.map(|chunk| Ok(Bytes::from(chunk.map_err(io::Error::from)?.data)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastcdc::v2020::{get_gear_with_seed, select_masks};
    use lre_model::{Digest, DigestFunction};
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// SHA-256 of the 256 numbers of the rolling hash, in big endian: the high 64 bits of the MD5 of each byte. The API
    /// does not say that the byte is taken 64 times; both implementations that it names, and Bazel, do so. Computed by
    /// another program: `b''.join(hashlib.md5(bytes([i]) * 64).digest()[:8] for i in range(256))`.
    const GEAR: &str = "9df0a720752a7d211fdebaf39bed01610983756fc340a1cfef41052b7356ae73";

    /// Bits of the hash that must be 0 for a cut before the average, and after it: 21 and 17 bits, spread as in the
    /// reference implementation of the paper (two more and two less than the 19 of 512 KiB).
    const MASKS: (u64, u64) = (0x0000_d917_6753_7000, 0x0000_d907_0353_7000);

    /// Bytes that look random, different for each seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn lengths(content: &[u8]) -> Vec<usize> {
        chunks(content).map(|chunk| chunk.unwrap().len()).collect()
    }

    fn digests(content: &[u8]) -> Vec<Digest> {
        chunks(content).map(|chunk| Digest::of(DigestFunction::Sha256, &chunk.unwrap())).collect()
    }

    /// The text of the paper, a byte at a time, as slow and as plain as can be.
    fn by_the_book(content: &[u8]) -> Vec<usize> {
        let (gear, _) = get_gear_with_seed(u64::from(SEED));
        let (mut lengths, mut rest) = (Vec::new(), content);
        while !rest.is_empty() {
            let end = rest.len().min(MAX_BYTES);
            let mut hash = 0_u64;
            // Bytes are taken in pairs: the last one of an odd number is nobody's cut.
            let cut = (MIN_BYTES..end & !1).find(|&i| {
                hash = (hash << 1).wrapping_add(gear[rest[i] as usize]);
                hash & if i < AVERAGE_BYTES { MASKS.0 } else { MASKS.1 } == 0
            });
            let length = cut.unwrap_or(end);
            lengths.push(length);
            rest = &rest[length..];
        }
        lengths
    }

    /// PROTOCOL 18: the numbers of the rolling hash are those that the API defines.
    #[test]
    fn the_tables_are_those_of_the_api() {
        let (gear, shifted) = get_gear_with_seed(u64::from(SEED));
        let bytes: Vec<u8> = gear.iter().flat_map(|n| n.to_be_bytes()).collect();
        assert_eq!(Digest::of(DigestFunction::Sha256, &bytes).hash_text(), GEAR);
        assert!(gear.iter().zip(&*shifted).all(|(n, twice)| *twice == n << 1));
        assert_eq!(select_masks(AVERAGE_BYTES, Normalization::Level2), MASKS);
        assert_eq!((MIN_BYTES, MAX_BYTES), (128 * 1024, 2 * 1024 * 1024));
    }

    /// PROTOCOL 85: cuts are where the paper has them, also at the ends of blobs of any length.
    #[test]
    fn cuts_are_those_of_the_paper() {
        for (seed, length) in
            [(1, 12 << 20), (2, 5_000_001), (3, MAX_BYTES), (4, MIN_BYTES), (5, MIN_BYTES + 1), (6, 1)]
        {
            let content = noise(seed, length);
            assert_eq!(lengths(&content), by_the_book(&content), "{length}");
        }
        // Nothing to cut by: as long as may be.
        assert_eq!(lengths(&vec![0; 2 * MAX_BYTES + 7]), [MAX_BYTES, MAX_BYTES, 7]);
        assert_eq!(lengths(b""), [0; 0]);
    }

    /// A reader that gives as much as it likes.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.0.len()).min(10_007);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn how_the_bytes_come_does_not_matter() {
        let content = noise(7, 4 << 20);
        let dribbled: Vec<_> = chunks(Dribble(&content)).map(|chunk| chunk.unwrap().len()).collect();
        assert_eq!(dribbled, lengths(&content));
    }

    /// PROTOCOL 85, bad input: a blob that cannot be read to its end is an error and not a shorter blob.
    #[test]
    fn an_error_of_the_reader_is_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk is on fire"))
            }
        }
        let content = noise(8, 100_000);
        let error = chunks(content.chain(Broken)).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("on fire"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// PROTOCOL 85: the chunks put together are the blob, within their bounds; and where some bytes are changed, put in
        /// or left out, all chunks but a few are the same as before.
        #[test]
        fn a_small_change_changes_few_chunks(
            seed in 0_u64..1000,
            length in 9_000_000_usize..12_000_000,
            at in 0.0_f64..1.0,
            put in proptest::collection::vec(any::<u8>(), 0..40),
            left_out in 0_usize..40,
        ) {
            let content = noise(seed, length);
            let joined: Vec<Bytes> = chunks(&content[..]).map(|chunk| chunk.unwrap()).collect();
            prop_assert!(joined.concat() == content);
            let all: Vec<_> = joined.iter().map(Bytes::len).collect();
            let (last, before) = all.split_last().unwrap();
            prop_assert!(*last <= MAX_BYTES && before.iter().all(|n| (MIN_BYTES..=MAX_BYTES).contains(n)));
            let at = ((length - left_out) as f64 * at) as usize;
            let changed = [&content[..at], &put[..], &content[at + left_out..]].concat();
            let old: HashSet<_> = digests(&content).into_iter().collect();
            let new = digests(&changed).into_iter().filter(|chunk| !old.contains(chunk)).count();
            prop_assert!(new <= 4, "{new} of {} chunks are new", all.len());
        }
    }
}
