//! Directories of which all that is below was there, and nothing has gone since.
//!
//! From one action to the next most of an input tree is the same. To look for each of 10,000 files in a map costs
//! a millisecond, to find their directory here costs a look. Sound, because whatever goes away is counted
//! (`Presence::losses`, told by the kernel or seen by a look): with the first loss nothing of this counts any more.
use lre_model::{ByDigest, Digest, Subtree};
use std::collections::HashSet;
use std::sync::Arc;

/// Directories that are remembered; 64 bytes each. More than a build has; then it begins anew.
const DIRECTORIES_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Whole {
    losses: u64,
    directories: HashSet<Digest, ByDigest>,
}

/// What must be looked for to know that a tree is there.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Directories and files, each directory once.
    pub blobs: Vec<Digest>,
    directories: Vec<Digest>,
}

impl Whole {
    /// What is to be looked for at this count of losses.
    pub(super) fn unseen(&mut self, tree: &Arc<Subtree>, losses: u64) -> Unseen {
        if self.losses != losses {
            (self.losses, self.directories) = (losses, HashSet::default());
        }
        let mut unseen = Unseen::default();
        tree.walk(|tree| {
            let seen = self.directories.contains(&tree.digest());
            if !seen {
                unseen.directories.push(tree.digest());
                unseen.blobs.push(tree.digest());
                unseen.blobs.extend(tree.files());
            }
            !seen
        });
        unseen
    }

    /// All of it was there, at this count of losses.
    pub(super) fn seen(&mut self, unseen: Unseen, losses: u64) {
        if self.losses == losses {
            if self.directories.len() + unseen.directories.len() > DIRECTORIES_MAX {
                self.directories.clear();
            }
            // So many at once are not remembered in part: what is below one of them could be the rest.
            if unseen.directories.len() <= DIRECTORIES_MAX {
                self.directories.extend(unseen.directories);
            }
        }
    }
}
