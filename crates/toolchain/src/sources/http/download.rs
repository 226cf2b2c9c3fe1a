//! Files that are fetched: they come in pieces where they must, go on where they were cut off, and get their name
//! only when their digest is right.
use super::sha256::{Sha256, hash_into, hasher};
use super::{Answer, Failure, Http, Request, Trust};
use crate::error::{ToolchainError, io_at};
use crate::progress::Stage;
use lre_model::Hasher;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;
use ureq::http::header;

/// The largest file that is fetched, in bytes; no toolchain comes near.
const DOWNLOAD_BYTES_MAX: u64 = 64 << 30;
/// Bytes taken from the network at once.
const CHUNK_BYTES: usize = 128 * 1024;
/// Tries to go on where a download was cut off, before it is given up.
const PIECES_MAX: usize = 100;
/// After so long nobody will go on with what was fetched in part, or read what was never imported.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What is known of a file before it is fetched.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    pub(crate) sha256: Option<Sha256>,
    pub(crate) size: Option<u64>,
}

impl From<Sha256> for Expected {
    fn from(sha256: Sha256) -> Self {
        Self { sha256: Some(sha256), size: None }
    }
}

/// A file that was fetched. It stays for a week, or until it is [`Download::forget`]-ed.
#[derive(Debug)]
pub(crate) struct Download {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Sha256,
}

impl Download {
    /// What it held has been imported. Who reads it at this moment goes on reading.
    pub(crate) fn forget(self) {
        if let Err(e) = fs::remove_file(&self.path) {
            tracing::debug!("{} stays: {e}", self.path.display());
        }
    }
}

/// A file on its way.
struct Part {
    file: File,
    hasher: Hasher,
    /// Whether some of it is from another time.
    resumed: bool,
}

impl Http {
    /// Fetches a file. A `sha256` that is expected lets it come over any connection, and go on where another
    /// download was cut off.
    ///
    /// # Errors
    /// `offline`, no answer, a server that refuses, and another digest than the expected one: both are named.
    pub(crate) fn fetch(&self, url: &str, expected: Expected) -> Result<Download, ToolchainError> {
        let trust = if expected.sha256.is_some() { Trust::Checked } else { Trust::Connection };
        self.download(url, expected, |from| self.send(Request { from, ..Request::new(url, trust) }))
    }

    /// As [`Http::fetch`], for those who ask in their own way. `open` sends the request for what begins at this byte.
    pub(crate) fn download(
        &self,
        what: &str,
        expected: Expected,
        open: impl Fn(u64) -> Result<Answer, Failure>,
    ) -> Result<Download, ToolchainError> {
        if let Some(here) = self.kept(expected) {
            return Ok(here);
        }
        if self.offline {
            // Without a folder for what will not come.
            return Err(open(0)
                .err()
                .unwrap_or(Failure::Final("nothing is fetched with --offline".to_owned()))
                .of(what));
        }
        fs::create_dir_all(&self.downloads).map_err(io_at("make the directory", &self.downloads))?;
        sweep(&self.downloads);
        let path = self.downloads.join(match expected.sha256 {
            Some(sha256) => format!("{sha256}.part"),
            None => format!("{}.unpinned.part", Sha256::of(what.as_bytes())),
        });
        let file = locked(&path).map_err(io_at("write the file", &path))?;
        // Somebody else may have fetched it while we waited.
        if let Some(here) = self.kept(expected) {
            let _empty = fs::remove_file(&path);
            return Ok(here);
        }
        let mut part = Part { file, hasher: hasher(), resumed: false };
        let written = io_at("write the file", &path);
        match expected.sha256 {
            Some(_) => part.go_on(),
            None => part.restart(),
        }
        .map_err(written)?;
        let sha256 = self.fill(what, &path, &mut part, expected, open)?;
        // The lock is ours until the file has its name.
        let target = self.downloads.join(sha256.to_string());
        fs::rename(&path, &target).map_err(io_at("move the file into place", &target))?;
        drop(part);
        Ok(Download { path: target, sha256 })
    }

    /// What is here already. It is hashed again: the machine may have crashed while it was written.
    fn kept(&self, expected: Expected) -> Option<Download> {
        let sha256 = expected.sha256?;
        let path = self.downloads.join(sha256.to_string());
        let found = Sha256::of_file(&path).ok()?;
        if found == sha256 {
            return Some(Download { path, sha256 });
        }
        let _gone = fs::remove_file(&path);
        None
    }

