//! Packages on their way here. What has come, whole and with the right digest, stays until it is imported, so that
//! a second run after an interruption fetches what is missing and nothing else.
use super::apt;
use super::{Pinned, Recipe};
use crate::access::Access;
use crate::error::{Gone, ToolchainError, io_at};
use crate::progress::{Progress, Stage};
use crate::sources::http::{Expected, Http};
use lre_model::{Digest, DigestFunction};
use lre_store::{FileBlob, Origin};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Begins the address of a mirror on a disk.
const FILE: &str = "file://";

/// Held by whoever uses the folder.
const LOCK: &str = "busy";
/// After so long nobody will go on with an import that was interrupted.
const KEPT_SECONDS: u64 = 7 * 24 * 60 * 60;

/// What is to come: the address, the file, and what it must be.
pub(super) type Wanted<'a> = (String, PathBuf, &'a Pinned);

/// The folder of downloads, which is ours alone while this lives.
#[derive(Debug, Clone)]
pub(super) struct Downloads {
    folder: PathBuf,
    /// Whether apt fetches. It knows proxies and transports of its own; without it there is HTTP.
    by_apt: bool,
    _lock: Arc<File>,
}

/// How much speaks against this archive for this package: security updates have an archive of their own.
fn distance(archive: &str, pinned: &Pinned) -> u8 {
    u8::from(archive.contains("security") != pinned.path.contains("/updates/"))
}

/// A package that is not here yet.
#[derive(Debug)]
struct Failed<'a> {
    pinned: &'a Pinned,
    /// Every archive that was asked says that it has none.
    gone: bool,
    why: String,
}

impl Downloads {
    /// Waits for another process that fetches into the same folder.
    pub fn open(access: &Access) -> Result<Self, ToolchainError> {
        let folder = access.directory.join("packages");
        fs::create_dir_all(&folder).map_err(io_at("make the directory", &folder))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(io_at("write the file", &path))?;
        lock.lock().map_err(io_at("lock the file", &path))?;
        sweep(&folder).map_err(io_at("look into the directory", &folder))?;
        Ok(Self { folder, by_apt: apt::fetches(), _lock: Arc::new(lock) })
    }

    /// As on a machine without apt.
    #[cfg(test)]
    pub fn without_apt(self) -> Self {
        Self { by_apt: false, ..self }
    }

    /// Where a package is when it is here.
    pub fn file(&self, pinned: &Pinned) -> PathBuf {
        self.folder.join(format!("{}.deb", pinned.sha256))
    }

    /// Where a package is while it comes.
    fn part(&self, pinned: &Pinned) -> PathBuf {
        self.folder.join(format!("{}.part", pinned.sha256))
    }

    /// Fetches what is missing of `recipe`; `name` is what errors call it, `anew` the source that resolves it anew.
    pub fn fetch(
        &self,
        name: &str,
        anew: &str,
        recipe: &Recipe,
        access: &Access,
        progress: &dyn Progress,
    ) -> Result<(), ToolchainError> {
        let mut missing = Vec::new();
        for pinned in recipe.packages() {
            if !self.has(pinned)? {
                missing.push(pinned);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if access.offline {
            let problem = format!(
                "{} of its {} packages are not here and no network is to be used; get the tree from a peer or an \
                 export file instead",
                missing.len(),
                recipe.packages().len()
            );
            return Err(ToolchainError::unusable(name, problem));
        }
        let archives = self.archives(access);
        if archives.is_empty() {
            return Err(ToolchainError::NotFound {
                what: "a mirror of Debian's packages".to_owned(),
                hint: "this machine's apt knows none: put the address above `pool/` into `debian_mirror` in lre.json5"
                    .to_owned(),
            });
        }
        let progress = Fetching::new(recipe, &missing, progress);
        let mut failed: Vec<Failed<'_>> =
            missing.into_iter().map(|pinned| Failed { pinned, gone: true, why: String::new() }).collect();
        for round in 0..archives.len() {
            failed = self.round(&archives, round, failed, access, &progress)?;
        }
        if failed.is_empty() { Ok(()) } else { Err(not_had(name, anew, recipe, &failed, &archives)) }
    }

    /// Asks for each package that has failed so far at its next best archive; returns those that fail again.
    fn round<'a>(
        &self,
        archives: &[String],
        round: usize,
        failed: Vec<Failed<'a>>,
        access: &Access,
        progress: &Fetching<'_>,
    ) -> Result<Vec<Failed<'a>>, ToolchainError> {
        let address = |pinned: &Pinned| {
            let mut order: Vec<&String> = archives.iter().collect();
            order.sort_by_key(|archive| distance(archive, pinned));
            format!("{}/{}", order[round], pinned.path)
        };
        let wanted: Vec<_> = failed.iter().map(|f| (address(f.pinned), self.part(f.pinned), f.pinned)).collect();
        let (mounted, remote): (Vec<_>, Vec<_>) = wanted.iter().partition(|(address, ..)| address.starts_with(FILE));
        let mut said = if self.by_apt {
            apt::fetch(&remote, &|address| progress.begins(address))?
        } else {
            by_http(&remote, access, &|address| progress.begins(address))
        };
        said.extend(mounted.iter().filter_map(|(address, part, _)| copied(address, part)));
        let mut again = Vec::new();
        for (before, (address, part, pinned)) in failed.into_iter().zip(&wanted) {
            let why = match said.get(address) {
                Some(why) => Some(why.clone()),
                None => self.accept(part, pinned)?,
            };
            match why {
                None => progress.has(pinned),
                Some(why) => again.push(Failed { gone: before.gone && is_gone(&why), why, ..before }),
            }
        }
        Ok(again)
    }

