//! Small blobs, always the same ones: as many as are asked for, made when they are needed.
use crate::generated::noise;
use crate::world::F;
use bytes::Bytes;
use lre_model::Digest;

/// Of a blob, in bytes: 80 to 920, 500 on the average, as Actions, Commands, Directories and results are.
const BYTES_MIN: u64 = 80;
const BYTES_SPREAD: u64 = 841;

/// What a client asks for at once.
pub const ASKED: usize = 10_000;

/// What is written at once; see [`crate::protocol`] for why so many.
pub const BATCH: usize = 1000;

/// A blob with its name.
pub type Named = (Digest, Bytes);

/// The blob with this number. It does not compress, which is the worst case for who would compress it.
pub fn blob(number: u64) -> Named {
    let length = BYTES_MIN + number.wrapping_mul(2_654_435_761) % BYTES_SPREAD;
    let content = noise((1 << 60) | number, usize::try_from(length).unwrap_or(usize::MAX));
    (Digest::of(F, &content), content)
}

/// The blobs with these numbers.
pub fn blobs(numbers: impl IntoIterator<Item = u64>) -> Vec<Named> {
    numbers.into_iter().map(blob).collect()
}

/// What is asked of a store that has the first `count` blobs.
pub struct Questions {
    /// All of them are there, here and there in the store.
    pub present: Vec<Digest>,
    /// Every other one is there.
    pub half: Vec<Digest>,
}

impl Questions {
    /// 10,000 of each, or as many as there are.
    pub fn of(count: u64) -> Self {
        let asked = count.min(ASKED as u64);
        // A step that has no factor in common with powers of ten visits each once, in no order.
        let present: Vec<_> = (0..asked).map(|n| blob(n.wrapping_mul(7_368_787) % count).0).collect();
        let half = present.iter().enumerate();
        let half = half.map(|(n, digest)| if n % 2 == 0 { *digest } else { blob(ABSENT + n as u64).0 }).collect();
        Self { present, half }
    }
}

/// Numbers from here on are those of blobs that nobody writes.
pub const ABSENT: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_number_is_the_same_blob_and_the_mean_is_what_is_said() {
        assert_eq!(blob(7), blob(7));
        let all = blobs(0..10_000);
        let bytes: usize = all.iter().map(|(_, content)| content.len()).sum();
        assert!((490 * 10_000..510 * 10_000).contains(&bytes), "{bytes}");
        assert_eq!(all.iter().map(|(digest, _)| digest).collect::<HashSet<_>>().len(), 10_000);
    }

    #[test]
    fn each_is_asked_for_once() {
        let questions = Questions::of(10_000);
        assert_eq!(questions.present.iter().collect::<HashSet<_>>().len(), 10_000);
        let there: HashSet<_> = questions.present.iter().collect();
        assert_eq!(questions.half.iter().filter(|digest| there.contains(digest)).count(), 5000);
    }
}
