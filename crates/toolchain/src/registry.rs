//! Which toolchains this machine has: one JSON file for each, in one directory.
//!
//! Any process may write while a server runs: a file appears whole (temporary file, then rename)
//! and the server sees it when it looks next. Nothing is sent, nothing is restarted.
//!
//! A name is for people and may come to mean another toolchain; a project that has pinned the older
//! one by its digest must still find it. So a toolchain whose name was taken over is kept, as
//! `name@hash.json`.
use crate::Toolchain;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the files. A newer one is refused, never guessed at.
const SCHEMA_VERSION: u32 = 1;
/// Longest name of a toolchain, in bytes: it becomes a file name and stands in messages.
const NAME_BYTES_MAX: usize = 64;

/// Between name and hash of a toolchain whose name was taken over; no name contains it.
const OLDER: &str = "@";

/// The installed toolchains.
#[derive(Debug)]
pub struct Registry {
    directory: PathBuf,
    /// What was read, by file, so that a look costs a `stat` for each file and no parsing.
    seen: Mutex<HashMap<PathBuf, (Stamp, Toolchain)>>,
    listed: Mutex<Option<Listed>>,
}

/// How long the directory must have been quiet when it was listed, in seconds, for its time to tell of later
/// changes: the clock of a file system moves in steps of some milliseconds.
const QUIET_SECONDS: i64 = 2;

/// All toolchains, and what would be different if they were others.
#[derive(Debug)]
struct Listed {
    directory: Stamp,
    files: Vec<(PathBuf, Stamp)>,
    all: Arc<Vec<Toolchain>>,
}

/// Changes when a file is replaced: every write makes a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    size_bytes: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let m = fs::metadata(path)?;
        Ok(Self { inode: m.ino(), modified: (m.mtime(), m.mtime_nsec()), size_bytes: m.len() })
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    schema_version: u32,
    toolchain: serde_json::Value,
}

