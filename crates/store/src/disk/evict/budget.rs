//! How many bytes the store may take.
use std::io;
use std::path::Path;

/// How many bytes a store may take; [`crate::DiskStore::set_budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many.
    Bytes(u64),
    /// Half of what is free on the disk and what the store takes, but room for the last builds in any case.
    Share,
}

/// Of the disk as far as nobody else has filled it, in percent. Half: what a client builds lies in its output tree as well as
/// here, so the one who fills the store fills the same disk once more. When others need the disk the budget shrinks with it.
const SHARE_PERCENT: u64 = 50;

/// Above this share of the budget the background evicts, in percent. The rest is for what is written while it works.
const HIGH_PERCENT: u64 = 90;

/// Down to this share, in percent. A tenth at a time: to find out what goes costs a look at every entry.
const LOW_PERCENT: u64 = 80;

const _: () = assert!(LOW_PERCENT < HIGH_PERCENT && HIGH_PERCENT < 100 && SHARE_PERCENT <= HIGH_PERCENT);

/// What was used within this time before the last use is the working set of the last builds, in minutes: a day's work.
pub(super) const WORKING_SET_MINUTES: u32 = 24 * 60;

/// No byte more.
pub(super) const UNLIMITED: u64 = u64::MAX;

fn percent(of: u64, percent: u64) -> u64 {
    // Of more than an exabyte the fraction is of no interest, and of less than a hundred bytes it is.
    if of > u64::MAX / 100 { of / 100 * percent } else { of * percent / 100 }
}

/// Where eviction begins.
pub(super) fn high(limit: u64) -> u64 {
    percent(limit, HIGH_PERCENT)
}

/// Where it ends.
pub(super) fn low(limit: u64) -> u64 {
    percent(limit, LOW_PERCENT)
}

/// The budget of a store that takes `counted` bytes on a disk with `free` bytes left, before the floor.
pub(super) fn share(free: u64, counted: u64) -> u64 {
    percent(free.saturating_add(counted), SHARE_PERCENT)
}

/// The same with its floor: what eviction leaves has room for the working set of the last builds, unless the disk has not.
pub(super) fn share_with_floor(free: u64, counted: u64, working_set: u64) -> u64 {
    let all = free.saturating_add(counted);
    share(free, counted).max((working_set / LOW_PERCENT + 1).saturating_mul(100)).min(all)
}

/// Bytes of the file system of `path` that this user may still fill.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn half_of_what_nobody_else_has() {
        assert_eq!(share(100 * GIB, 0), 50 * GIB);
        assert_eq!(share(60 * GIB, 40 * GIB), 50 * GIB, "what the store takes changes nothing");
        assert_eq!(share(0, 40 * GIB), 20 * GIB, "a disk that somebody else fills");
        assert_eq!(share(0, 0), 0);
        assert!(share(u64::MAX, u64::MAX) > GIB);
    }

    #[test]
    fn the_last_builds_have_room() {
        let limit = share_with_floor(10 * GIB, 30 * GIB, 25 * GIB);
        assert!(low(limit) >= 25 * GIB && limit < 32 * GIB, "{limit}");
        assert_eq!(share_with_floor(10 * GIB, 30 * GIB, GIB), 20 * GIB, "a small one changes nothing");
        assert_eq!(share_with_floor(GIB, 30 * GIB, 30 * GIB), 31 * GIB, "no more than there is");
        assert_eq!(share_with_floor(0, GIB, u64::MAX), GIB);
    }

    #[test]
    fn the_marks_are_in_order() {
        for limit in [0, 1, 99, 100, 1 << 20, u64::MAX] {
            assert!(low(limit) <= high(limit) && high(limit) <= limit, "{limit}");
        }
        assert_eq!((low(1000), high(1000)), (800, 900));
    }

    #[test]
    fn the_disk_is_asked() {
        assert!(free_bytes(Path::new("/proc/self/nothing")).is_err());
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
    }
}
