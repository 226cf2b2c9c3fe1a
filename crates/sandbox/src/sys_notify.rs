//! System calls for watching those of another process; `launcher/observe.rs` says what for. As in
//! [`crate::sys`], each function here is safe to call with any arguments.
#![expect(unsafe_code, reason = "seccomp notifications have no safe wrapper; each block has its proof")]

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong};
use std::marker::PhantomData;

/// The errno of the last call, or the value it returned.
fn checked(returned: c_long) -> Result<c_long> {
    if returned < 0 {
        // Every system call here reports through errno, which is never 0 then.
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(returned)
}

/// Installs a seccomp filter in this process, for it and all it starts, and returns the file that
/// hears of the calls it answers with `SECCOMP_RET_USER_NOTIF`; it is closed by exec. The process
/// must have `no_new_privs`. Does not allocate.
///
/// # Errors
/// EBUSY where a filter with a listener is installed already: a container that lre runs in has one.
pub(crate) fn install_listener(program: &mut [libc::sock_filter]) -> Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let filter = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let install = |flags: c_ulong| {
        // SAFETY: `filter` points to `length` instructions that live through the call; the kernel
        // copies and checks them.
        checked(unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&filter))
        })
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // With the third flag (Linux 5.19) a signal does not interrupt a call that is being looked at.
    // Without it the call is made, and told of, once more.
    let listener = match install(flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(Errno::INVAL) => install(flags),
        installed => installed,
    }?;
    let listener = RawFd::try_from(listener).map_err(|_| Errno::BADF)?;
    // SAFETY: with NEW_LISTENER the value is a new file descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// A system call that waits for our answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notification {
    /// Names it.
    pub(crate) id: u64,
    /// The thread that called, as this process's PID namespace sees it.
    pub(crate) pid: u32,
    /// The number of the call.
    pub(crate) call: c_long,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
}

/// Takes a call that waits. Blocks where there is none, so look with poll(2) first.
///
/// # Errors
/// ENOENT where the caller was killed meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    // SAFETY: all bits zero is a valid `seccomp_notif`, and the kernel wants it so.
    let mut taken: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes a `seccomp_notif`, whose size is part of the request's number.
    checked(c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut taken)
    }))?;
    let call = c_long::from(taken.data.nr);
    Ok(Notification { id: taken.id, pid: taken.pid, call, arguments: taken.data.args })
}

/// Whether the caller still waits: what was read of a process of that number was its.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads a u64.
    let valid =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_ref(&id)) };
    valid == 0
}

/// Lets the call be made as if nobody had looked.
///
/// # Errors
/// ENOENT where the caller was killed meanwhile.
pub(crate) fn let_continue(listener: BorrowedFd<'_>, id: u64) -> Result<()> {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1);
    let mut answer = libc::seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the kernel reads a `seccomp_notif_resp`, whose size is part of the request's number.
    checked(c_long::from(unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
    }))?;
    Ok(())
}

/// Copies memory of another process, up to the length of `into`; how much it was. All of it or none
/// where it lies in one page.
///
/// # Errors
/// EPERM where that process may not be looked at, EFAULT where it has nothing there.
pub(crate) fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> Result<usize> {
    let pid = c_int::try_from(pid).map_err(|_| Errno::SRCH)?;
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    let ours = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let theirs = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
    // SAFETY: the kernel writes at most `into.len()` bytes to `into`, which is borrowed for us alone.
    // The other address is the other process's: the kernel looks it up there, and nothing here is
    // read through it.
    let read = checked(
        libc::c_long::try_from(unsafe {
            libc::process_vm_readv(pid, std::ptr::from_ref(&ours), 1, std::ptr::from_ref(&theirs), 1, 0)
        })
        .unwrap_or(-1),
    )?;
    Ok(usize::try_from(read).unwrap_or(0))
}

/// A program with its arguments and environment, as the kernel takes them.
pub(crate) struct Program<'a> {
    path: &'a CStr,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    lives: PhantomData<&'a [CString]>,
}

impl<'a> Program<'a> {
    pub(crate) fn new(path: &'a CStr, arguments: &'a [CString], environment: &'a [CString]) -> Self {
        let pointers = |strings: &'a [CString]| -> Vec<*const c_char> {
            strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        Self { path, argv: pointers(arguments), envp: pointers(environment), lives: PhantomData }
    }

    /// Becomes the program. Returns only where that failed. Does not allocate.
    pub(crate) fn exec(&self) -> Errno {
        // SAFETY: the path is NUL-terminated, both arrays are NULL-terminated arrays of
        // NUL-terminated strings that `'a` keeps alive; the kernel only reads them.
        let returned = unsafe { libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        checked(c_long::from(returned)).err().unwrap_or(Errno::IO)
    }
}
