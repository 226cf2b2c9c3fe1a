//! The persistent input tree of a slot.
//!
//! Laying out 1,000 inputs costs 29 ms with a fresh tree of hard links and 0.4 ms when only the
//! Merkle difference to the previous action is applied (LIMITS 2). The tree is the lower layer of
//! an overlay while a command runs, so no command can change it; it is changed only between two.
//!
//! Guaranteed: content, mode (0444 or 0555), one constant mtime; two paths with equal content have
//! different inodes as long as the file has at most 1 MiB. Equal headers that
//! share an inode have changed what `#pragma once` meant.
use crate::remove::remove_tree;
use crate::slot_difference::{Change, Difference, Shown};
use crate::slot_watch::SlotWatch;
use lre_model::{Digest, DigestFunction, Subtree};
use lre_store::{BlobStore, Inodes, StoreError};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};
use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Modification time of everything that a command sees, in seconds: 1980-01-01 UTC, the earliest
/// that zip archives can say (TOOLCHAINS 1).
pub(crate) const MTIME_SECONDS: i64 = 315_532_800;

/// Changes that are made in place; a change takes 5 to 20 us. To hand them to another thread and be woken again
/// costs as much as some of them, and holds up the command meanwhile.
const IN_PLACE_CHANGES: u64 = 64;

/// A directory on disk that shows one input tree.
pub(crate) struct SlotTree {
    directory: PathBuf,
    /// What it shows; `None`: unknown, to be built afresh.
    current: Option<Arc<Subtree>>,
    shown: Shown,
    watch: SlotWatch,
    /// How often the directory was made.
    made: u64,
}

impl SlotTree {
    /// A tree that shows nothing. What an earlier server left there is removed on first use.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, current: None, shown: Shown::new(), watch: SlotWatch::Looks, made: 0 }
    }

    /// Where it is.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// How often the directory was made: whoever has mounted it has another one mounted when this changes.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// Makes the tree show `wanted`. What somebody changed from outside is noticed, and the tree is then built
    /// afresh. After an error it shows nothing and is built afresh next time.
    pub(crate) async fn show(
        &mut self,
        wanted: &Arc<Subtree>,
        store: &dyn BlobStore,
        inodes: &Inodes,
    ) -> Result<(), StoreError> {
        let mut damaged = self.current.is_some() && !self.is_intact();
        if !damaged && self.current.is_some() {
            damaged = match self.follow(wanted, store, inodes).await {
                Ok(alone) => !alone,
                // Something is not as it was left; whether it is the tree or the disk, a fresh one tells.
                Err(StoreError::Io(_)) => true,
                Err(error) => return Err(error),
            };
        }
        if damaged {
            tracing::warn!(tree = %self.directory.display(), "an input tree was changed from outside; it is built afresh");
            self.current = None;
        }
        if self.current.is_none() {
            self.clear().await?;
            self.follow(wanted, store, inodes).await?;
        }
        Ok(())
    }

    /// Whether nobody has changed the tree from outside since it was last asked for. What ran over a tree that
    /// is not intact has maybe seen other inputs than its own.
    pub(crate) fn is_intact(&self) -> bool {
        self.current.as_ref().is_some_and(|current| self.watch.is_intact(&self.directory, current))
    }

    /// Applies what differs between what it shows and `wanted`. `false`: somebody else changed it as well.
    async fn follow(
        &mut self,
        wanted: &Arc<Subtree>,
        store: &dyn BlobStore,
        inodes: &Inodes,
    ) -> Result<bool, StoreError> {
        let Some(old) = self.current.take() else { return Ok(false) };
        let mut difference = Difference { shown: &mut self.shown, changes: Vec::new(), effort: 0 };
        difference.between(Some(&old), wanted, "")?;
        let Difference { changes, effort, .. } = difference;
        if changes.is_empty() {
            self.current = Some(Arc::clone(wanted));
            return Ok(true);
        }
        let mut sources = HashMap::new();
        for change in &changes {
            if let Change::File { digest, executable, .. } = change
                && !sources.contains_key(&(*digest, *executable))
            {
                let source = inodes.path(store, *digest, *executable).await?;
                sources.insert((*digest, *executable), source);
            }
        }
        let watch = std::mem::replace(&mut self.watch, SlotWatch::Looks);
        let mut work = Performance { root: self.directory.clone(), sources, watch };
        let performed = move || work.perform(&changes).map(|alone| (alone, work.watch));
        let (alone, watch) = if effort <= IN_PLACE_CHANGES { performed()? } else { blocking(performed).await? };
        self.watch = watch;
        self.current = Some(Arc::clone(wanted));
        Ok(alone)
    }

    async fn clear(&mut self) -> Result<(), StoreError> {
        self.shown.clear();
        self.made += 1;
        let directory = self.directory.clone();
        self.watch = blocking(move || {
            remove_tree(&directory)?;
            std::fs::create_dir_all(&directory)?;
            settle(&directory)?;
            let mut watch = SlotWatch::new();
            watch.add(&directory);
            Ok(watch)
        })
        .await?;
        self.current = Some(Subtree::empty(DigestFunction::Sha256));
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| io::Error::other(e.to_string()))?
}

