//! The reading room: an action and all that it names, read once, validated.
use crate::remembered::Remembered;
use bytes::Bytes;
use lre_model::{Action, ActionDigest, Command, Digest, Directory, InputRoot, Invalid, Subtree};
use lre_store::{BlobStore, Hold, StoreError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Largest message read into memory, in bytes. An Action, a Command or a Directory larger than
/// this is a mistake: a directory of 100,000 files is about 13 MiB.
const MESSAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most paths of an input tree. A directory may hang in many places, so a few blobs can describe
/// more paths than a disk has; a million is ten times the largest action seen in the field.
const INPUT_NODES_MAX: u64 = 1_000_000;

/// Deepest input tree, in directories: half of what PATH_MAX (4,096 bytes) allows with names of one
/// byte, and shallow enough for recursive walks.
const INPUT_DEPTH_MAX: u64 = 1_000;

/// An action with everything it names.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The action.
    pub action: Action,
    /// Its command.
    pub command: Command,
    /// Its inputs.
    pub inputs: Arc<Subtree>,
}

/// Why an action cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The client's turn: upload these and ask again. All that is missing of what could be reached.
    #[error("{} blobs that the action needs are missing", .0.len())]
    Missing(Vec<Digest>),
    /// The client's author's turn.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The operator's turn.
    #[error(transparent)]
    Store(StoreError),
}

impl Loaded {
    /// Holds every blob that must stay while the action waits and runs: its messages, its directories,
    /// its files. Names what is missing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn hold(&self, store: &dyn BlobStore) -> Result<(Hold, Vec<Digest>), StoreError> {
        store.hold_tree(&self.inputs, &[self.action.digest.0, self.action.command]).await
    }
}

/// Reads actions from a store.
pub struct Reader {
    store: Arc<dyn BlobStore>,
    remembered: Remembered,
}

impl Reader {
    /// A reader that remembers nothing yet.
    pub fn new(store: Arc<dyn BlobStore>) -> Self {
        Self { store, remembered: Remembered::default() }
    }

    /// Reads an action, its command and its directories. What is missing does not stop the reading:
    /// the client is told of everything at once (PROTOCOL, 51), the files of the input tree included.
    ///
    /// Directories that were read before are not looked for in the store: whoever is about to
    /// execute calls [`Loaded::hold`], and hears of them there.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, digest: ActionDigest) -> Result<Loaded, LoadError> {
        let Some(blob) = self.message(digest.0).await? else {
            return Err(LoadError::Missing(vec![digest.0]));
        };
        let action = Action::decode(digest, &blob)?;
        let command = match self.message(action.command).await? {
            Some(blob) => Some(Command::decode(&blob)?),
            None => None,
        };
        let Some(command) = command else {
            // Whatever is missing of the inputs is named together with the command.
            let mut missing = match self.inputs(action.input_root).await {
                Ok(inputs) => self.store.hold_tree(&inputs, &[]).await.map_err(LoadError::Store)?.1,
                Err(LoadError::Missing(missing)) => missing,
                Err(error) => return Err(error),
            };
            missing.push(action.command);
            return Err(LoadError::Missing(missing));
        };
        let inputs = self.inputs(action.input_root).await?;
        Ok(Loaded { action, command, inputs })
    }

    /// An action and its command without its inputs; nothing where one of them is missing.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn glance(&self, digest: ActionDigest) -> Result<Option<(Action, Command)>, LoadError> {
        let Some(blob) = self.message(digest.0).await? else { return Ok(None) };
        let action = Action::decode(digest, &blob)?;
        let Some(blob) = self.message(action.command).await? else { return Ok(None) };
        Ok(Some((action, Command::decode(&blob)?)))
    }

    /// Reads an input tree. What was read before is the same value as then.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn inputs(&self, root: InputRoot) -> Result<Arc<Subtree>, LoadError> {
        if let Some(tree) = self.remembered.get(&root.0) {
            return Ok(tree);
        }
        let mut read = Read::default();
        let mut left = vec![root.0];
        while let Some(digest) = left.pop() {
            if !read.seen.insert(digest) {
                continue;
            }
            if let Some(tree) = self.remembered.get(&digest) {
                read.trees.insert(digest, tree);
            } else if let Some(directory) = self.directory(digest).await? {
                left.extend(directory.subdirectories());
                read.fresh.insert(digest, directory);
            } else {
                read.missing.push(digest);
            }
        }
        let known = if read.missing.is_empty() { Vec::new() } else { read.known() };
        let tree = read.assemble(root)?;
        if let Some(tree) = tree {
            self.remembered.put(&tree);
            return Ok(tree);
        }
        let (_hold, gone) = self.store.hold(&known).await.map_err(LoadError::Store)?;
        let Read { mut missing, trees, .. } = read;
        // What could be put together is not read again when the client comes back with the rest.
        trees.values().for_each(|tree| self.remembered.put(tree));
        missing.extend(gone);
        Err(LoadError::Missing(missing))
    }

    async fn directory(&self, digest: Digest) -> Result<Option<Directory>, LoadError> {
        let Some(blob) = self.message(digest).await? else { return Ok(None) };
        let directory = Directory::decode(digest.function(), &blob)
            .map_err(|e| Invalid::new(format!("input_root: directory {digest}"), e))?;
        Ok(Some(directory))
    }

    async fn message(&self, digest: Digest) -> Result<Option<Bytes>, LoadError> {
        let read = match self.store.read(digest).await {
            Ok(blob) => blob.into_bytes(MESSAGE_BYTES_MAX).await,
            Err(e) => Err(e),
        };
        match read {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing(_)) => Ok(None),
            Err(StoreError::TooLarge { size_bytes, .. }) => {
                let problem = format!("{digest} has {size_bytes} bytes: no message is that large");
                Err(Invalid::new("action", problem).into())
            }
            Err(e) => Err(LoadError::Store(e)),
        }
    }
}

