//! Which file a command's first argument means, and starting it.
use crate::{Exec, sys};
use rustix::fs::{Access, AtFlags, CWD, FileType, accessat};
use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// The exit code of a command that does not exist, as shells have it.
pub(super) const NOT_FOUND: i32 = 127;
/// The exit code of a command that exists and cannot be executed.
pub(super) const NOT_EXECUTABLE: i32 = 126;

/// A command that did not start.
pub(super) struct Refusal {
    /// [`NOT_FOUND`] or [`NOT_EXECUTABLE`].
    pub(super) code: i32,
    /// For the command's stderr.
    pub(super) message: Vec<u8>,
}

/// Starts the command; the working directory is already the command's.
pub(super) fn start(exec: &Exec, file_bytes_max: Option<u64>) -> Result<i32, Refusal> {
    let program = program(exec)?;
    sys::spawn(&program, &exec.arguments, &exec.environment, file_bytes_max)
        .map_err(|errno| not_executed(&program, errno))
}

/// The file that is to be executed.
pub(super) fn program(exec: &Exec) -> Result<CString, Refusal> {
    match exec.arguments.first() {
        Some(name) => find(name, &exec.environment),
        None => Err(refusal(NOT_FOUND, c"", "the command has no arguments")),
    }
}

/// The kernel did not execute it.
pub(super) fn not_executed(program: &CStr, errno: Errno) -> Refusal {
    let reason = match errno {
        // The file is there, so what is missing is what it names.
        Errno::NOENT => "its interpreter does not exist in the sandbox".to_owned(),
        errno => std::io::Error::from(errno).to_string(),
    };
    refusal(NOT_EXECUTABLE, program, &reason)
}

/// A name with a slash is the path itself; else the first executable file of that name in PATH.
fn find(name: &CStr, environment: &[CString]) -> Result<CString, Refusal> {
    if name.to_bytes().contains(&b'/') {
        return check(name).map(|()| name.to_owned()).map_err(|errno| refused(name, errno));
    }
    if name.is_empty() {
        return Err(refused(name, Errno::NOENT));
    }
    let Some(path) = environment.iter().find_map(|v| v.to_bytes().strip_prefix(b"PATH=")) else {
        return Err(refusal(NOT_FOUND, name, "not found, and the environment has no PATH"));
    };
    let mut best = Errno::NOENT;
    for directory in path.split(|b| *b == b':') {
        // An empty entry means the working directory (POSIX, XBD 8.3).
        let directory = if directory.is_empty() { b"." } else { directory };
        let Ok(candidate) = CString::new([directory, b"/", name.to_bytes()].concat()) else {
            continue;
        };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            // A directory of that name is no program; look on.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => {}
            Err(errno) => best = errno,
        }
    }
    Err(refused(name, best))
}

/// Whether this is a file that may be executed.
fn check(path: &CStr) -> Result<(), Errno> {
    let file = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(file.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn refused(name: &CStr, errno: Errno) -> Refusal {
    match errno {
        Errno::NOENT | Errno::NOTDIR if name.to_bytes().contains(&b'/') => {
            let usual = [&b"/bin/"[..], b"/usr/bin/"].iter().any(|folder| name.to_bytes().starts_with(folder));
            refusal(NOT_FOUND, name, if usual && !has_root() { NO_ROOT } else { "no such file in the sandbox" })
        }
        Errno::NOENT | Errno::NOTDIR => refusal(NOT_FOUND, name, "not found in the PATH of the command"),
        errno => refusal(NOT_EXECUTABLE, name, &std::io::Error::from(errno).to_string()),
    }
}

/// Trees and Nix closures have no `/bin/sh`, which many programs take for granted.
const NO_ROOT: &str = "no such file in the sandbox: its toolchains have no /bin; one of kind rootfs brings it, and \
    composes with them";

/// Whether a toolchain is mounted as `/`.
fn has_root() -> bool {
    [c"/bin", c"/usr"].iter().any(|path| rustix::fs::lstat(*path).is_ok())
}

fn refusal(code: i32, name: &CStr, reason: &str) -> Refusal {
    let message = [b"lre: cannot run `", name.to_bytes(), b"`: ", reason.as_bytes(), b"\n"].concat();
    Refusal { code, message }
}
