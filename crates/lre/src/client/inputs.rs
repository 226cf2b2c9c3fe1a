//! What a command will see: paths to files of this machine, as a Merkle tree.
use crate::client::ClientError;
use bytes::Bytes;
use lre_model::{Digest, DigestFunction, Directory, InputRoot, Node, RelPath};
use lre_store::{FileBlob, Origin};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One thing in the input root.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A file of this machine; its content and executable bit are read when the tree is made.
    File(PathBuf),
    /// Bytes that are in memory.
    Bytes {
        /// The content.
        content: Bytes,
        /// Whether it may be executed.
        executable: bool,
    },
    /// Bytes that are in memory and hashed: what several actions have in common is hashed once.
    Hashed {
        /// The content.
        content: Bytes,
        /// Its digest.
        digest: Digest,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A file whose content the server has already: an output of an earlier action.
    Stored {
        /// The content.
        digest: Digest,
        /// Whether it may be executed.
        executable: bool,
    },
    /// A symlink, verbatim.
    Symlink(String),
    /// A directory; needed only where it is empty.
    Directory,
}

/// The input root, as a list of paths.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    entries: BTreeMap<Vec<String>, Entry>,
}

/// Most files and bytes that are taken from one directory tree without being asked: above this, somebody
/// stands in the wrong directory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files, symlinks and directories.
    pub entries_max: usize,
    /// Bytes of all files.
    pub bytes_max: u64,
}

impl Limits {
    /// No limit.
    pub const NONE: Self = Self { entries_max: usize::MAX, bytes_max: u64::MAX };
}

impl Inputs {
    /// Adds one entry at `path`, which is relative to the input root.
    ///
    /// # Errors
    /// A path that leaves the input root.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<&mut Self, ClientError> {
        let path = RelPath::parse(path).map_err(|e| ClientError::BadInput(e.to_string()))?;
        if !path.is_root() {
            self.entries.insert(path.segments().to_vec(), entry);
        }
        Ok(self)
    }

    /// Adds what is at `host`, with all that is below it where it is a directory; symlinks stay
    /// symlinks. `skip` is asked with the path in the input root and says what is left out.
    ///
    /// # Errors
    /// Something that cannot be read, is neither file nor directory nor symlink, or more than `limits`.
    pub fn add_tree(
        &mut self,
        path: &str,
        host: &Path,
        limits: Limits,
        skip: &dyn Fn(&RelPath) -> bool,
    ) -> Result<(), ClientError> {
        let start = RelPath::parse(path).map_err(|e| ClientError::BadInput(e.to_string()))?;
        let mut walk = Walk { limits, bytes: 0, first: self.entries.len(), skip, entries: &mut self.entries };
        walk.visit(&start, host)
    }

    /// Makes sure that there is a directory at `path`, with whatever is in it.
    ///
    /// # Errors
    /// A path that leaves the input root.
    pub fn add_directory(&mut self, path: &str) -> Result<(), ClientError> {
        let path = RelPath::parse(path).map_err(|e| ClientError::BadInput(e.to_string()))?;
        if !path.is_root() {
            self.entries.entry(path.segments().to_vec()).or_insert(Entry::Directory);
        }
        Ok(())
    }

    /// Hashes the files and makes the tree. Reads files: call it where blocking is allowed.
    ///
    /// # Errors
    /// A file that cannot be read, or a path that is both a file and a directory.
    pub fn merkle(&self, function: DigestFunction) -> Result<Merkle, ClientError> {
        let mut root = Tree::default();
        let mut merkle = Merkle::empty(function);
        for (segments, entry) in &self.entries {
            let node = match entry {
                Entry::Directory => None,
                Entry::Symlink(target) => Some(Node::Symlink { target: target.clone() }),
                Entry::Stored { digest, executable } => Some(Node::File { digest: *digest, executable: *executable }),
                Entry::Bytes { content, executable } => {
                    let digest = Digest::of(function, content);
                    merkle.take_file(digest, Content::Bytes(content.clone()));
                    Some(Node::File { digest, executable: *executable })
                }
                Entry::Hashed { content, digest, executable } => {
                    merkle.take_file(*digest, Content::Bytes(content.clone()));
                    Some(Node::File { digest: *digest, executable: *executable })
                }
                Entry::File(host) => {
                    let (digest, executable) = hash(host, function)?;
                    merkle.take_file(digest, Content::File(host.clone()));
                    Some(Node::File { digest, executable })
                }
            };
            root.place(segments, node)?;
        }
        merkle.root = InputRoot(root.seal(&mut merkle)?);
        Ok(merkle)
    }
}

