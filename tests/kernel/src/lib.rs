//! What must be impossible, and what must work, with the real kernel and the real launcher.
//!
//! Each test runs its programs in every [`World`]: a launcher of the user who runs the tests, and,
//! when that is root, one of an ordinary user too. After every run the world looks whether the
//! inputs are as they were.

mod programs;
pub mod service;

use lre_sandbox::{
    Ended, Exec, How, Inputs, Network, Reply, RootPlan, Run, STDERR, STDOUT, SandboxPlan, Step, TREE, UPPER, client,
    encode,
};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

pub use programs::{MARK, living};

/// A user whom no machine knows, for launchers that are not root's.
const ORDINARY: u32 = 23_456;
/// The time of inputs, as the store sets it.
const INPUT_TIME: i64 = 315_532_800;
/// The inputs: one file for each thing that somebody may try with it.
pub const INPUTS: [&str; 10] =
    ["append", "chmod", "truncate", "utime", "link", "rename", "unlink", "reopen", "map", "plain"];
/// The folder of the slot. Awkward on purpose: these characters mean something to overlayfs.
const SLOT: &str = "s,l:o\\t";
/// What each input says.
pub const INPUT: &str = "as it was\n";
/// Long enough for a test that waits for something to happen. Only broken code waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Who runs the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user who runs the tests.
    Same,
    /// An ordinary user; the tests are run by root.
    Ordinary,
}

/// A launcher, a tree of inputs, and room for what its executions write.
pub struct World {
    /// Who runs the launcher.
    pub who: Who,
    /// Its folder on the host.
    pub directory: tempfile::TempDir,
    programs: Arc<tempfile::TempDir>,
    launcher: Option<client::Launcher>,
    roots: Vec<Root>,
    /// Which root runs an execution, and where it writes.
    running: BTreeMap<u64, (usize, PathBuf)>,
    next: u64,
}

/// What a test wants run: in which root, and what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The root. Executions with equal ones share it, one after the other.
    pub root: RootPlan,
    /// The execution.
    pub sandbox: SandboxPlan,
}

/// A ready root, as a server sees it.
struct Root {
    plan: RootPlan,
    socket: UnixStream,
    pid: Option<u32>,
    executions: u64,
    idle: bool,
}

/// How an execution ended, and what it wrote.
#[derive(Debug)]
pub struct Ran {
    /// As the launcher says.
    pub ended: Ended,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// What it wrote into the tree.
    pub upper: PathBuf,
}

/// One world for each kind of user. `launcher` is the program of the launcher.
///
/// Empty, and loud, where the machine allows no sandbox; a failure there under
/// `LRE_KERNEL_MUST_WORK=1` and in CI.
#[must_use]
pub fn worlds(launcher: &Path) -> Vec<World> {
    if !must_make_sandboxes() {
        return Vec::new();
    }
    let mut all = vec![World::new(launcher, Who::Same)];
    if rustix::process::geteuid().is_root() {
        all.push(World::new(launcher, Who::Ordinary));
    }
    all
}

/// Whether sandboxes can be made here. Where not: a failure where they must, else said loudly, once.
fn must_make_sandboxes() -> bool {
    static SAID: Once = Once::new();
    let broken: Vec<_> = lre_sandbox::check().into_iter().filter(|finding| !finding.ok).collect();
    if broken.is_empty() {
        return true;
    }
    let must = ["LRE_KERNEL_MUST_WORK", "CI"].iter().any(|name| std::env::var_os(name).is_some_and(|v| v != "0"));
    assert!(!must, "no sandbox can be made here, and it must: {broken:#?}");
    SAID.call_once(|| eprintln!("\n*** NOT TESTED: no sandbox can be made on this machine: {broken:#?}\n"));
    false
}

fn text(s: impl AsRef<Path>) -> CString {
    CString::new(s.as_ref().as_os_str().as_bytes()).expect("no NUL in a path of a test")
}

/// Waits until `done`, and fails when that takes longer than anybody has [`PATIENCE`].
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        // A condition outside of this process: nothing wakes us, so look often.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