impl Registry {
    /// The registry in `directory`, which is made where it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, seen: Mutex::default(), listed: Mutex::default() })
    }

    /// The toolchains that have a name now, by name. A file that is none of ours is named in the log
    /// and moved aside (`.corrupt`); the others are served.
    ///
    /// # Errors
    /// The directory cannot be read, or a file was written by a newer version.
    pub fn list(&self) -> io::Result<Vec<Toolchain>> {
        let mut all = self.all()?;
        // Of one name, the current one comes first.
        all.dedup_by(|later, first| later.name == first.name);
        Ok(all)
    }

    /// As [`Registry::all`], for whoever asks a thousand times in a second: nothing is listed or copied where
    /// neither the directory nor a file of it has another time than before.
    ///
    /// # Errors
    /// As [`Registry::list`].
    pub fn current(&self) -> io::Result<Arc<Vec<Toolchain>>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = Stamp::of(&self.directory)?;
        if let Some(listed) = &*listed
            && listed.directory == directory
            && listed.files.iter().all(|(path, stamp)| Stamp::of(path).is_ok_and(|now| now == *stamp))
        {
            return Ok(Arc::clone(&listed.all));
        }
        let all = Arc::new(self.all()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let quiet = directory.modified.0.saturating_add(QUIET_SECONDS) < i64::try_from(now).unwrap_or(0);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = seen.iter().map(|(path, (stamp, _))| (path.clone(), *stamp)).collect();
        *listed = quiet.then(|| Listed { directory, files, all: Arc::clone(&all) });
        Ok(all)
    }

    /// All toolchains that can be asked for by digest, by name: of one name the current one first, then
    /// those it took over from.
    ///
    /// # Errors
    /// As [`Registry::list`].
    pub fn all(&self) -> io::Result<Vec<Toolchain>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = HashMap::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let stamp = match Stamp::of(&path) {
                Ok(stamp) => stamp,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let toolchain = match seen.remove(&path) {
                Some((same, toolchain)) if same == stamp => Some(toolchain),
                _ => self.read(&path)?,
            };
            if let Some(toolchain) = toolchain {
                now.insert(path, (stamp, toolchain));
            }
        }
        *seen = now;
        let is_older = |path: &Path| path.file_name().is_some_and(|n| n.to_string_lossy().contains(OLDER));
        let mut all: Vec<_> = seen.iter().map(|(path, (_, t))| (t.name.as_str(), is_older(path), path, t)).collect();
        all.sort_by_key(|(name, older, path, _)| (*name, *older, *path));
        Ok(all.into_iter().map(|(.., toolchain)| toolchain.clone()).collect())
    }

    /// The toolchain of this name, where there is one.
    ///
    /// # Errors
    /// As [`Registry::list`].
    pub fn get(&self, name: &str) -> io::Result<Option<Toolchain>> {
        Ok(self.list()?.into_iter().find(|t| t.name == name))
    }

    /// Adds it under its name. What had the name before can still be asked for by digest.
    ///
    /// # Errors
    /// A name that cannot be one (`InvalidInput`), or the file cannot be written.
    pub fn put(&self, toolchain: &Toolchain) -> io::Result<()> {
        let path = self.path(&toolchain.name)?;
        if let Some(before) = self.read(&path)?.filter(|before| before.digest != toolchain.digest) {
            match fs::hard_link(&path, self.older_path(&before)) {
                Err(e) if !matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => return Err(e),
                _ => {}
            }
        }
        let record = Record { schema_version: SCHEMA_VERSION, toolchain: serde_json::to_value(toolchain)? };
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(serde_json::to_string_pretty(&record)?.as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // It may have had the name once before.
        removed(&self.older_path(toolchain)).map(drop)
    }

    /// Removes it and those whose name it took over, and says whether it was there. The blobs stay until
    /// the store wants the room.
    ///
    /// # Errors
    /// A name that cannot be one (`InvalidInput`), or a file cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        let current = self.path(name)?;
        for older in self.all()?.iter().filter(|t| t.name == name) {
            removed(&self.older_path(older))?;
        }
        removed(&current)
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem))?;
        Ok(self.directory.join(format!("{name}.json")))
    }

    fn older_path(&self, toolchain: &Toolchain) -> PathBuf {
        self.directory.join(format!("{}{OLDER}{}.json", toolchain.name, toolchain.digest.hash_text()))
    }

    /// Reads one file; nothing where it vanished meanwhile or was moved aside.
    fn read(&self, path: &Path) -> io::Result<Option<Toolchain>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let problem = match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.schema_version > SCHEMA_VERSION => {
                let problem = format!("{} was written by a newer lre: update lre", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            Ok(record) => match serde_json::from_value::<Toolchain>(record.toolchain) {
                Ok(toolchain) if self.path(&toolchain.name).is_ok_and(|p| p == path) => return Ok(Some(toolchain)),
                Ok(toolchain) if self.older_path(&toolchain) == path => return Ok(Some(toolchain)),
                Ok(toolchain) => format!("it holds a toolchain called `{}`", toolchain.name),
                Err(e) => e.to_string(),
            },
            Err(e) => e.to_string(),
        };
        let aside = path.with_extension("json.corrupt");
        tracing::warn!(file = %path.display(), aside = %aside.display(), problem, "not a toolchain; moved aside");
        fs::rename(path, aside)?;
        Ok(None)
    }
}

