//! Files of an execution that no walk through its upper layer finds: those without a name that it holds open,
//! which take as much as others do, and those in its file systems in memory.
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `statfs` says so of an overlay: files of the execution on disk.
const OVERLAY: i64 = 0x794c_7630;
/// Of tmpfs, and of what `memfd_create` makes: files in memory.
const TMPFS: i64 = 0x0102_1994;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// What they take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Nameless {
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// Looks at what these processes hold open. Those that may not be looked into are left out.
pub(super) fn nameless(processes: &[u32]) -> Nameless {
    let mut sum = Nameless::default();
    let mut known = BTreeSet::new();
    for pid in processes {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let path = entry.path();
            // Through the link, which leads to the very file, whatever has become of its name.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let counts = metadata.is_file() && metadata.nlink() == 0;
            if counts && known.insert((metadata.dev(), metadata.ino())) {
                match kind(&path) {
                    Some(OVERLAY) => sum.disk_bytes += metadata.blocks() * BLOCK_BYTES,
                    Some(TMPFS) => sum.memory_bytes += metadata.blocks() * BLOCK_BYTES,
                    _ => {}
                }
            }
        }
    }
    sum
}

/// What the file systems in memory hold that these processes see at `places`, relative to their root.
pub(super) fn in_memory(processes: &[u32], places: &[&str]) -> u64 {
    // The command's own come last, and in those an ordinary user may look.
    let seen = processes.iter().rev().find_map(|pid| {
        let root = format!("/proc/{pid}/root");
        std::fs::metadata(&root).ok().map(|_| root)
    });
    let Some(root) = seen else { return 0 };
    let used = |place: &&str| match rustix::fs::statfs(format!("{root}/{place}")) {
        Ok(all) if number(all.f_type) == TMPFS => (all.f_blocks - all.f_bfree) * number(all.f_bsize).unsigned_abs(),
        _ => 0,
    };
    places.iter().map(used).sum()
}

fn kind(path: &Path) -> Option<i64> {
    rustix::fs::statfs(path).ok().map(|all| number(all.f_type))
}

/// Whatever the machine's type for it.
fn number(word: impl Into<i64>) -> i64 {
    word.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Once, however many descriptors there are; gone when the last is closed.
    #[test]
    fn a_file_in_memory_without_a_name_is_found() {
        let own = [std::process::id()];
        let before = nameless(&own).memory_bytes;
        let mut file = std::fs::File::from(rustix::fs::memfd_create(c"x", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.write_all(&vec![1; 4 << 20]).unwrap();
        let second = file.try_clone().unwrap();
        let held = nameless(&own).memory_bytes;
        assert!((4 << 20..5 << 20).contains(&(held - before)), "{held}");
        drop((file, second));
        assert_eq!(nameless(&own).memory_bytes, before);
    }

    /// Here there may be none; where there is one, what is written into it is seen.
    #[test]
    fn a_file_system_in_memory_is_weighed() {
        let own = [std::process::id()];
        assert_eq!(in_memory(&own, &["proc", "not-there"]), 0);
        assert_eq!(in_memory(&[], &["dev/shm"]), 0);
        let Ok(mut file) = tempfile::NamedTempFile::new_in("/dev/shm") else { return };
        file.write_all(&vec![1; 4 << 20]).unwrap();
        if kind(Path::new("/dev/shm")) == Some(TMPFS) {
            assert!(in_memory(&own, &["dev/shm"]) >= 4 << 20);
        }
    }
}