impl World {
    fn new(launcher: &Path, who: Who) -> Self {
        let directory = tempfile::Builder::new().prefix("lre-kernel-").tempdir().expect("temporary directory");
        let here = directory.path();
        let inputs = here.join(SLOT).join(TREE);
        fs::create_dir_all(&inputs).expect("inputs");
        for name in INPUTS {
            let path = inputs.join(name);
            fs::write(&path, INPUT).expect("input");
            let file = fs::File::open(&path).expect("input");
            file.set_permissions(fs::Permissions::from_mode(0o444)).expect("mode");
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(INPUT_TIME.unsigned_abs())).expect("time");
        }
        fs::set_permissions(here, fs::Permissions::from_mode(0o755)).expect("mode");
        let programs = programs::directory(launcher);
        let ordinary = ORDINARY.to_string();
        let arguments: &[&str] = match who {
            Who::Same => &[],
            Who::Ordinary => {
                give(here, ORDINARY);
                &["--as", &ordinary]
            }
        };
        let launcher = client::spawn(&programs.path().join("launcher"), arguments).expect("launcher");
        let (roots, running) = (Vec::new(), BTreeMap::new());
        Self { who, directory, programs, launcher: Some(launcher), roots, running, next: 0 }
    }

    /// A folder for something of this world, owned by its user.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).expect("folder");
        if self.who == Who::Ordinary {
            chown(&path, Some(ORDINARY), Some(ORDINARY)).expect("owner");
        }
        path
    }

    /// The plan that most tests run: this machine's programs read-only, a tree with inputs to work in.
    #[must_use]
    pub fn plan(&mut self, arguments: &[&str]) -> Plan {
        let mut kept: Vec<Step> = ["/bin", "/usr", "/lib", "/lib64"]
            .into_iter()
            .filter(|path| Path::new(path).exists())
            .map(|path| Step::BindReadOnly { host: text(path), inside: text(path) })
            .collect();
        kept.extend([
            Step::BindReadOnly { host: text(self.programs.path().join("tools")), inside: text("/tools") },
            Step::Dev,
            Step::File { inside: text("/etc/passwd"), content: b"lre:x:1000:1000::/nonexistent:/bin/sh\n".to_vec() },
        ]);
        let tmpfs = |inside| Step::Tmpfs { inside: text(inside), mode: 0o1777, bytes_max: 64 << 20 };
        let root = RootPlan {
            kept,
            fresh: vec![Step::Proc { whole: false }, tmpfs("/tmp"), tmpfs("/dev/shm")],
            slot: text(self.directory.path().join(SLOT)),
            run: String::new(),
            exec_root: text("/lre/exec"),
            inputs: Inputs::Overlay,
            network: Network::Loopback,
            fixed_addresses: true,
            warm: None,
            processes_max: 4096,
            cgroup: None,
        };
        let sandbox = SandboxPlan {
            directories: Vec::new(),
            exec: Exec {
                arguments: arguments.iter().map(text).collect(),
                environment: vec![text("PATH=/tools:/usr/bin:/bin")],
                directory: text("/lre/exec"),
            },
            timeout: PATIENCE,
            file_bytes_max: None,
            observe: false,
        };
        Plan { root, sandbox }
    }

    /// Starts a plan, in a root that is there and idle or in a new one.
    pub fn start(&mut self, plan: Plan) -> u64 {
        let known = self.roots.iter().position(|root| root.idle && root.plan == plan.root);
        let index = known.unwrap_or_else(|| self.new_root(plan.root));
        let run = Run { asked: client::now(), plan: plan.sandbox };
        let root = &mut self.roots[index];
        let folder = format!("run{index}-{}", root.executions);
        (root.idle, root.executions) = (false, root.executions + 1);
        // A root that could not be made has closed its end already, and says why.
        let _ = root.socket.write_all(&encode(&run).expect("small"));
        self.next += 1;
        let slot = PathBuf::from(std::ffi::OsStr::from_bytes(root.plan.slot.to_bytes()));
        self.running.insert(self.next, (index, slot.join(folder)));
        self.next
    }

    fn new_root(&mut self, plan: RootPlan) -> usize {
        let index = self.roots.len();
        let asked = RootPlan { run: format!("run{index}-"), ..plan.clone() };
        let socket = self.launcher.as_ref().expect("a launcher").root(&asked).expect("the launcher listens");
        socket.set_read_timeout(Some(PATIENCE * 2)).expect("timeout");
        self.roots.push(Root { plan, socket, pid: None, executions: 0, idle: true });
        index
    }

    /// Wants an execution killed.
    pub fn cancel(&mut self, id: u64) {
        let (index, _) = &self.running[&id];
        // It may have gone already.
        let _ = self.roots[*index].socket.shutdown(std::net::Shutdown::Write);
    }

    /// The same plan in a slot of its own, whose inputs are what lies at `tree`.
    #[must_use]
    pub fn over(&self, mut plan: Plan, tree: &Path) -> Plan {
        let slot = self.folder(&format!("slot-{}", self.next));
        fs::rename(tree, slot.join(TREE)).expect("on one file system");
        plan.root.slot = text(slot);
        plan
    }

    /// The process of the launcher.
    #[must_use]
    pub fn launcher(&self) -> u32 {
        self.launcher.as_ref().expect("a launcher").child.id()
    }

    /// How many roots there were.
    #[must_use]
    pub fn roots(&self) -> usize {
        self.roots.len()
    }

    /// The process of the root that runs this execution.
    pub fn root_of(&mut self, id: u64) -> u32 {
        let index = self.running[&id].0;
        if self.roots[index].pid.is_none() {
            let reply = self.roots[index].reply();
            assert!(matches!(reply, Some(Reply::Made { .. })), "{reply:?}");
        }
        self.roots[index].pid.expect("said by now")
    }

    /// What this execution has written to its stdout so far.
    #[must_use]
    pub fn stdout(&self, id: u64) -> String {
        fs::read_to_string(self.running[&id].1.join(STDOUT)).unwrap_or_default()
    }

    /// Where this execution writes.
    #[must_use]
    pub fn folder_of(&self, id: u64) -> PathBuf {
        self.running[&id].1.clone()
    }

    /// Waits until this execution has ended.
    pub fn wait(&mut self, id: u64) -> Ran {
        let (index, folder) = self.running[&id].clone();
        let root = &mut self.roots[index];
        let ended = loop {
            match root.reply() {
                Some(Reply::Made { .. }) => {}
                Some(Reply::Ended(ended)) => {
                    root.idle = !matches!(ended.how, How::SetupFailed { .. });
                    break ended;
                }
                None => break Ended::without_a_run(How::Lost),
            }
        };
        self.the_inputs_are_as_they_were();
        let file = |name: &str| fs::read(folder.join(name)).unwrap_or_default();
        Ran {
            ended,
            stdout: String::from_utf8_lossy(&file(STDOUT)).into_owned(),
            stderr: String::from_utf8_lossy(&file(STDERR)).into_owned(),
            upper: folder.join(UPPER),
        }
    }

    /// Runs these arguments with the usual plan.
    pub fn run(&mut self, arguments: &[&str]) -> Ran {
        let plan = self.plan(arguments);
        let id = self.start(plan);
        self.wait(id)
    }

    /// Runs a shell script with the usual plan.
    pub fn shell(&mut self, script: &str) -> Ran {
        self.run(&["sh", "-c", script])
    }

    /// SIGKILL for the launcher, as the kernel does it when memory is short; returns when all that it
    /// had started is gone, roots without work too.
    pub fn kill_launcher(&mut self) {
        let children = self.launchers_children();
        assert!(!children.is_empty(), "something runs");
        let launcher = self.launcher.as_mut().expect("a launcher");
        launcher.child.kill().expect("it lived");
        launcher.child.wait().expect("it is ours");
        until("its children are gone", || children.iter().all(|child| !child.exists()));
    }

    fn launchers_children(&self) -> Vec<PathBuf> {
        let id = self.launcher.as_ref().expect("a launcher").child.id();
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("CONFIG_PROC_CHILDREN");
        list.split_whitespace().map(|child| Path::new("/proc").join(child)).collect()
    }

    /// Closes all sockets, as a server that dies does, and waits until the launcher has ended.
    pub fn hang_up(&mut self) {
        let children = self.launchers_children();
        self.roots.clear();
        let status = self.launcher.take().expect("a launcher").end().expect("it is ours");
        assert!(status.success(), "{status:?}");
        assert!(children.iter().all(|child| !child.exists()), "it has waited for all of them");
    }

    /// Content, mode and time of every input.
    fn the_inputs_are_as_they_were(&self) {
        let inputs = self.directory.path().join(SLOT).join(TREE);
        let names = fs::read_dir(&inputs).expect("inputs").count();
        assert_eq!(names, INPUTS.len(), "{:?}: files came or went", self.who);
        for name in INPUTS {
            let path = inputs.join(name);
            let meta = fs::metadata(&path).expect("input");
            let content = fs::read_to_string(&path).expect("input");
            let seen = (content.as_str(), meta.mode() & 0o7777, meta.mtime(), meta.nlink());
            assert_eq!(seen, (INPUT, 0o444, INPUT_TIME, 1), "{:?}: the input `{name}` changed", self.who);
        }
    }
}

