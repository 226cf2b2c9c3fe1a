//! Toolchains laid out on this machine, and the mounts that show them.
use crate::Failure;
use crate::plan::{ETC, host};
use crate::union::Union;
use lre_model::{Digest, Directory, Node};
use lre_sandbox::Step;
use lre_store::{Blob, BlobStore, Inodes, StoreError};
use lre_toolchain::{Closure, Kind, Toolchain, ToolchainError};
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// A `Directory` message is read into memory up to this size, in bytes; see `load`.
const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Names at the top of a rootfs that are ours: a toolchain's own version is not shown.
const OURS: [&str; 5] = ["dev", "lre", "proc", "sys", "tmp"];

/// A toolchain whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadyToolchain {
    /// The mounts that show it.
    pub steps: Vec<Step>,
}

type Cell = Arc<OnceCell<Arc<ReadyToolchain>>>;

/// What is laid out once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// A tree, or a rootfs.
    One(Kind, Digest),
    /// A rootfs without its store paths, which are shown together with others.
    RootBesideStore(Digest),
    /// The store paths of all these.
    Store(Vec<(Kind, Digest)>),
}

/// All toolchains that have been laid out, each once, whoever asks first.
pub(crate) struct ReadyToolchains {
    directory: PathBuf,
    ready: Mutex<HashMap<Key, Cell>>,
}

impl ReadyToolchains {
    /// Toolchains are laid out below `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, ready: Mutex::default() }
    }

    /// The toolchains of a closure, in its order; those that share the Nix store as one.
    pub(crate) async fn get(
        &self,
        closure: &Closure,
        store: &dyn BlobStore,
        inodes: &Inodes,
    ) -> Result<Vec<Arc<ReadyToolchain>>, Failure> {
        let site = Site { store, inodes, directory: &self.directory };
        let has_store = closure.toolchains.iter().any(|t| t.kind == Kind::Nix);
        let mut all = Vec::new();
        for toolchain in &closure.toolchains {
            let key = match toolchain.kind {
                Kind::Nix => continue,
                Kind::Rootfs if has_store => Key::RootBesideStore(toolchain.digest),
                kind => Key::One(kind, toolchain.digest),
            };
            all.push(self.cell(key).get_or_try_init(|| site.lay_out(toolchain, has_store)).await?.clone());
        }
        if has_store {
            let sharing: Vec<_> = closure.toolchains.iter().filter(|t| t.kind != Kind::Tree).collect();
            let key = Key::Store(sharing.iter().map(|t| (t.kind, t.digest)).collect());
            all.push(self.cell(key).get_or_try_init(|| site.lay_out_store(&sharing)).await?.clone());
        }
        Ok(all)
    }

    fn cell(&self, key: Key) -> Cell {
        // Inserting an empty cell is one call: a panic elsewhere leaves the map whole.
        Arc::clone(self.ready.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}

/// Where toolchains come from and are laid out.
struct Site<'a> {
    store: &'a dyn BlobStore,
    inodes: &'a Inodes,
    directory: &'a Path,
}

impl Site<'_> {
    async fn lay_out(&self, toolchain: &Toolchain, has_store: bool) -> Result<Arc<ReadyToolchain>, Failure> {
        let broken = |error: &dyn std::fmt::Display| broken(toolchain, error);
        let root = self.materialise(toolchain.digest).await.map_err(|e| broken(&e))?;
        let steps = match toolchain.kind {
            Kind::Tree | Kind::Nix => vec![bind(&root, &toolchain.mount()).map_err(|e| broken(&e))?],
            Kind::Rootfs => rootfs(toolchain.digest, &root, self.store, has_store).await.map_err(|e| broken(&e))?,
        };
        Ok(Arc::new(ReadyToolchain { steps }))
    }

    /// The store paths of several toolchains in one folder, made once, so that an action pays for one mount however
    /// many paths there are.
    async fn lay_out_store(&self, sharing: &[&Toolchain]) -> Result<Arc<ReadyToolchain>, Failure> {
        let mut union = Union::default();
        for toolchain in sharing {
            let Some(paths) = store_paths(toolchain, self.store).await.map_err(|e| broken(toolchain, &e))? else {
                continue;
            };
            union.add(&toolchain.name, &paths)?;
        }
        let (digest, blob) = union.encode(sharing[0].digest.function());
        let last = sharing[sharing.len() - 1];
        self.store.write(digest, Blob::Bytes(blob)).await.map_err(|e| broken(last, &e))?;
        let root = self.materialise(digest).await.map_err(|e| broken(last, &e))?;
        let mount = bind(&root, &last.mount()).map_err(|e| broken(last, &e))?;
        Ok(Arc::new(ReadyToolchain { steps: vec![mount] }))
    }

    async fn materialise(&self, digest: Digest) -> Result<PathBuf, ToolchainError> {
        lre_toolchain::materialise(self.store, self.inodes, digest, self.directory).await
    }
}

