//! What the tree of a toolchain has at a path: read from the store, because a command that could tell
//! (`ls`) need not be in the tree, and one that does not start cannot say what it lacks.
use super::said::normalise;
use crate::{Toolchain, ToolchainError};
use bytes::Bytes;
use lre_model::{Digest, Directory, Node};
use lre_store::{BlobStore, StoreError};

/// Bytes of a file that are looked at: the header of a program, or the first line of a script. Linkers
/// put the program headers and the interpreter's name at the front.
const HEAD_BYTES: usize = 4096;
/// Symlinks followed, as the kernel has it (`MAXSYMLINKS`).
const SYMLINKS_MAX: usize = 40;
/// Largest `Directory` message, in bytes: as in `materialise`.
const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What stands at a path, symlinks followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing of this toolchain. The path is what was looked for in the end: where the symlinks lead.
    Nothing(String),
    /// A directory, with the names in it, sorted.
    Directory(Vec<String>),
    /// A regular file.
    File {
        /// Where it is, without symlinks.
        path: String,
        /// Whether it may be executed.
        executable: bool,
        /// Its first bytes, at most 4,096.
        head: Bytes,
    },
}

/// Looks at an absolute path of the sandbox.
///
/// # Errors
/// What the store says.
pub async fn look(store: &dyn BlobStore, toolchain: &Toolchain, path: &str) -> Result<Seen, ToolchainError> {
    let mount: Vec<String> = segments(&toolchain.mount());
    let (mut left, mut followed) = (reversed(path), 0);
    // Names from the root of the sandbox to where the walk is, and what stands there.
    let mut at: Vec<String> = Vec::new();
    let mut nodes: Vec<Node> = vec![Node::Directory { digest: toolchain.digest }];
    while let Some(name) = left.pop() {
        if name == ".." {
            if at.pop().is_some() && at.len() >= mount.len() {
                nodes.pop();
            }
            continue;
        }
        at.push(name);
        if at.len() <= mount.len() {
            if mount.starts_with(&at) {
                continue;
            }
            return Ok(nothing(at, left));
        }
        let child = match nodes.last() {
            Some(Node::Directory { digest }) => {
                read(store, *digest).await?.get(at.last().map_or("", String::as_str)).cloned()
            }
            _ => None,
        };
        match child {
            None => return Ok(nothing(at, left)),
            Some(Node::Symlink { target }) => {
                followed += 1;
                if followed > SYMLINKS_MAX {
                    return Ok(nothing(at, left));
                }
                at.pop();
                if target.starts_with('/') {
                    at.clear();
                    nodes.truncate(1);
                }
                left.extend(reversed(&target));
            }
            Some(node) => nodes.push(node),
        }
    }
    // Above the mount there is only the way to it.
    if at.len() < mount.len() {
        return Ok(Seen::Directory(vec![mount[at.len()].clone()]));
    }
    match nodes.pop() {
        Some(Node::File { digest, executable }) => {
            Ok(Seen::File { path: absolute(&at), executable, head: head(store, digest).await? })
        }
        Some(Node::Directory { digest }) => {
            let directory = read(store, digest).await?;
            Ok(Seen::Directory(directory.children().map(|(name, _)| name.as_str().to_owned()).collect()))
        }
        _ => Ok(Seen::Nothing(absolute(&at))),
    }
}

async fn read(store: &dyn BlobStore, digest: Digest) -> Result<Directory, ToolchainError> {
    let blob = store.read(digest).await?.into_bytes(DIRECTORY_BYTES_MAX).await?;
    Directory::decode(digest.function(), &blob).map_err(|source| ToolchainError::Directory { digest, source })
}

async fn head(store: &dyn BlobStore, digest: Digest) -> Result<Bytes, ToolchainError> {
    // One page; where the store is somebody else's, the blob came whole.
    store.read(digest).await?.read_at(0, HEAD_BYTES).map_err(|e| StoreError::Io(e).into())
}

/// Nothing is at `at`, and `left` was still to be walked.
fn nothing(mut at: Vec<String>, left: Vec<String>) -> Seen {
    at.extend(left.into_iter().rev());
    Seen::Nothing(normalise(&absolute(&at)))
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|s| !s.is_empty() && *s != ".").map(str::to_owned).collect()
}

fn reversed(path: &str) -> Vec<String> {
    segments(path).into_iter().rev().collect()
}

fn absolute(segments: &[String]) -> String {
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Kind, Layout, import_layout};
    use lre_model::{DigestFunction, RelPath};
    use lre_store::DiskStore;

    fn toolchain(kind: Kind, digest: Digest) -> Toolchain {
        Toolchain {
            name: "t".to_owned(),
            kind,
            digest,
            environment: Default::default(),
            tools: Default::default(),
            source: "dir:/t".to_owned(),
            recipe: Vec::new(),
        }
    }

    #[tokio::test]
    async fn paths_are_walked_as_the_kernel_does() {
        let mut layout = Layout::default();
        let gcc = Entry::Bytes { content: "#!/bin/sh\n".into(), executable: true };
        layout.insert(RelPath::parse("usr/lib/gcc").unwrap(), gcc);
        for (path, target) in [
            ("bin", "usr/bin"),
            ("usr/bin/cc", "/etc/alternatives/cc"),
            ("etc/alternatives/cc", "../../usr/lib/../lib/gcc"),
            ("usr/bin/away", "/opt/../opt/cc"),
            ("usr/bin/round", "round"),
        ] {
            layout.insert(RelPath::parse(path).unwrap(), Entry::Symlink { target: target.to_owned() });
        }
        let directory = tempfile::tempdir().unwrap();
        let store = DiskStore::open(directory.path()).unwrap();
        let imported = import_layout(&store, DigestFunction::Sha256, &layout, Vec::new(), &()).await.unwrap();
        let root = toolchain(Kind::Rootfs, imported.digest);
        let names = |names: &[&str]| Seen::Directory(names.iter().map(|n| (*n).to_owned()).collect());
        let nothing = |path: &str| Seen::Nothing(path.to_owned());
        let file = |path: &str| Seen::File { path: path.to_owned(), executable: true, head: "#!/bin/sh\n".into() };
        for (path, seen) in [
            ("/bin/cc", file("/usr/lib/gcc")),
            ("/../usr/./lib//gcc", file("/usr/lib/gcc")),
            ("/", names(&["bin", "etc", "usr"])),
            ("/bin", names(&["away", "cc", "round"])),
            ("/bin/away", nothing("/opt/cc")),
            ("/bin/round", nothing("/usr/bin/round")),
            ("/usr/lib/gcc/x", nothing("/usr/lib/gcc/x")),
            ("/lib64/ld.so", nothing("/lib64/ld.so")),
        ] {
            assert_eq!(look(&store, &root, path).await.unwrap(), seen, "{path}");
        }
        let tree = toolchain(Kind::Tree, imported.digest);
        let mount = tree.mount();
        for (path, seen) in [
            (format!("{mount}/usr/lib/gcc"), file(&format!("{mount}/usr/lib/gcc"))),
            (format!("{mount}/bin/cc"), nothing("/etc/alternatives/cc")),
            (format!("{mount}/../../toolchains/{}/bin", imported.digest.hash_text()), names(&["away", "cc", "round"])),
            ("/lre".to_owned(), names(&["toolchains"])),
            ("/usr/lib/gcc".to_owned(), nothing("/usr/lib/gcc")),
        ] {
            assert_eq!(look(&store, &tree, &path).await.unwrap(), seen, "{path}");
        }
    }
}
