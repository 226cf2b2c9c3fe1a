//! Removing what commands have left, whatever it is: folders that nobody may enter, and trees deeper than any
//! path is long and any stack is high. (The standard library descends by calls; some ten thousand levels, which a
//! command makes in a second, ended the server.)
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::io;
use std::path::Path;

/// Levels that are descended by calls. What is deeper is first moved to the top.
const LEVELS: usize = 64;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The mode in which its owner can empty a directory.
const OPEN: Mode = Mode::RWXU;

/// Removes a tree whatever modes a command has left in it: an ordinary user cannot list a directory
/// of its own with mode 0. What is not there is removed already.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(metadata) if !metadata.is_dir() => return std::fs::remove_file(path),
        Ok(_) => {}
    }
    loop {
        let moved = empty_tree(path)?;
        match rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            // What was moved to the top while it was read may not have been seen.
            Err(Errno::NOTEMPTY | Errno::EXIST) if moved => {}
            done => return Ok(done?),
        }
    }
}

/// Removes what is in a directory. Whether that was so much that something may be left.
pub(crate) fn empty_tree(path: &Path) -> io::Result<bool> {
    let top = open(CWD, path)?;
    let mut removal = Removal { top: top.as_fd(), moved: 0 };
    removal.empty(top.as_fd(), 0)?;
    Ok(removal.moved > 0)
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// How many subtrees have come to the top.
    moved: u64,
}

impl Removal<'_> {
    fn empty(&mut self, directory: BorrowedFd<'_>, level: usize) -> Result<(), Errno> {
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match kind(directory, name, entry.file_type())? {
                FileType::Directory if level == LEVELS => self.bring_up(directory, name)?,
                FileType::Directory => {
                    let child = open(directory, name)?;
                    self.empty(child.as_fd(), level + 1)?;
                    allowed(directory, || rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR))?;
                }
                _ => allowed(directory, || rustix::fs::unlinkat(directory, name, AtFlags::empty()))?,
            }
        }
        Ok(())
    }

    /// Moves a subtree to the top. An empty directory that has its new name there is replaced.
    fn bring_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        // A directory that changes its parent must be writable itself.
        rustix::fs::chmodat(directory, name, OPEN, AtFlags::empty())?;
        loop {
            let new = format!("deep-{}", self.moved);
            self.moved += 1;
            match allowed(directory, || rustix::fs::renameat(directory, name, self.top, new.as_str())) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                done => return done,
            }
        }
    }
}

/// Some file systems do not say it with the name.
fn kind(directory: BorrowedFd<'_>, name: &CStr, told: FileType) -> Result<FileType, Errno> {
    match told {
        FileType::Unknown => {
            let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode))
        }
        told => Ok(told),
    }
}

fn open<P: rustix::path::Arg + Copy>(at: impl AsFd, name: P) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(&at, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(&at, name, OPEN, AtFlags::empty())?;
            rustix::fs::openat(&at, name, DIRECTORY, Mode::empty())
        }
        opened => opened,
    }
}

/// Does something in a directory, which it makes writable where that is in the way.
fn allowed(directory: BorrowedFd<'_>, act: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match act() {
        Err(Errno::ACCESS) => {
            rustix::fs::fchmod(directory, OPEN)?;
            act()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A chain of folders below `top`, made as a command can make it: without a path.
    fn chain(top: &Path, levels: usize) {
        let mut at = open(CWD, top).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, c"d", OPEN).unwrap();
            at = open(&at, c"d").unwrap();
        }
        rustix::fs::openat(&at, c"file", OFlags::CREATE | OFlags::WRONLY, OPEN).unwrap();
    }

    #[test]
    fn trees_are_removed_whatever_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        remove_tree(&tree).unwrap();
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir_all(tree.join("deep-0/deep-1")).unwrap();
        fs::write(tree.join("deep-2"), "").unwrap();
        fs::write(directory.path().join("other"), "").unwrap();
        symlink("../other", tree.join("link")).unwrap();
        symlink("/", tree.join("root")).unwrap();
        chain(&tree.join("a/b"), 2_000);
        chain(&tree.join("deep-0/deep-1"), 65);
        for closed in ["a/b/c", "a/b", "a", "deep-0", ""] {
            fs::set_permissions(tree.join(closed), Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "the other file is left, and nothing else");
        remove_tree(&directory.path().join("other")).unwrap();
    }
}
