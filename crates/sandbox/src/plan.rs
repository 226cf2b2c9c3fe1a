//! The sandbox as data. Everything that can be known before the kernel is asked stands here; it
//! prints, compares and fits in a golden file. What it says, the launcher does; there is no third
//! place where a mount can come from.
//!
//! Two parts, because most of a sandbox is the same from one execution to the next: a [`RootPlan`]
//! says what is made once and kept (a ready root), a [`SandboxPlan`] what one execution adds.
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fmt;
use std::time::Duration;

/// The uid and gid that every command sees, whoever runs the server.
pub const INNER_ID: u32 = 1000;
/// The host name that every command sees.
pub const HOST_NAME: &str = "lre";
/// In the folder of a slot: the input tree.
pub const TREE: &str = "tree";
/// In the folder of an execution: what the command writes.
pub const UPPER: &str = "upper";
/// In the folder of an execution: the kernel's own.
pub const WORK: &str = "work";
/// In the folder of an execution: what the command says.
pub const STDOUT: &str = "stdout";
/// In the folder of an execution: what the command says on stderr.
pub const STDERR: &str = "stderr";

/// One thing the launcher does on the way into the sandbox, in order. `inside` paths are absolute
/// and seen from the new root; parents are made as needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Step {
    /// A directory of the new root.
    Directory {
        /// Where.
        inside: CString,
    },
    /// A host directory or file, read-only, nosuid, nodev, without the mounts below it.
    BindReadOnly {
        /// What, on the host.
        host: CString,
        /// Where.
        inside: CString,
    },
    /// A symlink of the new root.
    Symlink {
        /// What it says.
        target: CString,
        /// Where.
        inside: CString,
    },
    /// A small file of the new root, mode 0444.
    File {
        /// Where.
        inside: CString,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// A fresh tmpfs, nosuid, nodev.
    Tmpfs {
        /// Where.
        inside: CString,
        /// Mode of its root, as `chmod` takes it.
        mode: u32,
        /// Most bytes it takes.
        bytes_max: u64,
    },
    /// The minimal /dev: null, zero, full, random, urandom, fd, stdin, stdout, stderr.
    Dev,
    /// /proc of the PID namespace.
    Proc {
        /// All of it; else processes only (`subset=pid`).
        whole: bool,
    },
}

/// Which network the executions of a root have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Network {
    /// One of its own with nothing but a loopback interface.
    Loopback,
    /// The host's.
    Host,
}

/// How the inputs are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Inputs {
    /// As the lower layer of an overlay: every directory can be written, no input is changed.
    Overlay,
    /// Bound read-only; only the directories that a plan names can be written.
    ReadOnly,
}

/// What is made once and serves one execution after another: a ready root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootPlan {
    /// Mounted and written once.
    pub kept: Vec<Step>,
    /// Mounted anew for each execution, before its plan is there. In a warm root: once.
    pub fresh: Vec<Step>,
    /// Host directory of the slot: holds the input tree ([`TREE`]), takes the folders of executions.
    pub slot: CString,
    /// Begins the name of the folder of each execution; the number of the execution, from 0, ends it.
    pub run: String,
    /// Where commands find their inputs.
    pub exec_root: CString,
    /// How they find them.
    pub inputs: Inputs,
    /// The network.
    pub network: Network,
    /// Whether addresses are the same in every run (`ADDR_NO_RANDOMIZE`).
    pub fixed_addresses: bool,
    /// The trust domain of which one init serves execution after execution (`launcher/warm.rs` says what is
    /// cleaned); else each execution has a sandbox of its own.
    pub warm: Option<String>,
    /// Most processes and threads at once.
    pub processes_max: u32,
    /// Host directory of the cgroup that it lives in, where there is one.
    pub cgroup: Option<CString>,
}

/// What is run when all is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments. A name without a slash is looked up in PATH of
    /// `environment`, a relative one starts at `directory` (REAPI 2.3, `Command.arguments`).
    pub arguments: Vec<CString>,
    /// All of the environment, `NAME=value`.
    pub environment: Vec<CString>,
    /// The working directory, inside. It must exist.
    pub directory: CString,
}

/// One execution in a ready root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// Directories that are made before the command starts, relative to the exec root, parents before
    /// children. With [`Inputs::ReadOnly`] they and what is below them can be written.
    pub directories: Vec<CString>,
    /// What is run.
    pub exec: Exec,
    /// When the whole process tree is killed, counted from the start of the command.
    pub timeout: Duration,
    /// Most bytes of any one file that it writes, stdout and stderr among them.
    pub file_bytes_max: Option<u64>,
    /// Whether what it asks for in vain is told ([`Wanted`](crate::Wanted)). It is slower then, and else
    /// the same.
    pub observe: bool,
}

fn show(text: &CString) -> String {
    text.to_string_lossy().into_owned()
}

