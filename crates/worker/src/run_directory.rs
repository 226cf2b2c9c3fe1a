//! Where executions write: the upper layer, the kernel's work directory, stdout and stderr. Made by the
//! root, before anybody waits for it, and cleaned when nobody waits any more: removing what 1,000 outputs
//! left behind takes longer than many a command.
//!
//! A folder that is clean again is given to the root under the name that it will use after the next one.
//! Directories are the dearest files there are (on ext4 a block is given out and taken back for each), and
//! an execution needs half a dozen.
use crate::Live;
use crate::remove::{empty_tree, remove_tree};
use lre_sandbox::{STDERR, STDOUT, UPPER};
use rustix::fs::{CWD, RenameFlags};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The folders of one root.
#[derive(Debug)]
pub(crate) struct RunDirectories {
    /// Their path without the number.
    prefix: PathBuf,
    /// How many were given to executions; none when the root is gone.
    given: Mutex<Option<u64>>,
}

impl RunDirectories {
    /// Of the root that makes folders whose path begins so.
    pub(crate) fn new(prefix: PathBuf) -> Arc<Self> {
        Arc::new(Self { prefix, given: Mutex::new(Some(0)) })
    }

    /// How many executions the root was given; each has one.
    pub(crate) fn given(&self) -> u64 {
        self.lock().unwrap_or_default()
    }

    /// That of the execution that is asked for now.
    pub(crate) fn give(self: &Arc<Self>) -> RunDirectory {
        let mut given = self.lock();
        let number = given.unwrap_or_default();
        *given = Some(number + 1);
        RunDirectory { path: self.path(number), home: Arc::clone(self), read_by: None }
    }

    /// The root is gone. What it has made for nobody, or has been given back, is to be removed.
    pub(crate) fn close(&self) -> [PathBuf; 2] {
        let given = self.lock().take().unwrap_or_default();
        [self.path(given), self.path(given + 1)]
    }

    fn path(&self, number: u64) -> PathBuf {
        let mut path = self.prefix.clone().into_os_string();
        path.push(number.to_string());
        path.into()
    }

    /// Gives a clean folder to the root. It makes the next one while the present execution runs or has made it
    /// already, so it is the one after that; where that is there already, somebody was quicker.
    fn give_back(&self, folder: &Path) -> bool {
        let given = self.lock();
        given.is_some_and(|given| {
            rustix::fs::renameat_with(CWD, folder, CWD, self.path(given + 1), RenameFlags::NOREPLACE).is_ok()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        // Each change is one assignment.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one execution writes to. Cleaned when this is dropped, in the background.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    home: Arc<RunDirectories>,
    /// Through which others read along.
    read_by: Option<Arc<Live>>,
}

impl RunDirectory {
    /// Lets others read along what is said, until this is dropped.
    pub(crate) fn show(&mut self, live: &Arc<Live>) {
        live.begin(self.stdout(), self.stderr());
        self.read_by = Some(Arc::clone(live));
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.path.join(UPPER)
    }
    pub(crate) fn stdout(&self) -> PathBuf {
        self.path.join(STDOUT)
    }
    pub(crate) fn stderr(&self) -> PathBuf {
        self.path.join(STDERR)
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        // First of all: from now on the files may become those of another execution.
        if let Some(live) = self.read_by.take() {
            live.end(&self.stdout());
        }
        let (path, home) = (std::mem::take(&mut self.path), Arc::clone(&self.home));
        let clean = move || {
            if clean(&path).unwrap_or(false) && home.give_back(&path) {
                return;
            }
            if let Err(error) = remove_tree(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what an execution wrote");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(clean)),
            Err(_) => clean(),
        }
    }
}

/// Takes away what was written. False: something stays that the next execution would see.
fn clean(folder: &Path) -> io::Result<bool> {
    let upper = folder.join(UPPER);
    let metadata = std::fs::symlink_metadata(&upper)?;
    if metadata.mode() & 0o7777 != 0o755 || !only_the_kernels(&upper)? {
        return Ok(false);
    }
    if empty_tree(&upper)? {
        return Ok(false);
    }
    for name in [STDOUT, STDERR] {
        let file = folder.join(name);
        let metadata = std::fs::symlink_metadata(&file)?;
        let untouched =
            metadata.len() == 0 && metadata.permissions().mode() & 0o7777 == 0o600 && !has_attributes(&file)?;
        if !untouched {
            std::fs::remove_file(file)?;
        }
    }
    Ok(true)
}

/// Whether a directory has no attributes but the notes of overlayfs, which it lets nobody else write.
fn only_the_kernels(directory: &Path) -> io::Result<bool> {
    let mut names = [0; 1024];
    let length = rustix::fs::llistxattr(directory, &mut names)?;
    // What says something of the directory itself: hidden, moved.
    let told = [&b"user.overlay.opaque"[..], b"user.overlay.redirect"];
    let mut names = names[..length].split(|b| *b == 0).filter(|name| !name.is_empty());
    Ok(names.all(|name| name.starts_with(b"user.overlay.") && !told.contains(&name)))
}

fn has_attributes(file: &Path) -> io::Result<bool> {
    let mut names = [0; 1];
    match rustix::fs::llistxattr(file, &mut names) {
        Ok(length) => Ok(length > 0),
        Err(rustix::io::Errno::RANGE) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_sandbox::WORK;
    use std::fs;

    fn make(folder: &Path) {
        for name in [UPPER, WORK] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::set_permissions(folder.join(UPPER), fs::Permissions::from_mode(0o755)).unwrap();
        for name in [STDOUT, STDERR] {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    fn folders(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// What is clean comes back under a name that nobody has used, and what is not goes.
    #[test]
    fn clean_folders_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let home = RunDirectories::new(directory.path().join("run-"));
        let first = home.give();
        make(&home.path(0));
        fs::create_dir_all(first.upper().join("a/b")).unwrap();
        fs::write(first.upper().join("a/b/c"), "output").unwrap();
        fs::write(first.stdout(), "said").unwrap();
        drop(first);
        assert_eq!(folders(directory.path()), ["run-2"], "0 was used, 1 is the root's already");
        assert_eq!(folders(&home.path(2).join(UPPER)), Vec::<String>::new());
        assert!(!home.path(2).join(STDOUT).exists() && home.path(2).join(STDERR).exists());
        let second = home.give();
        make(&home.path(1));
        fs::set_permissions(second.upper(), fs::Permissions::from_mode(0o700)).unwrap();
        drop(second);
        assert_eq!(folders(directory.path()), ["run-2"], "its mode was changed");
        let third = home.give();
        rustix::fs::lsetxattr(third.upper(), "user.left", b"x", rustix::fs::XattrFlags::empty()).unwrap();
        drop(third);
        assert_eq!(folders(directory.path()), Vec::<String>::new(), "an attribute was left");
        let fourth = home.give();
        make(&home.path(3));
        assert_eq!(home.close(), [home.path(4), home.path(5)]);
        drop(fourth);
        assert_eq!(folders(directory.path()), Vec::<String>::new(), "the root is gone");
    }
}
