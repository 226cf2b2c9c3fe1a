//! The kernel and the limits of this machine.
use super::{Finding, Level};
use crate::config::Config;
use crate::instance::Instance;
use crate::ui;
use lre_sandbox::cgroup::Delegation;
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

/// What holds an action to its limits: the running server knows it of itself, else this machine is looked at.
pub fn limits(config: &Config, instance: Option<&Instance>) -> Vec<Finding> {
    let limits = &config.action_limits;
    let most = format!("{} and {} processes for an action", ui::bytes(limits.memory_bytes_max), limits.processes_max);
    let held = |cgroup: &Path| Finding::ok(MEMORY, format!("{most}, held by the kernel in {}", cgroup.display()));
    let memory = match (instance.map(|instance| &instance.cgroup), Delegation::look()) {
        (Some(Some(cgroup)), _) => held(cgroup),
        (None, Delegation::Given(cgroup)) => held(&cgroup),
        (Some(None), Delegation::Given(_)) => Finding::ok(MEMORY, format!("{most}, watched by the server")),
        (_, Delegation::Withheld { why, fix }) => Finding {
            fix: (!fix.is_empty()).then(|| format!("only if the kernel shall hold them: {fix}")),
            ..Finding::ok(MEMORY, format!("{most}, watched by the server, as {why}"))
        },
    };
    let disk = format!(
        "{} on disk and {} of output for an action: one file held by the kernel, the sum watched by the server",
        ui::bytes(limits.disk_bytes_max),
        ui::bytes(limits.output_bytes_max)
    );
    vec![memory, Finding::ok("disk limits", disk)]
}

/// What [`limits`] calls the first of them.
const MEMORY: &str = "memory limits";

/// Limits that slow down or break large builds.
pub fn machine() -> Vec<Finding> {
    vec![cgroup(Path::new("/sys/fs/cgroup")), open_files(), clock(SystemTime::now())]
}

fn cgroup(root: &Path) -> Finding {
    match (root.join("cgroup.controllers").exists(), root.join("unified").exists()) {
        (true, _) => Finding::ok("cgroup", "version 2"),
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
    use crate::config::Facts;
    use crate::paths::Paths;
    use std::fs;

    #[test]
    fn this_machine_is_described() {
        assert!(!sandbox(&std::env::temp_dir().join("not-there")).is_empty());
        assert!(machine().iter().all(|finding| !finding.detail.is_empty()));
    }

    /// Whoever is asked, the mechanism is named; the server that runs knows best.
    #[test]
    fn what_holds_the_limits_is_said() {
        let paths = Paths { runtime: "/r".into(), cache: "/c".into(), state: "/s".into(), config: "/e".into() };
        let config = Config::new(&[], &Facts { paths: &paths, cores: 2, memory_bytes: 4 << 30 }).unwrap();
        let memory = |instance: Option<&Instance>| limits(&config, instance).remove(0).detail;
        let watching = Instance::of_this_process();
        let holding = Instance { cgroup: Some("/sys/fs/cgroup/lre".into()), ..Instance::of_this_process() };
        assert_eq!(
            memory(Some(&holding)),
            "3.2 GB and 4096 processes for an action, held by the kernel in /sys/fs/cgroup/lre"
        );
        assert!(memory(Some(&watching)).contains("watched by the server"));
        assert!(memory(None).starts_with("3.2 GB and 4096 processes for an action, "));
        assert!(limits(&config, None).iter().all(|finding| finding.level == Level::Ok));
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
