//! Pid 1 of a sandbox: makes it, starts the command, takes every process that ends, and when the
//! command has ended kills what is left.
//!
//! The command is not pid 1 itself, because the kernel protects that one from signals it has no
//! handler for: a program that dies by raising SIGTERM would live on.
use super::event_loop::take_frame;
use super::exec;
use super::limits;
use super::mounts::Root;
use super::report::{Report, now};
use crate::check::kernel_version;
use crate::{HOST_NAME, INNER_ID, Request, SandboxPlan, Usage, decode, sys};
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the launcher knows of the world outside. Inside it could not be asked any more: before the
/// map is written, user and group read as nobody.
pub(super) struct Outer {
    user_map: String,
    group_map: String,
    /// Whether a PID namespace has its own largest pid (Linux 6.14). Before, it is the machine's.
    pid_max_is_ours: bool,
}

impl Outer {
    pub(super) fn look() -> Self {
        Self {
            user_map: format!("{INNER_ID} {} 1", rustix::process::geteuid().as_raw()),
            group_map: format!("{INNER_ID} {} 1", rustix::process::getegid().as_raw()),
            pid_max_is_ours: kernel_version(&rustix::system::uname().release().to_string_lossy()) >= (6, 14),
        }
    }
}

/// The set-up failed.
struct Failure {
    step: String,
    errno: Errno,
}

/// A step that is not the plan's.
fn at(step: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { step: step.to_owned(), errno }
}

/// Where the plan comes from.
pub(super) enum Job<'a> {
    /// It is here.
    Now(&'a SandboxPlan),
    /// It comes over this socket, as a request; or the other end is closed, and it never comes.
    Later(OwnedFd),
}

/// The life of pid 1. `report` is the pipe's end to write.
pub(super) fn run(job: Job<'_>, outer: &Outer, report: OwnedFd) -> ! {
    // The frames above belong to the launcher's loop, of which this is a copy: never return there.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        if let Err(failure) = live(job, outer, &report) {
            Report::failed(&failure.step, failure.errno).send(&report);
        }
    }));
    // First of all: the launcher waits for this.
    drop(report);
    sys::exit_now(i32::from(ended.is_err()))
}

fn live(job: Job<'_>, outer: &Outer, report: &OwnedFd) -> Result<(), Failure> {
    match job {
        Job::Now(plan) => {
            become_ours(&[report.as_raw_fd()], report).map_err(at(TYING))?;
            let root = make_namespaces_ours(outer)?;
            set_up(plan, root)?;
            supervise(plan, report);
        }
        Job::Later(socket) => {
            become_ours(&[report.as_raw_fd(), socket.as_raw_fd()], report).map_err(at(TYING))?;
            let mut root = make_namespaces_ours(outer)?;
            root.prepare().map_err(at("preparing a sandbox"))?;
            let Some(plan) = receive(&socket).map_err(at("receiving the plan"))? else {
                return Ok(());
            };
            drop(socket);
            set_up(&plan, root)?;
            supervise(&plan, report);
        }
    }
    Ok(())
}

const TYING: &str = "tying the sandbox to the launcher";

/// What is the same for every plan: it can be done before there is one.
fn make_namespaces_ours(outer: &Outer) -> Result<Root, Failure> {
    map_ids(outer).map_err(at("user and group of the sandbox"))?;
    forbid_user_namespaces().map_err(at("forbidding nested user namespaces"))?;
    limits::bound_processes(outer.pid_max_is_ours).map_err(at("number of processes"))?;
    rustix::system::sethostname(HOST_NAME.as_bytes()).map_err(at("host name"))?;
    rustix::system::setdomainname(b"(none)").map_err(at("domain name"))?;
    sys::loopback_up().map_err(at("loopback interface"))?;
    bound_capabilities().map_err(at("bounding capabilities"))?;
    Root::new().map_err(at("the root of the sandbox"))
}

