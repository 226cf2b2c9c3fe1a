//! The stream between the server and a ready root. The init that serves an execution reads and writes
//! it; the root only looks whether its other end was closed.
use crate::{Ended, How, Reply, Run, decode, encode, frame_length};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd, OwnedFd, RawFd};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// Our end of it.
pub(super) struct Channel(OwnedFd);

impl Channel {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub(super) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Ready when the server has closed its half, or is gone; not when it has sent something.
    pub(super) fn poll_closed(&self) -> PollFd<'_> {
        PollFd::new(&self.0, PollFlags::RDHUP)
    }

    /// The next execution; none when the server has closed its half. Takes one frame and no byte more:
    /// what follows belongs to the next execution.
    pub(super) fn next(&self) -> Result<Option<Run>, Errno> {
        let mut head = [0; 4];
        if !self.read(&mut head)? {
            return Ok(None);
        }
        let mut body = vec![0; frame_length(head).map_err(|_| Errno::PROTO)? - head.len()];
        if !self.read(&mut body)? {
            return Ok(None);
        }
        decode(&body).map(Some).map_err(|_| Errno::PROTO)
    }

    /// Fills the buffer. False: the stream ended before.
    fn read(&self, buffer: &mut [u8]) -> Result<bool, Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut buffer[filled..]))? {
                0 => return Ok(false),
                n => filled += n,
            }
        }
        Ok(true)
    }

    pub(super) fn made(&self, pid: i32) -> Result<(), Errno> {
        self.send(&Reply::Made { pid: pid.unsigned_abs() })
    }

    pub(super) fn ended(&self, ended: Ended) -> Result<(), Errno> {
        self.send(&Reply::Ended(ended))
    }

    /// Answers the next execution with what prevents it.
    pub(super) fn refuse(&self, how: How) -> Result<(), Errno> {
        self.ended(Ended::without_a_run(how))
    }

    fn send(&self, reply: &Reply) -> Result<(), Errno> {
        let frame = encode(reply).map_err(|_| Errno::PROTO)?;
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.0, rest, SendFlags::NOSIGNAL))?;
            rest = &rest[sent..];
        }
        Ok(())
    }
}
