//! The token that lets other users of this machine in over TCP.
use crate::exit::{OrProblem, Problem};
use crate::paths::uid;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// The token of this user's server; made at the first start.
///
/// # Errors
/// The file cannot be read or made, or others could have read it.
pub fn own(path: &Path) -> Result<String, Problem> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).or_problem(format!("cannot make {}", parent.display()))?;
    }
    let problem = format!("cannot make the token file {}", path.display());
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let mut random = [0; TOKEN_BYTES];
            File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).or_problem(&problem)?;
            let token = hex::encode(random);
            writeln!(file, "{token}").or_problem(&problem)?;
            Ok(token)
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => private(path),
        Err(e) => Err(Problem::error(problem).why(e)),
    }
}

/// Reads a token that nobody else can have read or written.
fn private(path: &Path) -> Result<String, Problem> {
    let metadata = std::fs::metadata(path).or_problem(format!("cannot look at {}", path.display()))?;
    if metadata.uid() != uid() || metadata.mode() & 0o077 != 0 {
        return Err(Problem::error(format!("the token in {} is no secret", path.display()))
            .why(format!(
                "owner {}, mode {:o}; expected owner {}, mode 600",
                metadata.uid(),
                metadata.mode() & 0o777,
                uid()
            ))
            .hint(format!("rm {} (a new one is made at the next start)", path.display())));
    }
    read(path)
}

/// Reads a token that somebody gave us.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub fn read(path: &Path) -> Result<String, Problem> {
    let text = std::fs::read_to_string(path).or_problem(format!("cannot read the token file {}", path.display()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Problem::error(format!("{} does not hold a token", path.display())));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_made_once_and_stays_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/token");
        let token = own(&path).unwrap();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(own(&path).unwrap(), token);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(own(&path).unwrap_err().to_string().contains("no secret"));
        assert_eq!(read(&path).unwrap(), token);
        std::fs::write(&path, "two words").unwrap();
        assert!(read(&path).is_err());
    }
}
