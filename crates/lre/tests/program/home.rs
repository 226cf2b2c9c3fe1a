//! The real program, with a home of its own.
use lre::client::{ActionSpec, Client};
use lre::config::Endpoint;
use lre_model::Platform;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A home, a store, and a toolchain that is this machine's shell and nothing else.
pub struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    /// A home whose store holds the toolchain `sh`.
    pub fn new() -> Self {
        // Short: a socket will be in it.
        let home = Self { directory: tempfile::Builder::new().prefix("lre-t-").tempdir_in("/tmp").unwrap() };
        let tree = home.path().join("tree");
        copy_program(Path::new("/bin/sh"), &tree);
        for name in ["cat", "mkdir", "ln", "chmod", "sleep"] {
            copy_program(&Path::new("/bin").join(name), &tree);
        }
        home.must(&["toolchain", "add", "sh", "--from", &format!("dir:{}", tree.display())]);
        home
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn store(&self) -> PathBuf {
        self.path().join("cache/lre")
    }

    /// `lre` with this home and nothing of the test's environment.
    pub fn lre(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_lre"));
        command.args(arguments);
        command
    }

    /// What a shell prints that finds `lre` in its PATH.
    pub fn shell(&self, script: &str) -> String {
        let programs = Path::new(env!("CARGO_BIN_EXE_lre")).parent().unwrap();
        let mut command = self.command("/bin/sh");
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        let output = command.args(["-c", &format!("exec 2>&1\n{script}")]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A program with this home and nothing of the test's environment.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path());
        for name in ["CACHE", "STATE", "CONFIG"] {
            command.env(format!("XDG_{name}_HOME"), self.path().join(name.to_lowercase()));
        }
        command.env("LRE_SOCKET", self.path().join("re.sock")).env("LRE_LISTEN", "127.0.0.1:0").env("LRE_LOG", "warn");
        command.stdin(Stdio::null()).current_dir(self.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.lre(arguments).output().unwrap()
    }

    /// Stdout of a command that must succeed.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "lre {arguments:?}: {}\n{said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The toolchain as a platform.
    pub fn platform(&self) -> Platform {
        let shown: serde_json::Value =
            serde_json::from_str(&self.must(&["toolchain", "show", "sh", "--json"])).unwrap();
        let property = shown["property"].as_str().unwrap().to_owned();
        Platform::new([(property, shown["toolchain"]["digest"].as_str().unwrap().to_owned())])
    }

    /// An action that runs a script.
    pub fn script(&self, script: &str, outputs: &[&str]) -> ActionSpec {
        ActionSpec {
            arguments: ["/bin/sh", "-c", script].map(ToOwned::to_owned).into(),
            outputs: outputs.iter().map(|&path| path.to_owned()).collect(),
            platform: self.platform(),
            ..ActionSpec::default()
        }
    }

    /// Starts a server; it answers when this returns.
    pub fn serve(&self, further: &[&str]) -> Serve {
        let arguments: Vec<_> = ["serve", "--slots", "2"].iter().chain(further).copied().collect();
        let mut child = self.lre(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut tcp = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(address) = line.strip_prefix("listening tcp ") {
                tcp = Some(address.parse().unwrap());
            }
            if line == "ready" {
                return Serve { child, tcp: tcp.unwrap() };
            }
        }
        panic!("the server ended: {:?}", child.wait());
    }
}

/// A server of the test's own.
pub struct Serve {
    child: Child,
    pub tcp: SocketAddr,
}

impl Serve {
    pub async fn client(&self) -> Client {
        Client::connect(&Endpoint::Tcp(self.tcp.to_string()), None).await.unwrap()
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// As the kernel does it when memory is short.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies a program and the libraries that the loader says it needs.
fn copy_program(program: &Path, tree: &Path) {
    let copy = |from: &Path| {
        let to = tree.join(from.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    copy(program);
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new).for_each(copy);
}
