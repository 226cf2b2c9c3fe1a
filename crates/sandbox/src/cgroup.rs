//! Control groups (version 2): where the kernel itself holds the memory and the processes of an execution.
//!
//! Only in a cgroup that was given to this server, with both controllers. Whose it is says systemd
//! (`Delegate=yes`), or that nobody else is in it where there is no systemd. Each slot gets a cgroup below
//! it; the roots of the slot are made in there and everything they start stays in there.
//!
//! Where there is no such cgroup the worker watches, which is a little later and says the same.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where the kernel shows version 2; beside version 1 it is the second.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// What the server needs to be given.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The cgroup that the server itself moves to: one with processes cannot give controllers to those below it.
const SERVER: &str = "server";
/// How to start the server so that it gets one.
const FIX: &str = "systemd-run --user --scope -p Delegate=yes lre serve";

/// Whether this process has a cgroup that it may divide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delegation {
    /// This one, with all that is needed.
    Given(PathBuf),
    /// None.
    Withheld {
        /// What is missing.
        why: String,
        /// How to get it; empty where this machine has nothing to give.
        fix: &'static str,
    },
}

impl Delegation {
    /// Looks, and changes nothing.
    #[must_use]
    pub fn look() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mount = MOUNTS.iter().map(Path::new).find(|mount| mount.join("cgroup.controllers").exists());
        match (mount, own_path(&own)) {
            (Some(mount), Some(path)) => {
                let managed = Path::new("/run/systemd/system").exists() && !path.as_os_str().is_empty();
                Self::of(
                    &mount.join(path),
                    managed,
                    &fs::read_to_string("/proc/thread-self/children").unwrap_or_default(),
                )
            }
            _ => Self::withheld("cgroups of version 2 are not mounted here", ""),
        }
    }

    /// `children`: of ours, which may be in it too. `managed`: by systemd, which says what is whose.
    fn of(own: &Path, managed: bool, children: &str) -> Self {
        let read = |name: &str| fs::read_to_string(own.join(name)).unwrap_or_default();
        let available = read("cgroup.controllers");
        let missing: Vec<_> =
            CONTROLLERS.into_iter().filter(|c| !available.split_whitespace().any(|a| a == *c)).collect();
        if !missing.is_empty() {
            let why = format!("the controllers {} are not in this cgroup", missing.join(" and "));
            // Where the whole machine has not got them, nobody can give them.
            return Self::withheld(&why, if managed { FIX } else { "" });
        }
        if managed && !given_by_systemd(own) {
            return Self::withheld("this cgroup belongs to systemd", FIX);
        }
        let ours = format!("{} {children}", std::process::id());
        let stranger = read("cgroup.procs").lines().any(|pid| !ours.split_whitespace().any(|our| our == pid));
        if stranger {
            return Self::withheld("other processes are in this cgroup", FIX);
        }
        let writable = rustix::fs::access(own, rustix::fs::Access::WRITE_OK)
            .and_then(|()| rustix::fs::access(own.join("cgroup.subtree_control"), rustix::fs::Access::WRITE_OK));
        match writable {
            Ok(()) => Self::Given(own.to_owned()),
            Err(_) => Self::withheld("this cgroup may not be divided by this user", FIX),
        }
    }

    fn withheld(why: &str, fix: &'static str) -> Self {
        Self::Withheld { why: why.to_owned(), fix }
    }
}

/// The path in version 2, without its first slash, of the lines of /proc/self/cgroup.
fn own_path(lines: &str) -> Option<PathBuf> {
    lines.lines().find_map(|line| line.strip_prefix("0::/")).map(PathBuf::from)
}

/// systemd notes it on the directory, for exactly this question.
fn given_by_systemd(own: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0_u8; 4];
        rustix::fs::getxattr(own, name, &mut value[..]).is_ok_and(|length| &value[..length] == b"1")
    })
}

/// Makes `own` a cgroup that can be divided among slots: this process moves to one below it. Call it before
/// there is a launcher, which is born where its parent is.
///
/// # Errors
/// What the kernel says; this process is where it was, or in the cgroup below.
pub fn take(own: &Path) -> io::Result<()> {
    let server = own.join(SERVER);
    match fs::create_dir(&server) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    fs::write(server.join("cgroup.procs"), std::process::id().to_string())?;
    fs::write(own.join("cgroup.subtree_control"), CONTROLLERS.map(|name| format!("+{name}")).join(" "))
}

