//! Trees for tests, written as paths.
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, Directory, InputRoot, Node, Subtree, encode_tree};
use lre_store::{BlobStore, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builds a tree of directories from paths. Malformed paths panic: they are mistakes of the test.
#[derive(Clone, Debug)]
pub struct TreeBuilder {
    function: DigestFunction,
    root: Folder,
}

#[derive(Clone, Debug, Default)]
struct Folder(BTreeMap<String, Entry>);

#[derive(Clone, Debug)]
enum Entry {
    Folder(Folder),
    File { content: Bytes, executable: bool },
    Symlink(String),
}

/// A tree and all blobs that belong to it.
#[derive(Clone, Debug)]
pub struct BuiltTree {
    /// The root directory.
    pub root: InputRoot,
    /// Directories and files, by digest.
    pub blobs: BTreeMap<Digest, Bytes>,
    /// The `Tree` message of the same directories; not among `blobs`.
    pub tree: Bytes,
}

impl BuiltTree {
    /// The same, decoded.
    #[must_use]
    pub fn subtree(&self) -> Arc<Subtree> {
        self.subtree_of(self.root.0)
    }

    fn subtree_of(&self, digest: Digest) -> Arc<Subtree> {
        let directory = Directory::decode(digest.function(), &self.blobs[&digest]).expect("encoded here");
        let children = directory.subdirectories().map(|child| self.subtree_of(child)).collect();
        Arc::new(Subtree::new(digest, directory, children).expect("all children are there"))
    }
}

impl TreeBuilder {
    /// An empty tree.
    #[must_use]
    pub fn new(function: DigestFunction) -> Self {
        Self { function, root: Folder::default() }
    }

    /// Adds a file, and the directories above it.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Bytes>) -> Self {
        self.add(path, Entry::File { content: content.into(), executable: false })
    }

    /// Adds a file that may be executed.
    #[must_use]
    pub fn program(self, path: &str, content: impl Into<Bytes>) -> Self {
        self.add(path, Entry::File { content: content.into(), executable: true })
    }

    /// Adds a symlink.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.add(path, Entry::Symlink(target.to_owned()))
    }

    /// Adds an empty directory.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        self.add(path, Entry::Folder(Folder::default()))
    }

    fn add(mut self, path: &str, entry: Entry) -> Self {
        let mut folder = &mut self.root;
        let (above, name) = path.rsplit_once('/').map_or((None, path), |(above, name)| (Some(above), name));
        for segment in above.iter().flat_map(|a| a.split('/')) {
            let child = folder.0.entry(segment.to_owned()).or_insert_with(|| Entry::Folder(Folder::default()));
            let Entry::Folder(next) = child else { panic!("`{segment}` of `{path}` is not a directory") };
            folder = next;
        }
        assert!(folder.0.insert(name.to_owned(), entry).is_none(), "`{path}` is there already");
        self
    }

    /// The tree, without a store.
    #[must_use]
    pub fn build(&self) -> BuiltTree {
        let (mut blobs, mut directories) = (BTreeMap::new(), BTreeMap::new());
        let root = self.fold(&self.root, &mut blobs, &mut directories);
        let tree = encode_tree(&directories[&root], &directories).into();
        BuiltTree { root: InputRoot(root), blobs, tree }
    }

    fn fold(
        &self,
        folder: &Folder,
        blobs: &mut BTreeMap<Digest, Bytes>,
        directories: &mut BTreeMap<Digest, Directory>,
    ) -> Digest {
        let mut directory = Directory::default();
        for (name, entry) in &folder.0 {
            let node = match entry {
                Entry::Folder(folder) => Node::Directory { digest: self.fold(folder, blobs, directories) },
                Entry::File { content, executable } => {
                    let digest = Digest::of(self.function, content);
                    blobs.insert(digest, content.clone());
                    Node::File { digest, executable: *executable }
                }
                Entry::Symlink(target) => Node::Symlink { target: target.clone() },
            };
            directory.insert(name, node).unwrap_or_else(|e| panic!("{e}"));
        }
        let bytes = Bytes::from(directory.encode());
        let digest = Digest::of(self.function, &bytes);
        blobs.insert(digest, bytes);
        directories.insert(digest, directory);
        digest
    }

    /// Builds the tree into a store: directories and files, not the `Tree` message.
    ///
    /// # Errors
    /// What the store says.
    pub async fn store(&self, store: &dyn BlobStore) -> Result<InputRoot, StoreError> {
        let built = self.build();
        for (digest, bytes) in built.blobs {
            store.write(digest, bytes.into()).await?;
        }
        Ok(built.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_directories_and_the_order_does_not_matter() {
        let f = DigestFunction::Sha256;
        let one = TreeBuilder::new(f).file("a/b/c", "x").program("a/run", "y").symlink("l", "a").directory("e");
        let two = TreeBuilder::new(f).directory("e").symlink("l", "a").program("a/run", "y").file("a/b/c", "x");
        let (one, two) = (one.build(), two.build());
        assert_eq!(one.root, two.root);
        assert_eq!(one.blobs.len(), 6, "four directories, two files");
        let (root, children) = lre_model::decode_tree(f, &one.tree).unwrap();
        assert_eq!((Digest::of(f, &root.encode()), children.len()), (one.root.0, 3));
    }
}