    /// Takes what has come, if it is what is pinned, and says what is wrong with it otherwise.
    fn accept(&self, part: &Path, pinned: &Pinned) -> Result<Option<String>, ToolchainError> {
        let found = match digest_of(part)? {
            None => return Ok(Some("nothing came".to_owned())),
            Some(found) if found == (pinned.sha256.clone(), pinned.size_bytes) => {
                let file = self.file(pinned);
                return fs::rename(part, &file).map(|()| None).map_err(io_at("rename the file", part));
            }
            Some(found) => found,
        };
        removed(part)?;
        Ok(Some(format!("it has sha256 {} and {} bytes, which is not what is pinned", found.0, found.1)))
    }

    fn has(&self, pinned: &Pinned) -> Result<bool, ToolchainError> {
        let file = self.file(pinned);
        match digest_of(&file)? {
            Some(found) if found == (pinned.sha256.clone(), pinned.size_bytes) => Ok(true),
            Some(_) => removed(&file).map(|()| false),
            None => Ok(false),
        }
    }

    /// The user's own mirrors before the machine's: whoever names one means it.
    fn archives(&self, access: &Access) -> Vec<String> {
        let configured = access.debian_mirror.iter().flat_map(|mirrors| mirrors.split_whitespace().map(str::to_owned));
        let own = if self.by_apt { apt::archives() } else { Vec::new() };
        let mut archives: Vec<String> = Vec::new();
        for archive in configured.chain(own) {
            let archive = archive.trim_end_matches('/').to_owned();
            if !archives.contains(&archive) {
                archives.push(archive);
            }
        }
        archives
    }

    /// Forgets the packages of a recipe.
    pub fn remove(&self, recipe: &Recipe) -> Result<(), ToolchainError> {
        recipe.packages().iter().try_for_each(|pinned| removed(&self.file(pinned)))
    }
}

/// Removes what an import that was given up has left long ago.
fn sweep(folder: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // apt gives a file the time that its archive has for it; when it came is its other time.
        let since = entry.metadata().map_or(0, |metadata| metadata.ctime().cast_unsigned());
        if now.saturating_sub(since) > KEPT_SECONDS && entry.file_name() != LOCK {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn removed(file: &Path) -> Result<(), ToolchainError> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_at("remove the file", file)(e)),
        _ => Ok(()),
    }
}

