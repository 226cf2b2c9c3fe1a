//! The asynchronous end of the conversation with the launcher process.
//!
//! The server itself never forks: a fork of a server of 1 GiB costs 40 ms, and a process that both
//! writes and spawns executables meets ETXTBSY (LIMITS 1). Should the launcher die, its
//! executions are lost, and the next one starts a new launcher.
use lre_sandbox::{Ended, FRAME_BYTES_MAX, How, Reply, Request, SandboxPlan, Usage, decode, encode};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio_util::sync::CancellationToken;

/// The program that is the launcher: our own binary with its hidden command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LauncherProgram {
    /// The binary.
    pub program: PathBuf,
    /// The words that make it the launcher.
    pub arguments: Vec<String>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Ended>>>>;

/// A launcher process, started anew when it is gone.
pub(crate) struct Launcher {
    program: LauncherProgram,
    running: AsyncMutex<Option<Running>>,
    next_id: std::sync::atomic::AtomicU64,
}

struct Running {
    writer: OwnedWriteHalf,
    waiting: Waiting,
    child: Child,
    /// Fires when the launcher has closed its end.
    gone: CancellationToken,
}

impl Launcher {
    /// Starts the process at once, while this one is still small.
    pub(crate) fn start(program: LauncherProgram) -> io::Result<Self> {
        let running = Running::start(&program)?;
        Ok(Self { program, running: AsyncMutex::new(Some(running)), next_id: 1.into() })
    }

    /// Performs a plan. Ends only when no process of it is left, cancelled or not.
    pub(crate) async fn run(&self, plan: SandboxPlan, cancel: &CancellationToken) -> io::Result<Ended> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, mut ended) = oneshot::channel();
        let frame = encode(&Request::Run { id, plan: Box::new(plan) }).map_err(io::Error::other)?;
        self.send(&frame, Some((id, sender))).await?;
        tokio::select! {
            ended = &mut ended => return ended.map_err(|_| io::Error::other("the launcher forgot an execution")),
            () = cancel.cancelled() => {}
        }
        let frame = encode(&Request::Cancel { id }).map_err(io::Error::other)?;
        // A launcher that is gone has ended the execution too: `ended` tells.
        let _gone = self.send(&frame, None).await;
        ended.await.map_err(|_| io::Error::other("the launcher forgot an execution"))
    }

    async fn send(&self, frame: &[u8], waiter: Option<(u64, oneshot::Sender<Ended>)>) -> io::Result<()> {
        let mut running = self.running.lock().await;
        if running.as_ref().is_none_or(|r| r.gone.is_cancelled()) {
            if let Some(old) = running.take() {
                tracing::warn!(pid = old.child.id(), "the launcher is gone: starting another one");
                old.reap();
            }
            *running = Some(Running::start(&self.program)?);
        }
        let running = running.as_mut().ok_or_else(|| io::Error::other("no launcher"))?;
        if let Some((id, sender)) = waiter {
            lock(&running.waiting).insert(id, sender);
            // It may have gone between the look above and this line, and then nobody would ever answer.
            if running.gone.is_cancelled() {
                lock(&running.waiting).remove(&id);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        running.writer.write_all(frame).await
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Closing the socket makes the launcher kill its executions and leave.
        if let Some(running) = self.running.get_mut().take() {
            running.reap();
        }
    }
}

impl Running {
    fn start(program: &LauncherProgram) -> io::Result<Self> {
        let arguments: Vec<_> = program.arguments.iter().map(String::as_str).collect();
        let (socket, child) = lre_sandbox::client::spawn(&program.program, &arguments)?;
        socket.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(socket)?.into_split();
        let (waiting, gone) = (Waiting::default(), CancellationToken::new());
        tokio::spawn(listen(reader, Arc::clone(&waiting), gone.clone()));
        Ok(Self { writer, waiting, child, gone })
    }

    /// Waits for the process in a thread of its own, so that no zombie stays.
    fn reap(self) {
        let Self { writer, mut child, .. } = self;
        drop(writer);
        std::thread::spawn(move || {
            if let Err(error) = child.wait() {
                tracing::warn!(%error, "cannot wait for the launcher");
            }
        });
    }
}

/// Hands replies to those who wait, until the launcher closes its end; then all who still wait hear
/// that their execution is lost.
async fn listen(mut reader: OwnedReadHalf, waiting: Waiting, gone: CancellationToken) {
    loop {
        match frame(&mut reader).await {
            Ok(Some(Reply::Ended { id, ended })) => {
                if let Some(sender) = lock(&waiting).remove(&id) {
                    // Whoever waited may have been dropped together with its operation.
                    let _dropped = sender.send(ended);
                }
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the launcher cannot be understood");
                break;
            }
        }
    }
    gone.cancel();
    for (_, sender) in lock(&waiting).drain() {
        let _dropped = sender.send(lost());
    }
}

fn lost() -> Ended {
    Ended { how: How::Lost, setup: Duration::ZERO, wall: Duration::ZERO, usage: Usage::default(), left_running: 0 }
}

async fn frame(reader: &mut OwnedReadHalf) -> io::Result<Option<Reply>> {
    let mut length = [0; 4];
    match reader.read_exact(&mut length).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame that is too long"));
    }
    let mut body = vec![0; length as usize];
    reader.read_exact(&mut body).await?;
    decode(&body).map(Some).map_err(io::Error::other)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while the map was locked leaves it whole: inserts and removes are single calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
