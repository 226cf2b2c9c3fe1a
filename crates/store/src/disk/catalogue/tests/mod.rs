//! What the catalogue promises, on real files ([`folder`]) and on a disk that loses what was not synced ([`lives`]).
mod folder;
mod lives;
mod simulated;

use super::*;

pub(super) const NOW: Stamp = Stamp { minute: 1_000, invocation: 0, rank: 0 };

/// A key of a blob by its number.
pub(super) fn blob(n: u32) -> Key {
    key(Kind::Blob, n)
}

pub(super) fn key(kind: Kind, n: u32) -> Key {
    let digest = lre_model::Digest::of(DigestFunction::ALL[n as usize % 2], &n.to_le_bytes());
    Key::new(kind, digest)
}

/// The bytes of the `version` of a key, unlike those of any other.
pub(super) fn bytes(n: u32, version: u32, length: usize) -> Vec<u8> {
    let seed = [n.to_le_bytes(), version.to_le_bytes()].concat();
    seed.iter().copied().cycle().zip(0_u8..=255).map(|(a, b)| a ^ b).cycle().take(length.max(8)).collect()
}

/// What the counters should say.
pub(super) fn recount(catalogue: &Catalogue) -> Stats {
    let mut stats = Stats::default();
    catalogue.each(|_, entry| {
        stats.entries += 1;
        stats.live_bytes += entry.log_bytes();
        stats.files += u64::from(entry.place == Place::File);
        stats.file_bytes += entry.file_bytes();
    });
    stats
}

#[track_caller]
pub(super) fn check_stats(catalogue: &Catalogue) {
    let stats = catalogue.stats();
    assert_eq!(stats, Stats { log_bytes: stats.log_bytes, ..recount(catalogue) });
    assert!(stats.live_bytes <= stats.log_bytes);
}
