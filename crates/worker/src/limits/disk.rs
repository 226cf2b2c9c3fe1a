//! What an execution has written to disk, and what is left there.
use std::fs::ReadDir;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What an entry counts at least: the block of a file that has anything in it. A million empty files are not
/// nothing either: each is an inode, a name, and work for whoever removes it.
pub(super) const ENTRY_BYTES: u64 = 4096;
/// The unit of `st_blocks`, whatever the file system's own block is.
const BLOCK_BYTES: u64 = 512;

/// What is free on a file system for an ordinary user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free {
    pub bytes: u64,
    /// `None` where the file system makes inodes as needed.
    pub inodes: Option<u64>,
}

impl Free {
    /// How much somebody has written since `before`, at least.
    pub(super) fn written_since(self, before: Self) -> u64 {
        let inodes = before.inodes.zip(self.inodes).map_or(0, |(before, now)| before.saturating_sub(now));
        before.bytes.saturating_sub(self.bytes).max(inodes * ENTRY_BYTES)
    }

    /// Looks: one system call.
    pub(super) fn on(directory: &Path) -> io::Result<Self> {
        let all = rustix::fs::statvfs(directory)?;
        Ok(Self {
            bytes: all.f_bavail.saturating_mul(all.f_frsize),
            inodes: (all.f_files != 0).then_some(all.f_favail),
        })
    }
}

/// A walk through an upper layer that can be made in pieces: there may be a million files in it, and
/// others want to be looked at meanwhile.
pub(super) struct Walk {
    current: Option<(PathBuf, ReadDir)>,
    pending: Vec<PathBuf>,
    /// Bytes on disk of what was seen so far.
    pub bytes: u64,
    /// Whether something could not be looked at: a command may forbid its own directories to everybody, and
    /// only root looks nevertheless; a path may be longer than the kernel takes.
    pub blind: bool,
}

impl Walk {
    pub(super) fn new(top: &Path) -> Self {
        Self { current: None, pending: vec![top.to_owned()], bytes: 0, blind: false }
    }

    /// Looks at up to `entries` more; whether that was all.
    pub(super) fn go_on(&mut self, entries: usize) -> bool {
        for _ in 0..entries {
            let Some((directory, reading)) = &mut self.current else {
                let Some(next) = self.pending.pop() else { return true };
                match std::fs::read_dir(&next) {
                    Ok(reading) => self.current = Some((next, reading)),
                    // Nothing waits while we look: what is not there any more takes nothing.
                    Err(e) => self.blind |= e.kind() != io::ErrorKind::NotFound,
                }
                continue;
            };
            match reading.next() {
                None => self.current = None,
                Some(Err(_)) => (self.blind, self.current) = (true, None),
                Some(Ok(entry)) => {
                    let Ok(metadata) = entry.metadata() else { continue };
                    let links = if metadata.is_dir() { 1 } else { metadata.nlink().max(1) };
                    self.bytes += (metadata.blocks() * BLOCK_BYTES / links).max(ENTRY_BYTES);
                    if metadata.is_dir() {
                        self.pending.push(directory.join(entry.file_name()));
                    }
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn whole(top: &Path) -> Walk {
        let mut walk = Walk::new(top);
        while !walk.go_on(3) {}
        walk
    }

    /// In pieces it comes to the same; holes cost nothing, links are one file, empty files are not free.
    #[test]
    fn what_was_written_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(whole(dir.path()).bytes, 0);
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        let before = whole(dir.path()).bytes;
        fs::write(dir.path().join("a/b/c/full"), vec![1; 1 << 20]).unwrap();
        for name in ["one", "two", "three"] {
            fs::hard_link(dir.path().join("a/b/c/full"), dir.path().join("a").join(name)).unwrap();
        }
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
        let walk = whole(dir.path());
        let grown = walk.bytes - before;
        assert!(!walk.blind && (1 << 20..(1 << 20) + (64 << 10)).contains(&grown), "{grown}");
        for number in 0..100 {
            fs::write(dir.path().join(format!("empty-{number}")), "").unwrap();
        }
        assert!(whole(dir.path()).bytes >= walk.bytes + 100 * ENTRY_BYTES);
    }

    #[test]
    fn what_cannot_be_seen_is_said() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!whole(&dir.path().join("none")).blind);
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(whole(&dir.path().join("file")).blind);
        let free = Free { bytes: 100_000, inodes: Some(50) };
        for (bytes, inodes, written) in [(90_000, 50, 10_000), (100_000, 40, 10 * ENTRY_BYTES), (200_000, 60, 0)] {
            assert_eq!(Free { bytes, inodes: Some(inodes) }.written_since(free), written);
        }
        let free = Free::on(dir.path()).unwrap();
        assert!(free.bytes > 0 && Free::on(Path::new("/none")).is_err(), "{free:?}");
    }
}
