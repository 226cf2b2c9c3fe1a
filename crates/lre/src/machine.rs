//! What this machine allows: looked at once, said aloud, never worked around in silence.
use crate::exit::{Exit, OrProblem, Problem};
use lre_sandbox::cgroup::Delegation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::PathBuf;

/// The strength of the sandbox that this machine allows. There is one level: a machine that does not
/// allow it gets an error, not a weaker one.
///
/// # Errors
/// What is missing, each with its fix.
pub fn sandbox_level() -> Result<String, Problem> {
    let missing: Vec<_> = lre_sandbox::check().into_iter().filter(|finding| !finding.ok).collect();
    if missing.is_empty() {
        return Ok("strict (user, mount, pid, network, ipc and uts namespaces; overlayfs)".to_owned());
    }
    let mut problem =
        Problem::new(Exit::Sandbox, "this machine does not allow the sandbox, and nothing runs without it");
    for finding in &missing {
        problem = problem.why(format!("{}: {}", finding.what, finding.detail));
    }
    let fixes: Vec<_> = missing.iter().map(|f| f.fix.as_str()).filter(|fix| !fix.is_empty()).collect();
    Err(problem.hint(if fixes.is_empty() { "lre doctor".to_owned() } else { fixes.join("\n") }))
}

/// The cgroup that this process was given to divide among its slots, taken. Once, before anything is started:
/// what is started stays where its parent was.
pub fn cgroup() -> Option<PathBuf> {
    match Delegation::look() {
        Delegation::Given(own) => match lre_sandbox::cgroup::take(&own) {
            Ok(()) => Some(own),
            Err(error) => {
                tracing::warn!(cgroup = %own.display(), %error, "cannot divide the cgroup: memory and processes of actions are watched");
                None
            }
        },
        Delegation::Withheld { why, .. } => {
            tracing::info!("memory and processes of actions are watched, not held by the kernel: {why}");
            None
        }
    }
}

/// This program: also the launcher of the sandbox.
///
/// # Errors
/// /proc is not mounted.
pub fn this_program() -> Result<PathBuf, Problem> {
    // Not the path: an update replaces the file, and the launcher must speak the protocol of this process.
    let own = PathBuf::from("/proc/self/exe");
    std::fs::metadata(&own).map(|_| own).or_problem("cannot find the program of lre: is /proc mounted?")
}

/// Every connection and every blob in transit is an open file; the soft limit is 1024 on most systems,
/// for the sake of programs that use select(2).
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the old limit stays; `lre doctor` tells of it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
