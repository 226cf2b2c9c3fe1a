//! `lre` as a user has it: a home of its own, a server of its own, and the commands that talk to it.
use crate::jail::is_root;
use crate::{binary, projects};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen at once. Only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An ordinary user, for tests that root runs.
pub const ORDINARY: u32 = 23_457;

/// Somebody's home directory, in a folder that goes away.
pub struct Home {
    directory: tempfile::TempDir,
    user: Option<u32>,
    program: PathBuf,
}

impl Home {
    /// A new, empty home of whoever runs the test.
    pub fn new() -> Result<Self> {
        Self::of(None)
    }

    /// A home for each kind of user: whoever runs the test, and if that is root, an ordinary one.
    pub fn every() -> Vec<Self> {
        let users = if is_root() { vec![None, Some(ORDINARY)] } else { vec![None] };
        users.into_iter().map(|user| Self::of(user).expect("a home in /tmp")).collect()
    }

    fn of(user: Option<u32>) -> Result<Self> {
        // Short, since a socket's path has at most 108 bytes.
        let directory = tempfile::Builder::new().prefix("lre-e2e-").tempdir_in("/tmp")?;
        for folder in ["home", "run", "work"] {
            std::fs::create_dir(directory.path().join(folder))?;
        }
        // A checkout in root's home cannot be reached by anybody else.
        let program = if user.is_some() { directory.path().join("lre") } else { binary::lre() };
        if let Some(user) = user {
            std::fs::copy(binary::lre(), &program)?;
            projects::give_to(user, directory.path())?;
        }
        Ok(Self { directory, user, program })
    }

    /// Writes a file into [`Home::work`], with the folders above it.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        std::fs::write(&path, text)?;
        if let Some(user) = self.user {
            projects::give_to(user, &self.work())?;
        }
        Ok(path)
    }

    /// What everything below is in.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// An empty folder to work in.
    pub fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// The store that [`Home::serve`] uses.
    pub fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// The socket that [`Home::serve`] uses.
    pub fn socket(&self) -> PathBuf {
        self.path().join("run/re.sock")
    }

    /// `lre`, run in `work` with this home and nothing else of the environment.
    pub fn lre(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let run = self.path().join("run");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", self.path().join("home"));
        command.env("XDG_RUNTIME_DIR", run).env("LRE_STORE", self.store()).env("LRE_SOCKET", self.socket());
        command.current_dir(self.work()).args(arguments).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub fn must(&self, arguments: &[&str]) -> Result<String> {
        let output = self.lre(arguments).output()?;
        let said = said(&output);
        if !output.status.success() {
            bail!("lre {} ended with {}:\n{said}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A server on this home's store and socket and on a free port.
    pub fn serve(&self) -> Result<Serve> {
        self.serve_with(&[])
    }

    /// The same, with further arguments.
    pub fn serve_with(&self, further: &[&str]) -> Result<Serve> {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        Serve::start(self.lre(&arguments))
    }
}

/// What a program said, for a message.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A running `lre serve`. Dropping it kills it.
pub struct Serve {
    child: Child,
    tcp: Option<SocketAddr>,
    log: Arc<Mutex<String>>,
}

impl Serve {
    /// Starts it and waits until it says `ready`.
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("lre serve")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (log, ended) = collected(child.stderr.take().context("stderr is piped")?);
        let lines = lines_of(stdout);
        let mut serve = Self { child, tcp: None, log };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line == "ready" => return Ok(serve),
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("listening tcp ") {
                        serve.tcp = Some(address.parse().with_context(|| line.clone())?);
                    }
                }
                Err(_) => {
                    let status = serve.child.try_wait()?;
                    serve.kill()?;
                    // Its end is the end of what it says.
                    let _ = ended.recv_timeout(PATIENCE);
                    bail!("lre serve is not ready ({status:?}):\n{}", serve.log());
                }
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn tcp(&self) -> SocketAddr {
        self.tcp.expect("it was told to listen on a port")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("whoever reads its stderr does not panic").clone()
    }

    /// SIGTERM, and the wait for its end.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        wait(&mut self.child, deadline).context("lre serve does not end")
    }

    /// SIGKILL, and the wait for its end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        // A process that has ended already cannot be killed, which is no error here.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The end of `child`. There is no wait with a deadline in the standard library, so a thread of the shell's `tail`
/// would be the alternative; a short poll does no harm where only a failing test polls long.
fn wait(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::park_timeout(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// Lines as they come. The sender hangs up at the end of the stream.
fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // The test may have heard enough; the pipe is read on, so that the program can write.
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Everything that has come so far, and a word at the end of the stream.
fn collected(stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, mpsc::Receiver<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let (collector, (sender, receiver)) = (Arc::clone(&text), mpsc::channel());
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let mut text = collector.lock().expect("nobody panics with it");
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
        let _ = sender.send(());
    });
    (text, receiver)
}
