//! The process that performs plans.
//!
//! Small and of one thread, so that forking it is cheap and safe; it never writes a file that
//! somebody will execute, so no descriptor of such a file can be inherited by a child and make its
//! start fail with ETXTBSY; and it holds nothing worth stealing.

mod event_loop;
mod exec;
mod init;
mod limits;
mod mounts;
#[cfg_attr(not(test), expect(dead_code, reason = "pid 1 of the new roots will call it"))]
mod observe;
mod report;
mod sandboxes;
mod seccomp;

use crate::sys;
pub(crate) use seccomp::program as filter;

/// The namespaces of every sandbox.
pub(crate) const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS) as u64;

/// The one that a kernel may lack. It hides the name of the server's cgroup, nothing more.
const OPTIONAL_NAMESPACES: u64 = libc::CLONE_NEWCGROUP as u64;

/// The body of the hidden command `lre launcher`: performs the requests that come in on
/// descriptor 0 (see `Request` and `Reply`) until that is closed; then kills what still runs, waits
/// until it is gone, and ends the process.
///
/// Must be called first thing in a process with one thread.
pub fn main() -> ! {
    let Err(problem) = start() else { std::process::exit(0) };
    eprintln!("lre launcher: {problem}");
    std::process::exit(1)
}

fn start() -> Result<(), Problem> {
    let open = |what: &'static str| move |errno: rustix::io::Errno| Problem::Start { what, source: errno.into() };
    sys::close_range(3, i32::MAX).map_err(open("closing inherited files"))?;
    sys::reset_signals();
    // A session of its own, so that Ctrl-C in the server's terminal reaches the server, which ends
    // its executions in order. Fails only where the process already leads a group; then it is alone.
    let _ = rustix::process::setsid();
    rustix::process::chdir("/").map_err(open("going to /"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Groups that the server's user has besides his own would come along into the sandbox. Only
    // root may drop them.
    let _ = rustix::thread::set_thread_groups(&[]);
    limits::apply().map_err(open("setting resource limits"))?;
    sys::fix_addresses().map_err(open("making addresses constant"))?;
    rustix::thread::set_no_new_privs(true).map_err(open("giving up privileges"))?;
    seccomp::install().map_err(open("installing the system call filter"))?;
    event_loop::Launcher::new().run()
}

/// Why a launcher had to stop. Its executions are gone by then.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{what}: {source}")]
    Start { what: &'static str, source: std::io::Error },
    #[error(transparent)]
    Frame(#[from] crate::FrameError),
    #[error("two executions have the number {0}")]
    SameId(u64),
    #[error("the socket to the server: {0}")]
    Socket(std::io::Error),
}
