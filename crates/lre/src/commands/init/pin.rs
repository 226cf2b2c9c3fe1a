//! Which toolchains a workspace gets, and what they are like.
use crate::commands::{Context, toolchain};
use crate::exit::{Exit, OrProblem, Problem};
use crate::{describe, obtain, pinned, ui};
use lre_toolchain::{Facts, LockFile, Locked, Source, Toolchain, Wanted, deb};
use std::collections::BTreeSet;

/// A lock file in which the toolchains are pinned with everything that clients want to know.
pub struct Pinned {
    /// The whole of it.
    pub lock: LockFile,
    /// The toolchain that the client's files are for, where it was chosen by name.
    pub name: Option<String>,
}

/// The name of a toolchain that nobody named.
const DEFAULT_NAME: &str = "cc";

/// Tools that can be asked what they are like.
const SPEAKING: [&str; 3] = ["cc", "java", "rustc"];

/// What a fresh machine can have without anything else, in the order of [`deb::CHOICE`], which says what each means.
const OFFERED: [&str; 2] = [Source::DEFAULT, "deb:cc-debian12"];

/// Pins what `asked` says, each a source or the name of an installed toolchain; without it, what is pinned already,
/// else the only one that is installed, else what is chosen. `ask`: there may be somebody to choose.
///
/// # Errors
/// One cannot be had, is not what the lock says, or has no compiler that works.
pub async fn pin(context: &Context, mut lock: LockFile, asked: &[String], ask: bool) -> Result<Pinned, Problem> {
    let mut chosen = None;
    let mut toolchains = Vec::new();
    for text in asked {
        let (name, what) = named_source(text);
        match what.parse::<Source>() {
            Ok(source) => {
                let name = name.map_or_else(|| name_for(&lock, &source, asked.len()), |name| Ok(name.to_owned()))?;
                toolchains.push(install(context, name, source).await?);
            }
            // A source with a mistake in it is told as such; anything else may be a name.
            Err(e) if what.contains(':') => return Err(Problem::usage(e)),
            Err(_) => {
                toolchains.push(installed(context, what)?);
                chosen = Some(what.to_owned());
            }
        }
    }
    if asked.is_empty() {
        toolchains = match lock.toolchains() {
            [] => vec![only_or_chosen(context, ask).await?],
            locked => {
                let mut all = Vec::new();
                for locked in locked {
                    obtain::have(context, locked).await?;
                    all.push(locked.toolchain());
                }
                all
            }
        };
    }
    let names: BTreeSet<_> =
        toolchains.iter().map(|t| &t.name).chain(lock.toolchains().iter().map(|t| &t.name)).cloned().collect();
    for toolchain in toolchains {
        // A tree of data or tools beside a compiler's: part of the platform, with nothing to ask.
        let speaks = SPEAKING.iter().any(|role| toolchain.tools.contains_key(*role));
        if speaks || names.len() == 1 {
            add(context, &mut lock, toolchain).await?;
        } else if lock.get(&toolchain.name).is_none_or(|old| old.digest != toolchain.digest) {
            lock.put(Locked::new(&toolchain, Facts::default()));
        }
    }
    // With one compiler there is nothing to choose.
    let compilers = lock.toolchains().iter().filter(|t| t.facts.cc.is_some()).count();
    Ok(Pinned { name: chosen.filter(|_| compilers > 1), lock })
}

/// `NAME=SOURCE`, or a source alone. A name has no colon, and a source has one before any `=`.
fn named_source(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, source)) if !name.contains(':') => (Some(name), source),
        _ => (None, text),
    }
}

fn name_for(lock: &LockFile, source: &Source, asked: usize) -> Result<String, Problem> {
    match lock.toolchains() {
        _ if asked > 1 => {
            Err(Problem::usage("several toolchains must have names").hint(format!("--toolchain NAME={source}")))
        }
        [one] => Ok(one.name.clone()),
        _ => Ok(DEFAULT_NAME.to_owned()),
    }
}

fn installed(context: &Context, name: &str) -> Result<Toolchain, Problem> {
    pinned::choose_installed(context, name)
        .map_err(|problem| problem.why(format!("`{name}` is not a source either, such as {}", Source::DEFAULT)))
}

async fn only_or_chosen(context: &Context, ask: bool) -> Result<Toolchain, Problem> {
    let there = pinned::installed(context)?;
    match there.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let chosen = if ask { ui::choose("Which toolchain shall the workspace have?", &deb::CHOICE) } else { None };
            let source = OFFERED[chosen.unwrap_or(0)].parse().or_problem("the default source")?;
            install(context, DEFAULT_NAME.to_owned(), source).await
        }
        several => {
            let names: Vec<_> = several.iter().map(|t| t.name.as_str()).collect();
            Err(Problem::new(Exit::Toolchain, format!("several toolchains are installed: {}", names.join(", ")))
                .hint(format!("lre init --toolchain {}", names[0])))
        }
    }
}

async fn install(context: &Context, name: String, source: Source) -> Result<Toolchain, Problem> {
    let kind = source.kinds()[0];
    let wanted = Wanted { name, kind, source, also: Vec::new(), expected: None };
    Ok(toolchain::install(context, &wanted).await?.toolchain)
}

/// Puts the toolchain into the lock with what is known of it; asked in the sandbox, once.
async fn add(context: &Context, lock: &mut LockFile, toolchain: Toolchain) -> Result<(), Problem> {
    let known = lock.get(&toolchain.name).filter(|old| old.digest == toolchain.digest && !old.facts.is_empty());
    if known.is_none() {
        let facts = describe::facts(context, &toolchain, None).await?;
        lock.put(Locked::new(&toolchain, facts));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_have_a_name() {
        for (text, name, source) in [
            ("deb:gcc", None, "deb:gcc"),
            ("jdk=deb:openjdk-17-jdk-headless", Some("jdk"), "deb:openjdk-17-jdk-headless"),
            ("archive:x#sha256=00", None, "archive:x#sha256=00"),
            ("cc", None, "cc"),
        ] {
            assert_eq!(named_source(text), (name, source));
        }
    }

    #[test]
    fn what_is_offered_are_sources() {
        for (source, line) in OFFERED.iter().zip(deb::CHOICE) {
            assert!(source.parse::<Source>().is_ok(), "{source}");
            let scheme = source.split(':').next().unwrap();
            assert!(line.starts_with(scheme), "{line}");
        }
    }
}
