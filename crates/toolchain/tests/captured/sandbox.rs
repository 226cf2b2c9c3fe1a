//! The real launcher with a rootfs mounted and nothing else of the host.
use async_trait::async_trait;
use lre_sandbox::{Ended, Exec, How, Reply, Request, SandboxPlan, Step, client, decode, encode};
use lre_toolchain::{Probed, Prober};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Ends with its socket, which is closed when this is dropped.
pub struct Sandbox {
    launcher: Mutex<Launcher>,
    directory: tempfile::TempDir,
    toolchain: Vec<Step>,
    environment: BTreeMap<String, String>,
}

struct Launcher {
    socket: UnixStream,
    process: std::process::Child,
    runs: u64,
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

impl Sandbox {
    /// With the materialised tree `root` as `/`.
    pub fn new(root: &Path, environment: &BTreeMap<String, String>) -> Self {
        let (socket, process) = client::spawn(&std::env::current_exe().unwrap(), &["launcher"]).unwrap();
        let mut environment = environment.clone();
        environment
            .extend([("LC_ALL", "C"), ("HOME", "/nonexistent"), ("TMPDIR", "/tmp")].map(|(n, v)| (n.into(), v.into())));
        Self {
            launcher: Mutex::new(Launcher { socket, process, runs: 0 }),
            directory: tempfile::tempdir().unwrap(),
            toolchain: steps(root, "").collect(),
            environment,
        }
    }

    /// Runs a command in /lre/exec with these inputs.
    pub fn run(&self, arguments: &[String], inputs: &[(&str, &str)]) -> io::Result<(Ended, Probed)> {
        let mut launcher = self.launcher.lock().unwrap();
        launcher.runs += 1;
        let id = launcher.runs;
        let at = self.directory.path().join(id.to_string());
        for name in ["lower", "upper", "work"] {
            fs::create_dir_all(at.join(name))?;
        }
        for (name, content) in inputs {
            fs::write(at.join("lower").join(name), content)?;
        }
        let plan = self.plan(arguments, &at)?;
        launcher.socket.write_all(&encode(&Request::Run { id, plan: Box::new(plan) }).map_err(io::Error::other)?)?;
        let mut length = [0; 4];
        launcher.socket.read_exact(&mut length)?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        launcher.socket.read_exact(&mut body)?;
        let Reply::Ended { id: ended_id, ended } = decode(&body).map_err(io::Error::other)?;
        assert_eq!(ended_id, id);
        let exit_code = match &ended.how {
            How::Exited(code) => *code,
            How::Signaled(signal) => 128 + signal,
            other => return Err(io::Error::other(format!("{other:?}"))),
        };
        let (stdout, stderr) = (fs::read(at.join("stdout"))?, fs::read(at.join("stderr"))?);
        Ok((ended, Probed { exit_code, stdout, stderr }))
    }

    fn plan(&self, arguments: &[String], at: &Path) -> io::Result<SandboxPlan> {
        let mut steps = self.toolchain.clone();
        steps.extend([
            Step::Tmpfs { inside: c"/tmp".into(), bytes_max: 1 << 30 },
            Step::Dev,
            Step::Proc,
            Step::Overlay {
                lower: text(&at.join("lower")),
                upper: text(&at.join("upper")),
                work: text(&at.join("work")),
                inside: c"/lre/exec".into(),
            },
        ]);
        let variables = self.environment.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(SandboxPlan {
            steps,
            exec: Exec {
                arguments: arguments.iter().map(|a| CString::new(a.as_str())).collect::<Result<_, _>>()?,
                environment: variables.collect::<Result<_, _>>()?,
                directory: c"/lre/exec".into(),
            },
            stdout: text(&at.join("stdout")),
            stderr: text(&at.join("stderr")),
            timeout: Duration::from_secs(120),
        })
    }
}

/// A mount for every name at the top, and for every name in /etc, where the sandbox has its own.
fn steps<'a>(root: &'a Path, below: &'a str) -> impl Iterator<Item = Step> + use<'a> {
    let mut names: Vec<_> = fs::read_dir(root.join(below)).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names.into_iter().flat_map(move |name| {
        let relative = PathBuf::from(below).join(&name);
        let (host, inside) = (root.join(&relative), text(&Path::new("/").join(&relative)));
        if relative == Path::new("etc") {
            return steps(root, "etc").collect::<Vec<_>>();
        }
        vec![match fs::read_link(&host) {
            Ok(target) => Step::Symlink { target: text(&target), inside },
            Err(_) => Step::BindReadOnly { host: text(&host), inside },
        }]
    })
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

#[async_trait]
impl Prober for Sandbox {
    async fn probe(&self, arguments: &[String], inputs: &[(&str, &str)]) -> io::Result<Probed> {
        self.run(arguments, inputs).map(|(_, probed)| probed)
    }
}
