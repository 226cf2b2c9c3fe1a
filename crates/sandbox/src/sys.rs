//! System calls that have no safe wrapper. Each function here is safe to call with any arguments
//! in a process with one thread; what it needs beyond that stands in its comment.
#![expect(unsafe_code, reason = "the one place where system calls are made by hand; each block has its proof")]

use crate::Usage;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong};
use std::mem::MaybeUninit;
use std::time::Duration;

/// Who one is after [`fork_into`].
pub(crate) enum Forked {
    /// The new process, in its new namespaces.
    Child,
    /// The old one.
    Parent {
        /// The new process, as this process's PID namespace sees it.
        pid: c_int,
        /// The same, as a file that becomes readable when it ends.
        pidfd: OwnedFd,
    },
}

/// The errno of the last call, or the value it returned.
fn checked(returned: libc::c_long) -> Result<libc::c_long> {
    if returned < 0 {
        // Every system call here reports through errno, which is never 0 then.
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(returned)
}

/// A copy of this process in new namespaces (`CLONE_NEW*` of `namespaces`), and in `cgroup` where one is
/// given.
///
/// The caller has one thread or its child calls nothing that takes a lock another thread may have
/// held (no allocation); the child never returns into what its parent was doing.
///
/// # Errors
/// What the kernel says: EPERM or ENOSPC where user namespaces are forbidden, EINVAL where one of
/// the namespaces is unknown.
pub(crate) fn fork_into(namespaces: u64, cgroup: Option<impl AsFd>) -> Result<Forked> {
    /// `CLONE_INTO_CGROUP`, which `libc` has only as a `c_int` that does not hold it.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let cgroup = cgroup.as_ref().map(|fd| fd.as_fd().as_raw_fd());
    let arguments = libc::clone_args {
        flags: namespaces | libc::CLONE_PIDFD as u64 | cgroup.map_or(0, |_| INTO_CGROUP),
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: cgroup.map_or(0, |fd| u64::from(fd.unsigned_abs())),
    };
    // SAFETY: the arguments are a whole `clone_args` of the length given. Without CLONE_VM and with
    // no stack the child continues here on a copy of this memory, as after fork(2). The kernel
    // writes the pidfd into `pidfd`, which lives until after the call.
    let pid = checked(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&arguments), size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: clone3 succeeded with CLONE_PIDFD, so `pidfd` is a new file descriptor that nobody
    // else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: c_int::try_from(pid).unwrap_or(c_int::MAX), pidfd })
}

/// Ends the process at once: no destructors, no handlers registered for the exit.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any value and does not return; it touches no memory.
    unsafe { libc::_exit(code) }
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// mount_setattr(2): sets the `MOUNT_ATTR_*` of `set` on the mount behind `mount`, or its propagation.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, set: u64, propagation: u64) -> Result<()> {
    let attributes = MountAttributes { set, clear: 0, propagation, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated constant, the attributes are a whole `mount_attr` of the
    // length given, and the kernel only reads both.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags as c_uint,
            std::ptr::from_ref(&attributes),
            size_of::<MountAttributes>(),
        )
    })?;
    Ok(())
}

/// Closes all file descriptors from `first` to `last`, both included.
///
/// The caller owns none of them any more: it is the start of a process that was given them, or a
/// child that leaves behind all of its parent's `OwnedFd`s without dropping them.
pub(crate) fn close_range(first: RawFd, last: RawFd) -> Result<()> {
    let (Ok(first), Ok(last)) = (c_uint::try_from(first), c_uint::try_from(last)) else {
        return Ok(());
    };
    if first > last {
        return Ok(());
    }
    // SAFETY: takes three integers and no memory; who owns the descriptors is said above.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
    Ok(())
}

/// Makes `target`, one of 0, 1, 2, a second name of `file`.
pub(crate) fn become_standard(file: impl AsFd, target: RawFd) -> Result<()> {
    debug_assert!((0..=2).contains(&target), "nobody owns the standard descriptors as an `OwnedFd`");
    let file = file.as_fd();
    // SAFETY: takes two integers; dup2 closes `target`, which no `OwnedFd` holds.
    checked(libc::c_long::from(unsafe { libc::dup2(file.as_raw_fd(), target) }))?;
    Ok(())
}

/// A process that has ended, taken from the kernel.
pub(crate) struct Reaped {
    pub(crate) pid: c_int,
    /// As wait(2) gives it.
    pub(crate) status: c_int,
    pub(crate) usage: Usage,
}

