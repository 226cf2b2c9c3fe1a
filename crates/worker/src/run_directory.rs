//! Where an execution writes: the upper layer, the kernel's work directory, stdout and stderr. Made by the
//! root, before anybody waits for it, and removed when nobody waits any more: removing what 1,000 outputs
//! left behind takes longer than many a command.
use crate::remove::remove_tree;
use lre_sandbox::{STDERR, STDOUT, UPPER};
use std::path::PathBuf;

/// What one execution writes to. Removed when this is dropped, in the background.
#[derive(Debug)]
pub(crate) struct RunDirectory(PathBuf);

impl RunDirectory {
    /// The one at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }
    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join(UPPER)
    }
    pub(crate) fn stdout(&self) -> PathBuf {
        self.0.join(STDOUT)
    }
    pub(crate) fn stderr(&self) -> PathBuf {
        self.0.join(STDERR)
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what an execution wrote");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
