//! Whole trees: the input of an action, and the `Tree` message of an output directory.
use crate::{BadDirectory, Digest, DigestFunction, Directory, InputRoot, Node};
use lre_proto::re;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// How large a tree is when it is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Files, directories and symlinks, every path counted.
    pub nodes: u64,
    /// Levels of directories; 1 for a root without subdirectories.
    pub depth: u64,
}

/// A directory and all its descendants, decoded, each once.
#[derive(Clone, Debug)]
pub struct InputTree {
    /// The root.
    pub root: InputRoot,
    directories: HashMap<Digest, Arc<Directory>>,
    wanted: BTreeSet<Digest>,
}

impl InputTree {
    /// Starts with nothing but the name of the root; see [`InputTree::wanted`].
    #[must_use]
    pub fn new(root: InputRoot) -> Self {
        Self { root, directories: HashMap::new(), wanted: BTreeSet::from([root.0]) }
    }

    /// The tree that has no entries.
    #[must_use]
    pub fn empty(function: DigestFunction) -> Self {
        let mut tree = Self::new(InputRoot(Digest::empty(function)));
        tree.add(tree.root.0, Arc::new(Directory::default()));
        tree
    }

    /// Adds a directory under the digest of its blob.
    pub fn add(&mut self, digest: Digest, directory: Arc<Directory>) {
        for (_, node) in directory.children() {
            if let Node::Directory { digest } = node
                && !self.directories.contains_key(digest)
            {
                self.wanted.insert(*digest);
            }
        }
        self.wanted.remove(&digest);
        self.directories.insert(digest, directory);
    }

    /// Directories that are named but not there yet, in order. Load them, add them, ask again,
    /// until nothing is wanted. This way the caller chooses how to load and this crate stays pure.
    #[must_use]
    pub fn wanted(&self) -> Vec<Digest> {
        self.wanted.iter().copied().collect()
    }

    /// The directory of this digest, where it has been added.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<&Arc<Directory>> {
        self.directories.get(digest)
    }

    /// The root directory, where it has been added.
    #[must_use]
    pub fn root_directory(&self) -> Option<&Arc<Directory>> {
        self.get(&self.root.0)
    }

    /// All directories, in no order.
    pub fn directories(&self) -> impl Iterator<Item = (&Digest, &Arc<Directory>)> {
        self.directories.iter()
    }

    /// The digests of all files, each once, in order.
    #[must_use]
    pub fn files(&self) -> Vec<Digest> {
        let mut files = HashSet::new();
        for directory in self.directories.values() {
            for (_, node) in directory.children() {
                if let Node::File { digest, .. } = node {
                    files.insert(*digest);
                }
            }
        }
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort_unstable();
        files
    }

    /// How many nodes the tree has when every path is counted, and how deep it is.
    ///
    /// Directories are shared, so forty blobs can describe 2^40 paths: whoever lays a tree out looks
    /// here first.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let mut known: HashMap<Digest, Extent> = HashMap::new();
        let mut stack = vec![(self.root.0, false)];
        while let Some((digest, children_known)) = stack.pop() {
            if known.contains_key(&digest) {
                continue;
            }
            let subdirectories: Vec<_> = self.get(&digest).map(|d| d.subdirectories().collect()).unwrap_or_default();
            if !children_known {
                stack.push((digest, true));
                stack.extend(subdirectories.into_iter().map(|child| (child, false)));
                continue;
            }
            let nodes = self.get(&digest).map_or(0, |d| d.children().count() as u64);
            let mut extent = Extent { nodes, depth: 1 };
            for child in subdirectories.iter().filter_map(|child| known.get(child)) {
                extent.nodes = extent.nodes.saturating_add(child.nodes);
                extent.depth = extent.depth.max(child.depth + 1);
            }
            known.insert(digest, extent);
        }
        known.get(&self.root.0).copied().unwrap_or_default()
    }

    /// The node at `segments` below the root; symlinks are not followed.
    #[must_use]
    pub fn lookup(&self, segments: &[String]) -> Option<Node> {
        let mut node = Node::Directory { digest: self.root.0 };
        for segment in segments {
            let Node::Directory { digest } = node else { return None };
            node = self.get(&digest)?.get(segment)?.clone();
        }
        Some(node)
    }
}

