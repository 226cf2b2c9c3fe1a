//! What is remembered of an action.
use crate::{Digest, DigestFunction, Invalid};
use lre_proto::{protobuf, re};
use prost::Message;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A result whose digests are well-formed. The wire message is kept as it came: a client that
/// wrote fields that we do not know gets them back.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionResult {
    wire: re::ActionResult,
    function: DigestFunction,
    blobs: Vec<Digest>,
    trees: Vec<Digest>,
    directories: Vec<Digest>,
}

impl ActionResult {
    /// Validates a result.
    ///
    /// # Errors
    /// The first field with a malformed digest.
    pub fn from_wire(function: DigestFunction, wire: re::ActionResult) -> Result<Self, Invalid> {
        let digest = |field: String, digest: Option<&re::Digest>| {
            Digest::from_wire(function, digest).map_err(|e| Invalid::new(field, e))
        };
        let (mut blobs, mut trees, mut directories) = (Vec::new(), Vec::new(), Vec::new());
        for (i, file) in wire.output_files.iter().enumerate() {
            blobs.push(digest(format!("action_result.output_files[{i}].digest"), file.digest.as_ref())?);
        }
        for (i, directory) in wire.output_directories.iter().enumerate() {
            let field = |name| format!("action_result.output_directories[{i}].{name}");
            if directory.root_directory_digest.is_none() || directory.tree_digest.is_some() {
                trees.push(digest(field("tree_digest"), directory.tree_digest.as_ref())?);
            }
            if let Some(root) = &directory.root_directory_digest {
                directories.push(digest(field("root_directory_digest"), Some(root))?);
            }
        }
        for (field, stream) in [("stdout_digest", &wire.stdout_digest), ("stderr_digest", &wire.stderr_digest)] {
            if let Some(stream) = stream {
                blobs.push(digest(format!("action_result.{field}"), Some(stream))?);
            }
        }
        Ok(Self { wire, function, blobs, trees, directories })
    }

    /// Decodes a stored result.
    ///
    /// # Errors
    /// Bytes that are no result.
    pub fn decode(function: DigestFunction, bytes: &[u8]) -> Result<Self, Invalid> {
        let wire = re::ActionResult::decode(bytes).map_err(|e| Invalid::new("action_result", e))?;
        Self::from_wire(function, wire)
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.wire.encode_to_vec()
    }

    /// The wire message.
    #[must_use]
    pub fn wire(&self) -> &re::ActionResult {
        &self.wire
    }

    /// The function of all its digests.
    #[must_use]
    pub fn function(&self) -> DigestFunction {
        self.function
    }

    /// The exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.wire.exit_code
    }

    /// Output files, stdout and stderr.
    #[must_use]
    pub fn blobs(&self) -> &[Digest] {
        &self.blobs
    }

    /// `Tree` messages; the files in them belong to the result too.
    #[must_use]
    pub fn trees(&self) -> &[Digest] {
        &self.trees
    }

    /// Roots of output directories that are described by `Directory` blobs.
    #[must_use]
    pub fn directories(&self) -> &[Digest] {
        &self.directories
    }
}

/// A moment, as messages say it; nothing for one before 1970.
#[must_use]
pub fn timestamp(time: SystemTime) -> Option<protobuf::Timestamp> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(protobuf::Timestamp {
        seconds: i64::try_from(since.as_secs()).ok()?,
        nanos: since.subsec_nanos().cast_signed(),
    })
}

/// A length of time, as messages say it.
#[must_use]
pub fn duration(length: Duration) -> protobuf::Duration {
    let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    protobuf::Duration { seconds, nanos: length.subsec_nanos().cast_signed() }
}