/// What was read of an input tree.
#[derive(Default)]
struct Read {
    seen: HashSet<Digest>,
    /// Not yet put together.
    fresh: HashMap<Digest, Directory>,
    trees: HashMap<Digest, Arc<Subtree>>,
    missing: Vec<Digest>,
}

impl Read {
    /// Every blob that is named, except the directories that are known to be missing.
    fn known(&self) -> Vec<Digest> {
        let mut known: Vec<_> = self.trees.values().flat_map(|tree| tree.blobs()).collect();
        for (digest, directory) in &self.fresh {
            known.push(*digest);
            known.extend(directory.files());
        }
        known
    }

    /// Puts the directories together, children before their parents; `None` where some are missing.
    fn assemble(&mut self, root: InputRoot) -> Result<Option<Arc<Subtree>>, Invalid> {
        let (mut entered, mut left) = (HashSet::new(), vec![(root.0, false)]);
        while let Some((digest, children_done)) = left.pop() {
            let Some(directory) = self.fresh.get(&digest) else { continue };
            if !children_done {
                if entered.insert(digest) {
                    left.push((digest, true));
                    left.extend(directory.subdirectories().map(|child| (child, false)));
                }
                continue;
            }
            let children: Option<Vec<_>> =
                directory.subdirectories().map(|child| self.trees.get(&child).cloned()).collect();
            if let (Some(children), Some(directory)) = (children, self.fresh.remove(&digest))
                && let Some(tree) = Subtree::new(digest, directory, children)
            {
                // Before anything is built upon it: a tree that is too deep could not even be dropped.
                bounded(&tree)?;
                self.trees.insert(digest, Arc::new(tree));
            }
        }
        Ok(self.trees.get(&root.0).cloned())
    }
}

