//! `archive:FILE-or-URL#sha256=HEX`: tar, plain or compressed with gzip, xz or zstd, and zip, which wheels are.
//!
//! A file is pinned by what it is when it is added; what comes from an address is pinned by the user. Many archives
//! have one directory at their top, named after a version: it is left away, which is said.
mod spec;
mod top;
mod zip;

use super::checked::{checked, piped};
use super::compressed::decompressed;
use super::http::{Download, Expected, Http, Sha256};
use super::tar::{Whiteouts, read_tar};
use super::{Finding, Found, SEARCHED, Tree, tools_in};
use crate::access::Access;
use crate::error::{ToolchainError, io_at};
use crate::import::{Warning, blocking};
use crate::intake::{Intake, take_in};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::{Kind, Source};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use spec::Archive;
pub(super) use top::leaving;

/// Bytes by which formats are told.
const MAGIC_BYTES: u64 = 8;

impl Archive {
    /// What gives the same tree every time; nothing where it is not pinned.
    pub(super) fn pinned(&self) -> Option<String> {
        let sha256 = self.sha256?;
        Some(format!("archive {sha256} {:?}", self.top))
    }

    /// This archive, with the digest of the file that it is now.
    ///
    /// # Errors
    /// The file cannot be read; and for an address that is not pinned: what to write.
    pub(super) async fn pin(&self, access: &Access, progress: Arc<dyn Progress>) -> Result<Self, ToolchainError> {
        if self.sha256.is_some() {
            return Ok(self.clone());
        }
        let (unpinned, access) = (self.clone(), access.clone());
        blocking(move || {
            let place = &unpinned.place;
            if !unpinned.is_url() {
                let sha256 = Sha256::of_file(Path::new(place)).map_err(io_at("read the file", Path::new(place)))?;
                return Ok(Self { sha256: Some(sha256), ..unpinned });
            }
            let sha256 = Http::new(&access, progress).fetch(place, Expected::default())?.sha256;
            let pinned = Source::Archive(Self { sha256: Some(sha256), ..unpinned.clone() });
            let problem =
                format!("it is not pinned, and may be something else tomorrow; hint: what it is now is `{pinned}`");
            Err(ToolchainError::Source { text: Source::Archive(unpinned).to_string(), problem: Some(problem) })
        })
        .await
    }

    pub(super) async fn find(&self, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
        let pinned = self.pin(finding.access, finding.progress.clone()).await?;
        let (archive, kind) = (pinned.clone(), finding.wanted.kind);
        let http = Http::new(finding.access, finding.progress.clone());
        let reading =
            take_in(finding.store, finding.function, finding.access, finding.progress.clone(), move |intake| {
                archive.read(&http, intake, kind)
            });
        let ((layout, warnings), hold) = reading.await?;
        Ok(Found {
            tools: tools_in(&layout, &SEARCHED),
            tree: Tree::Streamed(layout, hold),
            warnings,
            environment: Default::default(),
            source: Source::Archive(pinned).to_string(),
            recipe: Vec::new(),
        })
    }

    fn read(&self, http: &Http, intake: &Intake, kind: Kind) -> Result<(Layout, Vec<Warning>), ToolchainError> {
        let (path, download) = self.fetched(http)?;
        let (mut layout, mut warnings) = (Layout::default(), Vec::new());
        self.unpack(&path, intake, &mut layout, &mut warnings)?;
        let layout = top::taken(self, layout, &mut warnings)?;
        if kind == Kind::Tree {
            warnings.extend(leaving(&layout));
        }
        if let Some(download) = download {
            download.forget();
        }
        Ok((layout, warnings))
    }

    /// The file, on this machine.
    fn fetched(&self, http: &Http) -> Result<(PathBuf, Option<Download>), ToolchainError> {
        if !self.is_url() {
            return Ok((PathBuf::from(&self.place), None));
        }
        let download = http.fetch(&self.place, Expected { sha256: self.sha256, size: None })?;
        Ok((download.path.clone(), Some(download)))
    }

    /// Reads what the file has, and checks that it is the one that is meant. Where it is not, that is what
    /// is told: that half of another file cannot be read follows from it.
    fn unpack(
        &self,
        path: &Path,
        intake: &Intake,
        layout: &mut Layout,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), ToolchainError> {
        let what = self.shown();
        let opened = || File::open(path).map_err(io_at("read the file", path));
        let mut file = opened()?;
        let mut start = Vec::new();
        file.by_ref().take(MAGIC_BYTES).read_to_end(&mut start).map_err(io_at("read the file", path))?;
        file.rewind().map_err(io_at("read the file", path))?;
        let (read, check) = match &start[..] {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => {
                let (mut reader, check) = checked(opened()?);
                // A zip is read from its end.
                let hashing = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
                let read = zip::read_zip(file, &what, intake, layout, warnings);
                let _told_by_the_check = hashing.join();
                (read, check)
            }
            start => {
                let (reader, check) = checked(file);
                let broken = |e| ToolchainError::unusable(&what, format!("it cannot be read: {e}"));
                let read = no_other(start).map_err(|problem| ToolchainError::unusable(&what, problem)).and_then(|()| {
                    let plain = piped(decompressed(reader).map_err(broken)?);
                    read_tar(plain, &what, intake, layout, warnings, Whiteouts::Plain)
                });
                (read, check)
            }
        };
        let (_, found) = check.finish().map_err(io_at("read the file", path))?;
        match self.sha256.filter(|wanted| *wanted != found) {
            Some(wanted) => {
                Err(ToolchainError::unusable(what, format!("its SHA-256 is {found}, but {wanted} was expected")))
            }
            None => read,
        }
    }
}

/// Files that people take for archives of this kind.
fn no_other(start: &[u8]) -> Result<(), &'static str> {
    match start {
        [] => Err("it is empty"),
        [b'!', b'<', b'a', b'r', b'c', b'h', ..] => {
            Err("it is an `ar` archive; hint: packages of Debian are `deb:NAME`")
        }
        [0xed, 0xab, 0xee, 0xdb, ..] => Err("it is a package of RPM, which is not read here"),
        [b'7', b'z', 0xbc, 0xaf, ..] => Err("it is a 7z archive, which is not read here: tar and zip are"),
        [b'R', b'a', b'r', b'!', ..] => Err("it is a RAR archive, which is not read here: tar and zip are"),
        [0x7f, b'E', b'L', b'F', ..] => Err("it is a program; hint: put it into a folder `bin`, and use `dir:`"),
        [b'<', ..] => Err("it is a web page; hint: look at what the address shows in a browser"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
