//! What a slot keeps ready: for each set of toolchains and terms that it saw lately a room, which is a
//! ready root and an input tree.
use crate::launcher::Launcher;
use crate::remove::remove_tree;
use crate::root::Root;
use crate::run_directory::RunDirectories;
use crate::slot_tree::SlotTree;
use lre_model::Subtree;
use lre_sandbox::{RootPlan, TREE};
use lre_store::{BlobStore, Inodes, StoreError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most rooms of a slot: a build mixes C++, Java and one or two generators. Each costs an input tree on
/// disk and, while its root lives, some 500 KiB of the kernel's memory.
const ROOMS_MAX: usize = 4;
/// How long a root is kept without work: the actions of a build follow each other within seconds, and a
/// server without work should hold nothing. The input trees stay.
pub(crate) const ROOT_KEPT: Duration = Duration::from_secs(30);

/// The rooms of one slot, the one used last at the end.
pub(crate) struct Rooms {
    directory: PathBuf,
    rooms: Vec<Room>,
    made: u64,
}

/// One of them.
pub(crate) struct Room {
    /// Without the parts that are different for every root: see [`Room::root`].
    plan: RootPlan,
    directory: PathBuf,
    /// The inputs of the last execution.
    tree: SlotTree,
    root: Option<Root>,
    roots: u64,
    used: Instant,
}

impl Rooms {
    /// None yet; they will be made below `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, rooms: Vec::new(), made: 0 }
    }

    /// The room for this plan, as [`crate::plan::root`] writes it. The one that was not used for longest
    /// makes place for a new one.
    pub(crate) fn get(&mut self, plan: RootPlan) -> io::Result<&mut Room> {
        let known = self.rooms.iter().position(|room| room.plan == plan);
        let room = match known {
            Some(index) => self.rooms.remove(index),
            None => {
                if self.rooms.len() >= ROOMS_MAX {
                    let mut oldest = self.rooms.remove(0);
                    oldest.retire();
                    remove_later(oldest.directory);
                }
                let directory = self.directory.join(self.made.to_string());
                self.made += 1;
                Room::make(plan, directory)?
            }
        };
        self.rooms.push(room);
        let room = self.rooms.last_mut().ok_or_else(|| io::Error::other("no room"))?;
        room.used = Instant::now();
        Ok(room)
    }

    /// The room that was used last.
    pub(crate) fn last(&mut self) -> Option<&mut Room> {
        self.rooms.last_mut()
    }

    /// Ends the roots that nobody has used for long.
    pub(crate) fn rest(&mut self, now: Instant) {
        for room in self.rooms.iter_mut().filter(|room| room.used + ROOT_KEPT <= now) {
            room.retire();
        }
    }
}

impl Room {
    fn make(plan: RootPlan, directory: PathBuf) -> io::Result<Self> {
        let tree = directory.join(TREE);
        std::fs::create_dir_all(&tree)?;
        let tree = SlotTree::new(tree);
        Ok(Self { plan, directory, tree, root: None, roots: 0, used: Instant::now() })
    }

    /// Lays out the inputs. The root has mounted the tree already, for the next execution, and nobody looks
    /// into it before that (see docs/decisions/0008).
    pub(crate) async fn show(
        &mut self,
        inputs: &Arc<Subtree>,
        store: &dyn BlobStore,
        inodes: &Inodes,
    ) -> Result<(), StoreError> {
        let made = self.tree.made();
        let shown = self.tree.show(inputs, store, inodes).await;
        if self.tree.made() != made {
            // It is another directory now, and the root has mounted the one before.
            self.retire();
        }
        shown
    }

    /// Whether nobody has changed the inputs from outside since they were laid out.
    pub(crate) fn is_intact(&self) -> bool {
        self.tree.is_intact()
    }

    /// The root is not to be used any more: something about it, or about the input tree, is in doubt.
    pub(crate) fn retire(&mut self) {
        let Some(root) = self.root.take() else { return };
        // It has made the folder of the next execution, which there will not be.
        let unused = root.folders().close();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                root.end().await;
                unused.into_iter().for_each(remove_later);
            })),
            Err(_) => drop(root),
        }
    }

    /// Its root, made anew where there is none.
    pub(crate) fn root(&mut self, launcher: &Launcher) -> io::Result<&mut Root> {
        if self.root.as_mut().is_none_or(|root| !root.is_usable()) {
            self.retire();
            self.roots += 1;
            let slot = crate::plan::host(&self.directory).map_err(io::Error::other)?;
            // Begins the name of each folder that it makes.
            let run = format!("run-{}-", self.roots);
            let folders = RunDirectories::new(self.directory.join(&run));
            self.root = Some(Root::make(launcher, &RootPlan { slot, run, ..self.plan.clone() }, folders)?);
        }
        self.root.as_mut().ok_or_else(|| io::Error::other("no root"))
    }
}

fn remove_later(directory: PathBuf) {
    let remove = move || {
        if let Err(error) = remove_tree(&directory) {
            tracing::warn!(path = %directory.display(), %error, "cannot remove what a slot kept");
        }
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(remove)),
        Err(_) => remove(),
    }
}
