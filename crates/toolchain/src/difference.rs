//! Where two trees differ.
use crate::error::ToolchainError;
use crate::materialise::load_tree;
use lre_model::{Digest, InputTree, Node};
use lre_store::BlobStore;
use std::collections::BTreeSet;

/// The first path, in byte order of names, at which two trees of the store differ.
///
/// # Errors
/// As [`load_tree`].
pub async fn first_difference(store: &dyn BlobStore, a: Digest, b: Digest) -> Result<Option<String>, ToolchainError> {
    let (a_tree, _a_hold) = load_tree(store, a).await?;
    let (b_tree, _b_hold) = load_tree(store, b).await?;
    Ok(in_directories(&a_tree, a, &b_tree, b))
}

fn in_directories(a_tree: &InputTree, a: Digest, b_tree: &InputTree, b: Digest) -> Option<String> {
    let (a, b) = (a_tree.get(&a)?, b_tree.get(&b)?);
    let names: BTreeSet<_> = a.children().chain(b.children()).map(|(name, _)| name.as_str()).collect();
    for name in names {
        let below = match (a.get(name), b.get(name)) {
            (a, b) if a == b => continue,
            (Some(Node::Directory { digest: a }), Some(Node::Directory { digest: b })) => {
                in_directories(a_tree, *a, b_tree, *b)
            }
            _ => None,
        };
        return Some(below.map_or(name.to_owned(), |below| format!("{name}/{below}")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import_layout;
    use crate::layout::{Entry, Layout};
    use lre_model::{DigestFunction, RelPath};
    use lre_store::DiskStore;

    #[tokio::test]
    async fn the_first_difference_is_named_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(dir.path()).unwrap();
        let mut digests = Vec::new();
        for changes in [vec![], vec![("usr/lib/b", "2")], vec![("usr/bin/x", "1"), ("usr/lib/b", "2")]] {
            let mut layout = Layout::default();
            for (path, text) in [("usr/bin/a", "1"), ("usr/lib/b", "1"), ("z", "1")].into_iter().chain(changes) {
                let entry = Entry::Bytes { content: text.into(), executable: false };
                layout.insert(RelPath::parse(path).unwrap(), entry);
            }
            digests.push(import_layout(&store, DigestFunction::Sha256, &layout, vec![], &()).await.unwrap().digest);
        }
        for (a, b, expected) in [(0, 0, None), (0, 1, Some("usr/lib/b")), (2, 0, Some("usr/bin/x"))] {
            let found = first_difference(&store, digests[a], digests[b]).await.unwrap();
            assert_eq!(found.as_deref(), expected);
        }
    }
}
