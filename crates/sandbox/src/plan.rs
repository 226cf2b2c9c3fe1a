//! The sandbox as data. Everything that can be known before the kernel is asked stands here; it
//! prints, compares and fits in a golden file. What it says, the launcher does; there is no third
//! place where a mount can come from.
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fmt;
use std::time::Duration;

/// The uid and gid that every command sees, whoever runs the server.
pub const INNER_ID: u32 = 1000;
/// The host name that every command sees.
pub const HOST_NAME: &str = "lre";

/// One thing the launcher does on the way into the sandbox, in order. `inside` paths are absolute
/// and seen from the new root; parents are made as needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// A fresh tmpfs, mode 01777, nosuid, nodev.
    Tmpfs {
        /// Where.
        inside: CString,
        /// Most bytes it takes.
        bytes_max: u64,
    },
    /// The minimal /dev: null, zero, full, random, urandom, fd, stdin, stdout, stderr, shm.
    Dev,
    /// /proc of the new PID namespace, processes only (`subset=pid`).
    Proc,
    /// An overlay, `volatile` and `userxattr`: writes go to `upper`, `lower` is never changed.
    Overlay {
        /// Host directory with the inputs.
        lower: CString,
        /// Host directory, empty, on a file system with user xattrs.
        upper: CString,
        /// Host directory, empty, on the same file system as `upper`.
        work: CString,
        /// Where.
        inside: CString,
    },
}

/// What is run when all steps are done.
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

/// A whole sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// What is mounted and written, in order.
    pub steps: Vec<Step>,
    /// What is run.
    pub exec: Exec,
    /// Host file that takes stdout; made anew. It is a file and not a pipe, so that a daemon that
    /// keeps it open holds nobody up.
    pub stdout: CString,
    /// Host file that takes stderr; made anew.
    pub stderr: CString,
    /// When the whole process tree is killed.
    pub timeout: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |text: &CString| text.to_string_lossy().into_owned();
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
            Self::Tmpfs { inside, bytes_max } => {
                write!(f, "tmpfs {} at most {bytes_max} bytes", show(inside))
            }
            Self::Dev => write!(f, "dev /dev"),
            Self::Proc => write!(f, "proc /proc"),
            Self::Overlay { lower, upper, inside, .. } => {
                write!(f, "overlay {} over {} -> {}", show(upper), show(lower), show(inside))
            }
        }
    }
}

impl fmt::Display for SandboxPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        let words: Vec<_> = self.exec.arguments.iter().map(|a| a.to_string_lossy()).collect();
        for variable in &self.exec.environment {
            writeln!(f, "env {}", variable.to_string_lossy())?;
        }
        writeln!(f, "timeout {} ms", self.timeout.as_millis())?;
        writeln!(f, "exec {} in {}", words.join(" "), self.exec.directory.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> CString {
        CString::new(s).expect("no NUL")
    }

    /// What the launcher will do can be read: every step, in its order, and nothing unsaid.
    #[test]
    fn a_plan_prints_as_it_is_performed() {
        let plan = SandboxPlan {
            steps: vec![
                Step::BindReadOnly { host: text("/store/trees/1a-7"), inside: text("/lre/toolchains/1a") },
                Step::Symlink { target: text("/lre/toolchains/1a/usr"), inside: text("/usr") },
                Step::File { inside: text("/etc/hosts"), content: b"127.0.0.1 localhost\n".to_vec() },
                Step::Directory { inside: text("/nonexistent") },
                Step::Dev,
                Step::Proc,
                Step::Tmpfs { inside: text("/tmp"), bytes_max: 1 << 30 },
                Step::Overlay {
                    lower: text("/store/slots/0/tree"),
                    upper: text("/store/slots/0/upper"),
                    work: text("/store/slots/0/work"),
                    inside: text("/lre/exec"),
                },
            ],
            exec: Exec {
                arguments: vec![text("cc"), text("-c"), text("a.c")],
                environment: vec![text("LC_ALL=C"), text("PATH=/usr/bin")],
                directory: text("/lre/exec/sub"),
            },
            stdout: text("/store/slots/0/stdout"),
            stderr: text("/store/slots/0/stderr"),
            timeout: Duration::from_secs(60),
        };
        assert_eq!(
            plan.to_string(),
            "\
ro /store/trees/1a-7 -> /lre/toolchains/1a
link /usr -> /lre/toolchains/1a/usr
file /etc/hosts (20 bytes)
dir /nonexistent
dev /dev
proc /proc
tmpfs /tmp at most 1073741824 bytes
overlay /store/slots/0/upper over /store/slots/0/tree -> /lre/exec
env LC_ALL=C
env PATH=/usr/bin
timeout 60000 ms
exec cc -c a.c in /lre/exec/sub
"
        );
    }
}