/// The cgroup of a slot. Dropping it kills what is in it and removes it.
#[derive(Debug)]
pub struct SlotCgroup {
    path: PathBuf,
    set: Mutex<Option<(u64, u64)>>,
}

/// What the kernel has done to those who wanted too much, counted from when the cgroup was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Processes that were killed because the memory was used up.
    pub killed: u64,
    /// Processes and threads that were not started.
    pub refused: u64,
}

impl SlotCgroup {
    /// Makes it below `given`, empty: what an earlier server left is removed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn make(given: &Path, slot: usize) -> io::Result<Self> {
        let path = given.join(format!("slot-{slot}"));
        if path.exists() {
            drop(Self { path: path.clone(), set: Mutex::default() });
        }
        fs::create_dir(&path)?;
        Ok(Self { path, set: Mutex::default() })
    }

    /// Where it is; for `RootPlan::cgroup`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on those in it have so much memory, and are so many. Swap counts as none: an action that
    /// swaps makes the whole machine slow. Who wants more memory is killed with all others in it, because half
    /// of a build step is worse than none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn limit(&self, memory_bytes_max: u64, processes_max: u64) -> io::Result<()> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        if *set == Some((memory_bytes_max, processes_max)) {
            return Ok(());
        }
        self.write("memory.max", memory_bytes_max)?;
        self.write("memory.oom.group", 1)?;
        self.write("pids.max", processes_max)?;
        match self.write("memory.swap.max", 0) {
            // A kernel without swap.
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::PermissionDenied => {}
            written => written?,
        }
        *set = Some((memory_bytes_max, processes_max));
        Ok(())
    }

    /// What has happened so far. What cannot be read has not happened.
    #[must_use]
    pub fn held(&self) -> Held {
        let count = |file: &str, name: &str| {
            fs::read_to_string(self.path.join(file)).ok().and_then(|text| keyed(&text, name)).unwrap_or(0)
        };
        Held { killed: count("memory.events", "oom_kill"), refused: count("pids.events", "max") }
    }

    /// Kills everybody in it.
    ///
    /// # Errors
    /// A kernel before 5.14, which has no `cgroup.kill`.
    pub fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", 1)
    }

    fn write(&self, name: &str, value: u64) -> io::Result<()> {
        // Not created: a file that the kernel does not offer is a controller that is not there.
        let file = fs::OpenOptions::new().write(true).open(self.path.join(name))?;
        rustix::io::write(&file, value.to_string().as_bytes())?;
        Ok(())
    }
}

impl Drop for SlotCgroup {
    fn drop(&mut self) {
        // Whoever is in it is of a root that is being killed; on an old kernel that alone has to do.
        let _ = self.kill();
        // The dead are in it until the last of their memory is given back, some milliseconds.
        for _ in 0..REMOVALS {
            match fs::remove_dir(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(REMOVAL_PAUSE),
                _ => return,
            }
        }
    }
}

