//! A ready root: a process in namespaces of its own, with everything mounted that is the same from one
//! execution to the next. For each execution it makes an init, in a mount, PID and IPC namespace of
//! its own, before anybody asks: most of what a sandbox costs is then paid before the next execution
//! is there.
//!
//! Shared by the executions of one root, which follow each other: the user namespace, the host name and
//! the network with nothing in it. All of those are closed to a command without capabilities.
//!
//! It ends when the server closes its half of the socket, and after anything out of the ordinary; every
//! process below it is gone by then.
use super::channel::Channel;
use super::mounts::Root;
use super::waiting::failed_at;
use super::{NAMESPACES, OPTIONAL_NAMESPACES, init, limits};
use crate::check::kernel_version;
use crate::sys::{self, Forked};
use crate::{HOST_NAME, How, INNER_ID, Network, RootPlan, Step};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::CapabilitySet;
use std::ffi::CStr;

/// The namespaces that each execution has to itself.
const OF_AN_EXECUTION: u64 = (libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC) as u64;

/// What the launcher knows of the world outside. Inside it could not be asked any more: before the
/// map is written, user and group read as nobody.
pub(super) struct Outer {
    user_map: String,
    group_map: String,
    /// Whether a PID namespace has its own largest pid (Linux 6.14). Before, it is the machine's.
    pid_max_is_ours: bool,
    optional: u64,
}

impl Outer {
    pub(super) fn look() -> Self {
        Self {
            user_map: format!("{INNER_ID} {} 1", rustix::process::geteuid().as_raw()),
            group_map: format!("{INNER_ID} {} 1", rustix::process::getegid().as_raw()),
            pid_max_is_ours: kernel_version(&rustix::system::uname().release().to_string_lossy()) >= (6, 14),
            optional: OPTIONAL_NAMESPACES,
        }
    }
}

/// Something failed. `step` is what the plan prints.
pub(super) struct Failure {
    pub(super) step: String,
    pub(super) errno: Errno,
}

impl Failure {
    pub(super) fn how(&self) -> How {
        How::SetupFailed { step: self.step.clone(), errno: self.errno.raw_os_error() }
    }
}

/// The process of a root. The child must go to [`run`].
pub(super) fn fork(plan: &RootPlan, outer: &mut Outer) -> Result<Forked, Errno> {
    let namespaces = match plan.network {
        Network::Loopback => NAMESPACES,
        Network::Host => NAMESPACES & !(libc::CLONE_NEWNET as u64),
    };
    let cgroup = plan
        .cgroup
        .as_deref()
        .map(|path| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()));
    let cgroup = cgroup.transpose()?;
    match sys::fork_into(namespaces | outer.optional, cgroup.as_ref()) {
        Err(Errno::INVAL) if outer.optional != 0 => {
            outer.optional = 0;
            sys::fork_into(namespaces, cgroup.as_ref())
        }
        forked => forked,
    }
}

/// The life of a root, in its own process.
pub(super) fn run(plan: &RootPlan, outer: &Outer, socket: OwnedFd) -> ! {
    let channel = Channel::new(socket);
    // The frames above belong to the launcher's loop, of which this is a copy: never return there.
    let _ = super::catch(|| match build(plan, outer, &channel) {
        Ok(()) => serve(plan, &channel),
        Err(failure) => {
            let _ = channel.refuse(failure.how());
        }
    });
    // Everybody in a PID namespace dies with its pid 1, which this is.
    sys::exit_now(0)
}