    fn fill(
        &self,
        what: &str,
        path: &Path,
        part: &mut Part,
        expected: Expected,
        open: impl Fn(u64) -> Result<Answer, Failure>,
    ) -> Result<Sha256, ToolchainError> {
        loop {
            let complete = expected.sha256.is_some_and(|wanted| part.sha256() == wanted);
            if !complete {
                self.fill_all(part, expected, &open).map_err(|failure| failure.of(what))?;
            }
            let found = part.sha256();
            let Some(wanted) = expected.sha256.filter(|wanted| *wanted != found) else {
                part.file.sync_data().map_err(io_at("write the file", path))?;
                return Ok(found);
            };
            if !part.resumed {
                let _gone = fs::remove_file(path);
                let problem = format!("its SHA-256 is {found}, but {wanted} was expected");
                return Err(Failure::Final(problem).of(what));
            }
            // What was there from another time may have been the wrong part.
            part.restart().map_err(io_at("write the file", path))?;
        }
    }

    /// Goes on until all of it is here. What arrives is progress, and the next failure is the first one again.
    fn fill_all(
        &self,
        part: &mut Part,
        expected: Expected,
        open: &impl Fn(u64) -> Result<Answer, Failure>,
    ) -> Result<(), Failure> {
        for _ in 0..PIECES_MAX {
            let before = part.hasher.size_bytes();
            let filled = self.trying(|| match self.fill_once(part, expected, open) {
                Err(Failure::Passing(_)) if part.hasher.size_bytes() > before => Ok(false),
                filled => filled.map(|()| true),
            });
            if filled? {
                return Ok(());
            }
        }
        Err(Failure::Final(format!("it was cut off {PIECES_MAX} times")))
    }

    fn fill_once(
        &self,
        part: &mut Part,
        expected: Expected,
        open: &impl Fn(u64) -> Result<Answer, Failure>,
    ) -> Result<(), Failure> {
        let disk = |e: io::Error| Failure::Final(format!("it cannot be written here: {e}"));
        let from = part.hasher.size_bytes();
        let mut answer = open(from)?;
        match answer.status {
            206 if starts_at(&answer, from) => {}
            200 => part.restart().map_err(disk)?,
            // What is here may be all, which the digest will tell, or from another file.
            416 if from > 0 => {
                return part.restart().map_err(disk).and(Err(Failure::Passing("it is shorter".to_owned())));
            }
            206 => return Err(Failure::Final("the server sends another part than it was asked for".to_owned())),
            status => return Err(Failure::of_status(status)),
        }
        let rest: Option<u64> = answer.header(header::CONTENT_LENGTH).and_then(|l| l.parse().ok());
        let whole = rest.map(|rest| part.hasher.size_bytes().saturating_add(rest));
        let most = expected.size.unwrap_or(DOWNLOAD_BYTES_MAX);
        let mut chunk = vec![0; CHUNK_BYTES];
        let counted = self.total.fetch_add(rest.unwrap_or(0), Ordering::Relaxed) + rest.unwrap_or(0);
        self.progress.update(Stage::Fetching, self.done.load(Ordering::Relaxed), counted);
        loop {
            let n = match answer.body.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Failure::Passing(e.to_string())),
            };
            part.file.write_all(&chunk[..n]).map_err(disk)?;
            part.hasher.update(&chunk[..n]);
            if part.hasher.size_bytes() > most {
                return Err(Failure::Final(format!("it is larger than {most} bytes")));
            }
            let done = self.done.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
            self.progress.update(Stage::Fetching, done, self.total.load(Ordering::Relaxed).max(done));
        }
        match whole.or(expected.size).filter(|whole| part.hasher.size_bytes() < *whole) {
            Some(whole) => {
                Err(Failure::Passing(format!("it ends after {} of {whole} bytes", part.hasher.size_bytes())))
            }
            None => Ok(()),
        }
    }
}

impl Part {
    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.hasher, self.resumed) = (hasher(), false);
        Ok(())
    }

    fn go_on(&mut self) -> io::Result<()> {
        self.file.rewind()?;
        hash_into(&mut self.hasher, &mut self.file)?;
        self.resumed = self.hasher.size_bytes() > 0;
        Ok(())
    }

    fn sha256(&self) -> Sha256 {
        Sha256::from(self.hasher.clone().finish())
    }
}

/// Whether a part begins where it should.
fn starts_at(answer: &Answer, from: u64) -> bool {
    let range = answer.header(header::CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()).and_then(|first| first.parse().ok()) == Some(from)
}

/// The file of this name, for us alone. Who had it before may have given it another name meanwhile.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        match fs::metadata(path) {
            Ok(now) if now.ino() == file.metadata()?.ino() => return Ok(file),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
}

/// Removes what nobody came back for.
fn sweep(downloads: &Path) {
    let old =
        |path: &Path| fs::metadata(path).is_ok_and(|m| m.modified().is_ok_and(|t| t.elapsed().is_ok_and(|e| e > KEPT)));
    let Ok(files) = fs::read_dir(downloads) else { return };
    files.flatten().map(|file| file.path()).filter(|path| old(path)).for_each(|path| drop(fs::remove_file(path)));
}
