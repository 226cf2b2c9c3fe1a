//! Files inside a tar archive, read where they are: what stands where is looked up once.
use super::super::compressed::decompressed;
use crate::error::{ToolchainError, io_at};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The largest archive that is decompressed to disk before it is read, in bytes.
const SPOOLED_BYTES_MAX: u64 = 64 << 30;
/// Files in an archive of images: each layer has a few.
const FILES_MAX: usize = 100_000;
/// Links from name to name inside an archive.
const LINKS_MAX: usize = 8;

pub(super) struct Packed {
    file: Arc<File>,
    entries: BTreeMap<String, At>,
}

enum At {
    Bytes {
        from: u64,
        to: u64,
    },
    /// `docker save` of old writes equal layers once.
    Link(String),
}

impl Packed {
    /// Looks through an archive. One that is compressed is decompressed into a file without a name in `spool` first.
    pub(super) fn open(path: &Path, spool: &Path) -> Result<Self, ToolchainError> {
        let read = || io_at("read the file", path);
        let mut file = File::open(path).map_err(read())?;
        let mut start = [0; 6];
        let n = file.read(&mut start).map_err(read())?;
        file.rewind().map_err(read())?;
        if matches!(&start[..n], [0x1f, 0x8b, ..] | [0xfd, b'7', ..] | [0x28, 0xb5, ..]) {
            file = spooled(file, spool).map_err(read())?;
        }
        let refused = |problem: String| ToolchainError::unusable(path.display().to_string(), problem);
        let entries = entries(&file).map_err(refused)?;
        Ok(Self { file: Arc::new(file), entries })
    }

    /// The file of this name.
    pub(super) fn read(&self, name: &str) -> Option<Section> {
        let mut name = normal("", name);
        for _ in 0..LINKS_MAX {
            match self.entries.get(&name)? {
                At::Bytes { from, to } => return Some(Section { file: self.file.clone(), at: *from, to: *to }),
                At::Link(target) => name = target.clone(),
            }
        }
        None
    }
}

fn spooled(file: File, spool: &Path) -> io::Result<File> {
    std::fs::create_dir_all(spool)?;
    let mut to = tempfile::tempfile_in(spool)?;
    if io::copy(&mut decompressed(file)?.take(SPOOLED_BYTES_MAX + 1), &mut to)? > SPOOLED_BYTES_MAX {
        return Err(io::Error::other(format!("it decompresses to more than {SPOOLED_BYTES_MAX} bytes")));
    }
    to.flush()?;
    to.rewind()?;
    Ok(to)
}

fn entries(file: &File) -> Result<BTreeMap<String, At>, String> {
    let broken = |e: io::Error| format!("it is not a whole tar archive: {e}");
    let length = file.metadata().map_err(broken)?.len();
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut entries = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = normal("", &String::from_utf8_lossy(&entry.path_bytes()));
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let kind = entry.header().entry_type();
        let at = match target {
            Some(target) if kind.is_symlink() => {
                At::Link(normal(name.rsplit_once('/').map_or("", |(d, _)| d), &target))
            }
            Some(target) if kind.is_hard_link() => At::Link(normal("", &target)),
            _ if !kind.is_file() => continue,
            _ => {
                let from = entry.raw_file_position();
                let to = from.saturating_add(entry.size());
                if to > length {
                    return Err(format!("it ends within `{name}`: a part is missing"));
                }
                At::Bytes { from, to }
            }
        };
        entries.insert(name, at);
        if entries.len() > FILES_MAX {
            return Err(format!("it has more than {FILES_MAX} files, as no archive of images has"));
        }
    }
    Ok(entries)
}

/// A name as seen from a folder of the archive. It is only looked up.
fn normal(folder: &str, name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A part of a file.
pub(super) struct Section {
    file: Arc<File>,
    at: u64,
    to: u64,
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.to - self.at).unwrap_or(usize::MAX).min(into.len());
        let n = self.file.read_at(&mut into[..room], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