fn build(plan: &RootPlan, outer: &Outer, channel: &Channel) -> Result<(), Failure> {
    become_ours(channel).map_err(failed_at("tying the root to the launcher"))?;
    map_ids(outer).map_err(failed_at("user and group of the sandbox"))?;
    // When the machine is out of memory the kernel ends a command, and neither the server nor somebody's editor.
    write_file(c"/proc/self/oom_score_adj", b"1000").map_err(failed_at("going first when memory is short"))?;
    // The memory of this process, which is a copy of the launcher's, and of each pid 1, which is a copy of it,
    // cannot be read by a command.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed_at("closing its memory"))?;
    write_file(c"/proc/sys/user/max_user_namespaces", b"0")
        // Inside a user namespace of his own everybody is privileged, and much of the kernel is open to
        // the privileged. The limit belongs to the writer's user namespace, not to the host.
        .map_err(failed_at("forbidding nested user namespaces"))?;
    limits::bound_processes(plan.processes_max, outer.pid_max_is_ours).map_err(failed_at("number of processes"))?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).map_err(failed_at("host name"))?;
    rustix::system::setdomainname(b"(none)").map_err(failed_at("domain name"))?;
    if plan.network == Network::Loopback {
        network().map_err(failed_at("loopback interface"))?;
    }
    bound_capabilities().map_err(failed_at("bounding capabilities"))?;
    sys::set_addresses(plan.fixed_addresses).map_err(failed_at("making addresses constant"))?;
    let root = Root::new().map_err(failed_at("the root of the sandbox"))?;
    // From here on nothing that the host mounts or unmounts is seen inside.
    root.isolate().map_err(failed_at("separating the mounts"))?;
    for step in &plan.kept {
        root.perform(step).map_err(at(step))?;
    }
    for step in &plan.fresh {
        root.mount_point(&step.inside()).map_err(at(step))?;
    }
    // The kernel lets somebody mount a /proc who sees a whole one; each execution's lies on top of it.
    let whole = Step::Proc { whole: true };
    root.perform(&whole).map_err(at(&whole))?;
    root.bind_slot(&plan.slot, &plan.exec_root).map_err(failed_at("the folder of the slot"))?;
    root.enter().map_err(failed_at("entering the root of the sandbox"))
}

fn at(step: &Step) -> impl Fn(Errno) -> Failure + use<'_> {
    move |errno| Failure { step: step.to_string(), errno }
}

/// Makes one init after the other, as long as the server wants and everything is in order.
fn serve(plan: &RootPlan, channel: &Channel) {
    for number in 0_u64.. {
        let Ok(forked) = sys::fork_into(OF_AN_EXECUTION, None::<OwnedFd>) else { return };
        match forked {
            Forked::Child => init::run(plan, number, channel),
            Forked::Parent { pid, pidfd } => {
                if !watch(channel, pid, &pidfd) {
                    return;
                }
            }
        }
    }
}

/// Waits until this init is gone, and every process of its namespace. False: it was not by its own
/// will, or the server wants no more.
fn watch(channel: &Channel, pid: i32, pidfd: &OwnedFd) -> bool {
    loop {
        let mut fds = [channel.poll_closed(), PollFd::new(pidfd, PollFlags::IN)];
        let polled = poll(&mut fds, None);
        let closed = !fds[0].revents().is_empty();
        if closed || !matches!(polled, Ok(_) | Err(Errno::INTR)) {
            // Fails only when it has ended already.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            sys::wait(pid, true);
            return false;
        }
        if !fds[1].revents().is_empty() {
            return sys::wait(pid, true).is_some_and(|reaped| reaped.status == 0);
        }
    }
}

/// Dies with the launcher, and has nothing else of it than the socket.
fn become_ours(channel: &Channel) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let kept = channel.number();
    sys::close_range(3, kept - 1)?;
    sys::close_range(kept + 1, i32::MAX)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Not the socket of the launcher.
    debug_assert!(null.as_raw_fd() > 2);
    sys::become_standard(&null, 0)
}

/// One user and one group, whoever runs the server: inside 1000, outside the server's own.
fn map_ids(outer: &Outer) -> Result<(), Errno> {
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", outer.user_map.as_bytes())?;
    write_file(c"/proc/self/gid_map", outer.group_map.as_bytes())
}

/// Loopback, and nothing that an execution leaves on it: a connection that was closed would keep its port
/// from the next one for a minute.
fn network() -> Result<(), Errno> {
    sys::loopback_up()?;
    match write_file(c"/proc/sys/net/ipv4/tcp_max_tw_buckets", b"0") {
        // A kernel without TCP.
        Err(Errno::NOENT) => Ok(()),
        written => written,
    }
}

pub(super) fn write_file(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(drop)
}

/// No program started from here can gain a capability.
fn bound_capabilities() -> Result<(), Errno> {
    rustix::thread::clear_ambient_capability_set()?;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that this kernel has.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
