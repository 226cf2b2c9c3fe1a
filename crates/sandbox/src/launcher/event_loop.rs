//! Takes requests, watches executions and timers, answers.
use super::Problem;
use super::report::{Received, Report, now};
use super::sandboxes::{Sandbox, Sandboxes};
use crate::sys;
use crate::{Ended, FRAME_BYTES_MAX, FrameError, How, Reply, Request, SandboxPlan, Usage, decode, encode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest set-up: it is milliseconds, unless a file system it mounts from hangs.
const SETUP_MAX: Duration = Duration::from_secs(60);

/// Why we killed an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    TimedOut,
    SetupTooSlow,
    Cancelled,
}

/// What can happen to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    SaidAll,
    Gone,
}

/// One sandbox that lives.
struct Execution {
    sandbox: Sandbox,
    /// Whether pid 1 has said all it will.
    said_all: bool,
    /// Whether the server knows how it went.
    answered: bool,
    received: Received,
    requested: Duration,
    timeout: Duration,
    /// When to look next whether it has run too long.
    look_at: Duration,
    killed: Option<Killed>,
}

/// All executions, and the socket to the server.
pub(super) struct Launcher {
    socket: BorrowedFd<'static>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    executions: BTreeMap<u64, Execution>,
    sandboxes: Sandboxes,
}

/// The body of the first frame in `bytes`, if all of it has come.
///
/// # Errors
/// A frame over the limit: whoever sends it speaks something else.
pub(super) fn take_frame(bytes: &mut Vec<u8>) -> Result<Option<Vec<u8>>, FrameError> {
    let Some(length) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length);
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let end = 4 + length as usize;
    if bytes.len() < end {
        return Ok(None);
    }
    let body = bytes[4..end].to_vec();
    bytes.drain(..end);
    Ok(Some(body))
}

impl Launcher {
    pub(super) fn new() -> Self {
        Self {
            socket: sys::standard_input(),
            inbox: Vec::new(),
            outbox: Vec::new(),
            executions: BTreeMap::new(),
            sandboxes: Sandboxes::new(now()),
        }
    }

    /// Until the server closes its end. Nothing that was started is left afterwards.
    pub(super) fn run(mut self) -> Result<(), Problem> {
        let result = self.serve();
        for execution in self.executions.values() {
            execution.sandbox.kill();
        }
        for execution in self.executions.values() {
            execution.sandbox.wait();
        }
        self.sandboxes.drop_spares();
        result
    }

    fn serve(&mut self) -> Result<(), Problem> {
        loop {
            let (socket_ready, events) = self.wait()?;
            let idle = !socket_ready && events.is_empty();
            for (id, event) in events {
                match event {
                    Event::SaidAll => self.listen(id)?,
                    Event::Gone => self.finish(id)?,
                }
            }
            self.look_at_timers();
            if idle && self.sandboxes.want_spare() {
                self.sandboxes.make_spare();
            }
            if socket_ready && !self.receive()? {
                return Ok(());
            }
            self.send()?;
        }
    }

