//! A directory with all that is below it, shared between all trees that it is part of.
use crate::sketch::Sketch;
use crate::tree::Extent;
use crate::{ByDigest, Digest, DigestFunction, Directory, InputRoot, Node};
use std::collections::HashSet;
use std::sync::Arc;

/// A directory and everything below it, decoded, never changed.
///
/// From one action to the next most of an input tree is the same, and what is the same is the same value here: to
/// load, compare or hold a tree costs what has changed of it, not what is in it.
#[derive(Debug)]
pub struct Subtree {
    digest: Digest,
    directory: Directory,
    /// Each once, by digest.
    children: Vec<Arc<Subtree>>,
    extent: Extent,
    sketch: Sketch,
}

impl Subtree {
    /// Puts a directory together with its subdirectories; `None` where one of those that it names is not among
    /// `children`.
    #[must_use]
    pub fn new(digest: Digest, directory: Directory, mut children: Vec<Arc<Self>>) -> Option<Self> {
        children.sort_unstable_by_key(|child| child.digest);
        children.dedup_by_key(|child| child.digest);
        let mut tree = Self { digest, directory, children, extent: Extent::default(), sketch: Sketch::default() };
        let (mut extent, mut sketch) = (Extent { nodes: 0, depth: 1 }, Sketch::default());
        for (_, node) in tree.directory.children() {
            extent.nodes = extent.nodes.saturating_add(1);
            sketch.add(node);
            if let Node::Directory { digest } = node {
                let child = tree.child(digest)?;
                extent.nodes = extent.nodes.saturating_add(child.extent.nodes);
                extent.depth = extent.depth.max(child.extent.depth + 1);
                sketch.merge(&child.sketch);
            }
        }
        (tree.extent, tree.sketch) = (extent, sketch);
        Some(tree)
    }

    /// The tree that has no entries.
    #[must_use]
    pub fn empty(function: DigestFunction) -> Arc<Self> {
        let extent = Extent { nodes: 0, depth: 1 };
        let digest = Digest::empty(function);
        let (directory, children, sketch) = (Directory::default(), Vec::new(), Sketch::default());
        Arc::new(Self { digest, directory, children, extent, sketch })
    }

    /// The name of the directory.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same, where the tree is the whole input of an action.
    #[must_use]
    pub fn root(&self) -> InputRoot {
        InputRoot(self.digest)
    }

    /// What is in the directory itself.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The directories in it, each once, by digest.
    #[must_use]
    pub fn children(&self) -> &[Arc<Self>] {
        &self.children
    }

    /// The directory of this digest, where it is directly in this one.
    #[must_use]
    pub fn child(&self, digest: &Digest) -> Option<&Arc<Self>> {
        let at = self.children.binary_search_by(|child| child.digest.cmp(digest)).ok()?;
        self.children.get(at)
    }

    /// How many nodes the tree has when every path is counted, and how deep it is: forty directories can
    /// describe 2^40 paths.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// What it is like.
    #[must_use]
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }

    /// The node at `segments` below this directory; symlinks are not followed.
    #[must_use]
    pub fn lookup(&self, segments: &[String]) -> Option<Node> {
        let Some((last, path)) = segments.split_last() else {
            return Some(Node::Directory { digest: self.digest });
        };
        let mut at = self;
        for segment in path {
            let Some(Node::Directory { digest }) = at.directory.get(segment) else { return None };
            at = at.child(digest)?;
        }
        at.directory.get(last).cloned()
    }

    /// Calls `visit` with each directory of the tree, once, parents before their children. Where it answers
    /// `false`, what is below is left out.
    pub fn walk<'a>(self: &'a Arc<Self>, mut visit: impl FnMut(&'a Arc<Self>) -> bool) {
        let (mut seen, mut left) = (HashSet::with_hasher(ByDigest::default()), vec![self]);
        while let Some(tree) = left.pop() {
            if seen.insert(tree.digest) && visit(tree) {
                left.extend(&tree.children);
            }
        }
    }

    /// The digests of the files directly in this directory; equal files occur as often as they are there.
    pub fn files(&self) -> impl Iterator<Item = Digest> {
        self.directory.files()
    }

    /// Every blob of the tree: directories and files, each once.
    #[must_use]
    pub fn blobs(self: &Arc<Self>) -> Vec<Digest> {
        let (mut blobs, mut seen) = (Vec::new(), HashSet::new());
        self.walk(|tree| {
            blobs.extend([tree.digest].into_iter().chain(tree.files()).filter(|digest| seen.insert(*digest)));
            true
        });
        blobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: DigestFunction = DigestFunction::Sha256;

    fn file(text: &str) -> Node {
        Node::File { digest: Digest::of(F, text.as_bytes()), executable: false }
    }

    fn tree(nodes: &[(&str, Node)], children: &[&Arc<Subtree>]) -> Option<Arc<Subtree>> {
        let mut directory = Directory::default();
        nodes.iter().for_each(|(name, node)| directory.insert(name, node.clone()).unwrap());
        let children = children.iter().map(|child| Arc::clone(child)).collect();
        Subtree::new(Digest::of(F, &directory.encode()), directory, children).map(Arc::new)
    }

    fn directory(tree: &Subtree) -> Node {
        Node::Directory { digest: tree.digest() }
    }

    #[test]
    fn paths_are_counted_and_blobs_are_named_once() {
        let leaf = tree(&[("x", file("same")), ("y", file("same"))], &[]).unwrap();
        let root =
            tree(&[("a", directory(&leaf)), ("b", directory(&leaf)), ("c", file("c"))], &[&leaf, &leaf]).unwrap();
        assert_eq!(root.extent(), Extent { nodes: 7, depth: 2 });
        assert_eq!(root.children().len(), 1);
        let mut blobs = root.blobs();
        assert_eq!(blobs.len(), 4, "two directories, two contents");
        blobs.sort_unstable();
        blobs.dedup();
        assert_eq!(blobs.len(), 4);
        assert_eq!(*Subtree::empty(F).sketch(), Sketch::default());
    }

    #[test]
    fn what_names_a_directory_that_is_not_there_is_no_tree() {
        let leaf = tree(&[("x", file("x"))], &[]).unwrap();
        assert!(tree(&[("a", directory(&leaf))], &[]).is_none());
    }

    #[test]
    fn nodes_are_found_by_path() {
        let leaf = tree(&[("x", file("x"))], &[]).unwrap();
        let root = tree(&[("a", directory(&leaf)), ("l", Node::Symlink { target: "a".into() })], &[&leaf]).unwrap();
        let at = |path: &[&str]| root.lookup(&path.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(at(&[]), Some(directory(&root)));
        assert_eq!(at(&["a"]), Some(directory(&leaf)));
        assert_eq!(at(&["a", "x"]), Some(file("x")));
        assert_eq!(at(&["l", "x"]), None, "symlinks are not followed");
        assert_eq!(at(&["a", "x", "y"]), None);
        assert_eq!(at(&["b"]), None);
    }

    /// A chain in which every directory has its child twice describes 2^40 paths in forty directories.
    #[test]
    fn many_paths_of_few_directories_are_walked_once() {
        let mut top = Subtree::empty(F);
        for _ in 0..40 {
            top = tree(&[("a", directory(&top)), ("b", directory(&top))], &[&top]).unwrap();
        }
        assert_eq!(top.extent(), Extent { nodes: (1 << 41) - 2, depth: 41 });
        assert_eq!(top.blobs().len(), 41);
    }
}
