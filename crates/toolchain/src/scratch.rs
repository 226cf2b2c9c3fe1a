//! Folders for what is on its way in. One that a killed process left behind is removed by the next that needs one.
use crate::error::{ToolchainError, io_at};
use lre_store::Staging;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;
use tempfile::TempDir;

/// How the names begin.
const PREFIX: &str = "scratch-";

/// A folder that goes with this value.
pub(crate) struct Scratch {
    /// Where blobs wait.
    pub(crate) staging: Staging,
    // Removed before it is unlocked.
    _folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// A new folder in `directory`, which is made where it is not there.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn new(directory: &Path) -> Result<Self, ToolchainError> {
        std::fs::create_dir_all(directory).map_err(io_at("make the directory", directory))?;
        let made = || {
            // One at a time: a folder that is made and not locked yet must not look abandoned.
            let all = File::open(directory)?;
            flock(&all, FlockOperation::LockExclusive)?;
            sweep(directory)?;
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(directory)?;
            let lock = File::open(folder.path())?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            Ok(Self { staging: Staging::new(folder.path())?, _folder: folder, _lock: lock })
        };
        made().map_err(io_at("use the directory", directory))
    }
}

/// Removes the folders that nobody has locked.
fn sweep(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type()?.is_dir() {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // That something in it cannot be removed is no reason to take nothing in.
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::debug!(folder = %entry.path().display(), %error, "left as it is");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(directory: &Path) -> usize {
        std::fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_lives_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("incoming");
        let living = Scratch::new(&at).unwrap();
        // As a process leaves it that is killed: the folder is there, the lock is gone.
        let Scratch { _folder, _lock, .. } = Scratch::new(&at).unwrap();
        let left = _folder.keep();
        std::fs::write(left.join("blob"), "half of it").unwrap();
        drop(_lock);
        std::fs::write(at.join("download"), "somebody else's").unwrap();
        let another = Scratch::new(&at).unwrap();
        assert!(!left.exists());
        assert_eq!(count(&at), 3, "two that live, and a download");
        drop((living, another));
        assert_eq!(count(&at), 1);
    }
}
