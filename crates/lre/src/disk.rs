//! How much disk a store takes, and how much there is.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Disk of a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Taken by files, hard links counted where they are, in bytes.
    pub bytes: u64,
    /// Everything was looked at.
    pub complete: bool,
    /// Free for this user on that file system, in bytes.
    pub free_bytes: u64,
}

/// Looks at `directory` for at most `time`.
#[must_use]
pub fn usage(directory: &Path, time: Duration) -> Usage {
    let deadline = Instant::now() + time;
    let mut usage = Usage { bytes: 0, complete: true, free_bytes: free_bytes(directory).unwrap_or_default() };
    // Trees and slots hold hard links to blobs: what is counted once is counted once.
    let mut pending: Vec<_> = ["blobs", "log", "quarantine"].map(|name| directory.join(name)).into();
    while let Some(next) = pending.pop() {
        let Ok(entries) = fs::read_dir(next) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => pending.push(entry.path()),
                Ok(metadata) => usage.bytes += metadata.blocks() * 512,
                // Removed meanwhile.
                Err(_) => {}
            }
        }
        if Instant::now() > deadline && !pending.is_empty() {
            usage.complete = false;
            break;
        }
    }
    usage
}

/// Bytes that this user may still write where `path` is, or would be.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|p| p.exists())?;
    let stat = rustix::fs::statvfs(existing).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_counted_and_time_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["blobs/sha256/00", "blobs/sha256/01"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("x"), vec![1; 10_000]).unwrap();
        }
        let all = usage(dir.path(), Duration::from_secs(60));
        assert!(all.complete && all.bytes >= 20_000 && all.free_bytes > 0, "{all:?}");
        assert!(!usage(dir.path(), Duration::ZERO).complete);
        assert!(usage(&dir.path().join("not/there"), Duration::ZERO).free_bytes > 0);
    }
}
