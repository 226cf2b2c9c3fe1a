//! Which toolchain an action gets: the workspace's lock file first, then what is installed here.
use crate::commands::Context;
use crate::exit::{Exit, OrProblem, Problem};
use crate::holdings;
use crate::paths::workspace;
use lre_toolchain::{LockFile, Source, Toolchain};
use std::path::{Path, PathBuf};

/// The name of lock files.
pub const LOCK: &str = "lre.lock";

/// The lock file of the workspace that `here` is in, where there is one.
///
/// # Errors
/// A lock file that cannot be read.
pub fn lock(here: &Path) -> Result<Option<(PathBuf, LockFile)>, Problem> {
    let Some(path) = workspace(here).map(|workspace| workspace.join(LOCK)) else { return Ok(None) };
    match LockFile::read(&path) {
        Ok(lock) => Ok(lock.map(|lock| (path, lock))),
        Err(e) => Err(Problem::new(Exit::Toolchain, "the lock file cannot be used").why(e)),
    }
}

/// The toolchain called `name`; without a name, the one that is meant. `None`: nothing is installed, so
/// the server decides (and refuses with the command that helps, as a rule).
///
/// # Errors
/// No such toolchain, or several and no name.
pub fn choose(context: &Context, here: &Path, name: Option<&str>) -> Result<Option<Toolchain>, Problem> {
    let locked = lock(here)?.map(|(_, lock)| lock.toolchains().iter().map(|t| t.toolchain()).collect::<Vec<_>>());
    if let Some(toolchain) = pick(&locked.unwrap_or_default(), name, None, LOCK)? {
        return Ok(Some(toolchain));
    }
    let installed = installed(context)?;
    let found = pick(&installed, name, context.config.default_toolchain.as_deref(), "installed")?;
    match (found, name) {
        (None, Some(name)) => Err(unknown(name, &installed)),
        (found, _) => Ok(found),
    }
}

/// The installed toolchain of this name.
///
/// # Errors
/// There is none.
pub fn choose_installed(context: &Context, name: &str) -> Result<Toolchain, Problem> {
    let installed = installed(context)?;
    installed.iter().find(|t| t.name == name).cloned().ok_or_else(|| unknown(name, &installed))
}

/// What is installed; a store that is not there yet is not made by looking.
///
/// # Errors
/// The registry cannot be read.
pub fn installed(context: &Context) -> Result<Vec<Toolchain>, Problem> {
    match context.config.store.join("toolchains/registry").is_dir() {
        true => holdings::registry(context)?.list().or_problem("cannot list the toolchains"),
        false => Ok(Vec::new()),
    }
}

fn unknown(name: &str, installed: &[Toolchain]) -> Problem {
    let problem = Problem::new(Exit::Toolchain, format!("no toolchain is called `{name}`"));
    let near = crate::config::keys::nearest_of(name, installed.iter().map(|t| t.name.as_str()));
    problem.why(format!("installed: {}", names(installed))).hint(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("lre toolchain add {name} --from {}", Source::DEFAULT),
    })
}

fn pick(
    all: &[Toolchain],
    name: Option<&str>,
    default: Option<&str>,
    place: &str,
) -> Result<Option<Toolchain>, Problem> {
    let named = |name: &str| all.iter().find(|t| t.name == name).cloned();
    match (name, all) {
        (Some(name), all) => Ok(all.iter().find(|t| t.name == name).cloned()),
        (None, []) => Ok(None),
        (None, [only]) => Ok(Some(only.clone())),
        (None, all) => match default.and_then(named) {
            Some(default) => Ok(Some(default)),
            None => Err(Problem::new(Exit::Toolchain, format!("several toolchains are {place}: {}", names(all)))
                .hint(format!("--toolchain {}", all[0].name))),
        },
    }
}

fn names(all: &[Toolchain]) -> String {
    match all {
        [] => "none".to_owned(),
        all => all.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lre_model::{Digest, DigestFunction};
    use lre_toolchain::Kind;

    fn toolchain(name: &str) -> Toolchain {
        Toolchain {
            name: name.to_owned(),
            kind: Kind::Rootfs,
            digest: Digest::of(DigestFunction::Sha256, name.as_bytes()),
            environment: Default::default(),
            tools: Default::default(),
            source: "dir:/x".to_owned(),
            recipe: Vec::new(),
        }
    }

    #[test]
    fn one_is_taken_and_several_are_listed() {
        let (a, b) = (toolchain("a"), toolchain("b"));
        let pick = |all: &[Toolchain], name, default| pick(all, name, default, "installed");
        assert_eq!(pick(&[], None, None).unwrap(), None);
        assert_eq!(pick(std::slice::from_ref(&a), None, None).unwrap(), Some(a.clone()));
        let both = [a, b.clone()];
        assert_eq!(pick(&both, Some("b"), None).unwrap(), Some(b.clone()));
        assert_eq!(pick(&both, None, Some("b")).unwrap(), Some(b));
        assert_eq!(pick(&both, Some("c"), None).unwrap(), None);
        let problem = pick(&both, None, None).unwrap_err();
        assert_eq!(problem.exit(), Exit::Toolchain);
        assert!(problem.to_string().contains("a, b"), "{problem}");
    }
}
