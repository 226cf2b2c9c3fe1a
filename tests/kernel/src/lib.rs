//! What must be impossible, and what must work, with the real kernel and the real launcher.
//!
//! Each test runs its programs in every [`World`]: a launcher of the user who runs the tests, and,
//! when that is root, one of an ordinary user too. After every run the world looks whether the
//! inputs are as they were.

mod programs;
pub mod service;

use lre_sandbox::{Ended, Exec, How, Reply, Request, SandboxPlan, Step, client, decode, encode};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
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
    socket: UnixStream,
    launcher: Child,
    next: u64,
    ended: BTreeMap<u64, Ended>,
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
    use std::os::unix::ffi::OsStrExt;
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
        // Awkward on purpose: these characters mean something to overlayfs.
        fs::create_dir(here.join("in,p:u\\ts")).expect("inputs");
        for name in INPUTS {
            let path = here.join("in,p:u\\ts").join(name);
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
        let (socket, launcher) = client::spawn(&programs.path().join("launcher"), arguments).expect("launcher");
        socket.set_read_timeout(Some(PATIENCE * 2)).expect("timeout");
        Self { who, directory, programs, socket, launcher, next: 0, ended: BTreeMap::new() }
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
    pub fn plan(&mut self, arguments: &[&str]) -> SandboxPlan {
        self.next += 1;
        let id = self.next;
        let mut steps: Vec<Step> = ["/bin", "/usr", "/lib", "/lib64"]
            .into_iter()
            .filter(|path| Path::new(path).exists())
            .map(|path| Step::BindReadOnly { host: text(path), inside: text(path) })
            .collect();
        steps.extend([
            Step::BindReadOnly { host: text(self.programs.path().join("tools")), inside: text("/tools") },
            Step::Dev,
            Step::Proc,
            Step::Tmpfs { inside: text("/tmp"), bytes_max: 64 << 20 },
            Step::File { inside: text("/etc/passwd"), content: b"lre:x:1000:1000::/nonexistent:/bin/sh\n".to_vec() },
            Step::Overlay {
                lower: text(self.directory.path().join("in,p:u\\ts")),
                upper: text(self.folder(&format!("upper,:\\{id}"))),
                work: text(self.folder(&format!("work,:\\{id}"))),
                inside: text("/lre/exec"),
            },
        ]);
        SandboxPlan {
            steps,
            exec: Exec {
                arguments: arguments.iter().map(text).collect(),
                environment: vec![text("PATH=/tools:/usr/bin:/bin")],
                directory: text("/lre/exec"),
            },
            stdout: text(self.directory.path().join(format!("stdout-{id}"))),
            stderr: text(self.directory.path().join(format!("stderr-{id}"))),
            timeout: PATIENCE,
        }
    }

    /// Starts the plan made last.
    pub fn start(&mut self, plan: SandboxPlan) -> u64 {
        self.send(&Request::Run { id: self.next, plan: Box::new(plan) });
        self.next
    }

    /// Sends a request.
    pub fn send(&mut self, request: &Request) {
        self.socket.write_all(&encode(request).expect("small")).expect("the launcher listens");
    }

    /// What this execution has written to its stdout so far.
    #[must_use]
    pub fn stdout(&self, id: u64) -> String {
        fs::read_to_string(self.directory.path().join(format!("stdout-{id}"))).unwrap_or_default()
    }

    /// Waits until this execution has ended.
    pub fn wait(&mut self, id: u64) -> Ran {
        while !self.ended.contains_key(&id) {
            let mut length = [0; 4];
            self.socket.read_exact(&mut length).expect("an answer of the launcher");
            let mut body = vec![0; u32::from_le_bytes(length) as usize];
            self.socket.read_exact(&mut body).expect("a whole answer");
            let Reply::Ended { id, ended } = decode(&body).expect("an answer of this version");
            assert!(self.ended.insert(id, ended).is_none(), "answered twice: {id}");
        }
        self.the_inputs_are_as_they_were();
        let file = |name: &str| fs::read(self.directory.path().join(format!("{name}-{id}"))).unwrap_or_default();
        Ran {
            ended: self.ended[&id].clone(),
            stdout: String::from_utf8_lossy(&file("stdout")).into_owned(),
            stderr: String::from_utf8_lossy(&file("stderr")).into_owned(),
            upper: self.directory.path().join(format!("upper,:\\{id}")),
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
    /// had started is gone, sandboxes that waited for work too.
    pub fn kill_launcher(&mut self) {
        let children = self.launchers_children();
        assert!(!children.is_empty(), "something runs");
        self.launcher.kill().expect("it lived");
        self.launcher.wait().expect("it is ours");
        until("its children are gone", || children.iter().all(|child| !child.exists()));
    }

    fn launchers_children(&self) -> Vec<PathBuf> {
        let id = self.launcher.id();
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("CONFIG_PROC_CHILDREN");
        list.split_whitespace().map(|child| Path::new("/proc").join(child)).collect()
    }

    /// Closes the socket, as a server that dies does, and waits until the launcher has ended.
    pub fn hang_up(&mut self) {
        let children = self.launchers_children();
        self.socket.shutdown(std::net::Shutdown::Both).expect("it was open");
        let status = self.launcher.wait().expect("it is ours");
        assert!(status.success(), "{status:?}");
        assert!(children.iter().all(|child| !child.exists()), "it has waited for all of them");
    }

    /// Content, mode and time of every input.
    fn the_inputs_are_as_they_were(&self) {
        let inputs = self.directory.path().join("in,p:u\\ts");
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

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.launcher.wait();
        // Overlayfs leaves folders that nobody may enter, and only their owner can change that.
        let work = fs::read_dir(self.directory.path()).into_iter().flatten().flatten();
        for entry in work.filter(|e| e.file_name().to_string_lossy().starts_with("work")) {
            for inner in ["work", "work/incompat", "work/incompat/volatile"] {
                let _ = fs::set_permissions(entry.path().join(inner), fs::Permissions::from_mode(0o700));
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