/// How often an empty cgroup is tried to be removed; the next server does it again.
const REMOVALS: u32 = 50;
/// And how long between.
const REMOVAL_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// The number of a line `name number`.
fn keyed(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn what_the_kernel_says_is_read() {
        let hybrid = "9:name=systemd:/\n4:memory:/x\n0::/user.slice/a b.scope\n";
        assert_eq!(own_path(hybrid), Some("user.slice/a b.scope".into()));
        assert_eq!(own_path("0::/\n"), Some("".into()));
        assert_eq!(own_path("4:memory:/x\n"), None);
        let events = "low 0\nhigh 3\nmax 12\noom 2\noom_kill 5\noom_group_kill 1\n";
        assert_eq!(
            (keyed(events, "max"), keyed(events, "oom_kill"), keyed(events, "oom")),
            (Some(12), Some(5), Some(2))
        );
        assert_eq!(keyed(events, "oom_kil"), None);
    }

    /// A directory with the files of a cgroup: each thing that may be missing is named, with the fix.
    #[test]
    fn who_may_divide_a_cgroup() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let why = |managed| match Delegation::of(dir.path(), managed, "77 78") {
            Delegation::Withheld { why, .. } => why,
            Delegation::Given(own) => own.display().to_string(),
        };
        let own = std::process::id();
        write("cgroup.controllers", "cpu hugetlb memory\n");
        assert_eq!(why(false), "the controllers pids are not in this cgroup");
        write("cgroup.controllers", "memory pids\n");
        write("cgroup.procs", &format!("{own}\n78\n1\n"));
        assert_eq!(why(true), "this cgroup belongs to systemd");
        assert_eq!(why(false), "other processes are in this cgroup");
        write("cgroup.procs", &format!("{own}\n78\n"));
        assert_eq!(why(false), "this cgroup may not be divided by this user");
        write("cgroup.subtree_control", "");
        assert_eq!(why(false), dir.path().display().to_string());
    }

    /// What is written where. The files are ordinary ones: this is about the words, the next test about the kernel.
    #[test]
    fn limits_are_written_once() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let slot = SlotCgroup::make(dir.path(), 3).expect("made");
        let refused = slot.limit(1 << 30, 64).expect_err("a cgroup without controllers");
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        for name in ["memory.max", "memory.oom.group", "memory.swap.max", "pids.max"] {
            fs::write(slot.path().join(name), "").expect("written");
        }
        slot.limit(1 << 30, 64).expect("written");
        let read = |name: &str| fs::read_to_string(dir.path().join("slot-3").join(name)).expect("there");
        let written = ["memory.max", "memory.oom.group", "memory.swap.max", "pids.max"].map(read);
        assert_eq!(written, ["1073741824", "1", "0", "64"]);
        fs::write(slot.path().join("pids.max"), "as it was").expect("written");
        slot.limit(1 << 30, 64).expect("written");
        assert_eq!(read("pids.max"), "as it was");
        fs::write(slot.path().join("memory.events"), "oom 1\noom_kill 7\n").expect("written");
        assert_eq!(slot.held(), Held { killed: 7, refused: 0 });
        fs::remove_dir_all(slot.path()).expect("removed");
    }

    /// On the real kernel, where this user may make a cgroup (root here; version 2 beside version 1 has no
    /// controllers of memory and processes, so their limits are refused and everything else works).
    #[test]
    fn a_slot_is_made_killed_and_removed() {
        let mount = MOUNTS.iter().map(Path::new).find(|mount| mount.join("cgroup.controllers").exists());
        let place = mount.map(|mount| mount.join(format!("lre-test-{}", std::process::id())));
        let allowed = |mount: &Path| rustix::fs::access(mount, rustix::fs::Access::WRITE_OK).is_ok();
        let Some(place) = place.filter(|place| place.parent().is_some_and(allowed)) else {
            eprintln!("NOT TESTED: this user may make no cgroup");
            return;
        };
        fs::create_dir(&place).expect("a cgroup");
        let slot = SlotCgroup::make(&place, 0).expect("made");
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a process");
        fs::write(slot.path().join("cgroup.procs"), child.id().to_string()).expect("moved");
        let members = fs::read_to_string(slot.path().join("cgroup.procs")).expect("read");
        assert_eq!(members.trim(), child.id().to_string());
        let given = fs::write(place.join("cgroup.subtree_control"), "+memory +pids").is_ok();
        assert_eq!(slot.limit(1 << 30, 64).is_ok(), given, "limits are held where the controllers are");
        assert_eq!(slot.held(), Held::default());
        // The next server finds what a killed one left, kills it and begins anew.
        std::mem::forget(slot);
        let slot = SlotCgroup::make(&place, 0).expect("made again");
        let status = child.wait().expect("ended");
        assert!(!status.success(), "killed: {status}");
        let path = slot.path().to_owned();
        drop(slot);
        assert!(!path.exists());
        fs::remove_dir(place).expect("nothing is left in it");
    }

    #[test]
    fn this_machine_is_looked_at() {
        match Delegation::look() {
            Delegation::Given(own) => assert!(own.join("cgroup.procs").exists()),
            Delegation::Withheld { why, .. } => assert!(!why.is_empty()),
        }
    }
}
