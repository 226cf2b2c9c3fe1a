//! A Nix store of this machine: what Nix itself says of it, and where its files are.
use super::info::{self, Info};
use super::path::{STORE, StorePath};
use std::collections::BTreeSet;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a program's complaints that are passed on.
const COMPLAINT_LINES_MAX: usize = 6;

/// Why Nix did not say what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silent {
    /// There is no such program here.
    Absent,
    /// It failed, with these words.
    Failed(String),
}

/// The closure of these paths, by the database of the store that Nix uses here (`NIX_REMOTE`, nix.conf). Blocks.
pub(super) fn closure(paths: &[StorePath]) -> Result<Vec<Info>, Silent> {
    let named: Vec<_> = paths.iter().map(ToString::to_string).collect();
    let ask = |form: &[&str]| {
        let arguments =
            [&["path-info", "--recursive", "--json"], form, &named.iter().map(String::as_str).collect::<Vec<_>>()];
        nix(&arguments.concat()).and_then(|said| info::of_json(&said).map_err(Silent::Failed))
    };
    match ask(&[]) {
        Err(first @ Silent::Failed(_)) => {
            // Nix 2.34 says that later ones will want the form to be named. And some are older than their new command
            // line, or have it forbidden.
            let later = ask(&["--json-format", "1"]).or_else(|_| by_old_commands(&named));
            later.map_err(|_| first)
        }
        // Without the new command line altogether.
        Err(Silent::Absent) => by_old_commands(&named),
        done => done,
    }
}

/// Builds what the user calls by `installable`; the paths of what came out. Blocks, for as long as it takes.
pub(super) fn build(installable: &str) -> Result<Vec<StorePath>, Silent> {
    // Not `--print-out-paths`, which Nix 2.8 does not know.
    let said = nix(&["build", "--no-link", "--json", installable])?;
    info::built(&said).map_err(Silent::Failed)
}

/// Where the files of the store are. What `/nix/store` is to builds may be elsewhere to us; whether a path is there
/// is seen from the files, and whether they are the right ones from their hash.
pub(super) fn files(path: &StorePath) -> Option<PathBuf> {
    stores().into_iter().map(|store| store.join(path.base())).find(|path| path.symlink_metadata().is_ok())
}

fn stores() -> Vec<PathBuf> {
    let chosen = env::var("NIX_REMOTE").ok().map(|remote| real_store(&remote));
    // Where Nix keeps a store for a user who cannot have /nix.
    let data = env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/share")));
    let own = data.map(|data| data.join("nix/root").join(&STORE[1..]));
    chosen.flatten().into_iter().chain([PathBuf::from(STORE)]).chain(own).collect()
}

/// The folder of a store's files, from the store's address: `/root`, `local?root=/root`, `local?real=/files`,
/// `unix:///socket?root=/root`. Nothing where it says nothing of it.
fn real_store(address: &str) -> Option<PathBuf> {
    if address.starts_with('/') {
        return Some(Path::new(address).join(&STORE[1..]));
    }
    let (_, settings) = address.split_once('?')?;
    let setting = |name: &str| {
        let mut all = settings.split('&').filter_map(|one| one.split_once('='));
        all.find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(percent_decoded(value)))
    };
    setting("real").or_else(|| setting("root").map(|root| root.join(&STORE[1..])))
}

/// As in the addresses that Nix prints. What is no code stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(b'%'));
        bytes.extend(&part.as_bytes()[if code.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As [`closure`], with the commands of every Nix that ever was.
fn by_old_commands(named: &[String]) -> Result<Vec<Info>, Silent> {
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    let query = |question: &str, paths: &[&str]| {
        let arguments: Vec<_> = ["--query", question].into_iter().chain(paths.iter().copied()).collect();
        let said = run(Command::new("nix-store").args(arguments))?;
        Ok::<_, Silent>(String::from_utf8_lossy(&said).into_owned())
    };
    let all = query("--requisites", &named)?;
    let ask = |path: &str| {
        let failed = |problem: String| Silent::Failed(format!("of {path}: {problem}"));
        let (hash, size) = (query("--hash", &[path])?, query("--size", &[path])?);
        let references = query("--references", &[path])?;
        Ok(Info {
            path: path.parse().map_err(failed)?,
            nar_hash: hash.trim().parse().map_err(failed)?,
            nar_size: size.trim().parse().map_err(|_| failed(format!("`{size}` is not a size")))?,
            references: references.lines().map(str::parse).collect::<Result<BTreeSet<_>, _>>().map_err(failed)?,
        })
    };
    all.lines().map(ask).collect()
}

/// Runs the new command line, which is called experimental.
fn nix(arguments: &[&str]) -> Result<Vec<u8>, Silent> {
    run(Command::new("nix").args(["--extra-experimental-features", "nix-command flakes"]).args(arguments))
}

fn run(command: &mut Command) -> Result<Vec<u8>, Silent> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.env("NO_COLOR", "1").stdin(std::process::Stdio::null()).output() {
        Ok(output) => output,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Silent::Absent),
        Err(e) => return Err(Silent::Failed(format!("`{program}` cannot be started: {e}"))),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(COMPLAINT_LINES_MAX)..];
    Err(Silent::Failed(format!("`{program}` failed ({}): {}", output.status, last.join("\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_store_are_found_from_its_address() {
        for (address, files) in [
            ("local?root=/tmp/r", Some("/tmp/r/nix/store")),
            ("local?store=/nix/store&real=/mnt/files", Some("/mnt/files")),
            ("unix:///tmp/a%20b?root=/tmp/a%20b", Some("/tmp/a b/nix/store")),
            ("/tmp/r", Some("/tmp/r/nix/store")),
            ("local?root=%zz%", Some("%zz%/nix/store")),
            ("daemon", None),
            ("auto", None),
            ("", None),
        ] {
            assert_eq!(real_store(address).as_deref(), files.map(Path::new), "{address}");
        }
    }
}
