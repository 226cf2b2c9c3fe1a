//! One ready root, as the server sees it: a socket over which one execution after the other is asked for
//! and answered.
use crate::launcher::Launcher;
use crate::limits::Members;
use crate::run_directory::RunDirectories;
use lre_sandbox::{Ended, FrameError, How, Reply, RootPlan, Run, SandboxPlan, client, decode, encode, frame_length};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Longest set-up: it is milliseconds, unless a file system it mounts from hangs.
const SETUP_MAX: Duration = Duration::from_secs(60);

/// A root that is there, or is still made. Dropping it kills all its processes.
pub(crate) struct Root {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    inbox: Vec<u8>,
    pid: Arc<AtomicU32>,
    folders: Arc<RunDirectories>,
    /// It must not be given another.
    spent: bool,
}

/// How an execution was over.
#[derive(Debug)]
pub(crate) enum Over<W> {
    /// As the root says.
    Ended(Ended),
    /// It was killed, for this reason; no process of it is left.
    Stopped(W),
}

impl Root {
    /// Asks the launcher for one.
    pub(crate) fn make(launcher: &Launcher, plan: &RootPlan, folders: Arc<RunDirectories>) -> io::Result<Self> {
        let socket = launcher.root(plan)?;
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        Ok(Self { reader, writer, inbox: Vec::new(), pid: Arc::default(), folders, spent: false })
    }

    /// The folders that it makes for its executions.
    pub(crate) fn folders(&self) -> &Arc<RunDirectories> {
        &self.folders
    }

    /// The processes of its executions, and its own.
    pub(crate) fn members(&self) -> Members {
        Members(Arc::clone(&self.pid))
    }

    /// Whether it can be given an execution. One that was killed while nobody used it is found out here.
    pub(crate) fn is_usable(&mut self) -> bool {
        if self.spent {
            return false;
        }
        // Between two executions it says nothing but that it was made.
        let mut buffer = [0; 64];
        match self.reader.try_read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.inbox.extend_from_slice(&buffer[..n]);
                true
            }
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Ends it. No process of it is left when this returns.
    pub(crate) async fn end(mut self) {
        kill(&mut self.writer, &mut self.spent).await;
        while let Ok(Some(_)) = next(&mut self.reader, &mut self.inbox).await {}
    }

    /// Has one execution made. When `stop` ends first, everything is killed. Ends only when no process of
    /// the execution is left.
    pub(crate) async fn run<W>(&mut self, plan: SandboxPlan, stop: impl Future<Output = W>) -> io::Result<Over<W>> {
        let limit = plan.timeout.saturating_add(SETUP_MAX);
        // A folder was given already: the numbers would not agree any more.
        let frame = encode(&Run { asked: client::now(), plan }).inspect_err(|_| self.spent = true);
        let frame = frame.map_err(io::Error::other)?;
        let Self { reader, writer, inbox, pid, spent, .. } = self;
        let (mut rest, mut why) = (&frame[..], None);
        let mut too_slow = false;
        let (mut stop, mut limit) = (std::pin::pin!(stop), std::pin::pin!(tokio::time::sleep(limit)));
        let ended = loop {
            tokio::select! {
                biased;
                reply = next(reader, inbox) => match reply? {
                    Some(Reply::Made { pid: made }) => pid.store(made, Ordering::Relaxed),
                    Some(Reply::Ended(ended)) => break Some(ended),
                    None => break None,
                },
                // A root that could not be made has closed its end already, and has said why.
                sent = writer.write(rest), if !rest.is_empty() => rest = sent.map_or(&[], |n| &rest[n..]),
                reason = &mut stop, if why.is_none() && !too_slow => {
                    why = Some(reason);
                    kill(writer, spent).await;
                }
                () = &mut limit, if why.is_none() && !too_slow => {
                    too_slow = true;
                    kill(writer, spent).await;
                }
            }
        };
        Ok(match (ended, why) {
            // It ended by itself, even if somebody wanted it killed by then.
            (Some(ended), _) => {
                *spent |= matches!(ended.how, How::SetupFailed { .. } | How::Lost);
                Over::Ended(ended)
            }
            (None, Some(why)) => Over::Stopped(why),
            (None, None) if too_slow => {
                let step = "set-up within a minute".to_owned();
                Over::Ended(Ended::without_a_run(How::SetupFailed { step, errno: TIMED_OUT }))
            }
            (None, None) => {
                *spent = true;
                Over::Ended(Ended::without_a_run(How::Lost))
            }
        })
    }
}

/// ETIMEDOUT.
const TIMED_OUT: i32 = rustix::io::Errno::TIMEDOUT.raw_os_error();

/// Closing our half says it; the end of the stream tells that it is done.
async fn kill(writer: &mut OwnedWriteHalf, spent: &mut bool) {
    *spent = true;
    // Fails when the other end is gone, which is what is wanted.
    let _gone = writer.shutdown().await;
}

/// The next frame; none at the end of the stream. Can be dropped and called again.
async fn next(reader: &mut OwnedReadHalf, inbox: &mut Vec<u8>) -> io::Result<Option<Reply>> {
    loop {
        if let Some(reply) = take(inbox).map_err(io::Error::other)? {
            return Ok(Some(reply));
        }
        match reader.read_buf(inbox).await {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // Killed with something unread.
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e),
        }
    }
}

fn take(inbox: &mut Vec<u8>) -> Result<Option<Reply>, FrameError> {
    let Some(head) = inbox.first_chunk::<4>() else { return Ok(None) };
    let length = frame_length(*head)?;
    if inbox.len() < length {
        return Ok(None);
    }
    let reply = decode(&inbox[4..length])?;
    inbox.drain(..length);
    Ok(Some(reply))
}
