//! Who may use a store directory: one process at a time, and only one that knows the layout.
use super::layout::{FORMAT_WORD, Layout, VERSION};
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What may be in a directory without a file `format`: what a start leaves that was killed, what a
/// power cut leaves (`format` is not synced), and the folders of our neighbours, who may be there
/// first. Where there is anything else, the directory is somebody's, given by mistake.
const OF_OURS: [&str; 15] = [
    "lock",
    "format.new",
    "synced",
    "synced.new",
    "temporary",
    "blobs",
    "log",
    "names",
    "results",
    "quarantine",
    "toolchains",
    "inodes",
    "slots",
    "staging",
    "lost+found",
];

/// Why a store directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The user's turn: stop the other server, or take another directory.
    #[error("the store is in use by process {pid}")]
    InUse {
        /// Who uses it; 0 where it has not said so yet.
        pid: u32,
    },
    /// The user's turn: a newer version of the program wrote it, and this one would harm it.
    #[error("the store has format {found}, this program knows {VERSION} and older: a newer version wrote it")]
    Newer {
        /// The version of the layout found.
        found: u32,
    },
    /// The user's turn: the directory is not empty and not a store, so it is left alone.
    #[error("{} is not a store and not empty: {}", directory.display(), what)]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// What was found in it.
        what: String,
    },
    /// The operator's turn.
    #[error("the store directory {} cannot be used", directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Takes the store directory for this process; it is free again when the file is closed, however
/// the process ends. Also returns the format of what is there; 0 where nothing says so.
pub(super) fn take(layout: &Layout) -> Result<(File, u32), OpenError> {
    let io = |source| OpenError::Io { directory: layout.root().to_owned(), source };
    // Before anything is written: a newer store is not touched, and neither is somebody's home
    // directory that was given by mistake.
    check(layout)?;
    // What is built is nobody else's to read.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(layout.root()).map_err(io)?;
    let mut lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(layout.lock()).map_err(io)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::InUse { pid: holder(&mut lock) }),
        Err(e) => return Err(io(e.into())),
    }
    // Over what is there, and not anew: that needs no room, and a store on a full disk can be opened.
    let pid = format!("{}\n", std::process::id());
    lock.write_all(pid.as_bytes()).and_then(|()| lock.set_len(pid.len() as u64)).map_err(io)?;
    // Again under the lock: another process may have made the store in between.
    Ok((lock, check(layout)?.unwrap_or(0)))
}

/// Says that the store has the format of this version.
pub(super) fn write_format(layout: &Layout) -> io::Result<()> {
    write_atomic(&layout.format(), format!("{FORMAT_WORD} {VERSION}\n").as_bytes())
}

fn holder(lock: &mut File) -> u32 {
    let mut text = String::new();
    match lock.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

/// The format of the store in the directory; `None` where it is new.
fn check(layout: &Layout) -> Result<Option<u32>, OpenError> {
    let io = |source| OpenError::Io { directory: layout.root().to_owned(), source };
    let foreign = |what: String| OpenError::Foreign { directory: layout.root().to_owned(), what };
    match fs::read(layout.format()) {
        Ok(bytes) if !bytes.is_empty() => match version(&bytes) {
            Some(found) if found > VERSION => Err(OpenError::Newer { found }),
            Some(found) => Ok(Some(found)),
            None => Err(foreign("its file `format` is not ours".to_owned())),
        },
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io(e)),
        // None, or one whose bytes a power cut has taken.
        _ => match stranger(layout.root()).map_err(io)? {
            Some(name) => Err(foreign(format!("it holds `{name}` and no file `format`"))),
            None => Ok(None),
        },
    }
}

/// A file that is neither ours nor our neighbours'.
fn stranger(root: &Path) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if name != "format" && !OF_OURS.iter().any(|known| name == *known) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn version(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let number = text.strip_prefix(FORMAT_WORD)?.strip_prefix(' ')?.strip_suffix('\n')?;
    number.parse().ok().filter(|v| *v > 0)
}

/// Replaces a small file as a whole. A power cut may leave it empty or take it away; whoever reads it
/// copes with that.
pub(super) fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, content)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_strictly() {
        assert_eq!(version(b"lre-store 1\n"), Some(1));
        assert_eq!(version(b"lre-store 42\n"), Some(42));
        for bad in ["", "lre-store", "lre-store 0\n", "lre-store 1", "lre-store x\n", "other 1\n", "lre-store -1\n"] {
            assert_eq!(version(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
