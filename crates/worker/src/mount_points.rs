//! Directories that are no inputs, for read-only inputs: something to mount on where outputs will be.
use lre_model::{Digest, Directory, Node, Subtree};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The tree with these directories, empty where they are not there. A path that leads through a file or
/// a symlink is left out.
pub(crate) fn add(tree: &Arc<Subtree>, paths: &BTreeSet<String>) -> Arc<Subtree> {
    paths.iter().fold(Arc::clone(tree), |tree, path| {
        let segments: Vec<_> = path.split('/').collect();
        with(&tree, &segments).unwrap_or(tree)
    })
}

fn with(tree: &Arc<Subtree>, segments: &[&str]) -> Option<Arc<Subtree>> {
    let Some((first, rest)) = segments.split_first() else { return Some(Arc::clone(tree)) };
    let function = tree.digest().function();
    let below = match tree.directory().get(first) {
        Some(Node::Directory { digest }) => Arc::clone(tree.child(digest)?),
        None => Subtree::empty(function),
        Some(_) => return None,
    };
    let below = with(&below, rest)?;
    let mut directory = Directory::default();
    for (name, node) in tree.directory().children().filter(|(name, _)| name.as_str() != *first) {
        directory.insert(name.as_str(), node.clone()).ok()?;
    }
    directory.insert(first, Node::Directory { digest: below.digest() }).ok()?;
    let digest = Digest::of(function, &directory.encode());
    let children = tree.children().iter().cloned().chain([below]).collect();
    Subtree::new(digest, directory, children).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;

    #[test]
    fn what_is_there_stays_and_what_is_not_is_made() {
        let paths = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let tree = add(&Subtree::empty(DigestFunction::Sha256), &paths(&["a", "a/b", "c"]));
        for path in ["a", "a/b", "c"] {
            assert!(matches!(tree.lookup(&segments(path)), Some(Node::Directory { .. })), "{path}");
        }
        assert_eq!(tree.extent().nodes, 3);
        let again = add(&tree, &paths(&["a/b", "c"]));
        assert_eq!(again.digest(), tree.digest());
        let more = add(&tree, &paths(&["a/b/d/e"]));
        assert_eq!(more.extent().nodes, 5);
    }
}
