//! Where two trees differ.
use crate::error::ToolchainError;
use crate::materialise::read_directory;
use lre_model::{Digest, Node};
use lre_store::BlobStore;
use std::collections::BTreeSet;

/// The first path, in byte order of names, at which two trees differ. Only directories are read, and only those that
/// differ, so the files may be gone. Where a directory is gone as well, its own path is the best that can be said;
/// without one of the roots that is nothing.
///
/// # Errors
/// What the store says, and directories that are none.
pub async fn first_difference(store: &dyn BlobStore, a: Digest, b: Digest) -> Result<Option<String>, ToolchainError> {
    let (mut pair, mut path) = ((a, b), String::new());
    loop {
        if pair.0 == pair.1 {
            return Ok(None);
        }
        let known = (read_directory(store, pair.0).await?, read_directory(store, pair.1).await?);
        let (Some(a), Some(b)) = known else { return Ok((!path.is_empty()).then_some(path)) };
        let names: BTreeSet<_> = a.children().chain(b.children()).map(|(name, _)| name.as_str()).collect();
        let Some(name) = names.into_iter().find(|name| a.get(name) != b.get(name)) else {
            // Two encodings of one directory.
            return Ok((!path.is_empty()).then_some(path));
        };
        path = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
        match (a.get(name), b.get(name)) {
            (Some(Node::Directory { digest: a }), Some(Node::Directory { digest: b })) => pair = (*a, *b),
            _ => return Ok(Some(path)),
        }
    }
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
        let nowhere = Digest::of(DigestFunction::Sha256, b"a root that was evicted");
        assert_eq!(first_difference(&store, digests[0], nowhere).await.unwrap(), None);
    }
}
