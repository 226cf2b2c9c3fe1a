//! Configuration: nothing has to be written, and nothing dangerous can be said by accident.
pub mod keys;
mod meaning;
mod written;

pub use meaning::{Config, Endpoint, Facts, Origin};
pub use written::{BadConfig, Layer, Source, Written};

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
    layers.push(Layer::from_environment(|name| std::env::var(name).ok(), here.clone())?);
    layers.push(Layer { source: Source::Flags, written: flags.clone(), base: here });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok((Config::new(&layers, &Facts { paths: &paths, cores })?, paths))
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
