//! What pid 1 of a sandbox tells the launcher, over a pipe that only those two have. Nobody waits
//! at the pipe: the launcher empties it when pid 1 has ended or a timer has.
use crate::{Usage, decode, encode};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One message. It fits into a pipe's buffer with room for all that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// The set-up is done, the command starts. On the monotonic clock, which all share.
    Started { at: Duration },
    /// The command has ended, and nothing is left.
    Ended { at: Duration, status: i32, usage: Usage, left_running: u32 },
    /// The set-up failed.
    Failed { step: String, errno: i32 },
}

/// Longest description of a step that is reported, in bytes: a pipe takes 4096 at once.
const STEP_BYTES_MAX: usize = 2048;

/// The time on the monotonic clock.
pub(super) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A new pipe: the end to read, which never blocks, and the end to write.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
}

impl Report {
    pub(super) fn failed(step: &str, errno: Errno) -> Self {
        let step = step.chars().take(STEP_BYTES_MAX / 4).collect();
        Self::Failed { step, errno: errno.raw_os_error() }
    }

    /// Nothing is left to do when this fails: the launcher is gone, and so is this process.
    pub(super) fn send(&self, pipe: impl AsFd) {
        if let Ok(frame) = encode(self) {
            let _ = rustix::io::write(pipe, &frame);
        }
    }
}

/// All that was reported so far on one pipe.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: Vec<u8>,
    /// When the command started.
    pub(super) started: Option<Duration>,
    /// `Ended` or `Failed`.
    pub(super) last: Option<Report>,
}

impl Received {
    /// Takes what is in the pipe.
    pub(super) fn drain(&mut self, pipe: impl AsFd) {
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&pipe, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        while let Some(body) = super::event_loop::take_frame(&mut self.bytes).ok().flatten() {
            match decode(&body) {
                Ok(Report::Started { at }) => self.started = Some(at),
                Ok(last) => self.last = Some(last),
                // A message cut short by a kill: as if it had not been sent.
                Err(_) => break,
            }
        }
    }
}
