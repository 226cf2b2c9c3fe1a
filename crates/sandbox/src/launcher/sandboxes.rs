//! Starts sandboxes, and has some ready before anybody asks.
//!
//! Most of a set-up is the same for every plan: the process, its namespaces (the network's is the
//! dearest by far), the user, loopback, /proc, the devices. A spare is a sandbox in which that is
//! done and which waits for its plan. Each serves one execution, like any other: nothing is used
//! twice. Spares are made while the launcher has nothing else to do, and only while there is work.
use super::init::{self, Job, Outer};
use super::report::pipe;
use super::{NAMESPACES, OPTIONAL_NAMESPACES};
use crate::sys::{self, Forked};
use crate::{SandboxPlan, Usage};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::VecDeque;
use std::time::Duration;

/// How many spares there are: one that is taken while the next is made would do for one client;
/// builds start several actions at once, and each spare costs some 300 KiB of kernel memory.
const SPARES: usize = 2;
/// How long spares are kept after the last execution was started: a build's actions follow each
/// other within seconds, and a launcher without work should hold nothing.
const SPARES_KEPT: Duration = Duration::from_secs(20);

/// Pid 1 of a sandbox, as the launcher sees it.
pub(super) struct Sandbox {
    pid: i32,
    /// Readable when pid 1 has ended, and with it every process of its namespace.
    pub(super) pidfd: OwnedFd,
    /// From pid 1, which closes its end when it has said all, and then ends.
    pub(super) pipe: OwnedFd,
}

impl Sandbox {
    /// The kernel kills everybody in a PID namespace whose pid 1 dies.
    pub(super) fn kill(&self) {
        // Fails only when it has ended already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits until it is gone. What it used, with all below it. To be called once, at its end.
    pub(super) fn wait(&self) -> Usage {
        sys::wait(self.pid, true).map(|reaped| reaped.usage).unwrap_or_default()
    }
}

/// A sandbox that waits for its plan.
struct Spare {
    sandbox: Sandbox,
    socket: OwnedFd,
}

/// What became of a plan that was offered to a spare.
enum Given {
    Taken(Sandbox),
    /// More than a socket holds. The spare is gone.
    TooLong,
    /// The spare had died.
    Dead,
}

/// Makes them.
pub(super) struct Sandboxes {
    namespaces: u64,
    outer: Outer,
    spares: VecDeque<Spare>,
    /// Until when spares are worth having; 0 when they are not.
    wanted_until: Duration,
    /// Making one failed, so no more are made; the next execution's own set-up will say why.
    broken: bool,
}

impl Sandboxes {
    /// The first spares are made at once: a server that starts has work soon.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            namespaces: NAMESPACES | OPTIONAL_NAMESPACES,
            outer: Outer::look(),
            spares: VecDeque::with_capacity(SPARES),
            wanted_until: now.saturating_add(SPARES_KEPT),
            broken: false,
        }
    }

    /// A sandbox that performs `plan`, which is that of `request`.
    ///
    /// # Errors
    /// No process, or no namespaces.
    pub(super) fn start(&mut self, plan: &SandboxPlan, request: &[u8], now: Duration) -> Result<Sandbox, Errno> {
        self.wanted_until = now.saturating_add(SPARES_KEPT);
        // The oldest: the youngest may still be in the making.
        if let Some(spare) = self.spares.pop_front() {
            match spare.give(request) {
                Given::Taken(sandbox) => return Ok(sandbox),
                Given::TooLong => {}
                Given::Dead => self.broken = true,
            }
        }
        self.fork(Job::Now(plan))
    }

    /// Whether one more should be made when there is nothing else to do.
    pub(super) fn want_spare(&self) -> bool {
        !self.broken && self.spares.len() < SPARES && !self.wanted_until.is_zero()
    }

    /// When the spares go, if there are any.
    pub(super) fn spares_until(&self) -> Option<Duration> {
        (!self.spares.is_empty()).then_some(self.wanted_until)
    }

    /// Makes one more.
    pub(super) fn make_spare(&mut self) {
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let made = pair.and_then(|(ours, theirs)| Ok(Spare { sandbox: self.fork(Job::Later(theirs))?, socket: ours }));
        match made {
            Ok(spare) => self.spares.push_back(spare),
            Err(_) => self.broken = true,
        }
    }

    /// Nobody has wanted them for long.
    pub(super) fn drop_spares(&mut self) {
        self.wanted_until = Duration::ZERO;
        for spare in self.spares.drain(..) {
            spare.sandbox.kill();
            spare.sandbox.wait();
        }
    }

    /// In the parent: the new sandbox. The child does not return.
    fn fork(&mut self, job: Job<'_>) -> Result<Sandbox, Errno> {
        let (pipe, report) = pipe()?;
        let forked = match sys::fork_into(self.namespaces) {
            Err(Errno::INVAL) if self.namespaces & OPTIONAL_NAMESPACES != 0 => {
                self.namespaces &= !OPTIONAL_NAMESPACES;
                sys::fork_into(self.namespaces)
            }
            forked => forked,
        };
        match forked? {
            Forked::Child => init::run(job, &self.outer, report),
            Forked::Parent { pid, pidfd } => Ok(Sandbox { pid, pidfd, pipe }),
        }
    }
}

impl Spare {
    /// Gives it its plan.
    fn give(self, request: &[u8]) -> Given {
        let length = u32::try_from(request.len()).unwrap_or(u32::MAX).to_le_bytes();
        let frame = [&length, request].concat();
        let sent = rustix::net::send(&self.socket, &frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent == Ok(frame.len()) {
            return Given::Taken(self.sandbox);
        }
        self.sandbox.kill();
        self.sandbox.wait();
        if sent.is_ok() { Given::TooLong } else { Given::Dead }
    }
}