/// Waits for the child `pid`, or for any (-1). None: with `block` there is no such child; without,
/// there is none or it still runs.
pub(crate) fn wait(pid: c_int, block: bool) -> Option<Reaped> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        let options = libc::__WALL | if block { 0 } else { libc::WNOHANG };
        // SAFETY: both pointers are to live, writable memory of the right type.
        let waited = unsafe { libc::wait4(pid, &raw mut status, options, usage.as_mut_ptr()) };
        if waited > 0 {
            // SAFETY: all bits zero is a valid rusage, and wait4 has filled it.
            let usage = usage_of(unsafe { usage.assume_init_ref() });
            return Some(Reaped { pid: waited, status, usage });
        }
        if waited == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.unsigned_abs()) + Duration::from_micros(t.tv_usec.unsigned_abs())
    };
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        // Linux counts in KiB.
        resident_bytes_max: usage.ru_maxrss.unsigned_abs() * 1024,
        blocks_in: usage.ru_inblock.unsigned_abs(),
        blocks_out: usage.ru_oublock.unsigned_abs(),
        faults_minor: usage.ru_minflt.unsigned_abs(),
        faults_major: usage.ru_majflt.unsigned_abs(),
        switches_voluntary: usage.ru_nvcsw.unsigned_abs(),
        switches_involuntary: usage.ru_nivcsw.unsigned_abs(),
    }
}

/// SIGKILL for every process that this one sees, except itself and pid 1 of its namespace.
pub(crate) fn kill_all_others() {
    // SAFETY: takes two integers.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// `struct sigaction` of the kernel, on the architectures we know.
#[repr(C)]
struct KernelSigaction {
    handler: usize,
    flags: c_ulong,
    restorer: usize,
    mask: u64,
}

/// Every signal gets its default action, none is blocked: both are inherited over exec, and a
/// server started by nohup or a shell in the background ignores some.
///
/// Past the C library, which keeps two signals for itself and would leave them as they are.
pub(crate) fn reset_signals() {
    const SIGNALS: c_int = 64;
    let default = KernelSigaction { handler: libc::SIG_DFL, flags: 0, restorer: 0, mask: 0 };
    for signal in 1..=SIGNALS {
        // SAFETY: the kernel reads a whole sigaction with a mask of the size given. The default
        // action runs no code of ours. For SIGKILL and SIGSTOP the call fails and changes nothing.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                std::ptr::from_ref(&default),
                std::ptr::null_mut::<KernelSigaction>(),
                size_of::<u64>(),
            )
        };
    }
    let none = 0_u64;
    // SAFETY: the kernel reads a mask of the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::from_ref(&none),
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
}

/// The time on the monotonic clock.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Blocks SIGCHLD in this process and returns a file that is readable while one is pending.
pub(crate) fn child_signals() -> Result<OwnedFd> {
    // SAFETY: all bits zero is a valid `sigset_t`; sigemptyset and sigaddset write only to it, with a
    // signal that exists.
    let mask = unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut mask);
        libc::sigaddset(&raw mut mask, libc::SIGCHLD);
        mask
    };
    // SAFETY: reads a whole `sigset_t`; a NULL old mask is allowed.
    checked(libc::c_long::from(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const mask, std::ptr::null_mut()) }))?;
    // SAFETY: reads a whole `sigset_t`; -1 asks for a new descriptor.
    let fd = checked(libc::c_long::from(unsafe {
        libc::signalfd(-1, &raw const mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    }))?;
    // SAFETY: signalfd has just returned this new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

/// Takes the signals that are pending on a file of [`child_signals`].
pub(crate) fn take_child_signals(signals: impl AsFd) {
    let mut buffer = [0_u8; 4 * size_of::<libc::signalfd_siginfo>()];
    // SIGCHLD does not queue: there is at most one.
    let _ = rustix::io::read(&signals, &mut buffer);
}

/// What all children used that were waited for.
pub(crate) fn usage_of_children() -> Usage {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to live, writable memory of the right type; all bits zero, which stay when
    // the call fails, are a valid rusage.
    usage_of(unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init_ref()
    })
}