/// What is needed to change a tree.
struct Performance {
    root: PathBuf,
    sources: HashMap<(Digest, bool), PathBuf>,
    watch: SlotWatch,
}

impl Performance {
    /// Makes the changes, and says whether nobody else made any at the same time.
    fn perform(&mut self, changes: &[Change]) -> io::Result<bool> {
        use rustix::fs::OFlags;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = rustix::fs::open(&self.root, flags, Mode::empty())?;
        let at = at.as_fd();
        // What the kernel will tell of our own changes; of removed trees it tells as much as it likes.
        let mut expected = Some(0);
        for change in changes {
            match change {
                Change::RemoveFile(path) => rustix::fs::unlinkat(at, path, AtFlags::empty())?,
                Change::RemoveTree(path) => remove_tree(&self.root.join(path))?,
                Change::Directory(path) => {
                    rustix::fs::mkdirat(at, path, Mode::from_raw_mode(0o755))?;
                    self.watch.add(&self.root.join(path));
                }
                Change::Symlink { path, target } => {
                    rustix::fs::symlinkat(target, at, path)?;
                    rustix::fs::utimensat(at, path, &constant_times(), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                Change::File { path, digest, executable, twin } => {
                    let source = self.sources.get(&(*digest, *executable)).ok_or(io::ErrorKind::NotFound)?;
                    let linked = place(at, &self.root, path, source, *twin)?;
                    expected = expected.filter(|_| linked);
                }
                Change::Settle(path) if path.is_empty() => settle(&self.root)?,
                Change::Settle(path) => rustix::fs::utimensat(at, path, &constant_times(), AtFlags::empty())?,
            }
            expected = match change {
                Change::RemoveTree(_) => None,
                Change::Settle(_) => expected,
                _ => expected.map(|n| n + 1),
            };
        }
        Ok(match (self.watch.changes(), expected) {
            (Some(changes), Some(expected)) => changes == expected,
            _ => true,
        })
    }
}

/// Whether it was linked; else it was copied.
fn place(at: rustix::fd::BorrowedFd<'_>, root: &Path, path: &str, source: &Path, twin: bool) -> io::Result<bool> {
    if !twin {
        match rustix::fs::linkat(CWD, source, at, path, AtFlags::empty()) {
            Ok(()) => return Ok(true),
            // 65,000 links is what ext4 allows; another file system may not link at all.
            Err(rustix::io::Errno::MLINK | rustix::io::Errno::XDEV) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // `fs::copy` copies the mode too.
    std::fs::copy(source, root.join(path))?;
    rustix::fs::utimensat(at, path, &constant_times(), AtFlags::empty())?;
    Ok(false)
}

/// Gives a directory its constant mode and times.
pub(crate) fn settle(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::utimensat(CWD, directory, &constant_times(), AtFlags::empty())?)
}

fn constant_times() -> Timestamps {
    let time = Timespec { tv_sec: MTIME_SECONDS, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot_difference::join;
    use lre_model::{Directory, Node};
    use lre_store::MemoryStore;
    use lre_testkit::TreeBuilder;
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;

    const F: DigestFunction = DigestFunction::Sha256;

    /// A tree as people write it: path to content; `*` after a name: executable; `->`: a symlink.
    type Sketch = BTreeMap<String, String>;

    struct World {
        store: MemoryStore,
        inodes: Inodes,
        tree: SlotTree,
        directory: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let inodes = Inodes::new(directory.path().join("inodes")).unwrap();
            let tree = SlotTree::new(directory.path().join("tree"));
            Self { store: MemoryStore::default(), inodes, tree, directory }
        }

        async fn sketch(&self, sketch: &Sketch) -> Arc<Subtree> {
            let tree = sketch.iter().fold(TreeBuilder::new(F), |tree, (path, content)| {
                match (content.strip_prefix("->"), path.strip_suffix('*')) {
                    (Some(target), _) => tree.symlink(path, target),
                    (None, Some(path)) => tree.program(path, content.clone()),
                    (None, None) => tree.file(path, content.clone()),
                }
            });
            tree.store(&self.store).await.unwrap();
            tree.build().subtree()
        }

        async fn show(&mut self, sketch: &Sketch) -> Result<(), StoreError> {
            let tree = self.sketch(sketch).await;
            self.tree.show(&tree, &self.store, &self.inodes).await
        }

        fn on_disk(&self) -> Sketch {
            let mut found = Sketch::new();
            walk(&self.directory.path().join("tree"), "", &mut found);
            found
        }
    }

    /// Reads a tree back, and insists on the constant times and modes of everything in it.
    fn walk(root: &Path, path: &str, found: &mut Sketch) {
        let metadata = std::fs::metadata(root.join(path)).unwrap();
        assert_eq!(metadata.mtime(), MTIME_SECONDS, "directory `{path}`");
        for entry in std::fs::read_dir(root.join(path)).unwrap() {
            let entry = entry.unwrap();
            let path = join(path, entry.file_name().to_str().unwrap());
            let metadata = entry.path().symlink_metadata().unwrap();
            if metadata.is_dir() {
                walk(root, &path, found);
                continue;
            }
            assert_eq!(metadata.mtime(), MTIME_SECONDS, "{path}");
            if metadata.is_symlink() {
                found.insert(path, format!("->{}", entry.path().read_link().unwrap().display()));
                continue;
            }
            let (suffix, mode) = if metadata.mode() & 0o111 == 0 { ("", 0o444) } else { ("*", 0o555) };
            assert_eq!(metadata.mode() & 0o7777, mode, "{path}");
            found.insert(format!("{path}{suffix}"), std::fs::read_to_string(entry.path()).unwrap());
        }
    }

    fn sketch<const N: usize>(entries: [(&str, &str); N]) -> Sketch {
        entries.into_iter().map(|(path, content)| (path.to_owned(), content.to_owned())).collect()
    }

    #[tokio::test]
    async fn the_tree_follows_from_action_to_action() {
        let mut world = World::new();
        for step in [
            sketch([("a", "1"), ("d/b", "2"), ("d/e/c*", "3")]),
            sketch([("a", "1"), ("d/b", "changed"), ("d/e/c*", "3")]),
            sketch([("a", "1"), ("d/b*", "changed"), ("d/e/c*", "3")]),
            sketch([("a/now/a/directory", "4"), ("d", "now a file")]),
            sketch([("a", "->d"), ("d", "now a file")]),
            sketch([("a", "->e"), ("d/b", "2")]),
            sketch([]),
            sketch([("a", "1"), ("d/b", "2"), ("d/e/c*", "3")]),
        ] {
            world.show(&step).await.unwrap();
            assert_eq!(world.on_disk(), step);
        }
    }

    /// Two headers with the same text are two files: an inode of their own each, and the text of
    /// neither changes when the other goes.
    #[tokio::test]
    async fn equal_files_are_different_inodes() {
        let mut world = World::new();
        let ino = |world: &World, name: &str| std::fs::metadata(world.tree.path().join(name)).unwrap().ino();
        world.show(&sketch([("a.h", "same"), ("b.h", "same"), ("c.h", "other")])).await.unwrap();
        assert_ne!(ino(&world, "a.h"), ino(&world, "b.h"));
        let after = sketch([("b.h", "same"), ("c.h", "same"), ("d.h", "same")]);
        world.show(&after).await.unwrap();
        assert_eq!(world.on_disk(), after);
        assert_ne!(ino(&world, "b.h"), ino(&world, "c.h"));
        assert_ne!(ino(&world, "c.h"), ino(&world, "d.h"));
    }

    #[tokio::test]
    async fn a_missing_blob_leaves_nothing_that_is_taken_for_a_tree() {
        let mut world = World::new();
        let good = sketch([("a", "1"), ("b", "2")]);
        world.show(&good).await.unwrap();
        let mut broken = Directory::default();
        let gone = Digest::of(F, b"nobody wrote this");
        broken.insert("a", Node::File { digest: gone, executable: false }).unwrap();
        let root = Digest::of(F, &broken.encode());
        let tree = Arc::new(Subtree::new(root, broken, Vec::new()).unwrap());
        let error = world.tree.show(&tree, &world.store, &world.inodes).await;
        assert!(matches!(error, Err(StoreError::Missing(digest)) if digest == gone));
        world.show(&good).await.unwrap();
        assert_eq!(world.on_disk(), good);
    }

    /// What somebody does to the tree from outside is noticed, also where the next action has the same inputs, and
    /// also where the kernel does not tell.
    #[tokio::test]
    async fn a_tree_damaged_from_outside_is_built_afresh() {
        let damage: [fn(&Path); 7] = [
            |tree| std::fs::remove_dir_all(tree.join("d")).unwrap(),
            |tree| std::fs::remove_file(tree.join("d/e/b")).unwrap(),
            |tree| std::fs::write(tree.join("d/e/new"), "not an input").unwrap(),
            |tree| std::fs::rename(tree.join("a"), tree.join("d/a")).unwrap(),
            |tree| std::fs::rename(tree.join("d/e/b"), tree.join("d/e/c")).unwrap(),
            |tree| std::fs::remove_dir_all(tree).unwrap(),
            |tree| {
                std::fs::remove_file(tree.join("a")).unwrap();
                std::os::unix::fs::symlink("d/e/b", tree.join("a")).unwrap();
            },
        ];
        for told in [true, false] {
            for (way, damage) in damage.iter().enumerate() {
                for next in [sketch([("a", "1"), ("d/e/b", "2")]), sketch([("a", "1"), ("d/e/b", "3")]), sketch([])] {
                    let mut world = World::new();
                    world.show(&sketch([("a", "1"), ("d/e/b", "2")])).await.unwrap();
                    if !told {
                        world.tree.watch = SlotWatch::Looks;
                    }
                    assert!(world.tree.is_intact());
                    damage(world.tree.path());
                    world.show(&next).await.unwrap();
                    assert_eq!(world.on_disk(), next, "way {way}, told by the kernel: {told}");
                    assert!(world.tree.is_intact());
                }
            }
        }
    }

    /// Our own changes are not taken for those of somebody else: nothing is built twice.
    #[tokio::test]
    async fn a_tree_that_nobody_damages_is_never_built_afresh() {
        let mut world = World::new();
        world.show(&sketch([("a", "1"), ("d/b", "2"), ("keep/me", "x")])).await.unwrap();
        let ino = |world: &World| std::fs::metadata(world.tree.path().join("keep")).unwrap().ino();
        let first = ino(&world);
        for step in [
            sketch([("a", "2"), ("d/b", "2"), ("keep/me", "x")]),
            sketch([("a", "2"), ("d/e/f/b", "2"), ("d/e/g", "->x"), ("keep/me", "x")]),
            sketch([("d", "2"), ("b", "2"), ("c", "2"), ("keep/me", "x")]),
            sketch([("d*", "2"), ("b", "->c"), ("keep/me", "x")]),
            sketch([("keep/me", "x")]),
        ] {
            world.show(&step).await.unwrap();
            assert_eq!((world.on_disk(), ino(&world)), (step, first));
            assert!(world.tree.is_intact());
        }
    }

    /// Three hundred random trees, one after the other, named by their seed.
    #[tokio::test]
    async fn random_lives_of_a_slot() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut chance = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut world = World::new();
        for life in 0..300 {
            let mut sketch = Sketch::new();
            for _ in 0..chance(12) {
                let depth = chance(3);
                let mut path: String = (0..depth).map(|_| format!("d{}/", chance(3))).collect();
                path.push_str(&format!("f{}", chance(4)));
                if chance(4) == 0 {
                    path.push('*');
                }
                let content = match chance(5) {
                    0 => "->somewhere".to_owned(),
                    _ => format!("content {}", chance(4)),
                };
                let content = if path.ends_with('*') { content.replace("->", "") } else { content };
                let twin = path.strip_suffix('*').map_or_else(|| format!("{path}*"), str::to_owned);
                if !sketch.contains_key(&twin) {
                    sketch.insert(path, content);
                }
            }
            world.show(&sketch).await.unwrap();
            assert_eq!(world.on_disk(), sketch, "life {life}");
        }
    }
}
