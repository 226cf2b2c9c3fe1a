//! Starting a launcher.
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Starts `program` with `args`, which must come to [`crate::launcher::main`], and returns the
/// socket to it and its process. Closing the socket ends it and everything that it runs.
///
/// Start it early, while the process is small and has written no file that it will want executed.
///
/// # Errors
/// The program cannot be started.
pub fn spawn(program: &Path, args: &[&str]) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = Command::new(program)
        // Commands can read the arguments of pid 1 of their sandbox, which is a copy of the
        // launcher: no path of the host may stand there.
        .arg0("lre")
        .args(args)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()?;
    Ok((ours, child))
}
