//! The whole service, attacked and broken: `lre serve` as a process of its own, with its own store, for each
//! kind of user; actions that are attacks; and a look afterwards whether anything was changed or left.
//!
//! Nothing here knows how a sandbox is made. What is looked at is what anybody can see: the answers, the files
//! of the store, and the processes, mounts and namespaces of this machine.
mod act;
mod census;
mod kit;
mod untouched;

pub use act::{Act, Answer, Ran, Running};
pub use census::{Census, Process, below, children, living_process, of_ours, state_of};
pub use kit::{Kit, attack_on_the_host};
pub use tonic::Code;
pub use untouched::Untouched;

use crate::{PATIENCE, Who, must_make_sandboxes, until};
use act::Caller;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Executions at once; 0 is 1.
    pub slots: usize,
    /// Further variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Its store is a small file system of its own, which only the server and those below it see.
    pub small_disk: bool,
    /// Its calendar is what [`Service::set_clock`] says.
    pub clock: bool,
}

/// A server, its home on disk, and a client of it.
pub struct Service {
    /// Who runs it.
    pub who: Who,
    kit: Arc<Kit>,
    directory: tempfile::TempDir,
    setting: Setting,
    server: Option<Server>,
    before: Option<Untouched>,
}

struct Server {
    process: Child,
    /// Kept open, so that the server may always write.
    _said: BufReader<ChildStdout>,
    tcp: SocketAddr,
    caller: Caller,
}

/// One service for each kind of user. `program` is `lre-kernel-serve`.
///
/// Empty, and loud, where the machine allows no sandbox; a failure there under `LRE_KERNEL_MUST_WORK=1` and in CI.
#[must_use]
pub fn services(program: &Path, setting: &Setting) -> Vec<Service> {
    if !must_make_sandboxes() {
        return Vec::new();
    }
    let mut users = vec![Who::Same];
    if rustix::process::geteuid().is_root() {
        users.push(Who::Ordinary);
    }
    let kit = kit::ready(program);
    users.into_iter().map(|who| Service::new(Arc::clone(&kit), who, setting.clone())).collect()
}

impl Service {
    fn new(kit: Arc<Kit>, who: Who, setting: Setting) -> Self {
        // Short: a socket's path has at most 108 bytes.
        let directory = tempfile::Builder::new().prefix("lre-svc-").tempdir_in("/tmp").expect("a folder in /tmp");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        kit.furnish(who, directory.path());
        let mut service = Self { who, kit, directory, setting, server: None, before: None };
        service.up();
        service
    }

    /// Starts the server. It answers when this returns.
    pub fn up(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let mut process = self.command(&["serve", "--slots", &self.setting.slots.max(1).to_string()]);
        process.stdout(Stdio::piped()).stderr(self.log());
        let mut process = process.spawn().expect("lre serve");
        let mut said = BufReader::new(process.stdout.take().expect("piped"));
        let (mut line, mut tcp) = (String::new(), None);
        while line != "ready\n" {
            line.clear();
            let read = said.read_line(&mut line).expect("its stdout");
            assert!(read > 0, "the server ended: {:?}\n{}", process.wait(), self.logged());
            tcp = line.strip_prefix("listening tcp ").map(|a| a.trim().parse().expect("an address")).or(tcp);
        }
        let token = fs::read_to_string(self.path().join("state/lre/token")).expect("the token");
        let caller = Caller::connect(&self.socket(), token.trim());
        self.server = Some(Server { process, _said: said, tcp: tcp.expect("it listens"), caller });
    }

