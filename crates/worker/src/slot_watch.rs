//! Whether somebody has changed the tree of a slot from outside.
//!
//! A tree that does not show what it is said to show gives wrong results, and those are remembered. To look at each
//! of its directories before each action costs more than the rest of it, so the kernel is asked to tell (inotify):
//! one system call where nothing happened. Where it cannot, the directories are looked at: all of them have one
//! constant time, and whoever makes, removes or replaces a name changes that.
use crate::slot_tree::MTIME_SECONDS;
use lre_model::{Node, Subtree};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// What nobody but us may do to a directory of a tree. Not its own end: its parent tells of that at once, and the
/// directory only when nobody has it open any more, which an overlay that is taken apart may have for long.
const CHANGES: ReadFlags = ReadFlags::CREATE
    .union(ReadFlags::DELETE)
    .union(ReadFlags::MOVED_FROM)
    .union(ReadFlags::MOVED_TO)
    .union(ReadFlags::MODIFY)
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::QUEUE_OVERFLOW)
    .union(ReadFlags::UNMOUNT);

/// Looks after one tree.
pub(crate) enum SlotWatch {
    /// The kernel tells of every directory.
    Told(OwnedFd),
    /// It does not.
    Looks,
}

impl SlotWatch {
    /// Begins with no directory.
    pub(crate) fn new() -> Self {
        inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_or(Self::Looks, Self::Told)
    }

    /// Looks after this directory too.
    pub(crate) fn add(&mut self, directory: &Path) {
        let Self::Told(told) = self else { return };
        let what = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        if inotify::add_watch(told, directory, what).is_err() {
            // A tree of which the kernel tells in part is not looked after.
            *self = Self::Looks;
        }
    }

    /// How often something was changed since the last call; `None`: not known.
    pub(crate) fn changes(&self) -> Option<usize> {
        let Self::Told(told) = self else { return None };
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut events = Reader::new(told, &mut buffer);
        let mut changes = 0;
        loop {
            match events.next() {
                Ok(event) => changes += usize::from(event.events().intersects(CHANGES)),
                Err(Errno::AGAIN) => return Some(changes),
                Err(Errno::INTR) => {}
                Err(_) => return Some(usize::MAX),
            }
        }
    }

    /// Whether nobody has changed the tree at `directory` that shows `tree`, since the last call or ever.
    pub(crate) fn is_intact(&self, directory: &Path, tree: &Arc<Subtree>) -> bool {
        match self.changes() {
            Some(changes) => changes == 0,
            None => all_settled(directory, tree),
        }
    }
}

fn all_settled(directory: &Path, tree: &Arc<Subtree>) -> bool {
    let settled = std::fs::symlink_metadata(directory).is_ok_and(|m| m.is_dir() && m.mtime() == MTIME_SECONDS);
    settled
        && tree.directory().children().all(|(name, node)| match node {
            Node::Directory { digest } => {
                tree.child(digest).is_some_and(|child| all_settled(&directory.join(name.as_str()), child))
            }
            _ => true,
        })
}
