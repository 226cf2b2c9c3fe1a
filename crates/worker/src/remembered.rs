//! Directories that were decoded before.
//!
//! From one action to the next most directories are the same, and to open, read and decode a small
//! file costs twenty times as much as to find it here. A directory is named by its content, so what
//! is remembered is never wrong; whether the blob is still in the store is asked of the store, each
//! time, together with all other inputs.
use lre_model::{Digest, Directory};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most nodes of one generation. A node takes some 120 bytes, so both generations together stay
/// below 24 MiB, whatever clients send.
const GENERATION_NODES_MAX: usize = 100_000;

/// Decoded directories, in two generations: what is used moves to the young one, and when that is full
/// it becomes the old one and the old one goes.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Digest, Arc<Directory>>,
    old: HashMap<Digest, Arc<Directory>>,
    young_nodes: usize,
}

impl Remembered {
    /// The directory, where it was seen not long ago.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Directory>> {
        let mut generations = self.lock();
        if let Some(directory) = generations.young.get(digest) {
            return Some(Arc::clone(directory));
        }
        let directory = generations.old.remove(digest)?;
        generations.insert(*digest, Arc::clone(&directory));
        Some(directory)
    }

    /// Remembers a directory.
    pub(crate) fn put(&self, digest: Digest, directory: Arc<Directory>) {
        self.lock().insert(digest, directory);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // After a panic in between a directory may be forgotten, which costs one more read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, digest: Digest, directory: Arc<Directory>) {
        // An empty directory takes room too.
        let nodes = 1 + directory.children().count();
        if self.young_nodes + nodes > GENERATION_NODES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_nodes = 0;
        }
        if nodes <= GENERATION_NODES_MAX && self.young.insert(digest, directory).is_none() {
            self.young_nodes += nodes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    fn digest(n: usize) -> Digest {
        Digest::of(DigestFunction::Sha256, &n.to_le_bytes())
    }

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let remembered = Remembered::default();
        for n in 0..3 * GENERATION_NODES_MAX {
            remembered.put(digest(n), Arc::default());
            assert!(remembered.get(&digest(0)).is_some(), "used all the time, gone after {n}");
        }
        assert!(remembered.get(&digest(1)).is_none(), "never used again");
        let generations = remembered.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_NODES_MAX);
    }
}