/// Encodes a `Tree` (REAPI 2.2, `OutputDirectory.is_topologically_sorted`): the root first, then
/// every descendant once, parents before children. `directories` is keyed by the digest of the
/// canonical bytes.
#[must_use]
pub fn encode_tree(root: &Directory, directories: &BTreeMap<Digest, Directory>) -> Vec<u8> {
    let mut tree = re::Tree { root: Some(root.to_wire()), children: Vec::new() };
    // A directory that is reached on two levels must come after its deepest parent, so the order
    // is that of a depth-first post-order, reversed. Without recursion: a stack has an end, and a command makes as many
    // levels as it likes.
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    let mut path = vec![(root, root.subdirectories())];
    while let Some((directory, left)) = path.last_mut() {
        match left.next() {
            Some(digest) if seen.insert(digest) => {
                path.extend(directories.get(&digest).map(|child| (child, child.subdirectories())));
            }
            Some(_) => {}
            None => {
                order.push(*directory);
                path.pop();
            }
        }
    }
    // The root, which came last, has a place of its own.
    tree.children.extend(order.into_iter().rev().skip(1).map(Directory::to_wire));
    tree.encode_to_vec()
}

/// Decodes a `Tree`: its root and all its directories, by the digest of their bytes.
///
/// # Errors
/// What is wrong with the message or with one of its directories.
pub fn decode_tree(
    function: DigestFunction,
    blob: &[u8],
) -> Result<(Directory, HashMap<Digest, Directory>), BadDirectory> {
    let wire = re::Tree::decode(blob).map_err(|e| BadDirectory::Encoding(e.to_string()))?;
    let root = Directory::from_wire(function, &wire.root.unwrap_or_default())?;
    let mut children = HashMap::new();
    for child in &wire.children {
        let directory = Directory::from_wire(function, child)?;
        children.insert(Digest::of(function, &child.encode_to_vec()), directory);
    }
    Ok((root, children))
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: DigestFunction = DigestFunction::Sha256;

    fn with(children: &[(&str, &Directory)], all: &mut BTreeMap<Digest, Directory>) -> Directory {
        let mut directory = Directory::default();
        for (name, child) in children {
            let digest = Digest::of(F, &child.encode());
            all.insert(digest, (*child).clone());
            directory.insert(name, Node::Directory { digest }).unwrap();
        }
        directory
    }

    /// PROTOCOL, 74: every distinct directory once, and parents before children, also where one
    /// directory hangs on two levels.
    #[test]
    fn a_tree_is_sorted_and_without_duplicates() {
        let mut all = BTreeMap::new();
        let mut leaf = Directory::default();
        leaf.insert("x", Node::Symlink { target: "y".into() }).unwrap();
        let middle = with(&[("leaf", &leaf)], &mut all);
        let root = with(&[("a", &leaf), ("b", &middle), ("c", &middle)], &mut all);
        let blob = encode_tree(&root, &all);
        let wire = re::Tree::decode(&blob[..]).unwrap();
        assert_eq!(wire.children.len(), 2);
        assert_eq!(wire.children[0], middle.to_wire(), "the parent first");
        let (again, children) = decode_tree(F, &blob).unwrap();
        assert_eq!((again, children.len()), (root, 2));
    }

    /// A "billion laughs" of directories: few blobs, more paths than any disk has.
    #[test]
    fn a_tree_bomb_is_measured_without_being_walked() {
        let mut all = BTreeMap::new();
        let mut directory = Directory::default();
        for _ in 0..200 {
            directory = with(&[("a", &directory), ("b", &directory)], &mut all);
        }
        let root = Digest::of(F, &directory.encode());
        let mut tree = InputTree::new(InputRoot(root));
        tree.add(root, Arc::new(directory));
        all.into_iter().for_each(|(digest, directory)| tree.add(digest, Arc::new(directory)));
        assert_eq!(tree.extent(), Extent { nodes: u64::MAX, depth: 201 });
    }

    #[test]
    fn loading_asks_until_nothing_is_wanted() {
        let mut all = BTreeMap::new();
        let leaf = Directory::default();
        let root = with(&[("a", &leaf)], &mut all);
        let root_digest = Digest::of(F, &root.encode());
        let mut tree = InputTree::new(InputRoot(root_digest));
        assert_eq!(tree.wanted(), [root_digest]);
        tree.add(root_digest, Arc::new(root));
        let wanted = tree.wanted();
        assert_eq!(wanted.len(), 1);
        tree.add(wanted[0], Arc::new(all[&wanted[0]].clone()));
        assert!(tree.wanted().is_empty());
    }
}
