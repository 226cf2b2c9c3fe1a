//! What must be changed of a directory that shows one input tree, so that it shows another. Pure.
use lre_model::{Digest, Name, Node, Subtree};
use lre_store::StoreError;
use std::collections::HashMap;
use std::sync::Arc;

/// Files up to this size, in bytes, get an inode for every path; larger ones are data, not headers,
/// and are linked.
const TWIN_BYTES_MAX: u64 = 1024 * 1024;

/// One change to the tree. Paths are relative to its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    RemoveFile(String),
    RemoveTree(String),
    Directory(String),
    Symlink {
        path: String,
        target: String,
    },
    File {
        path: String,
        digest: Digest,
        executable: bool,
        twin: bool,
    },
    /// Children of this directory changed: give it its constant mtime back.
    Settle(String),
}

/// How many paths show a file, so that the second one gets an inode of its own.
pub(crate) type Shown = HashMap<(Digest, bool), usize>;

/// The walk over two Merkle trees that descends only where they differ.
pub(crate) struct Difference<'a> {
    pub shown: &'a mut Shown,
    pub changes: Vec<Change>,
    /// Files, directories and links that are made or removed.
    pub effort: u64,
}

/// How the children of two directories differ.
#[derive(Default)]
struct Children<'a> {
    gone: Vec<(&'a Name, &'a Node)>,
    /// With what was there before, where both are directories.
    come: Vec<(&'a Name, &'a Node, Option<Digest>)>,
}

impl<'a> Children<'a> {
    /// Both are sorted by name, so one look at each child is enough.
    fn between(old: Option<&'a Subtree>, new: &'a Subtree) -> Self {
        let mut children = Self::default();
        let mut before = old.into_iter().flat_map(|old| old.directory().children()).peekable();
        for (name, node) in new.directory().children() {
            while let Some(gone) = before.next_if(|(old, _)| *old < name) {
                children.gone.push(gone);
            }
            match (before.next_if(|(old, _)| *old == name), node) {
                (Some((_, old)), node) if old == node => {}
                (Some((_, Node::Directory { digest })), Node::Directory { .. }) => {
                    children.come.push((name, node, Some(*digest)));
                }
                (old, node) => {
                    children.gone.extend(old);
                    children.come.push((name, node, None));
                }
            }
        }
        children.gone.extend(before);
        children
    }
}

impl Difference<'_> {
    /// Collects what differs below `path`.
    pub(crate) fn between(
        &mut self,
        old: Option<&Arc<Subtree>>,
        new: &Arc<Subtree>,
        path: &str,
    ) -> Result<(), StoreError> {
        if old.is_some_and(|old| old.digest() == new.digest()) {
            return Ok(());
        }
        let Children { gone, come } = Children::between(old.map(AsRef::as_ref), new);
        // The time of a directory tells of its own names, not of what is further below.
        let mut settle = old.is_none() || !gone.is_empty();
        for (name, node) in gone {
            self.remove(old, node, join(path, name.as_str()));
        }
        for (name, node, before) in come {
            settle |= before.is_none();
            let path = join(path, name.as_str());
            match (node, before) {
                (Node::Directory { digest }, Some(before)) => {
                    let before = old.and_then(|old| old.child(&before));
                    self.between(before, new.child(digest).ok_or(StoreError::Missing(*digest))?, &path)?;
                }
                (node, _) => self.add(new, node, path)?,
            }
        }
        if settle {
            self.changes.push(Change::Settle(path.to_owned()));
        }
        Ok(())
    }

    fn add(&mut self, parent: &Arc<Subtree>, node: &Node, path: String) -> Result<(), StoreError> {
        self.effort += 1;
        match node {
            Node::Directory { digest } => {
                self.changes.push(Change::Directory(path.clone()));
                self.between(None, parent.child(digest).ok_or(StoreError::Missing(*digest))?, &path)?;
            }
            Node::Symlink { target } => self.changes.push(Change::Symlink { path, target: target.clone() }),
            Node::File { digest, executable } => {
                let shown = self.shown.entry((*digest, *executable)).or_default();
                let twin = *shown > 0 && digest.size_bytes() <= TWIN_BYTES_MAX;
                *shown += 1;
                self.changes.push(Change::File { path, digest: *digest, executable: *executable, twin });
            }
        }
        Ok(())
    }

    fn remove(&mut self, parent: Option<&Arc<Subtree>>, node: &Node, path: String) {
        self.effort += 1;
        self.forget(parent, node);
        self.changes.push(match node {
            Node::Directory { .. } => Change::RemoveTree(path),
            _ => Change::RemoveFile(path),
        });
    }

    fn forget(&mut self, parent: Option<&Arc<Subtree>>, node: &Node) {
        match node {
            Node::Symlink { .. } => {}
            Node::File { digest, executable } => {
                if let Some(shown) = self.shown.get_mut(&(*digest, *executable)) {
                    *shown -= 1;
                    if *shown == 0 {
                        self.shown.remove(&(*digest, *executable));
                    }
                }
            }
            Node::Directory { digest } => {
                if let Some(directory) = parent.and_then(|parent| parent.child(digest)) {
                    self.effort += directory.directory().len() as u64;
                    directory.directory().children().for_each(|(_, node)| self.forget(Some(directory), node));
                }
            }
        }
    }
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}
