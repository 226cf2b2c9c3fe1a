//! How much two trees differ, without walking them.
use crate::{Digest, Node};

/// Marks that are kept of a tree. With 16 the estimate is right to about a tenth of both trees, which is
/// enough to choose among slots; trees of fewer files are compared exactly.
const MARKS: usize = 16;

/// No mark: stands behind all others.
const NONE: u64 = u64::MAX;

/// A few marks of the files of a tree, always the same for the same tree: the smallest of all. Of two trees the
/// smallest marks together are a fair sample of what is in either, so the share of them that is in both
/// says how like they are (a "bottom-k sketch").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Ascending, each once, [`NONE`] at the end.
    marks: [u64; MARKS],
    /// Paths of files.
    files: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { marks: [NONE; MARKS], files: 0 }
    }
}

impl Sketch {
    /// Adds a child of a directory; directories are added by their sketches.
    pub(crate) fn add(&mut self, node: &Node) {
        if let Node::File { digest, executable } = node {
            self.files = self.files.saturating_add(1);
            self.insert(mark(digest, *executable));
        }
    }

    /// Adds all that is in another tree.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.files = self.files.saturating_add(other.files);
        other.marks().for_each(|mark| self.insert(mark));
    }

    fn insert(&mut self, mark: u64) {
        let at = self.marks.partition_point(|there| *there < mark);
        if at < MARKS && self.marks[at] != mark {
            self.marks.copy_within(at..MARKS - 1, at + 1);
            self.marks[at] = mark;
        }
    }

    fn marks(&self) -> impl Iterator<Item = u64> {
        self.marks.into_iter().take_while(|mark| *mark != NONE)
    }

    /// About how many files must be removed and added to make one tree of the other.
    #[must_use]
    pub fn distance(&self, other: &Self) -> u64 {
        let (mut either, mut both) = (0, 0);
        let (mut mine, mut theirs) = (self.marks().peekable(), other.marks().peekable());
        // Beyond the sixteenth of either a mark that is in one may be in the other without being told.
        while either < MARKS as u64 {
            let (a, b) = (mine.peek().copied().unwrap_or(NONE), theirs.peek().copied().unwrap_or(NONE));
            let smallest = a.min(b);
            if smallest == NONE {
                break;
            }
            either += 1;
            both += u64::from(a == b);
            mine.next_if_eq(&smallest);
            theirs.next_if_eq(&smallest);
        }
        // With J = both / either, of a + b files 2 J / (1 + J) are in both trees.
        let files = self.files.saturating_add(other.files);
        let different = u128::from(files) * u128::from(either - both) / u128::from((either + both).max(1));
        u64::try_from(different).unwrap_or(u64::MAX)
    }
}

/// A number that is as good as chance, and the same for the same file.
fn mark(digest: &Digest, executable: bool) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest.hash()[8..16]);
    (u64::from_le_bytes(eight) ^ u64::from(executable)).min(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DigestFunction;
    use std::ops::Range;

    fn of(files: impl IntoIterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::default();
        for file in files {
            let digest = Digest::of(DigestFunction::Sha256, &file.to_le_bytes());
            sketch.add(&Node::File { digest, executable: false });
        }
        sketch
    }

    #[test]
    fn small_trees_are_compared_exactly() {
        for (a, b, distance) in [(0..0, 0..0, 0), (0..5, 0..5, 0), (0..5, 5..9, 9), (0..8, 2..10, 4), (0..0, 0..7, 7)] {
            assert_eq!(of(a.clone()).distance(&of(b.clone())), distance, "{a:?} {b:?}");
            assert_eq!(of(b).distance(&of(a)), distance);
        }
    }

    /// Within what chance allows: the marks are hashes, so this never changes from run to run.
    #[test]
    fn large_trees_are_estimated() {
        let near = |a: Range<u64>, b: Range<u64>, least: u64, most: u64| {
            let distance = of(a.clone()).distance(&of(b.clone()));
            assert!((least..=most).contains(&distance), "{a:?} {b:?}: {distance}");
        };
        near(0..1000, 0..1000, 0, 0);
        near(0..1000, 10..1010, 0, 150);
        near(0..1000, 500..1500, 600, 1_500);
        near(0..1000, 1000..2000, 2_000, 2_000);
        near(0..1000, 0..0, 1_000, 1_000);
        near(0..10_000, 0..20, 8_000, 10_020);
    }

    #[test]
    fn the_order_is_forgotten_and_parts_are_as_good_as_the_whole() {
        assert_eq!(of(0..500), of((0..500).rev()));
        let mut merged = of(0..200);
        merged.merge(&of(200..500));
        assert_eq!(merged, of(0..500));
    }
}
