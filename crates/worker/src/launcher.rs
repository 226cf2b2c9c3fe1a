//! The launcher process, which makes ready roots.
//!
//! The server itself never forks: a fork of a server of 1 GiB costs 40 ms, and a process that both
//! writes and spawns executables meets ETXTBSY (LIMITS 1). Should the launcher die, its roots and their
//! executions are gone, and the next one who asks starts a new launcher.
use lre_sandbox::{RootPlan, client};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The program that is the launcher: our own binary with its hidden command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LauncherProgram {
    /// The binary.
    pub program: PathBuf,
    /// The words that make it the launcher.
    pub arguments: Vec<String>,
}

/// A launcher process, started anew when it is gone.
pub(crate) struct Launcher {
    program: LauncherProgram,
    running: Mutex<Option<client::Launcher>>,
}

impl Launcher {
    /// Starts the process at once, while this one is still small.
    pub(crate) fn start(program: LauncherProgram) -> io::Result<Self> {
        let running = program.start()?;
        Ok(Self { program, running: Mutex::new(Some(running)) })
    }

    /// Asks for a root. The socket to it is there at once, the root a few milliseconds later.
    pub(crate) fn root(&self, plan: &RootPlan) -> io::Result<std::os::unix::net::UnixStream> {
        let mut running = self.running();
        if running.as_ref().is_none_or(client::Launcher::is_gone) {
            if let Some(old) = running.take() {
                tracing::warn!(pid = old.child.id(), "the launcher is gone: starting another one");
                reap(old);
            }
            *running = Some(self.program.start()?);
        }
        match &*running {
            Some(launcher) => launcher.root(plan),
            None => Err(io::Error::other("no launcher")),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<client::Launcher>> {
        // A panic while it was locked leaves one launcher or none.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Closing the socket makes the launcher kill its roots and leave.
        if let Some(running) = self.running().take() {
            reap(running);
        }
    }
}

impl LauncherProgram {
    fn start(&self) -> io::Result<client::Launcher> {
        let arguments: Vec<_> = self.arguments.iter().map(String::as_str).collect();
        client::spawn(&self.program, &arguments)
    }
}

/// Lets the process end, and takes its exit status in a thread of its own, so that nobody waits.
fn reap(launcher: client::Launcher) {
    std::thread::spawn(move || {
        if let Err(error) = launcher.end() {
            tracing::warn!(%error, "waiting for the launcher");
        }
    });
}
