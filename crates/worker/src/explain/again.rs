//! The second run: the same action in the same slot, observed.
use super::{Said, View, look_again, message, patience};
use crate::launcher::Launcher;
use crate::limits::{ExecutionLimits, Watcher};
use crate::prepare::once_more;
use crate::rooms::Rooms;
use crate::root::Over;
use crate::run::{Ran, Stop, perform};
use crate::{Failure, Work};
use lre_sandbox::{Ended, How};
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// What is needed to run an action again.
pub(crate) struct Again<'a> {
    /// Of its slot; its inputs lie in the room that was used last.
    pub rooms: &'a mut Rooms,
    pub launcher: &'a Launcher,
    pub watcher: &'a Watcher,
    /// What there may be at most, whatever an action asks for.
    pub limits: ExecutionLimits,
    /// Our own folder, which is nobody's input.
    pub own: &'a Path,
}

impl Again<'_> {
    /// What the command wanted and did not get, where that is worth a look or somebody asks; else
    /// nothing is done. What it wrote the first time stays as it is.
    pub(crate) async fn explain(self, ran: &Ran, cancel: &CancellationToken) -> String {
        let Over::Ended(first) = &ran.over else { return String::new() };
        let (work, directory) = (&ran.work, &ran.directory);
        let read = || Said::read(&directory.stdout(), &directory.stderr());
        let Some(said) = look_again(first, &work.terms, work.explain, read) else { return String::new() };
        let own = self.own.to_owned();
        let problem = match self.observe(work, first, cancel).await {
            Ok(Over::Ended(Ended { how: How::SetupFailed { step, errno }, .. })) => {
                format!("{step}: {}", std::io::Error::from_raw_os_error(errno))
            }
            Ok(Over::Ended(second)) => {
                let (closure, network, asked) = (work.closure.clone(), work.terms.network, work.explain);
                let compose =
                    move || message(&second.wanted, &said, &View { closure: &closure, own: &[&own], network, asked });
                // Some thousand looks at files.
                return tokio::task::spawn_blocking(compose).await.unwrap_or_default();
            }
            // Whoever cancels it does not wait for an explanation; what is too much is told of the first run.
            Ok(Over::Stopped(_)) => return String::new(),
            Err(failure) => failure.to_string(),
        };
        tracing::warn!(action = %work.loaded.action.digest, problem, "a failed action could not be observed");
        if work.explain { format!("what it wanted cannot be told: {problem}") } else { String::new() }
    }

    async fn observe(self, work: &Work, first: &Ended, cancel: &CancellationToken) -> Result<Over<Stop>, Failure> {
        let limits = self.limits.lowered(&work.terms.limits);
        let mut plan = once_more(work, &limits)?;
        plan.observe = true;
        plan.timeout = patience(first, work.timeout);
        let broken = |problem: &dyn std::fmt::Display| Failure::Sandbox(problem.to_string());
        let room = self.rooms.last().ok_or_else(|| broken(&"the slot has no room"))?;
        let root = room.root(self.launcher).map_err(|e| broken(&e))?;
        perform(root, plan, limits, self.watcher, None, cancel).await.map(|(over, _directory)| over)
    }
}