fn broken(toolchain: &Toolchain, error: &dyn std::fmt::Display) -> Failure {
    Failure::Sandbox(format!(
        "the toolchain {} ({}) cannot be laid out: {error}; try `lre toolchain verify {}`",
        toolchain.name, toolchain.digest, toolchain.name
    ))
}

/// What a toolchain brings for the Nix store: a closure all that it has, a rootfs what it has there, if anything.
async fn store_paths(toolchain: &Toolchain, store: &dyn BlobStore) -> Result<Option<Directory>, StoreError> {
    let mut here = directory(toolchain.digest, store).await?;
    if toolchain.kind == Kind::Rootfs {
        for name in ["nix", "store"] {
            match here.get(name) {
                Some(Node::Directory { digest }) => here = directory(*digest, store).await?,
                _ => return Ok(None),
            }
        }
    }
    Ok(Some(here))
}

/// One mount for each name at the top; /etc is taken apart, because some of its files are ours, and so is /nix where
/// store paths of other toolchains are shown as well.
async fn rootfs(digest: Digest, root: &Path, store: &dyn BlobStore, has_store: bool) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::new();
    for (name, node) in directory(digest, store).await?.children() {
        let name = name.as_str();
        if OURS.contains(&name) {
            continue;
        }
        let ours = |child: &str| match name {
            "etc" => ETC.iter().any(|(ours, _)| *ours == child),
            _ => child == "store",
        };
        let (host, inside) = (root.join(name), format!("/{name}"));
        match node {
            Node::Directory { digest } if name == "etc" || name == "nix" && has_store => {
                for (name, node) in directory(*digest, store).await?.children() {
                    if !ours(name.as_str()) {
                        steps.push(show(node, &host.join(name.as_str()), &format!("{inside}/{name}"))?);
                    }
                }
            }
            // Where the store is to be mounted.
            _ if name == "nix" && has_store => {}
            node => steps.push(show(node, &host, &inside)?),
        }
    }
    Ok(steps)
}

async fn directory(digest: Digest, store: &dyn BlobStore) -> Result<Directory, StoreError> {
    let blob = store.read(digest).await?.into_bytes(DIRECTORY_BYTES_MAX).await?;
    Directory::decode(digest.function(), &blob).map_err(|e| StoreError::Io(io::Error::other(e)))
}

fn show(node: &Node, host: &Path, inside: &str) -> io::Result<Step> {
    match node {
        Node::Symlink { target } => {
            Ok(Step::Symlink { target: CString::new(target.as_str())?, inside: CString::new(inside)? })
        }
        _ => bind(host, inside),
    }
}

fn bind(path: &Path, inside: &str) -> io::Result<Step> {
    Ok(Step::BindReadOnly { host: host(path)?, inside: CString::new(inside)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::DigestFunction;
    use lre_store::DiskStore;
    use std::collections::BTreeMap;

    /// LIMITS 1: 300 store paths must cost an action no more than 5 do. However many there are, it is one mount.
    #[tokio::test]
    async fn an_action_pays_for_one_mount_however_many_store_paths_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let store = DiskStore::open(&dir.path().join("store")).unwrap();
        let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
        let mut closure = Closure::default();
        for (name, paths) in [("few", 0..5), ("many", 3..60)] {
            let tree = dir.path().join(name);
            for path in paths {
                std::fs::create_dir_all(tree.join(format!("{path}-x/bin"))).unwrap();
                std::fs::write(tree.join(format!("{path}-x/bin/x")), path.to_string()).unwrap();
            }
            let imported = lre_toolchain::import_directory(&store, DigestFunction::Sha256, &tree, &()).await.unwrap();
            closure.toolchains.push(Toolchain {
                name: name.to_owned(),
                kind: Kind::Nix,
                digest: imported.digest,
                environment: BTreeMap::new(),
                tools: BTreeMap::new(),
                source: "dir:x".to_owned(),
                recipe: Vec::new(),
            });
        }
        let ready = ReadyToolchains::new(dir.path().join("trees"));
        let shown = ready.get(&closure, &store, &inodes).await.unwrap();
        let [shown] = &shown[..] else { panic!("{shown:?}") };
        let [Step::BindReadOnly { host, inside }] = &shown.steps[..] else { panic!("{shown:?}") };
        assert_eq!(&**inside, c"/nix/store");
        assert_eq!(std::fs::read_dir(host.to_str().unwrap()).unwrap().count(), 60);
        // Only once for all actions.
        assert!(Arc::ptr_eq(shown, &ready.get(&closure, &store, &inodes).await.unwrap()[0]));
    }
}