/// The I/O priority of this process, as ioprio_get(2) has it.
pub(crate) fn io_priority() -> c_int {
    /// `IOPRIO_WHO_PROCESS`.
    const PROCESS: c_int = 1;
    // SAFETY: takes two integers.
    let priority = unsafe { libc::syscall(libc::SYS_ioprio_get, PROCESS, 0) };
    c_int::try_from(priority).unwrap_or(c_int::MAX)
}

/// Whether addresses are the same in every run, for this process and all it starts.
pub(crate) fn set_addresses(fixed: bool) -> Result<()> {
    let personality = if fixed { libc::ADDR_NO_RANDOMIZE } else { 0 };
    // SAFETY: takes one integer.
    checked(libc::c_long::from(unsafe { libc::personality(personality as c_ulong) }))?;
    Ok(())
}

/// A new IPC namespace for this process and the children it will have. The old one goes with what is in it.
pub(crate) fn new_ipc_namespace() -> Result<()> {
    // SAFETY: takes one integer.
    checked(libc::c_long::from(unsafe { libc::unshare(libc::CLONE_NEWIPC) }))?;
    Ok(())
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all bits zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads a whole `ifreq` with a NUL-terminated name.
    checked(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, std::ptr::from_ref(&request))
    }))?;
    Ok(())
}

/// Installs a seccomp filter in this process, for it and all it starts. It must have
/// `no_new_privs`.
pub(crate) fn install_filter(program: &mut [libc::sock_filter]) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points to `length` instructions that live through the call; the kernel
    // copies and checks them.
    checked(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            std::ptr::from_ref(&filter),
        )
    })?;
    Ok(())
}

/// What [`exec_in_child`] needs. It lives in the parent, which is stopped meanwhile.
struct Start {
    program: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// Most bytes of a file; NULL: no limit.
    file_size: *const libc::rlimit,
    /// The errno of exec; 0 while it has not failed.
    error: c_int,
}

/// The child of [`spawn`]: runs on a stack of its own in the parent's memory, calls the kernel and
/// nothing else.
extern "C" fn exec_in_child(start: *mut std::ffi::c_void) -> c_int {
    let start = start.cast::<Start>();
    // SAFETY: `start` is the `Start` that lives in `spawn`, whose thread is stopped until this one
    // execs or exits; its pointers are valid as said there.
    unsafe {
        libc::setsid();
        let none = 0_u64;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            std::ptr::from_ref(&none),
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
        if !(*start).file_size.is_null() {
            libc::setrlimit(libc::RLIMIT_FSIZE, (*start).file_size);
        }
        libc::execve((*start).program, (*start).argv, (*start).envp);
        (*start).error = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Starts `program` in a session of its own, with no signal blocked, with this process's descriptors 0 to
/// 2, limits, working directory and everything else that is inherited. No file that it writes grows over
/// `file_bytes_max`. Returns its pid.
///
/// The child borrows the memory until it execs, so no page table is copied, and the error of exec
/// comes back to the caller. Not posix_spawn: the C library's asks the kernel about each signal,
/// and starts programs with two of them ignored.
///
/// # Errors
/// What exec says.
pub(crate) fn spawn(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
    file_bytes_max: Option<u64>,
) -> Result<c_int> {
    /// Enough for a few system calls, with much to spare.
    const STACK_BYTES: usize = 64 * 1024;
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    let file_size = file_bytes_max.map(|bytes| libc::rlimit { rlim_cur: bytes, rlim_max: bytes });
    let mut start = Start {
        program: program.as_ptr(),
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        file_size: file_size.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
        error: 0,
    };
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack grows down from the end of `stack`, aligned to 16 bytes as the ABIs want.
    // CLONE_VFORK stops this thread, the only one, until the child has left the memory, so `start`,
    // what it points to (NULL-terminated arrays of NUL-terminated strings) and the stack outlive
    // the child's use, and nobody else touches them. Signals have no handlers here that could run.
    let pid = checked(libc::c_long::from(unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(exec_in_child, top.cast(), flags, (&raw mut start).cast())
    }))?;
    // SAFETY: `start` is ours again. Read through a pointer, because another process wrote it.
    let error = unsafe { std::ptr::read_volatile(&raw const start.error) };
    let pid = c_int::try_from(pid).unwrap_or(c_int::MAX);
    if error == 0 {
        return Ok(pid);
    }
    wait(pid, true);
    Err(Errno::from_raw_os_error(error))
}

/// The standard input of this process, which it never closes.
pub(crate) fn standard_input() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}
