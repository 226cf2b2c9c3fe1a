//! Which of the free slots takes the next execution.
use lre_model::{Digest, InputRoot, Sketch, Terms};
use std::cmp::Reverse;

/// Room for one execution, as an index: `0..slots`.
pub type Slot = usize;

/// What an execution leaves in its slot. The closer it is to the next one, the less is
/// to be laid out again (LIMITS 2: what differs between two inputs costs, what is equal does not).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// The toolchains that are mounted, in order.
    pub toolchains: Vec<Digest>,
    /// What the sandbox was made ready for.
    pub terms: Terms,
    /// The inputs that were laid out.
    pub inputs: InputRoot,
    /// What they are like.
    pub sketch: Sketch,
}

/// What it costs to make a sandbox ready for something else, in files of an input tree that are removed or
/// added: 2 ms against 20 us.
const SANDBOX_FILES: u64 = 100;

/// How many sandboxes a slot keeps, each with the input tree that it ran over last; the worker has as many.
const SANDBOXES_MAX: usize = 4;

impl Affinity {
    fn same_sandbox(&self, other: &Self) -> bool {
        (&self.toolchains, &self.terms) == (&other.toolchains, &other.terms)
    }
}

impl Room {
    fn ready(&self, next: &Affinity) -> Option<&Affinity> {
        self.kept.iter().find(|kept| kept.same_sandbox(next))
    }

    /// What the slot costs for `next`, in files; less is better. Without a sandbox there is no tree either.
    fn cost(&self, next: &Affinity) -> u64 {
        match self.ready(next) {
            Some(kept) if kept.inputs == next.inputs => 0,
            Some(kept) => kept.sketch.distance(&next.sketch),
            None => Sketch::default().distance(&next.sketch).saturating_add(SANDBOX_FILES),
        }
    }

    fn take(&mut self, next: &Affinity, turn: u64) {
        (self.taken, self.turn) = (true, turn);
        self.kept.retain(|kept| !kept.same_sandbox(next));
        if self.kept.len() >= SANDBOXES_MAX {
            self.kept.remove(0);
        }
        self.kept.push(next.clone());
    }
}

/// The slots: who has them, and what they ran last.
pub(crate) struct Slots {
    slots: Vec<Room>,
    free: usize,
    turn: u64,
}

