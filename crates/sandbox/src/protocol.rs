//! What the server says to the launcher and to ready roots, and what they answer.
//!
//! To the launcher: a [`RootPlan`](crate::RootPlan) in one packet, together with a stream socket that
//! becomes the root's. Over that socket: frames of a little-endian u32 length and that many bytes of
//! postcard. The launcher says [`Reply::Made`] first; then each [`Run`] is answered by one
//! [`Reply::Ended`], one after the other. Whoever closes his half of it wants everything killed; the
//! end of the stream means that everything is gone.
use crate::SandboxPlan;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ffi::CString;
use std::time::Duration;

/// Longest frame taken, in bytes: a plan is at most the arguments and environment that the kernel
/// takes (a quarter of the stack limit, 2 MiB) and some directories.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// One execution is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it was asked for, on the monotonic clock, which all processes share.
    pub asked: Duration,
    /// What to do.
    pub plan: SandboxPlan,
}

/// From a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Its process is there.
    Made {
        /// As the launcher sees it. All processes of its executions descend from it.
        pid: u32,
    },
    /// No process of the execution is left that could do anything.
    Ended(Ended),
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the command ended.
    pub how: How,
    /// From [`Run::asked`] until the command started.
    pub setup: Duration,
    /// From the start of the command until its end.
    pub wall: Duration,
    /// What it and its children used.
    pub usage: Usage,
    /// Processes that were still there when the command ended, and were killed.
    pub left_running: u32,
    /// What it asked for and did not get, where the plan wants to know.
    pub wanted: Vec<Wanted>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// With this exit code. 127: no such program, 126: it cannot be executed; the reason is on stderr.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It ran longer than the plan allowed.
    TimedOut,
    /// The sandbox could not be made; the command did not run.
    SetupFailed {
        /// The step that failed, as the plan prints it.
        step: String,
        /// What the kernel said.
        errno: i32,
    },
    /// Something outside killed the sandbox.
    Lost,
}

impl Ended {
    /// The command did not run.
    #[must_use]
    pub fn without_a_run(how: How) -> Self {
        Self {
            how,
            setup: Duration::ZERO,
            wall: Duration::ZERO,
            usage: Usage::default(),
            left_running: 0,
            wanted: Vec::new(),
        }
    }
}

/// Resource usage, of the command and the children it waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident set, in bytes.
    pub resident_bytes_max: u64,
    /// File system blocks read.
    pub blocks_in: u64,
    /// File system blocks written.
    pub blocks_out: u64,
    /// Page faults that needed no reading.
    pub faults_minor: u64,
    /// Page faults that did.
    pub faults_major: u64,
    /// How often a process waited for something.
    pub switches_voluntary: u64,
    /// How often another process took the processor.
    pub switches_involuntary: u64,
}

/// What an observed command asked for and did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// A file that does not exist in the sandbox: its path there, absolute.
    Path(CString),
    /// What a directory may have lacked that exists, and that it has opened: some programs list a
    /// directory instead of asking for a file in it.
    Listed(CString),
    /// Somebody at the other end of a socket: `10.0.0.1:443`, `[::1]:80`, `/run/x.sock`, or `@name`
    /// for an abstract one.
    Network(String),
}

/// A frame, ready to send.
///
/// # Errors
/// A message larger than [`FRAME_BYTES_MAX`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![0; 4])?;
    let length = frame.len() - 4;
    let length = u32::try_from(length).ok().filter(|l| *l <= FRAME_BYTES_MAX).ok_or(FrameError::TooLong)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// The body of a frame, without its length.
///
/// # Errors
/// Bytes that are no such message.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(postcard::from_bytes(body)?)
}

/// How many bytes the frame that begins so has in all, its length included.
///
/// # Errors
/// More than [`FRAME_BYTES_MAX`]: whoever sends it speaks something else.
pub fn frame_length(head: [u8; 4]) -> Result<usize, FrameError> {
    match u32::from_le_bytes(head) {
        length @ ..=FRAME_BYTES_MAX => Ok(4 + length as usize),
        _ => Err(FrameError::TooLong),
    }
}

/// A frame that cannot be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than the limit.
    #[error("a message for the launcher is longer than {FRAME_BYTES_MAX} bytes")]
    TooLong,
    /// Not a message of this version.
    #[error("the launcher and the server do not understand each other")]
    Postcard(#[from] postcard::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides read what the other has written.
    #[test]
    fn messages_come_through() {
        let usage = Usage { user: Duration::from_millis(3), resident_bytes_max: 1 << 20, ..Usage::default() };
        let how = How::SetupFailed { step: "proc /proc".to_owned(), errno: 1 };
        let ended = Ended {
            how,
            setup: Duration::from_micros(900),
            wall: Duration::ZERO,
            usage,
            left_running: 2,
            wanted: Vec::new(),
        };
        let reply = Reply::Ended(ended);
        let frame = encode(&reply).expect("small");
        let (length, body) = frame.split_at(4);
        assert_eq!(frame_length(length.try_into().expect("four")).expect("short"), frame.len());
        assert_eq!(decode::<Reply>(body).expect("the same version"), reply);
        assert!(decode::<Reply>(&[9, 9, 9]).is_err());
        assert!(decode::<Reply>(&body[..body.len() - 2]).is_err(), "cut short");
    }

    #[test]
    fn what_no_frame_holds_is_refused() {
        let large = vec![0_u8; FRAME_BYTES_MAX as usize + 1];
        assert!(matches!(encode(&large), Err(FrameError::TooLong)));
        assert!(matches!(frame_length(u32::MAX.to_le_bytes()), Err(FrameError::TooLong)));
    }
}
