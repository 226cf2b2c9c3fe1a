//! Where an execution writes: the upper layer, the kernel's work directory, stdout and stderr.
//!
//! Made before anybody waits for them and removed when nobody waits any more: on a disk, three
//! directories cost more than all of a namespace, and removing what 1,000 outputs left behind takes
//! longer than many a command.
use crate::slot_tree::{remove_tree, settle};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The run directories of one slot.
pub(crate) struct RunDirectories {
    slot: PathBuf,
    next: AtomicU64,
    spare: Mutex<Option<PathBuf>>,
}

impl RunDirectories {
    /// Makes them in the folder of a slot.
    pub(crate) fn new(slot: PathBuf) -> Arc<Self> {
        Arc::new(Self { slot, next: AtomicU64::new(0), spare: Mutex::default() })
    }

    /// An empty one; nobody else has it, and nobody will get it again.
    pub(crate) fn take(self: &Arc<Self>) -> io::Result<RunDirectory> {
        let spare = self.spare().take();
        let path = spare.map_or_else(|| self.make(), Ok)?;
        Ok(RunDirectory { path, home: Arc::clone(self) })
    }

    fn make(&self) -> io::Result<PathBuf> {
        let path = self.slot.join(format!("run-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path)?;
        for inner in ["upper", "work"] {
            std::fs::create_dir(path.join(inner))?;
        }
        // It is what the command sees as the time of its root directory.
        settle(&path.join("upper"))?;
        Ok(path)
    }

    fn replace(&self, used: &Path) -> io::Result<()> {
        remove_tree(used)?;
        if self.spare().is_none() {
            let fresh = self.make()?;
            let extra = self.spare().replace(fresh);
            return extra.map_or(Ok(()), |extra| remove_tree(&extra));
        }
        Ok(())
    }

    fn spare(&self) -> MutexGuard<'_, Option<PathBuf>> {
        // Whatever panicked, the spare is there or it is not.
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one execution writes to. Removed when the execution is over, in the background.
pub(crate) struct RunDirectory {
    path: PathBuf,
    home: Arc<RunDirectories>,
}

impl RunDirectory {
    pub(crate) fn upper(&self) -> PathBuf {
        self.path.join("upper")
    }
    pub(crate) fn work(&self) -> PathBuf {
        self.path.join("work")
    }
    pub(crate) fn stdout(&self) -> PathBuf {
        self.path.join("stdout")
    }
    pub(crate) fn stderr(&self) -> PathBuf {
        self.path.join("stderr")
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let (path, home) = (std::mem::take(&mut self.path), Arc::clone(&self.home));
        let replace = move || {
            if let Err(error) = home.replace(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what an execution wrote");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(replace)),
            Err(_) => replace(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_empty_and_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let home = RunDirectories::new(directory.path().to_owned());
        let mut seen = Vec::new();
        for _ in 0..5 {
            let (one, two) = (home.take().unwrap(), home.take().unwrap());
            for run in [&one, &two] {
                assert!(!seen.contains(&run.upper()), "given twice");
                assert_eq!(std::fs::read_dir(run.upper()).unwrap().count(), 0);
                std::fs::write(run.upper().join("output"), "x").unwrap();
                std::fs::write(run.stdout(), "x").unwrap();
                seen.push(run.upper());
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "one spare is left");
    }
}