/// Walks a directory of this machine.
struct Walk<'a> {
    limits: Limits,
    bytes: u64,
    first: usize,
    skip: &'a dyn Fn(&RelPath) -> bool,
    entries: &'a mut BTreeMap<Vec<String>, Entry>,
}

impl Walk<'_> {
    fn visit(&mut self, path: &RelPath, host: &Path) -> Result<(), ClientError> {
        let io = |source: io::Error| ClientError::Local { path: host.to_owned(), source };
        if !path.is_root() && (self.skip)(path) {
            return Ok(());
        }
        let metadata = fs::symlink_metadata(host).map_err(io)?;
        let kind = metadata.file_type();
        let entry = if kind.is_dir() {
            let mut children: Vec<_> = fs::read_dir(host).map_err(io)?.collect::<Result<_, _>>().map_err(io)?;
            children.sort_unstable_by_key(fs::DirEntry::file_name);
            for child in children {
                let name = child.file_name();
                let name = name.to_str().ok_or_else(|| not_text(&child.path()))?;
                let path = path.join(name).map_err(|e| ClientError::BadInput(e.to_string()))?;
                self.visit(&path, &child.path())?;
            }
            Entry::Directory
        } else if kind.is_symlink() {
            let target = fs::read_link(host).map_err(io)?;
            Entry::Symlink(target.to_str().ok_or_else(|| not_text(host))?.to_owned())
        } else if kind.is_file() {
            self.bytes += metadata.len();
            Entry::File(host.to_owned())
        } else {
            let problem = format!("{} is neither a file nor a directory nor a symlink", host.display());
            return Err(ClientError::BadInput(problem));
        };
        if !path.is_root() {
            self.entries.insert(path.segments().to_vec(), entry);
        }
        let count = self.entries.len() - self.first;
        if count > self.limits.entries_max || self.bytes > self.limits.bytes_max {
            return Err(ClientError::TooMuchInput { entries: count, bytes: self.bytes });
        }
        Ok(())
    }
}

fn not_text(path: &Path) -> ClientError {
    ClientError::BadInput(format!("the name of {} is not UTF-8, which the API needs", path.display()))
}

fn hash(host: &Path, function: DigestFunction) -> Result<(Digest, bool), ClientError> {
    let read = || {
        let (digest, blob) = FileBlob::hash(host, Origin::Foreign, function)?;
        let executable = blob.file().metadata()?.permissions().mode() & 0o111 != 0;
        Ok((digest, executable))
    };
    read().map_err(|source| ClientError::Local { path: host.to_owned(), source })
}

/// Where the bytes of a blob are until they are sent.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file, which must not change until it is sent; the store would refuse it.
    File(PathBuf),
}

/// A finished tree: its root, and all blobs that it needs.
#[derive(Clone, Debug)]
pub struct Merkle {
    /// The root.
    pub root: InputRoot,
    /// Directories and files by digest; without those the server has already.
    pub blobs: HashMap<Digest, Content>,
    /// Paths that are files.
    pub files: usize,
    /// Bytes of these files, each path counted.
    pub bytes: u64,
    function: DigestFunction,
}

impl Merkle {
    fn empty(function: DigestFunction) -> Self {
        let root = InputRoot(Digest::empty(function));
        Self { root, blobs: HashMap::new(), files: 0, bytes: 0, function }
    }

    fn take_file(&mut self, digest: Digest, content: Content) {
        self.files += 1;
        self.bytes += digest.size_bytes();
        self.blobs.insert(digest, content);
    }

    fn take_directory(&mut self, directory: &Directory) -> Digest {
        let bytes = Bytes::from(directory.encode());
        let digest = Digest::of(self.function, &bytes);
        self.blobs.insert(digest, Content::Bytes(bytes));
        digest
    }
}

