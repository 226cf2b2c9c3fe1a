//! Toolchains laid out on this machine, and the mounts that show them.
use crate::Failure;
use crate::plan::{ETC, host};
use lre_model::{Digest, Directory, Node};
use lre_sandbox::Step;
use lre_store::{BlobStore, Inodes, StoreError};
use lre_toolchain::{Closure, Kind, Toolchain};
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

/// All toolchains that have been laid out, each once, whoever asks first.
pub(crate) struct ReadyToolchains {
    directory: PathBuf,
    ready: Mutex<HashMap<(Kind, Digest), Cell>>,
}

impl ReadyToolchains {
    /// Toolchains are laid out below `directory`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, ready: Mutex::default() }
    }

    /// The toolchains of a closure, in its order.
    pub(crate) async fn get(
        &self,
        closure: &Closure,
        store: &dyn BlobStore,
        inodes: &Inodes,
    ) -> Result<Vec<Arc<ReadyToolchain>>, Failure> {
        let mut all = Vec::new();
        for toolchain in &closure.toolchains {
            let key = (toolchain.kind, toolchain.digest);
            let cell = {
                // Inserting an empty cell is one call: a panic elsewhere leaves the map whole.
                let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(ready.entry(key).or_default())
            };
            let ready = cell.get_or_try_init(|| self.lay_out(toolchain, store, inodes)).await?;
            all.push(Arc::clone(ready));
        }
        Ok(all)
    }

    async fn lay_out(
        &self,
        toolchain: &Toolchain,
        store: &dyn BlobStore,
        inodes: &Inodes,
    ) -> Result<Arc<ReadyToolchain>, Failure> {
        let broken = |error: &dyn std::fmt::Display| {
            Failure::Sandbox(format!(
                "the toolchain {} ({}) cannot be laid out: {error}; try `lre toolchain verify {}`",
                toolchain.name, toolchain.digest, toolchain.name
            ))
        };
        let root = lre_toolchain::materialise(store, inodes, toolchain.digest, &self.directory)
            .await
            .map_err(|e| broken(&e))?;
        let steps = match toolchain.kind {
            Kind::Tree | Kind::Nix => vec![bind(&root, &toolchain.mount()).map_err(|e| broken(&e))?],
            Kind::Rootfs => rootfs(toolchain.digest, &root, store).await.map_err(|e| broken(&e))?,
        };
        Ok(Arc::new(ReadyToolchain { steps }))
    }
}

/// One mount for each name at the top; /etc is taken apart, because some of its files are ours.
async fn rootfs(digest: Digest, root: &Path, store: &dyn BlobStore) -> Result<Vec<Step>, StoreError> {
    let mut steps = Vec::new();
    for (name, node) in directory(digest, store).await?.children() {
        let name = name.as_str();
        if OURS.contains(&name) {
            continue;
        }
        let (host, inside) = (root.join(name), format!("/{name}"));
        match node {
            Node::Directory { digest } if name == "etc" => {
                for (name, node) in directory(*digest, store).await?.children() {
                    if ETC.iter().all(|(ours, _)| ours != &name.as_str()) {
                        steps.push(show(node, &host.join(name.as_str()), &format!("{inside}/{name}"))?);
                    }
                }
            }
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