    /// `lre` with this home, as the user of this service, and with nothing else of the environment.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.setting.small_disk {
            true => kit::on_a_small_disk(self.who, &self.kit.program()),
            false => Command::new(self.kit.program()),
        };
        kit::at_home(&mut command, self.path());
        command.env("LRE_SOCKET", self.socket()).env("LRE_LISTEN", "127.0.0.1:0").args(arguments);
        command.envs(self.setting.environment.iter().map(|(name, value)| (name, value)));
        if self.setting.clock {
            command.env("LD_PRELOAD", self.kit.clock()).env("LRE_TEST_CLOCK", self.path().join("clock"));
        }
        if self.who == Who::Ordinary && !self.setting.small_disk {
            command.uid(crate::ORDINARY).gid(crate::ORDINARY);
        }
        command
    }

    fn log(&self) -> File {
        File::options().create(true).append(true).open(self.path().join("log")).expect("a log")
    }

    /// What the servers of this home have logged.
    #[must_use]
    pub fn logged(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// The folder that everything of it is in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The store, as this process can reach it.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        let path = self.path().join("store");
        if !self.setting.small_disk {
            return path;
        }
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(path.strip_prefix("/").expect("absolute"))
    }

    /// The server's Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/re.sock")
    }

    /// The server's TCP address.
    #[must_use]
    pub fn tcp(&self) -> SocketAddr {
        self.server().tcp
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server().process.id()
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }

    /// The platform of this service's only toolchain.
    #[must_use]
    pub fn platform(&self) -> Vec<(String, String)> {
        vec![self.kit.property(self.who)]
    }

    /// Begins an execution.
    #[must_use]
    pub fn start(&self, act: &Act) -> Running {
        self.server().caller.start(act.spec(self.platform()))
    }

    /// Executes, whatever comes of it, and looks whether the store is as it was.
    pub fn attempt(&mut self, act: &Act) -> Answer {
        let answer = self.start(act).wait();
        self.nothing_has_changed();
        answer
    }

    /// Executes what must come to an end of its own.
    pub fn run(&mut self, act: &Act) -> Ran {
        let answer = self.attempt(act);
        answer.ran().unwrap_or_else(|answer| panic!("{:?}: {answer:#?}\n{}", self.who, self.logged()))
    }

    /// Runs the attack with these arguments, which must end with 0; what it printed.
    pub fn attack(&mut self, arguments: &[&str]) -> String {
        let ran = self.run(&Act::attack(arguments));
        assert_eq!(ran.exit, 0, "{:?}: {ran:#?}", self.who);
        ran.stdout
    }

    /// Runs a script of the toolchain's shell.
    pub fn shell(&mut self, script: &str) -> Ran {
        self.run(&Act::new(&["sh", "-c", script]))
    }

    /// Writes the output files of an execution into `directory`.
    pub fn download(&self, ran: &Ran, directory: &Path) {
        self.server().caller.download(ran, directory);
    }

    /// Remembers the store as it is now. From here on no file of it may change.
    pub fn remember(&mut self) {
        self.before = Some(Untouched::look(&self.store()));
    }

    /// Compares with what was remembered.
    pub fn nothing_has_changed(&mut self) {
        if let Some(before) = &self.before {
            let now = Untouched::look(&self.store());
            before.must_be_in(&now);
            self.before = Some(now);
        }
    }

    /// One ordinary action, with a right answer; toolchain and slot are ready afterwards.
    pub fn works(&mut self) {
        let act = Act::new(&["sh", "-c", "cat in/a in/b > out; cat out; ls -A . in /tmp"]);
        let ran = self.run(&act.input("in/a", "one\n").input("in/b", "two\n").output("out"));
        let seen = (ran.exit, ran.stdout.as_str(), ran.stderr.as_str());
        assert_eq!(seen, (0, "one\ntwo\n.:\nin\nout\n\n/tmp:\n\nin:\na\nb\n", ""), "{:?}", self.who);
    }

    /// Sets the server's calendar, so many seconds from the machine's.
    pub fn set_clock(&self, seconds: i64) {
        // Replaced at once: it is read all the time.
        let new = self.path().join("clock.new");
        fs::write(&new, seconds.to_string()).expect("written");
        fs::rename(new, self.path().join("clock")).expect("renamed");
    }

    /// SIGKILL for the server, as the kernel does it when memory is short.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.process.kill().expect("it lived");
        server.process.wait().expect("it is ours");
    }

    /// SIGTERM, and the wait for the end.
    pub fn down(&mut self) {
        let mut server = self.server.take().expect("it runs");
        kill_process(Pid::from_child(&server.process), Signal::TERM).expect("it lives");
        let mut status = None;
        until("the server ends", || {
            status = server.process.try_wait().expect("it is ours");
            status.is_some()
        });
        assert!(status.is_some_and(|s| s.success()), "{status:?}\n{}", self.logged());
    }

    /// Waits until no process has to do with this service, and no mount.
    pub fn nothing_lives(&self) {
        let mut left = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            left = of_ours(self.path());
            if left.is_empty() {
                break;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        assert!(left.is_empty(), "{:?}: still there: {left:#?}", self.who);
        assert_eq!(census::mounts_of(self.path()), Vec::<String>::new(), "{:?}", self.who);
    }

    /// Waits until nothing of any execution lies in the store: no upload, no temporary file, nothing in a run
    /// directory that is kept for the next.
    pub fn nothing_lies_about(&self) {
        let mut left = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            left = untouched::leftovers(&self.store());
            if left.is_empty() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        panic!("{:?}: left in the store: {left:#?}\n{}", self.who, self.logged());
    }

    fn look(&self) -> Census {
        Census::of(self.pid(), self.path())
    }

    /// Processes, namespaces, mounts and open files of the running service, once it has made ready what it keeps
    /// for the next action.
    #[must_use]
    pub fn census(&self) -> Census {
        let mut census = self.look();
        until("the service rests", || {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
            let before = std::mem::replace(&mut census, self.look());
            census.rests_since(&before)
        });
        census
    }

    /// Waits until there is no more of anything than there was.
    pub fn is_no_more_than(&self, before: &Census) {
        let mut now = self.look();
        let deadline = std::time::Instant::now() + PATIENCE;
        while !now.within(before) && std::time::Instant::now() < deadline {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
            now = self.look();
        }
        assert!(now.within(before), "{:?}: {now:#?}\nis more than {before:#?}\n{}", self.who, self.logged());
    }

    /// Makes a folder of the host that belongs to the user of the service.
    #[must_use]
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("folder");
        self.give(&path);
        path
    }

    /// Makes a file or folder of the host this service's user's.
    pub fn give(&self, path: &Path) {
        if self.who == Who::Ordinary {
            chown(path, Some(crate::ORDINARY), Some(crate::ORDINARY)).expect("owner");
        }
    }

    /// What the attack prints when this service's user runs it on the host: the control, that it works where it may.
    #[must_use]
    pub fn on_the_host(&self, arguments: &[&str]) -> String {
        attack_on_the_host(&self.kit, self.who, arguments)
    }

    /// The same, as a process that goes on. It prints to a pipe.
    #[must_use]
    pub fn command_on_the_host(&self, arguments: &[&str]) -> Command {
        kit::attack_command(&self.kit, self.who, arguments)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.process.kill();
            let _ = server.process.wait();
        }
        if !std::thread::panicking() {
            self.nothing_lives();
        }
        // A failed test may leave what the standard library cannot remove: folders that nobody may enter, and trees
        // deeper than its stack.
        let _ = Command::new("chmod").args(["-R", "u+rwx"]).arg(self.path()).stderr(Stdio::null()).status();
        let _ = Command::new("rm").arg("-rf").arg(self.path()).stderr(Stdio::null()).status();
    }
}