impl Root {
    /// What it says next; nothing when it is gone.
    fn reply(&mut self) -> Option<Reply> {
        let reply = client::reply(&self.socket).expect("an answer of this version")?;
        if let Reply::Made { pid } = reply {
            self.pid = Some(pid);
        }
        Some(reply)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.roots.clear();
        if let Some(launcher) = self.launcher.take() {
            let _ = launcher.end();
        }
        // Overlayfs leaves folders that nobody may enter, and only their owner can change that.
        let runs = fs::read_dir(self.directory.path().join(SLOT)).into_iter().flatten().flatten();
        for run in runs.filter(|e| e.file_name().to_string_lossy().starts_with("run")) {
            for inner in ["work/work", "work/work/incompat", "work/work/incompat/volatile"] {
                let _ = fs::set_permissions(run.path().join(inner), fs::Permissions::from_mode(0o700));
            }
        }
    }
}

impl Ran {
    /// Asserts that it ended with 0, and returns its stdout.
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.ended.how, How::Exited(0), "{self:#?}");
        self.stdout
    }
}

/// Makes `path` and all in it this user's.
fn give(path: &Path, user: u32) {
    for entry in fs::read_dir(path).expect("folder").map(|e| e.expect("entry")) {
        if entry.file_type().expect("kind").is_dir() {
            give(&entry.path(), user);
        } else {
            chown(entry.path(), Some(user), Some(user)).expect("owner");
        }
    }
    chown(path, Some(user), Some(user)).expect("owner");
}
