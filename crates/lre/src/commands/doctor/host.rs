//! The kernel and the limits of this machine.
use super::{Finding, Level};
use rustix::process::{Resource, getrlimit};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Fewer open files than this and a large build may fail: a connection, a blob on its way, each is one.
const OPEN_FILES_WANTED: u64 = 4096;
/// A clock before this moment (2024-01-01) has not been set.
const CLOCK_SECONDS_MIN: u64 = 1_704_067_200;

/// Whether sandboxes can be made, and whether they can write where the store is or will be.
pub fn sandbox(store: &Path) -> Vec<Finding> {
    let one = |found: lre_sandbox::Finding| match found.ok {
        true => Finding::ok(found.what, found.detail),
        false => Finding { level: Level::Fatal, ..Finding::fail(found.what, found.detail, found.fix) },
    };
    // To look must not make a store.
    let there = store.ancestors().find(|directory| directory.is_dir()).unwrap_or(store);
    let place = lre_sandbox::check_directory(there);
    lre_sandbox::check().into_iter().chain([place]).map(one).collect()
}

/// Limits that slow down or break large builds.
pub fn machine() -> Vec<Finding> {
    vec![cgroup(Path::new("/sys/fs/cgroup")), open_files(), clock(SystemTime::now())]
}

fn cgroup(root: &Path) -> Finding {
    match (root.join("cgroup.controllers").exists(), root.join("unified").exists()) {
        (true, _) => Finding::ok("cgroup", "version 2"),
        // Nothing here depends on cgroups; what will is limits of memory and processor time.
        (false, true) => Finding::ok("cgroup", "hybrid: version 1 with version 2 beside it"),
        (false, false) => Finding::ok("cgroup", "version 1 or none"),
    }
}

fn open_files() -> Finding {
    match getrlimit(Resource::Nofile).maximum {
        Some(hard) if hard < OPEN_FILES_WANTED => Finding::warn(
            "open files",
            format!("at most {hard}, {OPEN_FILES_WANTED} are wanted"),
            "raise `nofile` in /etc/security/limits.conf, then log in again",
        ),
        Some(hard) => Finding::ok("open files", format!("up to {hard}")),
        None => Finding::ok("open files", "no limit"),
    }
}

fn clock(now: SystemTime) -> Finding {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    match since >= CLOCK_SECONDS_MIN {
        true => Finding::ok("clock", "set"),
        false => Finding::fail(
            "clock",
            format!("{since} s after 1970: it has not been set"),
            "set the clock; files and leases of the future confuse every build tool",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn this_machine_is_described() {
        assert!(!sandbox(&std::env::temp_dir().join("not-there")).is_empty());
        assert!(machine().iter().all(|finding| !finding.detail.is_empty()));
    }

    #[test]
    fn an_unset_clock_is_noticed() {
        assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(5)).level, Level::Fail);
        assert_eq!(clock(SystemTime::now()).level, Level::Ok);
    }

    #[test]
    fn cgroups_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        assert!(cgroup(dir.path()).detail.contains("none"));
        fs::create_dir(dir.path().join("unified")).unwrap();
        assert!(cgroup(dir.path()).detail.starts_with("hybrid"));
        fs::write(dir.path().join("cgroup.controllers"), "").unwrap();
        assert_eq!(cgroup(dir.path()).detail, "version 2");
    }
}
