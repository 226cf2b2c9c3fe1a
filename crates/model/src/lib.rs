//! The nouns of the Remote Execution API, as types that cannot be malformed.
//!
//! Wire messages are parsed once, here; inside, a `Digest` has the right length, a `Directory` has
//! unique sorted names, an output path stays below the input root. Pure: no files, no clock, no
//! tokio.
#![forbid(unsafe_code)]
#![expect(deprecated, reason = "REAPI 2.0 clients still ask with output_files and output_directories")]

mod action;
mod digest;
mod directory;
mod nearest;
mod path;
mod platform;
mod resource;
mod result;
mod sketch;
mod subtree;
mod terms;
mod tree;

pub use action::{Action, ActionDigest, Command, DirectoryFormat, InputRoot, Invalid, OutputPath, Outputs, Property};
pub use digest::{BadDigest, ByDigest, Digest, DigestFunction, Hasher};
pub use directory::{BadDirectory, BadName, Directory, Name, Node, NodeProperties};
pub use nearest::nearest;
pub use path::{BadPath, RelPath};
pub use platform::Platform;
pub use resource::{BadResource, Compressor, ReadResource, WriteResource};
pub use result::{ActionResult, duration, timestamp};
pub use sketch::Sketch;
pub use subtree::Subtree;
pub use terms::{Limits, Network, Policy, Terms, TermsError, UnknownPolicy};
pub use tree::{Extent, InputTree, decode_tree, encode_tree};

/// Used in messages that carry the wire form of our nouns.
pub use lre_proto::{protobuf, re as wire, usage::ResourceUsage};