fn bounded(tree: &Subtree) -> Result<(), Invalid> {
    let extent = tree.extent();
    if extent.nodes <= INPUT_NODES_MAX && extent.depth <= INPUT_DEPTH_MAX {
        return Ok(());
    }
    let problem = format!(
        "{} paths, {} levels deep; at most {INPUT_NODES_MAX} and {INPUT_DEPTH_MAX} are taken",
        extent.nodes, extent.depth
    );
    Err(Invalid::new("action.input_root_digest", problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{DigestFunction, Node, wire};
    use lre_store::MemoryStore;
    use lre_testkit::{BuiltTree, Call, Recorded, TreeBuilder};
    use prost::Message;

    const F: DigestFunction = DigestFunction::Sha256;

    async fn put(store: &dyn BlobStore, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(F, &bytes);
        store.write(digest, Bytes::from(bytes).into()).await.unwrap();
        digest
    }

    fn command() -> wire::Command {
        wire::Command { arguments: vec!["true".into()], ..Default::default() }
    }

    async fn action(store: &dyn BlobStore, command: Digest, root: Digest) -> ActionDigest {
        let action = wire::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(root.to_wire()),
            ..Default::default()
        };
        ActionDigest(put(store, action.encode_to_vec()).await)
    }

    fn reads(calls: &[Call]) -> usize {
        calls.iter().filter(|call| matches!(call, Call::Read(_))).count()
    }

    #[tokio::test]
    async fn directories_are_read_once_and_held_each_time() {
        let store = Arc::new(Recorded::new(MemoryStore::default()));
        let tree = TreeBuilder::new(F).file("a/b/c", "x").file("d/e", "y");
        let root = tree.store(&*store).await.unwrap();
        let command = put(&*store, command().encode_to_vec()).await;
        let action = action(&*store, command, root.0).await;
        let reader = Reader::new(Arc::clone(&store) as _);
        store.take();
        let first = reader.load(action).await.unwrap();
        assert_eq!(reads(&store.take()), 2 + 4, "two messages, four directories");
        let second = reader.load(action).await.unwrap();
        assert_eq!(reads(&store.take()), 2, "the two messages");
        assert!(Arc::ptr_eq(&first.inputs, &second.inputs));
        let (hold, missing) = second.hold(&*store).await.unwrap();
        assert_eq!((hold.digests().len(), missing.len()), (2 + 4 + 2, 0), "two messages, four directories, two files");
    }

    /// PROTOCOL 51: everything that is missing is named, also below a directory that is there, and
    /// also what was there the last time.
    #[tokio::test]
    async fn all_that_is_missing_is_named() {
        let full = Arc::new(MemoryStore::default());
        let tree = TreeBuilder::new(F).file("a/b/c", "x").file("a/g", "z").file("d/e", "y");
        let BuiltTree { root, blobs, .. } = tree.build();
        for bytes in blobs.values() {
            put(&*full, bytes.to_vec()).await;
        }
        let command_digest = put(&*full, command().encode_to_vec()).await;
        let action_digest = action(&*full, command_digest, root.0).await;
        let reader = Reader::new(full);
        let inputs = reader.load(action_digest).await.unwrap().inputs;
        let gone = ["a/b", "d/e"].map(|path| {
            let path: Vec<_> = path.split('/').map(str::to_owned).collect();
            match inputs.lookup(&path) {
                Some(Node::File { digest, .. } | Node::Directory { digest }) => digest,
                other => panic!("{other:?}"),
            }
        });
        let partial = Arc::new(MemoryStore::default());
        for (digest, bytes) in blobs {
            if !gone.contains(&digest) {
                partial.write(digest, bytes.into()).await.unwrap();
            }
        }
        let again = action(&*partial, command_digest, root.0).await;
        assert_eq!(again, action_digest);
        // One reader has read all of it before, one has not.
        for reader in [Reader { store: Arc::clone(&partial) as _, ..reader }, Reader::new(partial)] {
            let Err(LoadError::Missing(missing)) = reader.load(action_digest).await else { panic!("nothing missing") };
            for digest in gone.into_iter().chain([command_digest]) {
                assert!(missing.contains(&digest), "{digest} is not among {missing:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_can_never_work_is_refused() {
        let store = Arc::new(MemoryStore::default());
        let mut bomb = Directory::default();
        for _ in 0..30 {
            let digest = put(&*store, bomb.encode()).await;
            bomb = Directory::default();
            bomb.insert("a", Node::Directory { digest }).unwrap();
            bomb.insert("b", Node::Directory { digest }).unwrap();
        }
        let bomb = put(&*store, bomb.encode()).await;
        let garbage = put(&*store, b"\xff\xff\xff".to_vec()).await;
        let command = put(&*store, command().encode_to_vec()).await;
        let reader = Reader::new(Arc::clone(&store) as _);
        for (command, root) in [(command, bomb), (command, garbage), (garbage, Digest::empty(F))] {
            let action = action(&*store, command, root).await;
            assert!(matches!(reader.load(action).await, Err(LoadError::Invalid(_))));
        }
    }
}
