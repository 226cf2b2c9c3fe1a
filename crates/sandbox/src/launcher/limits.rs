//! The resource limits of every command: constants, so that no result depends on the shell that
//! started the server.
use super::root::write_file;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files: the kernel's own default for the hard limit, so that an ordinary user can always
/// have it. Soft and hard are equal, because programs that raise it would else find the host's.
const OPEN_FILES_MAX: u64 = 4096;
/// Stack: what every distribution gives.
const STACK_BYTES: u64 = 8 << 20;
/// Stack, as far as a program may raise it: what gcc asks for.
const STACK_BYTES_MAX: u64 = 64 << 20;
/// Locked memory: the kernel's default before 5.16, the smaller one of the two in use.
const LOCKED_BYTES_MAX: u64 = 64 << 10;
/// The fewest processes that the kernel lets a PID namespace be bounded to, and then some.
const NAMESPACE_PROCESSES_MIN: u32 = 320;
/// Pending signals: the smallest the kernel computes for machines of 1 GiB and more.
const PENDING_SIGNALS_MAX: u64 = 3800;
/// Bytes in POSIX message queues: the kernel's default.
const QUEUE_BYTES_MAX: u64 = 819_200;

/// Soft and hard, `None` for none at all. A core file would be an output nobody asked for.
const LIMITS: &[(Resource, Option<u64>, Option<u64>)] = &[
    (Resource::Core, Some(0), Some(0)),
    (Resource::Nofile, Some(OPEN_FILES_MAX), Some(OPEN_FILES_MAX)),
    (Resource::Stack, Some(STACK_BYTES), Some(STACK_BYTES_MAX)),
    (Resource::Memlock, Some(LOCKED_BYTES_MAX), Some(LOCKED_BYTES_MAX)),
    (Resource::Sigpending, Some(PENDING_SIGNALS_MAX), Some(PENDING_SIGNALS_MAX)),
    (Resource::Msgqueue, Some(QUEUE_BYTES_MAX), Some(QUEUE_BYTES_MAX)),
    (Resource::Nice, Some(0), Some(0)),
    (Resource::Rtprio, Some(0), Some(0)),
    (Resource::Rttime, None, None),
    (Resource::Cpu, None, None),
    (Resource::Fsize, None, None),
    (Resource::Data, None, None),
    (Resource::As, None, None),
    (Resource::Rss, None, None),
    (Resource::Locks, None, None),
];

/// Sets them, in the launcher, for it and all it starts. Where the server was started with a lower hard
/// limit that one stays: only the host's root can raise it.
///
/// # Errors
/// What the kernel says; not for a limit that is too low already.
pub(super) fn apply() -> rustix::io::Result<()> {
    for (resource, soft, hard) in LIMITS {
        let ceiling = getrlimit(*resource).maximum;
        let hard = lower(*hard, ceiling);
        setrlimit(*resource, Rlimit { current: lower(*soft, hard), maximum: hard })?;
    }
    Ok(())
}

/// Bounds the processes and threads of a root, of which one execution runs at a time. Not in the launcher, where the limit would count all
/// processes of the server's user; in a user namespace it counts those of the namespace.
///
/// The resource limit does not bind the host's root. Where a PID namespace has its own largest pid
/// that bounds everybody.
///
/// # Errors
/// What the kernel says.
pub(super) fn bound_processes(processes_max: u32, pid_max_is_ours: bool) -> rustix::io::Result<()> {
    let ceiling = lower(Some(processes_max.into()), getrlimit(Resource::Nproc).maximum);
    setrlimit(Resource::Nproc, Rlimit { current: ceiling, maximum: ceiling })?;
    if pid_max_is_ours {
        let pids = processes_max.max(NAMESPACE_PROCESSES_MIN);
        write_file(c"/proc/sys/kernel/pid_max", pids.to_string().as_bytes())?;
    }
    Ok(())
}

fn lower(wanted: Option<u64>, ceiling: Option<u64>) -> Option<u64> {
    match (wanted, ceiling) {
        (Some(wanted), Some(ceiling)) => Some(wanted.min(ceiling)),
        (wanted, ceiling) => wanted.or(ceiling),
    }
}
