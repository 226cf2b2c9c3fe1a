//! The nodes of an input tree.
use crate::{BadDigest, Digest, DigestFunction};
use lre_proto::{protobuf, re};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;

/// A file name: not empty, no `/`, no NUL, neither `.` nor `..`, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The longest file name that Linux file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;

impl Name {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = BadName;
    fn try_from(s: &str) -> Result<Self, BadName> {
        match s {
            "" | "." | ".." => Err(BadName(s.to_owned())),
            s if s.contains(['/', '\0']) || s.len() > NAME_BYTES_MAX => Err(BadName(s.to_owned())),
            s => Ok(Self(s.to_owned())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What cannot name a file.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("`{0}` cannot name a file")]
pub struct BadName(pub String);

/// One child of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// A regular file: its content and one executable bit.
    File {
        /// The content.
        digest: Digest,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A directory, by the digest of its own message.
    Directory {
        /// The digest of the `Directory` message.
        digest: Digest,
    },
    /// A symbolic link, verbatim.
    Symlink {
        /// Where it points; relative, absolute or dangling.
        target: String,
    },
}

/// What a client wants to know of an output beside its content (REAPI, `Command.output_node_properties`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeProperties {
    /// The modification time: seconds since 1970, and nanoseconds.
    pub mtime: Option<(i64, i32)>,
    /// The permission bits.
    pub unix_mode: Option<u32>,
}

impl NodeProperties {
    /// The wire message.
    #[must_use]
    pub fn to_wire(&self) -> re::NodeProperties {
        re::NodeProperties {
            properties: Vec::new(),
            mtime: self.mtime.map(|(seconds, nanos)| protobuf::Timestamp { seconds, nanos }),
            unix_mode: self.unix_mode.map(|value| protobuf::UInt32Value { value }),
        }
    }
}

/// A directory: REAPI demands that children be sorted and unique, and a map cannot be anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    children: BTreeMap<Name, Node>,
    /// Only of output directories, and only where somebody wants to know.
    described: Option<Box<Described>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Described {
    own: Option<NodeProperties>,
    children: BTreeMap<Name, NodeProperties>,
}

/// Why a blob is not a directory. The client's author must act.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BadDirectory {
    /// Not a protobuf message of this type.
    #[error("not a Directory message: {0}")]
    Encoding(String),
    /// A name that no file can have.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Two children of one name.
    #[error("the name `{0}` occurs twice")]
    Duplicate(String),
    /// REAPI, `Directory`: "the files, directories and symlinks must be sorted lexicographically by path".
    #[error("`{1}` comes after `{0}`: children must be sorted by name")]
    Unsorted(String, String),
    /// A symlink without a target.
    #[error("the symlink `{0}` has no target, or one with a NUL in it")]
    Target(String),
    /// A child with a malformed digest.
    #[error("`{name}`: {source}")]
    Digest {
        /// The child.
        name: String,
        /// What is wrong.
        source: BadDigest,
    },
}

impl Directory {
    /// Adds a child.
    ///
    /// # Errors
    /// A name that no file can have, or one that is there already.
    pub fn insert(&mut self, name: &str, node: Node) -> Result<(), BadDirectory> {
        let name = Name::try_from(name)?;
        if self.children.contains_key(&name) {
            return Err(BadDirectory::Duplicate(name.0));
        }
        if let Node::Symlink { target } = &node
            && (target.is_empty() || target.contains('\0'))
        {
            return Err(BadDirectory::Target(name.0));
        }
        self.children.insert(name, node);
        Ok(())
    }

    /// Says what it is beside its children.
    pub fn describe(&mut self, properties: NodeProperties) {
        self.described.get_or_insert_default().own = Some(properties);
    }

    /// Says what a child is beside its content. Of a subdirectory its own message says it.
    ///
    /// # Errors
    /// A name that no file can have.
    pub fn describe_child(&mut self, name: &str, properties: NodeProperties) -> Result<(), BadName> {
        self.described.get_or_insert_default().children.insert(Name::try_from(name)?, properties);
        Ok(())
    }

    /// All children, in byte order of their names.
    pub fn children(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.children.iter()
    }

    /// The digests of the directories in it, in order of their names.
    pub fn subdirectories(&self) -> impl Iterator<Item = Digest> {
        self.children.values().filter_map(|node| match node {
            Node::Directory { digest } => Some(*digest),
            _ => None,
        })
    }

    /// The digests of the files in it, in order of their names.
    pub fn files(&self) -> impl Iterator<Item = Digest> {
        self.children.values().filter_map(|node| match node {
            Node::File { digest, .. } => Some(*digest),
            _ => None,
        })
    }

    /// The child of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.children.get(name)
    }

    /// How many children there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether there are no children.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Decodes a blob. What is valid but not canonical (unknown fields, node properties) is
    /// accepted: the identity of a directory is the digest of the bytes that the client sent.
    ///
    /// # Errors
    /// See [`BadDirectory`].
    pub fn decode(function: DigestFunction, blob: &[u8]) -> Result<Self, BadDirectory> {
        let wire = re::Directory::decode(blob).map_err(|e| BadDirectory::Encoding(e.to_string()))?;
        Self::from_wire(function, &wire)
    }

