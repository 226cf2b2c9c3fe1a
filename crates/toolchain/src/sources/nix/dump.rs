//! Writes the NAR of a tree that is in the store, to hash it: what Nix calls a path's narHash is checked on what the
//! store really has, with nothing else at hand.
use super::nar::{MAGIC, Whole, padding};
use super::path::Sha256;
use crate::error::ToolchainError;
use crate::import::blocking;
use lre_model::{Digest, DigestFunction, Hasher, InputTree, Node};
use lre_store::{Blob, BlobStore, StoreError};
use std::io::Read;

/// Bytes read from a file at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// One piece of a NAR.
#[derive(Debug)]
pub(super) enum Piece {
    /// As it stands.
    Bytes(Vec<u8>),
    /// All bytes of this blob.
    Content(Digest),
}

/// The NAR of `node`, which is in `tree`.
///
/// # Errors
/// A directory is not in the tree.
pub(super) fn pieces(tree: &InputTree, node: &Node) -> Result<Vec<Piece>, StoreError> {
    let mut writer = Writer { done: Vec::new(), bytes: Vec::new() };
    writer.text(MAGIC);
    writer.node(tree, node)?;
    writer.done.push(Piece::Bytes(writer.bytes));
    Ok(writer.done)
}

struct Writer {
    done: Vec<Piece>,
    bytes: Vec<u8>,
}

impl Writer {
    fn node(&mut self, tree: &InputTree, node: &Node) -> Result<(), StoreError> {
        self.texts(&["(", "type"]);
        match node {
            Node::File { digest, executable } => self.file(*digest, *executable),
            Node::Symlink { target } => self.texts(&["symlink", "target", target]),
            Node::Directory { digest } => {
                self.text("directory");
                // In byte order of names, as NARs have them too.
                for (name, child) in tree.get(digest).ok_or(StoreError::Missing(*digest))?.children() {
                    self.texts(&["entry", "(", "name", name.as_str(), "node"]);
                    self.node(tree, child)?;
                    self.text(")");
                }
            }
        }
        self.text(")");
        Ok(())
    }

    fn file(&mut self, digest: Digest, executable: bool) {
        self.text("regular");
        if executable {
            self.texts(&["executable", ""]);
        }
        self.text("contents");
        self.bytes.extend(digest.size_bytes().to_le_bytes());
        self.done.push(Piece::Bytes(std::mem::take(&mut self.bytes)));
        self.done.push(Piece::Content(digest));
        self.pad(digest.size_bytes());
    }

    fn texts(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.text(text));
    }

    fn text(&mut self, text: &str) {
        let length = text.len() as u64;
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.pad(length);
    }

    fn pad(&mut self, length: u64) {
        self.bytes.extend(&[0; 8][..padding(length)]);
    }
}

/// Hash and length of the NAR of `node`, all of whose blobs the store has.
///
/// # Errors
/// What the store says.
pub(super) async fn hash(store: &dyn BlobStore, tree: &InputTree, node: &Node) -> Result<Whole, ToolchainError> {
    let mut hasher = Hasher::new(DigestFunction::Sha256);
    for piece in pieces(tree, node)? {
        match piece {
            Piece::Bytes(bytes) => hasher.update(&bytes),
            Piece::Content(digest) => match store.read(digest).await? {
                Blob::Bytes(bytes) => hasher.update(&bytes),
                Blob::File(file) => {
                    let mut before = hasher;
                    hasher = blocking(move || {
                        update(&mut before, file.reader()).map_err(StoreError::Io)?;
                        Ok(before)
                    })
                    .await?;
                }
            },
        }
    }
    let digest = hasher.finish();
    Ok(Whole { hash: Sha256(*digest.hash()), size_bytes: digest.size_bytes() })
}

fn update(hasher: &mut Hasher, mut from: impl Read) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::import_layout;
    use crate::layout::{Entry, Layout};
    use crate::materialise::load_tree;
    use crate::sources::nix::nar;
    use bytes::Bytes;
    use lre_model::RelPath;
    use lre_store::MemoryStore;
    use proptest::prelude::*;

    const F: DigestFunction = DigestFunction::Sha256;

    /// The bytes of a NAR, and its hash.
    async fn dumped(store: &MemoryStore, layout: &Layout, top: &str) -> (Vec<u8>, Whole) {
        let imported = import_layout(store, F, layout, Vec::new(), &()).await.unwrap();
        let (tree, _hold) = load_tree(store, imported.digest).await.unwrap();
        let node = tree.root_directory().unwrap().get(top).unwrap().clone();
        let mut bytes = Vec::new();
        for piece in pieces(&tree, &node).unwrap() {
            match piece {
                Piece::Bytes(part) => bytes.extend(part),
                Piece::Content(digest) => {
                    bytes.extend(store.read(digest).await.unwrap().into_bytes(1 << 20).await.unwrap());
                }
            }
        }
        (bytes, hash(store, &tree, &node).await.unwrap())
    }

    fn read_back(nar: &[u8]) -> (Layout, Whole) {
        let mut layout = Layout::default();
        let mut take = |content: &mut dyn Read, executable| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).unwrap();
            Ok(Entry::Bytes { content: Bytes::from(bytes), executable })
        };
        let whole = nar::read(nar, &RelPath::parse("top").unwrap(), &mut layout, &mut take).unwrap();
        (layout, whole)
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let content = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            3 => (content, any::<bool>()).prop_map(|(content, executable)| Entry::Bytes { content: content.into(), executable }),
            1 => "[a-z./]{1,20}".prop_map(|target| Entry::Symlink { target }),
            1 => Just(Entry::Directory),
        ]
    }

    /// Leaves of any kind below directories: names differ in case, are beyond ASCII, and begin alike.
    fn layout() -> impl Strategy<Value = Layout> {
        let path = proptest::collection::vec("[aAé.-]{1,3}".prop_filter("a name", |n| n != "." && n != ".."), 0..4);
        proptest::collection::vec((path, entry()), 1..12).prop_map(|entries| {
            let mut layout = Layout::default();
            for (names, entry) in entries {
                let path = RelPath::parse(
                    &["top"].into_iter().chain(names.iter().map(String::as_str)).collect::<Vec<_>>().join("/"),
                );
                let path = path.unwrap();
                let mut parents = std::iter::successors(path.parent(), RelPath::parent).filter(|p| !p.is_root());
                let file_above = parents.any(|p| layout.get(&p).is_some_and(|e| *e != Entry::Directory));
                if file_above || layout.get(&path).is_some() {
                    continue;
                }
                for parent in std::iter::successors(path.parent(), RelPath::parent).filter(|p| !p.is_root()) {
                    layout.insert(parent, Entry::Directory);
                }
                layout.insert(path, entry);
            }
            layout
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_hashed_the_same(layout in layout()) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let (nar, hashed) = runtime.block_on(dumped(&MemoryStore::default(), &layout, "top"));
            let (back, whole) = read_back(&nar);
            prop_assert_eq!(back, layout);
            prop_assert_eq!(whole, hashed);
            prop_assert_eq!(whole.size_bytes, nar.len() as u64);
        }
    }
}
