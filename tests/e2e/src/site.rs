//! A server with one toolchain, for clients that are told everything on their command lines.
use crate::buildbox::Buildbox;
use crate::serve::{Home, PATIENCE, Serve};
use crate::tools;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A server with a toolchain, and BuildBox's programs.
pub struct Site {
    /// Ends before its home goes.
    pub server: Serve,
    /// Whose server it is; clients work in its `work`.
    pub home: Home,
    /// The clients.
    pub buildbox: Buildbox,
    /// The property that names the toolchain: `lre-rootfs=HASH/SIZE`.
    pub toolchain: String,
}

impl Site {
    /// With a shell and a few programs, and the configuration `settings` of the server.
    pub fn with_tools(settings: &str) -> Result<Self> {
        let home = Home::new()?;
        let folder = home.path().join("tools");
        tools::few(&folder)?;
        home.must(&["toolchain", "add", "tools", "--from", &format!("dir:{}", folder.display())])?;
        let configuration = home.path().join("home/.config/lre");
        fs::create_dir_all(&configuration)?;
        fs::write(configuration.join("lre.json5"), format!("{{ {settings} }}"))?;
        Self::of(home, "tools")
    }

    /// With a toolchain that the home has.
    pub fn of(home: Home, toolchain: &str) -> Result<Self> {
        let shown = home.must(&["toolchain", "show", toolchain, "--json"])?;
        let quoted = |name: &str| {
            let (_, after) = shown.split_once(&format!("\"{name}\": \""))?;
            Some(after.split_once('"')?.0.to_owned())
        };
        let property = quoted("property").context("a toolchain has a property")?;
        let toolchain = format!("{property}={}", quoted("digest").context("a toolchain has a digest")?);
        let server = home.serve()?;
        Ok(Self { server, home, buildbox: Buildbox::ready()?, toolchain })
    }

    /// The socket, as BuildBox's programs take it.
    pub fn unix(&self) -> String {
        format!("unix:{}", self.home.socket().display())
    }

    /// The port, as BuildBox's programs take it.
    pub fn http(&self) -> String {
        format!("http://{}", self.server.tcp())
    }

    /// A program that takes `--remote`, against the server.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        self.client_of(&self.unix(), program, arguments)
    }

    /// A program that takes `--remote`, against whoever is at `remote`.
    pub fn client_of(&self, remote: &str, program: &str, arguments: &[&str]) -> Result<Output> {
        let mut client = self.buildbox.command(program);
        client.arg(format!("--remote={remote}")).args(arguments).current_dir(self.home.work());
        client.output().with_context(|| program.to_owned())
    }

    /// `trexe ARGUMENTS -- COMMAND` with the platform of the toolchain.
    pub fn trexe(&self, arguments: &[&str], command: &[&str]) -> Result<Output> {
        self.trexe_of(&self.unix(), arguments, command)
    }

    /// The same, against whoever is at `remote`.
    pub fn trexe_of(&self, remote: &str, arguments: &[&str], command: &[&str]) -> Result<Output> {
        let platform = format!("--platform-properties={}", self.toolchain);
        let all = [&[platform.as_str()], arguments, &["--"], command].concat();
        self.client_of(remote, "trexe", &all)
    }

    /// A path in the home, for an argument.
    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }
}

/// A buildbox-casd that passes everything on to a server, and keeps what passes through. Dropping it kills it.
pub struct Casd {
    child: Child,
    socket: PathBuf,
}

impl Casd {
    /// Starts `program` in front of `remote`, with its cache and socket in `folder`.
    pub fn start(mut program: Command, remote: &str, folder: &Path) -> Result<Self> {
        let socket = folder.join("casd.sock");
        fs::create_dir_all(folder)?;
        program.arg(format!("--bind=unix:{}", socket.display()));
        program.args(["--cas-remote", "--ac-remote", "--exec-remote"].map(|flag| format!("{flag}={remote}")));
        // Else it wants room on the disk that a small machine does not have, and waits long before it gives up.
        program.args(["--reserved=1M", "--cas-retry-limit=0", "--ac-retry-limit=0", "--exec-retry-limit=0"]);
        program.arg(folder.join("cache"));
        let log = fs::File::create(folder.join("log"))?;
        let child = program.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut casd = Self { child, socket };
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&casd.socket).is_err() {
            if let Some(status) = casd.child.try_wait()? {
                bail!("buildbox-casd ended with {status}: {}", fs::read_to_string(folder.join("log"))?);
            }
            ensure!(Instant::now() < deadline, "buildbox-casd does not listen");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(casd)
    }

    /// Where it is.
    pub fn unix(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