/// SHA-256 and size; nothing where there is no file.
fn digest_of(file: &Path) -> Result<Option<(String, u64)>, ToolchainError> {
    match FileBlob::hash(file, Origin::Foreign, DigestFunction::Sha256) {
        Ok((digest, _)) => Ok(Some((digest.hash_text(), digest.size_bytes()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_at("read the file", file)(e)),
    }
}

/// Whether this says that the archive does not have it, and not that the archive could not be asked.
fn is_gone(why: &str) -> bool {
    why.contains("404") || why.contains("410") || why.contains("File not found")
}

fn not_had(name: &str, anew: &str, recipe: &Recipe, failed: &[Failed<'_>], archives: &[String]) -> ToolchainError {
    let (gone, other): (Vec<_>, Vec<_>) = failed.iter().partition(|failed| failed.gone);
    if let Some(first) = other.first() {
        let problem = format!(
            "{} of its {} packages could not be fetched, the first is {}={}: {}; what has come is kept for the next try",
            failed.len(),
            recipe.packages().len(),
            first.pinned.name,
            first.pinned.version,
            first.why
        );
        return ToolchainError::unusable(name, problem);
    }
    ToolchainError::Gone(Box::new(Gone {
        source_name: name.to_owned(),
        packages: gone.iter().map(|f| format!("{}={}", f.pinned.name, f.pinned.version)).collect(),
        asked: archives.to_vec(),
        anew: anew.to_owned(),
    }))
}

/// As [`apt::fetch`], for a machine without apt.
fn by_http(wanted: &[&Wanted<'_>], access: &Access, begins: &dyn Fn(&str)) -> BTreeMap<String, String> {
    // What has come is counted here, by whole packages.
    let http = Http::new(access, Arc::new(()));
    let fetch = |address: &str, part: &Path, pinned: &Pinned| {
        let digest = Digest::parse(DigestFunction::Sha256, &pinned.sha256, pinned.size_bytes.cast_signed());
        let sha256 = digest.map_err(|e| e.to_string())?.into();
        let expected = Expected { sha256: Some(sha256), size: Some(pinned.size_bytes) };
        let problem = |e: ToolchainError| match e {
            ToolchainError::Fetch { problem, .. } => problem,
            other => other.to_string(),
        };
        let had = http.fetch(address, expected).map_err(problem)?;
        fs::rename(&had.path, part).map_err(|e| e.to_string())
    };
    let failure = |(address, part, pinned): &&Wanted<'_>| {
        begins(address);
        Some((address.clone(), fetch(address, part, pinned).err()?))
    };
    wanted.iter().filter_map(failure).collect()
}

/// From a mirror on a disk; what is wrong, where it cannot be copied.
fn copied(address: &str, part: &Path) -> Option<(String, String)> {
    let why = match fs::copy(address.strip_prefix(FILE)?, part) {
        Ok(_) => return None,
        Err(e) if e.kind() == io::ErrorKind::NotFound => "404 there is no such file".to_owned(),
        Err(e) => e.to_string(),
    };
    Some((address.to_owned(), why))
}

/// How much has come. A package counts when the next one begins: nobody tells more, and no package is large.
struct Fetching<'a> {
    sizes: BTreeMap<&'a str, u64>,
    state: Mutex<Counted>,
    total: u64,
    progress: &'a dyn Progress,
}

#[derive(Default)]
struct Counted {
    counted: BTreeSet<String>,
    bytes: u64,
    current: Option<String>,
}

impl<'a> Fetching<'a> {
    fn new(recipe: &'a Recipe, missing: &[&'a Pinned], progress: &'a dyn Progress) -> Self {
        let total = recipe.size_bytes();
        let bytes = total - missing.iter().map(|pinned| pinned.size_bytes).sum::<u64>();
        progress.update(Stage::Fetching, bytes, total);
        let sizes = missing.iter().map(|pinned| (pinned.path.as_str(), pinned.size_bytes)).collect();
        Self { sizes, state: Mutex::new(Counted { bytes, ..Counted::default() }), total, progress }
    }

    /// The package at this address is being fetched.
    fn begins(&self, address: &str) {
        let path = self.sizes.keys().find(|path| address.ends_with(**path)).map(|path| (*path).to_owned());
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut state.current, path) {
            self.count(&mut state, before);
        }
    }

    /// This package is here.
    fn has(&self, pinned: &Pinned) {
        self.count(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner), pinned.path.clone());
    }

    fn count(&self, state: &mut Counted, path: String) {
        let size = self.sizes.get(path.as_str()).copied().unwrap_or_default();
        if state.counted.insert(path) {
            state.bytes += size;
            self.progress.update(Stage::Fetching, state.bytes.min(self.total), self.total);
        }
    }
}
