//! Directories of which all that is below was there, and nothing has gone since.
//!
//! From one action to the next most of an input tree is the same. To look for each of 10,000 files in a map costs
//! a millisecond, to find their directory here costs a look. Sound, because whatever goes away is counted
//! (`Catalogue::losses`): with the first loss nothing of this counts any more. Nor does it in the next period of marks:
//! what is held is used, and must be marked so again.
use lre_model::{ByDigest, Digest, Subtree};
use std::collections::HashSet;
use std::sync::Arc;

/// Directories that are remembered; 64 bytes each. More than a build has; then it begins anew.
const DIRECTORIES_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Whole {
    epoch: Epoch,
    directories: HashSet<Digest, ByDigest>,
}

/// While this is the same, what was there is there, and marked as used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    /// Of [`super::catalogue::Catalogue::losses`].
    pub losses: u64,
    /// Of [`super::holds::MARK_MINUTES`].
    pub period: u32,
}

/// What must be looked for to know that a tree is there.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Directories and files, each directory once.
    pub blobs: Vec<Digest>,
    /// With their ranks: how high they stand above their files.
    pub directories: Vec<(Digest, u8)>,
}

impl Whole {
    /// What is to be looked for in this epoch.
    pub(super) fn unseen(&mut self, tree: &Arc<Subtree>, epoch: Epoch) -> Unseen {
        if self.epoch != epoch {
            (self.epoch, self.directories) = (epoch, HashSet::default());
        }
        let mut unseen = Unseen::default();
        tree.walk(|tree| {
            let seen = self.directories.contains(&tree.digest());
            if !seen {
                unseen.directories.push((tree.digest(), rank(tree)));
                unseen.blobs.push(tree.digest());
                unseen.blobs.extend(tree.files());
            }
            !seen
        });
        unseen
    }

    /// All of it was there, in this epoch.
    pub(super) fn seen(&mut self, unseen: &Unseen, epoch: Epoch) {
        if self.epoch == epoch {
            if self.directories.len() + unseen.directories.len() > DIRECTORIES_MAX {
                self.directories.clear();
            }
            // So many at once are not remembered in part: what is below one of them could be the rest.
            if unseen.directories.len() <= DIRECTORIES_MAX {
                self.directories.extend(unseen.directories.iter().map(|(digest, _)| *digest));
            }
        }
    }
}

/// The rank of a directory; a result stands higher than any.
fn rank(tree: &Subtree) -> u8 {
    u8::try_from(tree.extent().depth).unwrap_or(u8::MAX).min(RANK_MAX)
}

/// The highest rank of a directory. What is deeper shares it.
const RANK_MAX: u8 = 250;
