//! The reading room: an action and all that it names, read once, validated.
use lre_model::{Action, ActionDigest, Command, Digest, Directory, InputTree, Invalid};
use lre_store::{BlobStore, StoreError};
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
    /// Its directories.
    pub inputs: InputTree,
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
    /// Every blob that must stay while the action waits and runs: its messages, its directories,
    /// its files.
    #[must_use]
    pub fn blobs(&self) -> Vec<Digest> {
        let mut blobs = vec![self.action.digest.0, self.action.command];
        blobs.extend(self.inputs.directories().map(|(digest, _)| *digest));
        blobs.extend(self.inputs.files());
        blobs
    }
}

async fn message(store: &dyn BlobStore, digest: Digest) -> Result<Option<bytes::Bytes>, LoadError> {
    let read = match store.read(digest).await {
        Ok(blob) => blob.into_bytes(MESSAGE_BYTES_MAX).await,
        Err(e) => Err(e),
    };
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::Missing(_)) => Ok(None),
        Err(StoreError::TooLarge { size_bytes, .. }) => {
            Err(Invalid::new("action", format!("{digest} has {size_bytes} bytes: no message is that large")).into())
        }
        Err(e) => Err(LoadError::Store(e)),
    }
}

/// Reads an action, its command and its directories. What is missing does not stop the reading:
/// the client is told of everything at once (PROTOCOL, 51), the files of the input tree included.
///
/// # Errors
/// See [`LoadError`].
pub async fn load(store: &dyn BlobStore, digest: ActionDigest) -> Result<Loaded, LoadError> {
    let Some(blob) = message(store, digest.0).await? else {
        return Err(LoadError::Missing(vec![digest.0]));
    };
    let action = Action::decode(digest, &blob)?;
    let mut missing = Vec::new();
    let command = match message(store, action.command).await? {
        Some(blob) => Some(Command::decode(&blob)?),
        None => {
            missing.push(action.command);
            None
        }
    };
    let mut inputs = InputTree::new(action.input_root);
    loop {
        let wanted = inputs.wanted();
        if wanted.is_empty() {
            break;
        }
        for digest in wanted {
            let directory = match message(store, digest).await? {
                Some(blob) => Directory::decode(digest.function(), &blob)
                    .map_err(|e| Invalid::new(format!("input_root: directory {digest}"), e))?,
                None => {
                    missing.push(digest);
                    Directory::default()
                }
            };
            inputs.add(digest, Arc::new(directory));
        }
    }
    match command {
        Some(command) if missing.is_empty() => {
            let extent = inputs.extent();
            if extent.nodes > INPUT_NODES_MAX || extent.depth > INPUT_DEPTH_MAX {
                let problem = format!(
                    "{} paths, {} levels deep; at most {INPUT_NODES_MAX} and {INPUT_DEPTH_MAX} are taken",
                    extent.nodes, extent.depth
                );
                return Err(Invalid::new("action.input_root_digest", problem).into());
            }
            Ok(Loaded { action, command, inputs })
        }
        _ => {
            let (_hold, files) = store.hold(&inputs.files()).await.map_err(LoadError::Store)?;
            missing.extend(files);
            Err(LoadError::Missing(missing))
        }
    }
}
