//! What the server and the launcher say to each other, over a stream socket: frames of a
//! little-endian u32 length and that many bytes of postcard.
use crate::SandboxPlan;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ffi::CString;
use std::time::Duration;

/// Longest frame taken, in bytes: a plan is at most the arguments and environment that the kernel
/// takes (a quarter of the stack limit, 2 MiB) and some mounts.
pub const FRAME_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// From the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Perform this plan.
    Run {
        /// Names the execution in later messages; never used twice.
        id: u64,
        /// What to do.
        plan: Box<SandboxPlan>,
    },
    /// Kill it, with all its processes. It still ends with an [`Reply::Ended`].
    Cancel {
        /// Which.
        id: u64,
    },
}

/// From the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// No process of the execution is left that could do anything.
    Ended {
        /// Which.
        id: u64,
        /// How.
        ended: Ended,
    },
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How the command ended.
    pub how: How,
    /// From the request until the command started.
    pub setup: Duration,
    /// From the start of the command until its end.
    pub wall: Duration,
    /// What it and its children used.
    pub usage: Usage,
    /// Processes that were still there when the command ended, and were killed.
    pub left_running: u32,
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
    /// Somebody cancelled it.
    Cancelled,
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
}

/// What an observed command asked for and did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// A file that does not exist in the sandbox: its path there, absolute.
    Path(CString),
    /// Somebody at the other end of a socket: `10.0.0.1:443`, `[::1]:80`, `/run/x.sock`, or `@name`
    /// for an abstract one.
    Network(String),
}

/// A frame, ready to send.
///
/// # Errors
/// A message larger than [`FRAME_BYTES_MAX`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let body = postcard::to_stdvec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|l| *l <= FRAME_BYTES_MAX).ok_or(FrameError::TooLong)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(body);
    Ok(frame)
}

/// The body of a frame, without its length.
///
/// # Errors
/// Bytes that are no such message.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(postcard::from_bytes(body)?)
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
        let ended = Ended { how, setup: Duration::from_micros(900), wall: Duration::ZERO, usage, left_running: 2 };
        let reply = Reply::Ended { id: 7, ended };
        let frame = encode(&reply).expect("small");
        let (length, body) = frame.split_at(4);
        assert_eq!(u32::from_le_bytes(length.try_into().expect("four")) as usize, body.len());
        assert_eq!(decode::<Reply>(body).expect("the same version"), reply);
        assert!(decode::<Request>(&[9, 9, 9]).is_err());
        assert!(decode::<Reply>(&body[..body.len() - 2]).is_err(), "cut short");
    }

    #[test]
    fn what_no_frame_holds_is_refused() {
        let large = vec![0_u8; FRAME_BYTES_MAX as usize + 1];
        assert!(matches!(encode(&large), Err(FrameError::TooLong)));
    }
}
