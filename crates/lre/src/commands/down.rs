//! `lre down`: stops the server of the store.
use crate::args::DownArgs;
use crate::commands::{Context, Done};
use crate::exit::{OrProblem, Problem};
use crate::instance::Instance;
use crate::ui;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;
use std::os::fd::OwnedFd;

/// How long a server may take to cancel what runs and to end, in seconds.
const STOP_SECONDS_MAX: i64 = 30;

/// Runs `lre down`.
///
/// # Errors
/// The server does not end.
pub fn run(args: &DownArgs, context: &Context) -> Done {
    let instance = Instance::running(&context.config.store);
    if let Some(instance) = &instance {
        stop(instance)?;
    }
    match (args.json, &instance) {
        (true, _) => {
            say!("{}", json!({ "schema_version": 1, "stopped": instance.is_some(), "pid": instance.map(|i| i.pid) }));
        }
        (false, Some(instance)) => eprintln!("stopped (was up {})", ui::span(instance.up_for())),
        (false, None) => eprintln!("no server runs on {}", context.config.store.display()),
    }
    Ok(None)
}

fn stop(instance: &Instance) -> Result<(), Problem> {
    let problem = || format!("cannot stop process {}", instance.pid);
    let pid = i32::try_from(instance.pid).ok().and_then(Pid::from_raw).ok_or_else(|| Problem::error(problem()))?;
    // The descriptor names the process even if its number is used again from here on.
    let process: OwnedFd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        other => other.or_problem(problem())?,
    };
    match pidfd_send_signal(&process, Signal::TERM) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        other => other.or_problem(problem())?,
    }
    let mut ended = [PollFd::new(&process, PollFlags::IN)];
    let most = Timespec { tv_sec: STOP_SECONDS_MAX, tv_nsec: 0 };
    match poll(&mut ended, Some(&most)).or_problem(problem())? {
        0 => Err(Problem::error(format!("the server has not ended within {STOP_SECONDS_MAX} s"))
            .hint(format!("kill -KILL {}", instance.pid))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_gone_afterwards() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let mut instance = Instance::of_this_process();
        instance.pid = child.id();
        stop(&instance).unwrap();
        assert!(child.try_wait().unwrap().is_some());
        stop(&instance).unwrap();
    }
}
