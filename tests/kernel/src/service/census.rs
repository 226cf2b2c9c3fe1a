//! What is there of a service, by what the kernel shows to everybody: processes, namespaces, mounts, open files.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Of this machine.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// When it began; a pid and this name a process for ever.
    pub began: u64,
    /// `R`, `S`, `Z`, ...
    pub state: char,
    /// Its arguments, or its name where it has none.
    pub command: String,
}

fn processes() -> Vec<Process> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(look).collect()
}

fn look(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let command = if line.is_empty() { name.to_owned() } else { line };
    let (parent, began) = (fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?);
    Some(Process { pid, parent, began, state: fields.first()?.chars().next()?, command })
}

/// Whether this very process lives; one that only waits to be asked how it ended does not.
#[must_use]
pub fn living_process(process: &Process) -> bool {
    look(process.pid).is_some_and(|now| now.began == process.began && now.state != 'Z')
}

/// `R`, `S`, `T`, `Z`, ...; nothing where it is gone.
#[must_use]
pub fn state_of(pid: u32) -> Option<char> {
    look(pid).map(|process| process.state)
}

/// The processes whose parent it is.
#[must_use]
pub fn children(pid: u32) -> Vec<Process> {
    processes().into_iter().filter(|process| process.parent == pid).collect()
}

/// All processes below this one, parents before their children.
#[must_use]
pub fn below(pid: u32) -> Vec<Process> {
    let mut by_parent: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for process in processes() {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut next) = (Vec::new(), vec![pid]);
    while let Some(parent) = next.pop() {
        for process in by_parent.remove(&parent).unwrap_or_default() {
            next.push(process.pid);
            found.push(process);
        }
    }
    found
}

/// All processes of this machine that have to do with the service in this folder, whoever their parent is: it is
/// in their arguments, their environment or their mounts.
#[must_use]
pub fn of_ours(home: &Path) -> Vec<Process> {
    let mark = home.as_os_str().as_bytes();
    let names_it = |pid: u32, file: &str| {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text.windows(mark.len()).any(|window| window == mark)
    };
    let me = std::process::id();
    let is_ours = |process: &Process| {
        let pid = process.pid;
        // A zombie shows nothing; whoever must wait for it is counted himself.
        pid != me && process.state != 'Z' && ["cmdline", "environ", "mountinfo"].iter().any(|file| names_it(pid, file))
    };
    processes().into_iter().filter(is_ours).collect()
}

/// The mounts of this process's own namespace that have to do with a folder.
pub(super) fn mounts_of(home: &Path) -> Vec<String> {
    let home = home.to_str().expect("a plain path");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    mounts.lines().filter(|line| line.contains(home) || line.contains("/lre/exec")).map(ToOwned::to_owned).collect()
}

/// How much there is of a service.
#[derive(Debug, Clone)]
pub struct Census {
    /// Processes below the server, itself not counted.
    pub processes: Vec<Process>,
    /// Processes that have to do with it and are not below it: left behind.
    pub strays: Vec<Process>,
    /// Namespaces that only the service's processes are in, or keep open, by kind.
    pub namespaces: BTreeMap<String, BTreeSet<String>>,
    /// Mounts that can be seen outside.
    pub mounts: Vec<String>,
    /// What the server has open.
    pub files: Vec<PathBuf>,
}

impl Census {
    pub(super) fn of(server: u32, home: &Path) -> Self {
        let processes = below(server);
        let known: BTreeSet<u32> = processes.iter().map(|process| process.pid).collect();
        let strays = of_ours(home).into_iter().filter(|p| p.pid != server && !known.contains(&p.pid)).collect();
        let own = namespaces_of(std::process::id());
        let mut namespaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pid in known.iter().copied().chain([server]) {
            for name in namespaces_of(pid).union(&open_namespaces(pid)).filter(|name| !own.contains(*name)) {
                let kind = name.split(':').next().unwrap_or_default();
                namespaces.entry(kind.to_owned()).or_default().insert(name.clone());
            }
        }
        let mounts = mounts_of(home);
        Self { processes, strays, namespaces, mounts, files: open_files(server) }
    }

    /// Whether nobody has come, gone or done anything since `before`.
    pub(super) fn rests_since(&self, before: &Self) -> bool {
        self.processes.iter().all(|process| process.state == 'S')
            && self.processes == before.processes
            && self.namespaces == before.namespaces
    }

    /// Whether there is no more of anything than in `before`. A server may open some files more as it works.
    #[must_use]
    pub fn within(&self, before: &Self) -> bool {
        const FILES_MORE: usize = 8;
        let zombie = |p: &Process| p.state == 'Z';
        let fewer = self
            .namespaces
            .iter()
            .all(|(kind, names)| names.len() <= before.namespaces.get(kind).map_or(0, BTreeSet::len));
        self.strays.is_empty()
            && self.mounts.is_empty()
            && self.processes.len() <= before.processes.len()
            && !self.processes.iter().any(zombie)
            && fewer
            && self.files.len() <= before.files.len() + FILES_MORE
    }
}

fn namespaces_of(pid: u32) -> BTreeSet<String> {
    let links = fs::read_dir(format!("/proc/{pid}/ns")).into_iter().flatten().flatten();
    let name = |path: PathBuf| fs::read_link(path).ok()?.to_str().map(ToOwned::to_owned);
    links.filter_map(|link| name(link.path())).collect()
}

fn open_files(pid: u32) -> Vec<PathBuf> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    links.filter_map(|link| fs::read_link(link.path()).ok()).collect()
}

/// Namespaces live as long as somebody has them open, too.
fn open_namespaces(pid: u32) -> BTreeSet<String> {
    let is_one = |text: &String| {
        ["mnt:", "pid:", "net:", "ipc:", "uts:", "user:", "cgroup:"].iter().any(|k| text.starts_with(k))
    };
    open_files(pid).into_iter().filter_map(|path| path.to_str().map(ToOwned::to_owned)).filter(is_one).collect()
}
