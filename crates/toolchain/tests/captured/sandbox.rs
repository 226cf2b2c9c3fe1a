//! The real launcher with one toolchain mounted and nothing else of the host.
use async_trait::async_trait;
use lre_sandbox::{
    Ended, Exec, How, Inputs, Network, Reply, RootPlan, Run, STDERR, STDOUT, SandboxPlan, Step, TREE, UPPER, client,
    encode,
};
use lre_store::DiskStore;
use lre_toolchain::{Input, Kind, Probe, Probed, Prober, Seen, Toolchain, look};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Ends with its socket, which is closed when this is dropped.
pub struct Sandbox<'s> {
    launcher: Mutex<Launcher>,
    directory: tempfile::TempDir,
    store: &'s DiskStore,
    toolchain: Toolchain,
    mounts: Vec<Step>,
    environment: BTreeMap<String, String>,
}

struct Launcher {
    process: client::Launcher,
    runs: u64,
    /// Of all commands, in user mode and in the kernel.
    processor: Duration,
}

impl<'s> Sandbox<'s> {
    /// With this toolchain, whose tree is laid out at `root`.
    pub fn new(store: &'s DiskStore, root: &Path, toolchain: &Toolchain) -> Self {
        let process = client::spawn(&std::env::current_exe().unwrap(), &["launcher"]).unwrap();
        let mut environment = toolchain.environment.clone();
        environment.extend(toolchain.path().map(|path| ("PATH".to_owned(), path)));
        environment
            .extend([("LC_ALL", "C"), ("HOME", "/nonexistent"), ("TMPDIR", "/tmp")].map(|(n, v)| (n.into(), v.into())));
        let mounts = match toolchain.kind {
            Kind::Rootfs => steps(root, "").collect(),
            _ => vec![Step::BindReadOnly { host: text(root), inside: text(Path::new(&toolchain.mount())) }],
        };
        Self {
            launcher: Mutex::new(Launcher { process, runs: 0, processor: Duration::ZERO }),
            directory: tempfile::tempdir().unwrap(),
            store,
            toolchain: toolchain.clone(),
            mounts,
            environment,
        }
    }

    /// How many commands were run, and the processor time that all of them took.
    #[allow(dead_code, reason = "not every test that has a sandbox counts")]
    pub fn spent(&self) -> (u64, Duration) {
        let launcher = self.launcher.lock().unwrap();
        (launcher.runs, launcher.processor)
    }

    /// Runs a command in /lre/exec with these inputs.
    #[allow(dead_code, reason = "not every test that has a sandbox runs commands of its own")]
    pub fn run(&self, arguments: &[String], inputs: &[(&str, &str)]) -> io::Result<(Ended, Probed)> {
        let inputs = inputs.iter().map(|(name, content)| Input::text(name, content)).collect();
        self.perform(&Probe { arguments: arguments.to_vec(), inputs, ..Probe::default() })
    }

    fn perform(&self, probe: &Probe) -> io::Result<(Ended, Probed)> {
        let mut launcher = self.launcher.lock().unwrap();
        launcher.runs += 1;
        let id = launcher.runs;
        let at = self.directory.path().join(id.to_string());
        fs::create_dir_all(at.join(TREE))?;
        for Input { name, content, executable } in &probe.inputs {
            let path = at.join(TREE).join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, Permissions::from_mode(if *executable { 0o555 } else { 0o444 }))?;
        }
        let mut root = launcher.process.root(&self.root(&at))?;
        let run = Run { asked: client::now(), plan: self.plan(probe)? };
        root.write_all(&encode(&run).map_err(io::Error::other)?)?;
        let ended = loop {
            match client::reply(&root)? {
                Some(Reply::Made { .. }) => {}
                Some(Reply::Ended(ended)) => break ended,
                None => return Err(io::Error::other("the root is gone")),
            }
        };
        let at = at.join("run-0");
        launcher.processor += ended.usage.user + ended.usage.system;
        let exit_code = match &ended.how {
            How::Exited(code) => *code,
            How::Signaled(signal) => 128 + signal,
            other => return Err(io::Error::other(format!("{other:?}"))),
        };
        let (stdout, stderr) = (fs::read(at.join(STDOUT))?, fs::read(at.join(STDERR))?);
        let read = |name: &String| Some((name.clone(), fs::read(at.join(UPPER).join(name)).ok()?.into()));
        let outputs = probe.outputs.iter().filter_map(read).collect();
        Ok((ended, Probed { exit_code, stdout, stderr, outputs }))
    }

    fn root(&self, slot: &Path) -> RootPlan {
        let mut kept = self.mounts.clone();
        kept.push(Step::Dev);
        let tmp = Step::Tmpfs { inside: c"/tmp".into(), mode: 0o1777, bytes_max: 1 << 30 };
        RootPlan {
            kept,
            fresh: vec![Step::Proc { whole: false }, tmp],
            slot: text(slot),
            run: "run-".to_owned(),
            exec_root: c"/lre/exec".into(),
            inputs: Inputs::Overlay,
            network: Network::Loopback,
            fixed_addresses: true,
            warm: None,
            processes_max: 4096,
            cgroup: None,
        }
    }

    fn plan(&self, probe: &Probe) -> io::Result<SandboxPlan> {
        let mut environment = self.environment.clone();
        environment.extend(probe.environment.clone());
        let variables = environment.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(SandboxPlan {
            directories: Vec::new(),
            exec: Exec {
                arguments: probe.arguments.iter().map(|a| CString::new(a.as_str())).collect::<Result<_, _>>()?,
                environment: variables.collect::<Result<_, _>>()?,
                directory: c"/lre/exec".into(),
            },
            timeout: Duration::from_secs(120),
            file_bytes_max: None,
            observe: false,
        })
    }
}

/// Names at the top that are the sandbox's own.
const OURS: [&str; 5] = ["dev", "lre", "proc", "sys", "tmp"];

/// A mount for every name at the top, and for every name in /etc, where the sandbox has its own.
fn steps<'a>(root: &'a Path, below: &'a str) -> impl Iterator<Item = Step> + use<'a> {
    let mut names: Vec<_> = fs::read_dir(root.join(below)).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    names.retain(|name| !below.is_empty() || OURS.iter().all(|ours| *ours != name));
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
impl Prober for Sandbox<'_> {
    async fn probe(&self, probe: &Probe) -> io::Result<Probed> {
        self.perform(probe).map(|(_, probed)| probed)
    }

    async fn look(&self, path: &str) -> io::Result<Seen> {
        look(self.store, &self.toolchain, path).await.map_err(io::Error::other)
    }
}