    /// From the wire message.
    ///
    /// # Errors
    /// See [`BadDirectory`].
    pub fn from_wire(function: DigestFunction, wire: &re::Directory) -> Result<Self, BadDirectory> {
        sorted(wire.files.iter().map(|n| n.name.as_str()))?;
        sorted(wire.directories.iter().map(|n| n.name.as_str()))?;
        sorted(wire.symlinks.iter().map(|n| n.name.as_str()))?;
        let digest = |name: &str, digest: &Option<re::Digest>| {
            Digest::from_wire(function, digest.as_ref())
                .map_err(|source| BadDirectory::Digest { name: name.to_owned(), source })
        };
        let mut directory = Self::default();
        for file in &wire.files {
            let digest = digest(&file.name, &file.digest)?;
            directory.insert(&file.name, Node::File { digest, executable: file.is_executable })?;
        }
        for sub in &wire.directories {
            directory.insert(&sub.name, Node::Directory { digest: digest(&sub.name, &sub.digest)? })?;
        }
        for link in &wire.symlinks {
            directory.insert(&link.name, Node::Symlink { target: link.target.clone() })?;
        }
        Ok(directory)
    }

    /// The wire message, canonical.
    #[must_use]
    pub fn to_wire(&self) -> re::Directory {
        let described = self.described.as_deref();
        let own = described.and_then(|d| d.own).map(|own| own.to_wire());
        let mut wire = re::Directory { node_properties: own, ..Default::default() };
        for (name, node) in &self.children {
            let node_properties = described.and_then(|d| d.children.get(name)).map(NodeProperties::to_wire);
            let name = name.0.clone();
            match node {
                Node::File { digest, executable } => wire.files.push(re::FileNode {
                    name,
                    digest: Some(digest.to_wire()),
                    is_executable: *executable,
                    node_properties,
                }),
                Node::Directory { digest } => {
                    wire.directories.push(re::DirectoryNode { name, digest: Some(digest.to_wire()) });
                }
                Node::Symlink { target } => {
                    wire.symlinks.push(re::SymlinkNode { name, target: target.clone(), node_properties })
                }
            }
        }
        wire
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }
}

/// REAPI sorts each of the three lists by name; equal names are reported as duplicates.
fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), BadDirectory> {
    let mut last: Option<&str> = None;
    for name in names {
        match last {
            Some(last) if last == name => return Err(BadDirectory::Duplicate(name.to_owned())),
            Some(last) if last > name => {
                return Err(BadDirectory::Unsorted(last.to_owned(), name.to_owned()));
            }
            _ => last = Some(name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const F: DigestFunction = DigestFunction::Sha256;

    fn node() -> impl Strategy<Value = Node> {
        prop_oneof![
            (any::<Vec<u8>>(), any::<bool>())
                .prop_map(|(b, executable)| Node::File { digest: Digest::of(F, &b), executable }),
            any::<Vec<u8>>().prop_map(|b| Node::Directory { digest: Digest::of(F, &b) }),
            "[a-z/.]{1,8}".prop_map(|target| Node::Symlink { target }),
        ]
    }

    proptest! {
        /// The digest of a directory does not depend on the order in which we met its children.
        #[test]
        fn order_is_forgotten(children in prop::collection::btree_map("[a-zA-Z_-]{1,6}", node(), 0..8)) {
            let mut forward = Directory::default();
            for (n, c) in &children { forward.insert(n, c.clone()).unwrap(); }
            let mut backward = Directory::default();
            for (n, c) in children.iter().rev() { backward.insert(n, c.clone()).unwrap(); }
            prop_assert_eq!(forward.encode(), backward.encode());
        }

        /// Canonical bytes round-trip, and swapped children are refused.
        #[test]
        fn canonical_bytes_round_trip(children in prop::collection::btree_map("[a-z]{1,6}", node(), 2..8)) {
            let mut d = Directory::default();
            for (n, c) in &children { d.insert(n, c.clone()).unwrap(); }
            let mut w = d.to_wire();
            prop_assert_eq!(Directory::decode(F, &w.encode_to_vec()).unwrap(), d);
            if w.files.len() > 1 {
                w.files.swap(0, 1);
                let swapped = Directory::decode(F, &w.encode_to_vec());
                prop_assert!(matches!(swapped, Err(BadDirectory::Unsorted(..))));
            }
        }

        /// Whatever the bytes, decoding answers and does not panic.
        #[test]
        fn garbage_is_refused_quietly(bytes in any::<Vec<u8>>()) {
            let _ = Directory::decode(F, &bytes);
        }
    }

    #[test]
    fn one_name_one_node() {
        let mut d = Directory::default();
        d.insert("a", Node::Symlink { target: "b".into() }).unwrap();
        let again = d.insert("a", Node::Directory { digest: Digest::of(F, b"") });
        assert_eq!(again, Err(BadDirectory::Duplicate("a".into())));
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a/b", "a\0", long.as_str()] {
            let node = Node::Symlink { target: "b".into() };
            assert!(matches!(d.insert(bad, node), Err(BadDirectory::Name(_))), "{bad:?}");
        }
    }
}
