//! Input trees that were decoded before.
//!
//! From one action to the next most directories are the same, and to open, read and decode a small
//! file costs twenty times as much as to find it here. A directory is found with all that is below it, so that
//! what has not changed costs nothing at all. It is named by its content, so what
//! is remembered is never wrong; whether the blobs are still in the store is asked of the store, each
//! time, together with all other inputs.
use lre_model::{ByDigest, Digest, Subtree};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most nodes of one generation. A node takes some 120 bytes, so both generations together stay
/// below 24 MiB, whatever clients send.
const GENERATION_NODES_MAX: usize = 100_000;

/// What a directory takes beside its nodes, counted as nodes.
const DIRECTORY_NODES: usize = 3;

/// Decoded directories, in two generations: what is used moves to the young one, and when that is full
/// it becomes the old one and the old one goes.
///
/// What is below a directory is in the same generation or in a younger one. So nothing is kept alive by a
/// directory above it that is not counted here itself.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Digest, Arc<Subtree>, ByDigest>,
    old: HashMap<Digest, Arc<Subtree>, ByDigest>,
    young_nodes: usize,
}

impl Remembered {
    /// The directory and all below it, where it was seen not long ago.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Subtree>> {
        let mut generations = self.lock();
        if let Some(tree) = generations.young.get(digest) {
            return Some(Arc::clone(tree));
        }
        let tree = Arc::clone(generations.old.get(digest)?);
        generations.insert(&tree);
        Some(tree)
    }

    /// Remembers a directory and all below it.
    pub(crate) fn put(&self, tree: &Arc<Subtree>) {
        self.lock().insert(tree);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // After a panic in between a directory may be forgotten, which costs one more read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    /// Parents before their children: where a generation ends in between, the children are in the younger one.
    fn insert(&mut self, tree: &Arc<Subtree>) {
        let mut left = vec![tree];
        while let Some(tree) = left.pop() {
            if self.young.contains_key(&tree.digest()) {
                continue;
            }
            self.old.remove(&tree.digest());
            let nodes = DIRECTORY_NODES + tree.directory().len();
            if self.young_nodes + nodes > GENERATION_NODES_MAX {
                self.old = std::mem::take(&mut self.young);
                self.young_nodes = 0;
            }
            if nodes <= GENERATION_NODES_MAX {
                self.young.insert(tree.digest(), Arc::clone(tree));
                self.young_nodes += nodes;
            }
            left.extend(tree.children());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{DigestFunction, Directory, Node};

    fn digest(n: usize) -> Digest {
        Digest::of(DigestFunction::Sha256, &n.to_le_bytes())
    }

    fn leaf(n: usize) -> Arc<Subtree> {
        Arc::new(Subtree::new(digest(n), Directory::default(), Vec::new()).unwrap())
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let remembered = Remembered::default();
        for n in 0..GENERATION_NODES_MAX {
            remembered.put(&leaf(n));
            assert!(remembered.get(&digest(0)).is_some(), "used all the time, gone after {n}");
        }
        assert!(remembered.get(&digest(1)).is_none(), "never used again");
        let generations = remembered.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_NODES_MAX / DIRECTORY_NODES);
    }

    /// A root that is used all the time keeps what is below it; nothing is alive that is not counted.
    #[test]
    fn what_is_below_stays_with_what_is_above() {
        let remembered = Remembered::default();
        let children: Vec<_> = (0..100).map(leaf).collect();
        let mut directory = Directory::default();
        for (n, child) in children.iter().enumerate() {
            directory.insert(&n.to_string(), Node::Directory { digest: child.digest() }).unwrap();
        }
        let root = Arc::new(Subtree::new(digest(1_000_000), directory, children).unwrap());
        remembered.put(&root);
        for n in 1000..GENERATION_NODES_MAX {
            remembered.put(&leaf(n));
            remembered.get(&root.digest()).expect("used all the time");
            if n % 1000 == 0 {
                let generations = remembered.lock();
                let young = generations.young.contains_key(&root.digest());
                for child in root.children() {
                    let digest = child.digest();
                    assert!(generations.young.contains_key(&digest) || !young && generations.old.contains_key(&digest));
                }
            }
        }
    }
}