/// Directories while they are being filled.
#[derive(Default)]
struct Tree {
    leaves: BTreeMap<String, Node>,
    directories: BTreeMap<String, Tree>,
}

impl Tree {
    /// Puts `node` at `segments`; `None` is a directory.
    fn place(&mut self, segments: &[String], node: Option<Node>) -> Result<(), ClientError> {
        let clash = |name: &str| Err(ClientError::BadInput(format!("`{name}` is a directory and something else")));
        match (segments, node) {
            ([], _) => Ok(()),
            ([name], Some(_)) if self.directories.contains_key(name) => clash(name),
            ([name], Some(node)) => {
                self.leaves.insert(name.clone(), node);
                Ok(())
            }
            ([name, ..], _) if self.leaves.contains_key(name) => clash(name),
            ([name, rest @ ..], node) => self.directories.entry(name.clone()).or_default().place(rest, node),
        }
    }

    fn seal(self, merkle: &mut Merkle) -> Result<Digest, ClientError> {
        let mut directory = Directory::default();
        let bad = |e: lre_model::BadDirectory| ClientError::BadInput(e.to_string());
        for (name, node) in self.leaves {
            directory.insert(&name, node).map_err(bad)?;
        }
        for (name, tree) in self.directories {
            let digest = tree.seal(merkle)?;
            directory.insert(&name, Node::Directory { digest }).map_err(bad)?;
        }
        Ok(merkle.take_directory(&directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: DigestFunction = DigestFunction::Sha256;

    fn bytes(text: &'static str) -> Entry {
        Entry::Bytes { content: Bytes::from_static(text.as_bytes()), executable: false }
    }

    fn root(paths: &[&str]) -> Result<InputRoot, ClientError> {
        let mut inputs = Inputs::default();
        for path in paths {
            inputs.add(path, bytes("x"))?;
        }
        Ok(inputs.merkle(F)?.root)
    }

    #[test]
    fn the_order_of_paths_is_forgotten() {
        assert_eq!(root(&["b/c", "a", "b/a"]).unwrap(), root(&["a", "./b//a", "b/c"]).unwrap());
        assert_ne!(root(&["a"]).unwrap(), root(&["b"]).unwrap());
        assert_eq!(root(&[]).unwrap(), InputRoot(Digest::empty(F)));
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        for bad in [&["/a"][..], &["../a"], &["a", "a/b"], &["a/b", "a/b/c"]] {
            assert!(matches!(root(bad), Err(ClientError::BadInput(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_and_the_same_paths_are_one_tree() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("src/empty")).unwrap();
        fs::write(at("src/a.c"), "int a;").unwrap();
        fs::write(at("run"), "#!/bin/sh").unwrap();
        fs::set_permissions(at("run"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("src/a.c", at("link")).unwrap();
        fs::write(at("left-out"), "").unwrap();

        let mut walked = Inputs::default();
        let skip = |path: &RelPath| path.to_string() == "left-out";
        walked.add_tree("", dir.path(), Limits::NONE, &skip).unwrap();
        let mut named = Inputs::default();
        named.add("src/a.c", bytes("int a;")).unwrap();
        named.add("src/empty", Entry::Directory).unwrap();
        named.add("link", Entry::Symlink("src/a.c".into())).unwrap();
        let script = Entry::Bytes { content: Bytes::from_static(b"#!/bin/sh"), executable: true };
        named.add("run", script).unwrap();
        let (walked, named) = (walked.merkle(F).unwrap(), named.merkle(F).unwrap());
        assert_eq!(walked.root, named.root);
        assert_eq!((walked.files, walked.bytes), (2, 15));
        assert_eq!(walked.blobs.len(), 2 + 3, "two files, three directories");
    }

    #[test]
    fn too_much_is_noticed_while_walking() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..5 {
            fs::write(dir.path().join(i.to_string()), "12345").unwrap();
        }
        let walk = |limits| Inputs::default().add_tree("", dir.path(), limits, &|_| false);
        assert!(walk(Limits { entries_max: 5, bytes_max: 25 }).is_ok());
        for limits in [Limits { entries_max: 4, bytes_max: 25 }, Limits { entries_max: 5, bytes_max: 24 }] {
            assert!(matches!(walk(limits), Err(ClientError::TooMuchInput { .. })));
        }
    }
}