/// Removes a file, and says whether it was there.
fn removed(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a toolchain may be called so: it becomes a file name, an argument and part of messages.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if starts_well && name.bytes().all(plain) && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "`{name}` cannot name a toolchain: letters, digits and `.`, `_`, `+`, `-` are taken, a letter or digit first, \
         at most {NAME_BYTES_MAX} bytes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use lre_model::{Digest, DigestFunction};

    fn toolchain(name: &str, content: &str) -> Toolchain {
        Toolchain {
            name: name.to_owned(),
            kind: Kind::Rootfs,
            digest: Digest::of(DigestFunction::Sha256, content.as_bytes()),
            environment: [("PATH".to_owned(), "/usr/bin".to_owned())].into(),
            tools: [("cc".to_owned(), "/usr/bin/cc".to_owned())].into(),
            source: "capture:/usr/bin/cc".to_owned(),
            recipe: Vec::new(),
        }
    }

    /// The quick look sees what the slow one sees, also when the directory was quiet for long before.
    #[test]
    fn what_is_current_is_what_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let (server, cli) = (Registry::open(dir.path()).unwrap(), Registry::open(dir.path()).unwrap());
        let quiet = || {
            let long_ago = SystemTime::now() - std::time::Duration::from_secs(60);
            fs::File::open(dir.path()).unwrap().set_modified(long_ago).unwrap();
        };
        for round in 0..20 {
            quiet();
            let before = server.current().unwrap();
            assert!(Arc::ptr_eq(&before, &server.current().unwrap()), "nothing is copied");
            match round % 4 {
                0 => cli.put(&toolchain("a", &round.to_string())).unwrap(),
                1 => cli.put(&toolchain(&format!("b{round}"), "b")).unwrap(),
                2 => drop(cli.remove(&format!("b{}", round - 1)).unwrap()),
                _ => fs::write(dir.path().join("a.json"), "not one of ours").unwrap(),
            }
            assert_eq!(*server.current().unwrap(), cli.all().unwrap(), "round {round}");
            assert_eq!(*server.current().unwrap(), cli.all().unwrap(), "at once again");
        }
    }

    /// The server and the command line are two processes with a registry each.
    #[test]
    fn what_one_process_writes_another_sees_at_the_next_look() {
        let dir = tempfile::tempdir().unwrap();
        let (server, cli) = (Registry::open(dir.path()).unwrap(), Registry::open(dir.path()).unwrap());
        assert_eq!(server.list().unwrap(), []);
        let (a, b) = (toolchain("a", "1"), toolchain("b", "2"));
        cli.put(&b).unwrap();
        cli.put(&a).unwrap();
        assert_eq!(server.list().unwrap(), [a.clone(), b.clone()]);
        for content in 3..20 {
            let newer = toolchain("a", &content.to_string());
            cli.put(&newer).unwrap();
            assert_eq!(server.get("a").unwrap(), Some(newer));
        }
        assert!(cli.remove("a").unwrap());
        assert!(!cli.remove("a").unwrap());
        assert_eq!(server.list().unwrap(), [b]);
    }

    /// A project has pinned `cc` by digest; then another project captures a `cc` after an update. The
    /// first project's actions were refused, as its toolchain had gone with the name.
    #[test]
    fn a_toolchain_whose_name_was_taken_over_is_still_there_by_digest() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        let [old, new, other] = [("cc", "1"), ("cc", "2"), ("d", "3")].map(|(n, c)| toolchain(n, c));
        for t in [&old, &new, &new, &other] {
            registry.put(t).unwrap();
        }
        assert_eq!(registry.list().unwrap(), [new.clone(), other.clone()]);
        assert_eq!(registry.all().unwrap(), [new.clone(), old.clone(), other.clone()]);
        registry.put(&old).unwrap();
        assert_eq!(Registry::open(dir.path()).unwrap().all().unwrap(), [old, new, other.clone()], "back again");
        assert!(registry.remove("cc").unwrap());
        assert_eq!(registry.all().unwrap(), [other]);
    }

    /// Issue, bad input: "a corrupt or foreign file in the store directory: named, moved aside, not served".
    #[test]
    fn a_file_that_is_no_toolchain_is_moved_aside_and_the_rest_served() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        registry.put(&toolchain("good", "1")).unwrap();
        let good = fs::read_to_string(dir.path().join("good.json")).unwrap();
        for (name, text) in [
            ("torn.json", &good[..good.len() / 2]),
            ("other.json", &good),
            ("unknown.json", &good.replace("\"source\"", "\"sauce\"")),
            ("empty.json", ""),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
            assert_eq!(registry.list().unwrap().len(), 1, "{name}");
            assert!(dir.path().join(format!("{name}.corrupt")).exists(), "{name}");
        }
        fs::write(dir.path().join("new.json"), good.replace("version\": 1", "version\": 2")).unwrap();
        assert!(registry.list().unwrap_err().to_string().contains("newer lre"));
        assert!(dir.path().join("new.json").exists(), "what a newer version wrote is not ours to move");
    }

    #[test]
    fn names_are_file_names() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        for bad in ["", "..", "a/b", ".hidden", "-x", "a b", "é", &"x".repeat(65)] {
            assert!(registry.put(&toolchain(bad, "1")).is_err(), "{bad}");
        }
        for good in ["cc", "gcc-12.2", "clang++", "0"] {
            registry.put(&toolchain(good, "1")).unwrap();
        }
    }
}
