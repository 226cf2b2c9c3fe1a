//! What was denied is told: after a command has failed as if something were missing, it is run once
//! more under observation, and what it asked for in vain and this machine has goes into the message.
//!
//! A command that succeeds pays nothing for this: what it wrote is not read, and its calls are not
//! looked at. The second run is seen by nobody else: its outputs are thrown away, the first one's
//! outcome is the outcome.
mod again;
mod calls;
mod files;
mod said;

pub(crate) use again::Again;
use lre_model::{Network, Terms};
use lre_sandbox::{Ended, How, Wanted};
use lre_toolchain::Closure;
use said::Said;
use std::path::Path;
use std::time::Duration;

/// A command that ran longer is not run again unasked: who waits for its end would wait twice.
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(10);
/// Lines told of a failure. The cause is the first one, or it is not among them.
const LINES_MAX: usize = 5;
/// Lines told to somebody who asked.
const LINES_ASKED_MAX: usize = 25;
/// What somebody who asked is told when there is nothing to tell.
const NOTHING: &str = "nothing that this machine has was wanted in vain";
/// What the C library reads to find name servers.
const NAME_SERVERS: &str = "/etc/resolv.conf";

/// Whether the command is to be run again under observation. `said` is called only where all else
/// speaks for it.
fn look_again(ended: &Ended, terms: &Terms, asked: bool, said: impl FnOnce() -> Said) -> Option<Said> {
    match ended.how {
        How::Exited(_) | How::Signaled(_) if asked => Some(said()),
        How::Exited(code) if code != 0 && ended.wall <= LOOK_AGAIN_MAX => {
            // What a command does to the world outside is not done twice.
            if terms.network == Network::Host {
                return None;
            }
            let said = said();
            (matches!(code, 126 | 127) || said.misses_something()).then_some(said)
        }
        _ => None,
    }
}

/// How long the second run may take: it is the first one again, with each look at a file slower.
fn patience(first: &Ended, timeout: Duration) -> Duration {
    (first.wall * 3 + Duration::from_secs(2)).min(timeout)
}

/// What is needed to understand what was wanted.
struct View<'a> {
    /// Where toolchains are mounted: what was missed below is looked for at the same place without.
    closure: &'a Closure,
    /// Our own folder, which is nobody's input.
    own: &'a [&'a Path],
    /// Whether the action has a network.
    network: Network,
    /// Whether somebody asked, and wants to see what nothing hints at too.
    asked: bool,
}

/// A line, and what speaks for it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    weight: Weight,
    /// In what order it was missed.
    at: usize,
    text: String,
}

/// How likely it is that this is the cause: the likeliest is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// The command has said so.
    Said,
    /// It has said the last names of the path, so many of them, counted down.
    Named(usize),
    /// It has said another name for it.
    Related,
    /// It has called somebody.
    Called,
    /// It has said nothing of it.
    Unsaid,
    /// It is a directory of which nothing was said.
    Directory,
}

/// The message, the likeliest cause first; empty where there is nothing to tell.
fn message(wanted: &[Wanted], said: &Said, view: &View<'_>) -> String {
    let (mut paths, mut listed, mut addresses) = (Vec::new(), Vec::new(), Vec::new());
    for wanted in wanted {
        match wanted {
            // What is not text cannot be told.
            Wanted::Path(path) => paths.extend(path.to_str()),
            Wanted::Listed(path) => listed.extend(path.to_str()),
            Wanted::Network(address) => addresses.push(address.as_str()),
        }
    }
    let mut lines = files::lines(&paths, &listed, said, view);
    lines.extend(calls::lines(&addresses, paths.contains(&NAME_SERVERS), said, view));
    lines.sort();
    tell(&lines, view.asked)
}

fn tell(lines: &[Line], asked: bool) -> String {
    let speaks = |line: &&Line| line.weight <= Weight::Called;
    let (worth, at_most) = match asked {
        true => (lines.len(), LINES_ASKED_MAX),
        // Where something speaks for some, the others only hide them; where nothing does for any, each
        // may be it. That a directory is missing says little: most are looked for on the way.
        false => match lines.iter().filter(speaks).count() {
            0 => (lines.iter().filter(|line| line.weight < Weight::Directory).count(), LINES_MAX),
            some => (some, LINES_MAX),
        },
    };
    let mut told: Vec<_> = lines.iter().take(worth.min(at_most)).map(|line| line.text.clone()).collect();
    if worth > at_most {
        told.push(format!("and {} more", worth - at_most));
    }
    if told.is_empty() && asked {
        told.push(NOTHING.to_owned());
    }
    told.join("\n")
}

#[cfg(test)]
mod tests;
