//! The entries of a tree, in the order in which they stand in the file.
use lre_model::{Digest, InputTree, Node};
use std::collections::HashMap;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// From the top of the tree, `usr/bin/cc`.
    pub path: String,
    /// What it is.
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Directory,
    Symlink(String),
    /// A file, with its content.
    File {
        digest: Digest,
        executable: bool,
    },
    /// A file like one that came before, by its path.
    Same(String),
}

/// All entries: names in byte order, a directory before what is in it. Of equal files only the first has its
/// content, as in any archive with hard links.
pub(super) fn walk(tree: &InputTree) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut first: HashMap<(Digest, bool), usize> = HashMap::new();
    // Children are pushed in reverse, so that they come out in order.
    let mut left = vec![(String::new(), Node::Directory { digest: tree.root.0 })];
    while let Some((path, node)) = left.pop() {
        let what = match node {
            Node::Symlink { target } => What::Symlink(target),
            Node::File { digest, executable } => match first.get(&(digest, executable)) {
                Some(at) => {
                    let step: &Step = &steps[*at];
                    What::Same(step.path.clone())
                }
                None => {
                    // A link to nothing gains nothing.
                    if digest.size_bytes() > 0 {
                        first.insert((digest, executable), steps.len());
                    }
                    What::File { digest, executable }
                }
            },
            Node::Directory { digest } => {
                let children: Vec<_> = tree.get(&digest).map(|d| d.children().collect()).unwrap_or_default();
                for (name, node) in children.into_iter().rev() {
                    let below =
                        if path.is_empty() { name.as_str().to_owned() } else { format!("{path}/{}", name.as_str()) };
                    left.push((below, node.clone()));
                }
                if path.is_empty() {
                    continue;
                }
                What::Directory
            }
        };
        steps.push(Step { path, what });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{DigestFunction, Directory, InputRoot};
    use std::sync::Arc;

    #[test]
    fn parents_come_first_and_equal_files_once() {
        const F: DigestFunction = DigestFunction::Sha256;
        let file = |text: &str, executable| Node::File { digest: Digest::of(F, text.as_bytes()), executable };
        let digest = |d: &Directory| Digest::of(F, &d.encode());
        let mut bin = Directory::default();
        bin.insert("cc", file("x", true)).unwrap();
        bin.insert("gcc", file("x", true)).unwrap();
        bin.insert("x.txt", file("x", false)).unwrap();
        let mut root = Directory::default();
        root.insert("bin", Node::Directory { digest: digest(&bin) }).unwrap();
        root.insert("bin2", Node::Symlink { target: "bin".to_owned() }).unwrap();
        root.insert("a", file("", false)).unwrap();
        root.insert("b", file("", false)).unwrap();
        let mut tree = InputTree::new(InputRoot(digest(&root)));
        tree.add(digest(&root), Arc::new(root));
        tree.add(digest(&bin), Arc::new(bin));
        let steps = walk(&tree);
        let paths: Vec<_> = steps.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "bin", "bin/cc", "bin/gcc", "bin/x.txt", "bin2"]);
        assert_eq!(steps[4].what, What::Same("bin/cc".to_owned()));
        assert!(matches!(steps[5].what, What::File { executable: false, .. }), "a link has the mode of what it links");
        assert!(matches!(steps[1].what, What::File { .. }));
    }
}
