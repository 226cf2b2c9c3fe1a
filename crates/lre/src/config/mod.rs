//! Configuration: nothing has to be written, and nothing dangerous can be said by accident.
pub mod keys;
mod meaning;
mod written;

pub use meaning::{Config, Endpoint, Facts, Origin};
pub use written::{BadConfig, Layer, Size, Source, Written};

use crate::exit::{Exit, OrProblem, Problem};
use crate::paths::{Paths, uid, workspace};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl From<BadConfig> for Problem {
    fn from(e: BadConfig) -> Self {
        let problem = Self::new(Exit::Usage, &e);
        match e.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

/// The configuration of this process: files, environment, `flags`.
///
/// # Errors
/// A file that cannot be read, belongs to somebody else, or says what cannot be meant.
pub fn load(flags: &Written) -> Result<(Config, Paths), Problem> {
    let paths = Paths::from_environment()?;
    let here = std::env::current_dir().or_problem("the current directory cannot be found")?;
    let mut layers = Vec::new();
    layers.extend(file(&paths.config_file())?);
    if let Some(workspace) = workspace(&here) {
        layers.extend(file(&workspace.join("lre.json5"))?);
    }
    std::env::vars().filter_map(|(name, _)| misspelt(&name)).for_each(|text| eprintln!("warning: {text}"));
    layers.push(Layer::from_environment(|name| std::env::var(name).ok(), here.clone())?);
    layers.push(Layer { source: Source::Flags, written: flags.clone(), base: here });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let machine = lre_worker::Machine::look().or_problem("how much memory this machine has cannot be found out")?;
    let facts = Facts { paths: &paths, cores, memory_bytes: machine.memory_bytes };
    Ok((Config::new(&layers, &facts)?, paths))
}

/// Variables of the family that are no settings: of our tests, and of actions.
const NO_SETTINGS: [&str; 6] = [
    "LRE_TOOLCHAIN",
    "LRE_KERNEL_MUST_WORK",
    // Of `lre cc`.
    "LRE_CC_LOCK",
    "LRE_CC_LOG",
    "LRE_CC_ROOT",
    "LRE_CC_TOOLCHAIN",
];

/// What to say of a variable that looks like a setting and is none. No error: others may use such names.
fn misspelt(name: &str) -> Option<String> {
    let key = name.strip_prefix("LRE_")?.to_lowercase();
    let known = NO_SETTINGS.contains(&name) || keys::KEYS.iter().any(|k| k.name == key);
    let near = keys::nearest(&key).filter(|_| !known)?;
    Some(format!("{name} is no setting; did you mean {}?", keys::variable(near)))
}

/// A file, where there is one. It must belong to this user (or to root): whoever can put an `lre.json5`
/// above somebody's work could otherwise choose where that person's programs run and are stored.
fn file(path: &Path) -> Result<Option<Layer>, Problem> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Problem::new(Exit::Usage, format!("cannot read {}", path.display())).why(e)),
    };
    let owner = std::fs::metadata(path).or_problem(format!("cannot look at {}", path.display()))?.uid();
    if owner != uid() && owner != 0 {
        return Err(Problem::new(Exit::Usage, format!("{} is not trusted", path.display()))
            .why(format!("it belongs to user {owner}, not to user {}", uid()))
            .hint(format!("look at it, then: cp it to a file of your own, or chown {} {}", uid(), path.display())));
    }
    Ok(Some(Layer::from_file(path.to_owned(), text)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variables_are_named() {
        assert_eq!(misspelt("LRE_SOLTS").unwrap(), "LRE_SOLTS is no setting; did you mean LRE_SLOTS?");
        for fine in ["LRE_SLOTS", "LRE_TOOLCHAIN", "LRE_E2E_CACHE", "SLOTS", "PATH"] {
            assert_eq!(misspelt(fine), None, "{fine}");
        }
    }
}
