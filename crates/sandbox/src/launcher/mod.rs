//! The process that makes sandboxes, and its descendants.
//!
//! The launcher makes ready roots (`root`): one process for each, in namespaces of its own, with
//! everything mounted that is the same from one execution to the next. A root keeps one sandbox
//! waiting whose pid 1 (`init`) takes the next execution straight from the server, runs it and answers
//! straight to the server.
//!
//! All of them are copies of one small process of one thread, so that forking is cheap and safe; it
//! never writes a file that somebody will execute, so no descriptor of such a file can be inherited by
//! a child and make its start fail with ETXTBSY; and it holds nothing worth stealing.

mod channel;
mod exec;
mod init;
mod limits;
mod mounts;
mod observe;
mod root;
mod seccomp;
mod waiting;
mod warm;

use crate::sys::{self, Forked};
use crate::{How, RootPlan};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
pub(crate) use seccomp::program as filter;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;

/// The namespaces of every root.
pub(crate) const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS) as u64;

/// The one that a kernel may lack. It hides the name of the server's cgroup, nothing more.
const OPTIONAL_NAMESPACES: u64 = libc::CLONE_NEWCGROUP as u64;

/// Longest plan of a root, in bytes: what a packet may have, which the kernel bounds by the buffer of
/// a socket (`net.core.wmem_default`).
const ROOT_PLAN_BYTES_MAX: usize = 256 * 1024;

/// The body of the hidden command `lre launcher`: makes the roots that are asked for on descriptor 0
/// until that is closed; then kills what still runs, waits until it is gone, and ends the process.
///
/// Must be called first thing in a process with one thread.
pub fn main() -> ! {
    let Err(problem) = start() else { std::process::exit(0) };
    eprintln!("lre launcher: {problem}");
    std::process::exit(1)
}

fn start() -> Result<(), Problem> {
    let open = |what: &'static str| move |errno: Errno| Problem { what, source: errno.into() };
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
    rustix::thread::set_no_new_privs(true).map_err(open("giving up privileges"))?;
    seccomp::install().map_err(open("installing the system call filter"))?;
    let mut launcher = Launcher { socket: sys::standard_input(), outer: root::Outer::look(), roots: Vec::new() };
    let result = launcher.serve().map_err(open("the socket to the server"));
    launcher.end();
    result
}

/// Why a launcher had to stop. Its roots are gone by then.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
struct Problem {
    what: &'static str,
    source: std::io::Error,
}

/// What `body` returns; nothing where it panicked.
fn catch<T>(body: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).ok()
}

struct Launcher {
    socket: BorrowedFd<'static>,
    outer: root::Outer,
    roots: Vec<Root>,
}

/// A root, as the launcher sees it.
struct Root {
    pid: i32,
    pidfd: OwnedFd,
}

impl Launcher {
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(self.socket, PollFlags::IN)];
            fds.extend(self.roots.iter().map(|root| PollFd::new(&root.pidfd, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut ended = ready[1..].iter();
            self.roots.retain(|root| {
                let ended = ended.next().is_some_and(|ended| *ended);
                if ended {
                    sys::wait(root.pid, true);
                }
                !ended
            });
            if ready[0] {
                match self.receive()? {
                    Some((plan, socket)) => self.make(&plan, socket),
                    None => return Ok(()),
                }
            }
        }
    }

    /// A root that is asked for, and its socket; none: the server has closed its end.
    fn receive(&self) -> Result<Option<(RootPlan, OwnedFd)>, Errno> {
        let mut packet = vec![0; ROOT_PLAN_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = rustix::io::retry_on_intr(|| {
            recvmsg(self.socket, &mut [IoSliceMut::new(&mut packet)], &mut ancillary, flags)
        });
        let length = match got {
            Ok(message) => message.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(errno),
        };
        let socket = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match (length, socket) {
            (0, _) => Ok(None),
            (_, Some(socket)) => {
                let plan = postcard::from_bytes(&packet[..length]).map_err(|_| Errno::PROTO)?;
                Ok(Some((plan, socket)))
            }
            (_, None) => Err(Errno::PROTO),
        }
    }

    fn make(&mut self, plan: &RootPlan, socket: OwnedFd) {
        match root::fork(plan, &mut self.outer) {
            Ok(Forked::Child) => root::run(plan, &self.outer, socket),
            Ok(Forked::Parent { pid, pidfd }) => {
                // When this does not arrive, nobody listens, and the root will notice too.
                let _ = channel::Channel::new(socket).made(pid);
                self.roots.push(Root { pid, pidfd });
            }
            Err(errno) => {
                let how = How::SetupFailed { step: "new namespaces".to_owned(), errno: errno.raw_os_error() };
                let _ = channel::Channel::new(socket).refuse(how);
            }
        }
    }

    /// Kills what is left and waits until it is gone.
    fn end(&self) {
        for root in &self.roots {
            // Fails only when it has ended already.
            let _ = rustix::process::pidfd_send_signal(&root.pidfd, rustix::process::Signal::KILL);
        }
        for root in &self.roots {
            sys::wait(root.pid, true);
        }
    }
}
