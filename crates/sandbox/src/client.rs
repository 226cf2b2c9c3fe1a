//! The server's end: starting a launcher, asking it for ready roots.
use crate::{Reply, RootPlan, decode, frame_length, sys};
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A launcher process. Dropping it closes the socket, which ends the launcher and all its roots.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
    /// Its process.
    pub child: Child,
}

/// Starts `program` with `args`, which must come to [`crate::launcher::main`].
///
/// Start it early, while the process is small and has written no file that it will want executed.
///
/// # Errors
/// The program cannot be started.
pub fn spawn(program: &Path, args: &[&str]) -> io::Result<Launcher> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let child = Command::new(program)
        // Commands can read the arguments of pid 1 of their sandbox, which is a copy of the
        // launcher: no path of the host may stand there.
        .arg0("lre")
        .args(args)
        .env_clear()
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()?;
    Ok(Launcher { socket: ours, child })
}

impl Launcher {
    /// Asks for a ready root and returns the socket to it at once, while it is still made. What
    /// becomes of it is said over the socket (see `protocol`).
    ///
    /// # Errors
    /// The launcher is gone, or the plan is longer than a packet can be.
    pub fn root(&self, plan: &RootPlan) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let packet = postcard::to_stdvec(plan).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [theirs.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&packet)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(ours)
    }

    /// Whether it has closed its end: it died, or could not start.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let mut nothing = [0_u8; 1];
        // It never says anything, so what comes is the end.
        let peeked = rustix::net::recv(&self.socket, &mut nothing[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))
    }

    /// Tells it to end, with all its roots, and waits until it has.
    ///
    /// # Errors
    /// Its process was waited for already.
    pub fn end(self) -> io::Result<std::process::ExitStatus> {
        let Self { socket, mut child } = self;
        drop(socket);
        child.wait()
    }
}

/// The next thing that a root says; nothing when it is gone. Blocks.
///
/// # Errors
/// Something that is no answer.
pub fn reply(mut root: &UnixStream) -> io::Result<Option<Reply>> {
    let mut head = [0; 4];
    match root.read_exact(&mut head) {
        Ok(()) => {}
        // Killed, perhaps with something unread.
        Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; frame_length(head).map_err(io::Error::other)? - head.len()];
    root.read_exact(&mut body)?;
    decode(&body).map(Some).map_err(io::Error::other)
}

/// The time on the monotonic clock, as [`crate::Run::asked`] has it.
#[must_use]
pub fn now() -> Duration {
    sys::now()
}