#[derive(Default)]
struct Room {
    taken: bool,
    /// What it keeps, the latest at the end.
    kept: Vec<Affinity>,
    /// When it was last given, counted in grants; 0: never.
    turn: u64,
}

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        let slots = (0..count).map(|_| Room::default()).collect();
        Self { slots, free: count, turn: 0 }
    }

    pub(crate) fn free(&self) -> usize {
        self.free
    }

    /// Takes the free slot that costs the least for `next`; among equal ones the latest used where its sandbox is
    /// ready for it (its caches are warmest), else one that never ran
    /// anything, then the one used longest ago, so that what is warm elsewhere stays warm.
    pub(crate) fn take(&mut self, next: &Affinity) -> Option<Slot> {
        let worth = |room: &Room| {
            let ready = room.ready(next);
            let same = ready.is_some_and(|kept| kept.inputs == next.inputs);
            let recent = if ready.is_some() { room.turn } else { u64::MAX - room.turn };
            (Reverse(room.cost(next)), same, ready.is_some(), recent)
        };
        let (slot, _) = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, room)| !room.taken)
            // `Reverse` of the index: of equals the first.
            .max_by_key(|(slot, room)| (worth(room), Reverse(*slot)))?;
        self.turn += 1;
        self.free -= 1;
        self.slots[slot].take(next, self.turn);
        Some(slot)
    }

    pub(crate) fn give_back(&mut self, slot: Slot) {
        self.slots[slot].taken = false;
        self.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{DigestFunction, Directory, Node, Policy, Subtree};

    fn like(toolchain: &str, inputs: &str) -> Affinity {
        let digest = |text: &str| Digest::of(DigestFunction::Sha256, text.as_bytes());
        Affinity {
            toolchains: vec![digest(toolchain)],
            terms: Terms::default(),
            inputs: InputRoot(digest(inputs)),
            sketch: Sketch::default(),
        }
    }

    #[test]
    fn a_sandbox_under_other_terms_is_another_one() {
        let mut slots = Slots::new(2);
        let compat = || Affinity { terms: Terms { policy: Policy::Compat1, ..Terms::default() }, ..like("gcc", "a") };
        assert_eq!((slots.take(&like("gcc", "a")), slots.take(&compat())), (Some(0), Some(1)));
        (0..2).for_each(|slot| slots.give_back(slot));
        assert_eq!(
            slots.take(&like("gcc", "a")),
            Some(0),
            "the other was used later and has the same tools and inputs"
        );
        assert_eq!(slots.take(&compat()), Some(1));
    }

    #[test]
    fn the_likest_slot_is_preferred() {
        let mut slots = Slots::new(3);
        assert_eq!(slots.take(&like("gcc", "a")), Some(0));
        assert_eq!(slots.take(&like("clang", "a")), Some(1), "0 is taken, 1 never ran");
        assert_eq!(slots.take(&like("gcc", "b")), Some(2));
        assert_eq!(slots.take(&like("gcc", "b")), None);
        (0..3).for_each(|slot| slots.give_back(slot));
        assert_eq!(slots.take(&like("clang", "z")), Some(1), "the same toolchain");
        assert_eq!(slots.take(&like("gcc", "a")), Some(0), "the same toolchain and the same inputs");
        slots.give_back(1);
        slots.give_back(0);
        assert_eq!(slots.take(&like("gcc", "c")), Some(0), "of two that are equally like, the latest used");
        slots.give_back(0);
        assert_eq!(slots.take(&like("rust", "r")), Some(2), "like none: the one used longest ago");
        assert_eq!(slots.free(), 2);
    }

    /// A tree of files that are named by numbers.
    fn tree(files: impl IntoIterator<Item = u64>) -> Affinity {
        let mut directory = Directory::default();
        for file in files {
            let digest = Digest::of(DigestFunction::Sha256, &file.to_le_bytes());
            directory.insert(&file.to_string(), Node::File { digest, executable: false }).unwrap();
        }
        let digest = Digest::of(DigestFunction::Sha256, &directory.encode());
        let tree = Subtree::new(digest, directory, Vec::new()).unwrap();
        Affinity { inputs: tree.root(), sketch: *tree.sketch(), ..like("gcc", "") }
    }

    #[test]
    fn the_nearest_tree_is_preferred() {
        let mut slots = Slots::new(3);
        for files in [0..1000, 5000..5004, 3000..4000] {
            slots.take(&tree(files));
        }
        let mut best = |files: std::ops::Range<u64>| {
            (0..3).for_each(|slot| slots.give_back(slot));
            let mut seen = Vec::new();
            while let Some(slot) = slots.take(&tree(files.clone())) {
                seen.push(slot);
            }
            // As it was before.
            for (slot, files) in [0..1000, 5000..5004, 3000..4000].into_iter().enumerate() {
                slots.slots[slot].kept = vec![tree(files)];
            }
            seen[0]
        };
        assert_eq!(best(3000..4000), 2, "the same");
        assert_eq!(best(10..1010), 0, "one per cent of it changed");
        assert_eq!(best(2700..3700), 2, "most of it is there");
        assert_eq!(best(9000..9003), 1, "like none: the least is to be removed");
        assert_eq!(best(5001..5004), 1);
    }

    /// An action with other tools in between costs a slot nothing of what it keeps, up to a limit.
    #[test]
    fn a_slot_keeps_several_sandboxes() {
        let mut slots = Slots::new(2);
        let mut take = |next: &Affinity| {
            let slot = slots.take(next).unwrap();
            slots.give_back(slot);
            slot
        };
        let gcc = tree(0..1000);
        assert_eq!(take(&gcc), 0);
        for other in ["javac", "rustc", "node"] {
            assert_eq!(take(&like(other, "a")), 1, "{other}: 0 was used later");
            assert_eq!(take(&gcc), 0);
        }
        for n in 0..20 {
            take(&like(&n.to_string(), "a"));
        }
        assert_eq!(take(&like("19", "a")), take(&like("19", "a")));
    }

    /// A sandbox is made in 2 ms; a tree of thousands of files takes longer, and whoever needs it next takes as long.
    #[test]
    fn a_large_tree_is_not_removed_for_a_sandbox_that_is_ready() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.take(&tree(0..2000)), Some(0));
        slots.give_back(0);
        for _ in 0..3 {
            assert_eq!(slots.take(&tree(5000..5200)), Some(1));
            slots.give_back(1);
            assert_eq!(slots.take(&tree(0..2000)), Some(0));
            slots.give_back(0);
        }
        assert_eq!(slots.take(&tree(5000..5010)), Some(1), "a few files are removed rather than a sandbox made");
    }
}
