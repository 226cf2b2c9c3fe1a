//! What goes first.
use super::super::catalogue::{Catalogue, Entry, Key, Kind};
use std::collections::BinaryHeap;

/// The rank of results and names: above all blobs.
pub(super) const TOP_RANK: u8 = u8::MAX;

/// The rank of `Tree` messages: they name files, are named by results, and are no directories.
pub(super) const TREE_RANK: u8 = TOP_RANK - 1;

/// The highest rank of a directory. Trees that are deeper than this have the same rank for their upper levels: these go in any
/// order in one minute.
pub(super) const DIRECTORY_RANK_MAX: u8 = TREE_RANK - 1;

/// How high something stands above the leaves.
pub(super) fn rank(key: &Key, entry: &Entry) -> u8 {
    if key.kind == Kind::Blob { entry.rank } else { TOP_RANK }
}

/// The turn of an entry: a lesser one goes first. The oldest generation before younger ones, and in one what names before what
/// is named; so at any moment what is left is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    pub used: u32,
    below_top: u8,
    pub key: Key,
}

impl Turn {
    pub(super) fn of(key: &Key, entry: &Entry) -> Self {
        Self { used: entry.used, below_top: TOP_RANK - rank(key, entry), key: *key }
    }
}

/// An entry and its place in an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picked<O> {
    pub order: O,
    pub entry: Entry,
}

impl<O: Ord> PartialEq for Picked<O> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl<O: Ord> Eq for Picked<O> {}
impl<O: Ord> PartialOrd for Picked<O> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<O: Ord> Ord for Picked<O> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order.cmp(&other.order)
    }
}

/// The first `at_most` entries in the order that `order` gives them, sorted; those without one are left out. One look at every
/// entry, and memory for `at_most` of them, however many there are.
pub(super) fn first<O: Ord>(
    catalogue: &Catalogue,
    at_most: usize,
    mut order: impl FnMut(&Key, &Entry) -> Option<O>,
) -> Vec<Picked<O>> {
    let mut picked: BinaryHeap<Picked<O>> = BinaryHeap::new();
    catalogue.each(|key, entry| {
        let Some(order) = order(key, entry) else { return };
        if picked.len() < at_most {
            picked.push(Picked { order, entry: *entry });
        } else if let Some(mut last) = picked.peek_mut()
            && order < last.order
        {
            *last = Picked { order, entry: *entry };
        }
    });
    picked.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::super::super::catalogue::Stamp;
    use super::*;
    use lre_model::{Digest, DigestFunction};

    fn put(catalogue: &Catalogue, n: u32, kind: Kind, minute: u32, rank: u8) {
        let digest = Digest::of(DigestFunction::Blake3, &n.to_le_bytes());
        catalogue.put(Key::new(kind, digest), 4, &[0; 4], Stamp { minute, invocation: 0, rank }).unwrap();
    }

    #[test]
    fn old_before_young_and_in_one_generation_trees_before_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let (catalogue, _) = Catalogue::open(dir.path()).unwrap();
        for (n, (kind, minute, rank)) in [
            (Kind::Blob, 7, 0),
            (Kind::Name, 5, 0),
            (Kind::Blob, 5, 0),
            (Kind::Blob, 5, 2),
            (Kind::Blob, 5, 1),
            (Kind::Result, 6, 0),
            (Kind::Blob, 6, TREE_RANK),
            (Kind::Blob, 4, 0),
        ]
        .into_iter()
        .enumerate()
        {
            put(&catalogue, n as u32, kind, minute, rank);
        }
        let turns = |at_most| {
            let picked = first(&catalogue, at_most, |key, entry| (entry.used < 7).then(|| Turn::of(key, entry)));
            picked.iter().map(|p| (p.entry.used, rank(&p.order.key, &p.entry))).collect::<Vec<_>>()
        };
        let all = [(4, 0), (5, 255), (5, 2), (5, 1), (5, 0), (6, 255), (6, 254)];
        assert_eq!(turns(100), all);
        for n in 0..all.len() {
            assert_eq!(turns(n), all[..n], "the first of them, sorted");
        }
    }
}