impl Step {
    /// Where it puts something; empty for what has its place.
    #[must_use]
    pub fn inside(&self) -> CString {
        match self {
            Self::Directory { inside }
            | Self::BindReadOnly { inside, .. }
            | Self::Symlink { inside, .. }
            | Self::File { inside, .. }
            | Self::Tmpfs { inside, .. } => inside.clone(),
            Self::Dev => c"/dev".into(),
            Self::Proc { .. } => c"/proc".into(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { inside } => write!(f, "dir {}", show(inside)),
            Self::BindReadOnly { host, inside } => {
                write!(f, "ro {} -> {}", show(host), show(inside))
            }
            Self::Symlink { target, inside } => {
                write!(f, "link {} -> {}", show(inside), show(target))
            }
            Self::File { inside, content } => {
                write!(f, "file {} ({} bytes)", show(inside), content.len())
            }
            Self::Tmpfs { inside, mode, bytes_max } => {
                write!(f, "tmpfs {} mode {mode:o} at most {bytes_max} bytes", show(inside))
            }
            Self::Dev => write!(f, "dev /dev"),
            Self::Proc { whole: false } => write!(f, "proc /proc"),
            Self::Proc { whole: true } => write!(f, "whole proc /proc"),
        }
    }
}

impl fmt::Display for RootPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.kept {
            writeln!(f, "{step}")?;
        }
        for step in &self.fresh {
            writeln!(f, "each time {step}")?;
        }
        let (tree, run) = (format!("{}/{TREE}", show(&self.slot)), format!("{}/{}N", show(&self.slot), self.run));
        match self.inputs {
            Inputs::Overlay => writeln!(f, "each time overlay {run}/{UPPER} over {tree} -> {}", show(&self.exec_root))?,
            Inputs::ReadOnly => writeln!(f, "each time ro {tree} -> {}", show(&self.exec_root))?,
        }
        writeln!(f, "network {}", if self.network == Network::Host { "of the host" } else { "loopback" })?;
        writeln!(f, "at most {} processes", self.processes_max)?;
        if !self.fixed_addresses {
            writeln!(f, "random addresses")?;
        }
        if let Some(domain) = &self.warm {
            writeln!(f, "warm for {domain}")?;
        }
        self.cgroup.iter().try_for_each(|cgroup| writeln!(f, "cgroup {}", show(cgroup)))
    }
}

impl fmt::Display for SandboxPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for directory in &self.directories {
            writeln!(f, "dir {}", show(directory))?;
        }
        let words: Vec<_> = self.exec.arguments.iter().map(|a| a.to_string_lossy()).collect();
        for variable in &self.exec.environment {
            writeln!(f, "env {}", variable.to_string_lossy())?;
        }
        writeln!(f, "timeout {} ms", self.timeout.as_millis())?;
        if let Some(bytes) = self.file_bytes_max {
            writeln!(f, "files at most {bytes} bytes")?;
        }
        if self.observe {
            writeln!(f, "observed")?;
        }
        writeln!(f, "exec {} in {}", words.join(" "), self.exec.directory.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the launcher will do can be read: every step, in its order, and nothing unsaid.
    #[test]
    fn a_plan_prints_as_it_is_performed() {
        let root = RootPlan {
            kept: vec![
                Step::BindReadOnly { host: c"/store/trees/1a-7".into(), inside: c"/lre/toolchains/1a".into() },
                Step::Symlink { target: c"/lre/toolchains/1a/usr".into(), inside: c"/usr".into() },
                Step::File { inside: c"/etc/hosts".into(), content: b"127.0.0.1 localhost\n".to_vec() },
                Step::Directory { inside: c"/nonexistent".into() },
                Step::Dev,
            ],
            fresh: vec![
                Step::Proc { whole: false },
                Step::Tmpfs { inside: c"/tmp".into(), mode: 0o1777, bytes_max: 1 << 30 },
            ],
            slot: c"/store/slots/0/0".into(),
            run: "run-1-".into(),
            exec_root: c"/lre/exec".into(),
            inputs: Inputs::Overlay,
            network: Network::Loopback,
            fixed_addresses: true,
            warm: None,
            processes_max: 4096,
            cgroup: None,
        };
        assert_eq!(
            root.to_string(),
            "\
ro /store/trees/1a-7 -> /lre/toolchains/1a
link /usr -> /lre/toolchains/1a/usr
file /etc/hosts (20 bytes)
dir /nonexistent
dev /dev
each time proc /proc
each time tmpfs /tmp mode 1777 at most 1073741824 bytes
each time overlay /store/slots/0/0/run-1-N/upper over /store/slots/0/0/tree -> /lre/exec
network loopback
at most 4096 processes
"
        );
        let other = RootPlan {
            kept: vec![],
            fresh: vec![Step::Proc { whole: true }],
            inputs: Inputs::ReadOnly,
            network: Network::Host,
            fixed_addresses: false,
            warm: Some("us".into()),
            cgroup: Some(c"/sys/fs/cgroup/lre/0".into()),
            ..root
        };
        assert_eq!(
            other.to_string(),
            "\
each time whole proc /proc
each time ro /store/slots/0/0/tree -> /lre/exec
network of the host
at most 4096 processes
random addresses
warm for us
cgroup /sys/fs/cgroup/lre/0
"
        );
    }

    #[test]
    fn an_execution_prints_as_it_is_performed() {
        let plan = SandboxPlan {
            directories: vec![c"out".into(), c"out/sub".into()],
            exec: Exec {
                arguments: vec![c"cc".into(), c"-c".into(), c"a.c".into()],
                environment: vec![c"LC_ALL=C".into(), c"PATH=/usr/bin".into()],
                directory: c"/lre/exec/sub".into(),
            },
            timeout: Duration::from_secs(60),
            file_bytes_max: Some(7),
            observe: true,
        };
        assert_eq!(
            plan.to_string(),
            "\
dir out
dir out/sub
env LC_ALL=C
env PATH=/usr/bin
timeout 60000 ms
files at most 7 bytes
observed
exec cc -c a.c in /lre/exec/sub
"
        );
    }
}
