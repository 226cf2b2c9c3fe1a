//! What the headers of a toolchain only ask for: `__has_include(<tbb/tbb.h>)` in those of C++. A workspace that has one answers yes, so
//! such a file is an input, though nothing in the workspace names it.
use super::compile::Job;
use super::deliver::Seen;
use super::include::Asks;
use crate::client::Inputs;
use crate::exit::Problem;
use std::collections::BTreeSet;

/// Prints all of them. Where there is no grep, nothing: the action must end well to be remembered.
const SCRIPT: &str = "command -v grep >/dev/null || exit 0; \
                      grep -rhoE '__has_(include|include_next|embed)[[:blank:]]*\\([[:blank:]]*[<\"][^>\"]*[>\"]' \"$@\"; exit 0";

/// The names, found out by one action for each toolchain.
///
/// # Errors
/// The server refuses, or stays away.
pub async fn of_toolchain(job: &Job<'_>) -> Result<BTreeSet<String>, Problem> {
    let tools = &job.pinned.toolchain.tools;
    let (Some(shell), false) = (tools.get("sh"), job.pinned.headers.is_empty()) else { return Ok(BTreeSet::new()) };
    let mut arguments = vec![shell.clone(), "-c".to_owned(), SCRIPT.to_owned(), "sh".to_owned()];
    arguments.extend(job.pinned.headers.iter().cloned());
    let given = job.act_in("", arguments, Inputs::default(), &Seen::new(&job.roots), false).await?;
    let (stdout, _) = job.client.streams(&given.executed.result).await?;
    Ok(names(&stdout))
}

/// What grep printed, read like a header.
fn names(said: &[u8]) -> BTreeSet<String> {
    let lines = said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let header: Vec<u8> = lines.flat_map(|line| [b"#if ", line, b")\n"].concat()).collect();
    Asks::of(&header).all.into_iter().map(|ask| ask.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_what_grep_prints() {
        let said = b"__has_include(<tbb/tbb.h>\n__has_include (\"linux/stat.h\"\n__has_include(<tbb/tbb.h>\n";
        assert_eq!(names(said).into_iter().collect::<Vec<_>>(), ["linux/stat.h", "tbb/tbb.h"]);
    }
}