    /// Waits for something to do: whether the socket has something, and what happened to whom.
    fn wait(&self) -> Result<(bool, Vec<(u64, Event)>), Problem> {
        let interest = if self.outbox.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![PollFd::from_borrowed_fd(self.socket, interest)];
        let mut meaning = Vec::with_capacity(2 * self.executions.len());
        for (id, execution) in &self.executions {
            fds.push(PollFd::new(&execution.sandbox.pidfd, PollFlags::IN));
            meaning.push((*id, Event::Gone));
            if !execution.said_all {
                // No interest in what it says, only in the end of it: nobody is woken for less.
                fds.push(PollFd::new(&execution.sandbox.pipe, PollFlags::empty()));
                meaning.push((*id, Event::SaidAll));
            }
        }
        let timers = self.executions.values().map(|e| e.look_at).chain(self.sandboxes.spares_until());
        let next = if self.sandboxes.want_spare() { Some(Duration::ZERO) } else { timers.min() };
        let timeout = next.and_then(|at| Timespec::try_from(at.saturating_sub(now())).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Problem::Socket(errno.into())),
        }
        let ready = |fd: &PollFd<'_>| !(fd.revents() & !PollFlags::OUT).is_empty();
        let events = meaning.into_iter().zip(&fds[1..]).filter(|(_, fd)| ready(fd)).map(|(event, _)| event).collect();
        Ok((ready(&fds[0]), events))
    }

    /// Takes what the server has sent. False: it has closed its end.
    fn receive(&mut self) -> Result<bool, Problem> {
        let mut buffer = [0; 64 * 1024];
        match rustix::net::recv(self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(false),
            Ok((n, _)) => self.inbox.extend_from_slice(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(true),
            Err(errno) => return Err(Problem::Socket(errno.into())),
        }
        while let Some(body) = take_frame(&mut self.inbox)? {
            match decode(&body)? {
                Request::Run { id, plan } => self.start(id, &plan, &body)?,
                Request::Cancel { id } => {
                    if let Some(execution) = self.executions.get_mut(&id) {
                        execution.stop(Killed::Cancelled);
                    }
                }
            }
        }
        // What was needed for one large plan is not carried into every fork from now on.
        self.inbox.shrink_to(buffer.len());
        Ok(true)
    }

    fn start(&mut self, id: u64, plan: &SandboxPlan, request: &[u8]) -> Result<(), Problem> {
        let requested = now();
        let sandbox = match self.sandboxes.start(plan, request, requested) {
            Ok(sandbox) => sandbox,
            Err(errno) => {
                return self.reply(id, no_sandbox(errno, now().saturating_sub(requested)));
            }
        };
        let execution = Execution {
            sandbox,
            said_all: false,
            answered: false,
            received: Received::default(),
            requested,
            timeout: plan.timeout,
            // The command's time counts from its start, so this is never too late.
            look_at: requested.saturating_add(plan.timeout.min(SETUP_MAX)),
            killed: None,
        };
        match self.executions.insert(id, execution) {
            None => Ok(()),
            Some(_) => Err(Problem::SameId(id)),
        }
    }

    /// Pid 1 has said all. Where the command ended by itself, every other process is gone, so
    /// nothing changes any more, and the server need not wait until the kernel has taken the
    /// mounts apart, which takes as long as a small command.
    fn listen(&mut self, id: u64) -> Result<(), Problem> {
        let Some(execution) = self.executions.get_mut(&id) else {
            return Ok(());
        };
        execution.said_all = true;
        execution.received.drain(&execution.sandbox.pipe);
        if !matches!(execution.received.last, Some(Report::Ended { .. })) {
            // Killed, or never set up: wait until it is gone.
            return Ok(());
        }
        execution.answered = true;
        execution.look_at = Duration::MAX;
        let ended = execution.ended(Usage::default());
        self.reply(id, ended)
    }

    /// Pid 1 is gone, and every process of its namespace.
    fn finish(&mut self, id: u64) -> Result<(), Problem> {
        let Some(mut execution) = self.executions.remove(&id) else {
            return Ok(());
        };
        let usage = execution.sandbox.wait();
        if execution.answered {
            return Ok(());
        }
        execution.received.drain(&execution.sandbox.pipe);
        let ended = execution.ended(usage);
        self.reply(id, ended)
    }

    fn reply(&mut self, id: u64, ended: Ended) -> Result<(), Problem> {
        self.outbox.extend(encode(&Reply::Ended { id, ended })?);
        Ok(())
    }

    fn send(&mut self) -> Result<(), Problem> {
        while !self.outbox.is_empty() {
            match rustix::net::send(self.socket, &self.outbox, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Problem::Socket(errno.into())),
            }
        }
        Ok(())
    }

    fn look_at_timers(&mut self) {
        let now = now();
        for execution in self.executions.values_mut().filter(|e| e.look_at <= now) {
            execution.look(now);
        }
        if self.sandboxes.spares_until().is_some_and(|until| until <= now) {
            self.sandboxes.drop_spares();
        }
    }
}

impl Execution {
    /// The timer went off: kill it, or look again later.
    fn look(&mut self, now: Duration) {
        self.received.drain(&self.sandbox.pipe);
        let (deadline, killed) = match self.received.started {
            Some(started) => (started.saturating_add(self.timeout), Killed::TimedOut),
            None => (self.requested.saturating_add(SETUP_MAX), Killed::SetupTooSlow),
        };
        if now >= deadline {
            self.stop(killed);
        } else {
            // While it is set up nobody tells when the command starts; look at the latest when it
            // could have run its time.
            let soonest = now.saturating_add(self.timeout.max(Duration::from_millis(1)));
            self.look_at = if self.received.started.is_some() { deadline } else { deadline.min(soonest) };
        }
    }

    fn stop(&mut self, why: Killed) {
        self.killed.get_or_insert(why);
        self.look_at = Duration::MAX;
        self.sandbox.kill();
    }

    /// How it went, when all is said and done. `usage` is that of pid 1 and all below it; what pid 1
    /// said of the command's own goes before.
    fn ended(&mut self, usage: Usage) -> Ended {
        let now = now();
        let started = self.received.started;
        let mut ended = Ended {
            how: How::Lost,
            setup: started.unwrap_or(now).saturating_sub(self.requested),
            wall: started.map_or(Duration::ZERO, |started| now.saturating_sub(started)),
            usage,
            left_running: 0,
        };
        match (self.received.last.take(), self.killed) {
            // It ended by itself, even if somebody wanted it killed by then.
            (Some(Report::Ended { at, status, usage, left_running }), _) => {
                ended.how = how(status);
                ended.wall = started.map_or(Duration::ZERO, |started| at.saturating_sub(started));
                ended.usage = usage;
                ended.left_running = left_running;
            }
            (_, Some(Killed::Cancelled)) => ended.how = How::Cancelled,
            (_, Some(Killed::TimedOut)) => ended.how = How::TimedOut,
            (_, Some(Killed::SetupTooSlow)) => {
                ended.how = How::SetupFailed { step: "set-up within a minute".to_owned(), errno: libc::ETIMEDOUT };
            }
            (Some(Report::Failed { step, errno }), None) => ended.how = How::SetupFailed { step, errno },
            (Some(Report::Started { .. }) | None, None) => {}
        }
        ended
    }
}

fn no_sandbox(errno: Errno, setup: Duration) -> Ended {
    let how = How::SetupFailed { step: "new namespaces".to_owned(), errno: errno.raw_os_error() };
    Ended { how, setup, wall: Duration::ZERO, usage: Usage::default(), left_running: 0 }
}

fn how(status: i32) -> How {
    if libc::WIFSIGNALED(status) {
        How::Signaled(libc::WTERMSIG(status))
    } else {
        How::Exited(libc::WEXITSTATUS(status))
    }
}