fn set_up(plan: &SandboxPlan, mut root: Root) -> Result<(), Failure> {
    root.isolate().map_err(at("separating the mounts"))?;
    let stdout = output(&plan.stdout).map_err(at("the file for stdout"))?;
    let stderr = output(&plan.stderr).map_err(at("the file for stderr"))?;
    for step in &plan.steps {
        root.perform(step).map_err(|errno| Failure { step: step.to_string(), errno })?;
    }
    root.enter().map_err(at("entering the root of the sandbox"))?;
    drop_privileges().map_err(at("giving up privileges"))?;
    let stdin = empty_input().map_err(at("standard input"))?;
    for (file, target) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        sys::become_standard(file.as_fd(), target).map_err(at("standard files"))?;
    }
    rustix::process::chdir(plan.exec.directory.as_c_str()).map_err(|errno| {
        let step = format!("working directory {}", plan.exec.directory.to_string_lossy());
        Failure { step, errno }
    })
}

/// Dies with the launcher, and has nothing else of it than `kept`: not its other executions'
/// files, not its socket.
fn become_ours(kept: &[RawFd], report: &OwnedFd) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        sys::close_range(first, fd - 1)?;
        first = fd + 1;
    }
    sys::close_range(first, i32::MAX)?;
    // The launcher may have died before the death signal was asked for.
    if sys::reader_is_gone(report) { Err(Errno::PIPE) } else { Ok(()) }
}

/// The plan of the request that comes over `socket`; none when it is closed instead.
fn receive(socket: &OwnedFd) -> Result<Option<Box<SandboxPlan>>, Errno> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rustix::io::read(socket, &mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        let Some(body) = take_frame(&mut bytes).map_err(|_| Errno::PROTO)? else {
            continue;
        };
        return match decode(&body) {
            Ok(Request::Run { plan, .. }) => Ok(Some(plan)),
            _ => Err(Errno::PROTO),
        };
    }
}

/// One user and one group, whoever runs the server: inside 1000, outside the server's own.
fn map_ids(outer: &Outer) -> Result<(), Errno> {
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", outer.user_map.as_bytes())?;
    write_file(c"/proc/self/gid_map", outer.group_map.as_bytes())
}

/// Inside a user namespace of his own everybody is privileged, and much of the kernel is open to
/// the privileged. The limit belongs to the writer's user namespace, not to the host.
fn forbid_user_namespaces() -> Result<(), Errno> {
    write_file(c"/proc/sys/user/max_user_namespaces", b"0")
}

pub(super) fn write_file(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(drop)
}

/// A new file, whatever was there before, only for the server's user. Appended to, so that two
/// processes that share it do not overwrite each other.
fn output(path: &CStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::unlinkat(CWD, path, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
}

/// The sandbox's own /dev/null. Not the host's: as its owner, the host's root could change its mode
/// through the descriptor. Without one, a pipe at its end.
fn empty_input() -> Result<OwnedFd, Errno> {
    match rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map(|(read, _write)| read),
        opened => opened,
    }
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

/// No capability is left, and the memory of pid 1, which is a copy of the launcher's, cannot be
/// read.
fn drop_privileges() -> Result<(), Errno> {
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Runs the command and reports its end.
fn supervise(plan: &SandboxPlan, report: &OwnedFd) {
    Report::Started { at: now() }.send(report);
    let command = match exec::start(&plan.exec) {
        Ok(pid) => pid,
        Err(refusal) => {
            let _ = rustix::io::write(rustix::stdio::stderr(), &refusal.message);
            // As wait(2) would give it.
            let status = refusal.code << 8;
            Report::Ended { at: now(), status, usage: Usage::default(), left_running: 0 }.send(report);
            return;
        }
    };
    while let Some(reaped) = sys::wait(-1, true) {
        if reaped.pid == command {
            let at = now();
            let left_running = kill_the_rest();
            Report::Ended { at, status: reaped.status, usage: reaped.usage, left_running }.send(report);
            return;
        }
    }
}

/// Kills every process that is left and waits until it is gone; returns how many ran. Every process
/// here descends from this one, so when no child is left none is.
fn kill_the_rest() -> u32 {
    // What has ended and nobody waited for does not count.
    while sys::wait(-1, false).is_some() {}
    sys::kill_all_others();
    let mut killed = 0;
    while let Some(reaped) = sys::wait(-1, true) {
        if libc::WIFSIGNALED(reaped.status) && libc::WTERMSIG(reaped.status) == libc::SIGKILL {
            killed += 1;
        }
    }
    killed
}
