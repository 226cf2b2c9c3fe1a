//! Tar archives, read once from front to back: contents go into the store, names into a layout.
//!
//! Long names of GNU and of PAX, sparse files of GNU, and sizes above 8 GiB are the crate's matter. Names are
//! read by the rules of [`super::unpack`].
use super::unpack::Unpack;
pub(crate) use super::unpack::Whiteouts;
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::intake::Intake;
use crate::layout::{Entry, Layout};
use lre_model::RelPath;
use std::cell::Cell;
use std::io::{self, Read};
use tar::EntryType;

/// Bytes of headers before one entry: long names and attributes. The crate keeps them in memory.
const HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a whole tar archive, decompressed already, into `layout`; `what` names it in errors. `reader` is read to its
/// end, so that whoever counts or hashes on the way sees all of it.
///
/// # Errors
/// It ends before its end, an entry is refused (see [`super::unpack`]), and what the intake says.
pub(crate) fn read_tar(
    reader: impl Read,
    what: &str,
    intake: &Intake,
    layout: &mut Layout,
    warnings: &mut Vec<Warning>,
    whiteouts: Whiteouts,
) -> Result<(), ToolchainError> {
    read_tar_of(reader, what, intake, layout, warnings, whiteouts, &|_| true)
}

/// As [`read_tar`], without what is not wanted: its content is not taken in.
///
/// # Errors
/// As [`read_tar`]; a hard link to what is not wanted is one to nothing.
pub(crate) fn read_tar_of(
    reader: impl Read,
    what: &str,
    intake: &Intake,
    layout: &mut Layout,
    warnings: &mut Vec<Warning>,
    whiteouts: Whiteouts,
    wanted: &dyn Fn(&RelPath) -> bool,
) -> Result<(), ToolchainError> {
    let position = Position { headers_left: Cell::new(u64::MAX), at: Cell::new(0), ended: Cell::new(false) };
    let mut archive = tar::Archive::new(Watched { reader, position: &position });
    let mut unpack = Unpack::new(what, layout, warnings, whiteouts);
    let broken = |e: io::Error| {
        let at = position.at.get();
        let problem = match position.ended.get() {
            true => format!("it ends at byte {at}: a part is missing"),
            false => format!("it cannot be read from byte {at} on: {e}"),
        };
        ToolchainError::unusable(what, problem)
    };
    let mut entries = archive.entries().map_err(broken)?;
    loop {
        position.headers_left.set(HEADER_BYTES_MAX);
        let Some(entry) = entries.next() else { break };
        position.headers_left.set(u64::MAX);
        let mut entry = entry.map_err(broken)?;
        unpack_entry(&mut entry, &mut unpack, intake, wanted)?;
        // What has content and should not.
        io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
    }
    position.headers_left.set(u64::MAX);
    // A layer is checked by its digest, and some tools leave the mark out.
    if position.ended.get() && whiteouts == Whiteouts::Plain {
        let problem = format!("it ends at byte {} without the mark of its end: a part is missing", position.at.get());
        return Err(ToolchainError::unusable(what, problem));
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop).map_err(broken)
}

fn unpack_entry(
    entry: &mut tar::Entry<'_, impl Read>,
    unpack: &mut Unpack<'_>,
    intake: &Intake,
    wanted: &dyn Fn(&RelPath) -> bool,
) -> Result<(), ToolchainError> {
    let name = entry.path_bytes().into_owned();
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader || kind.as_byte() == b'V' {
        return Ok(());
    }
    let attributes = attributes(entry).map_err(|problem| unpack.refused(&name, problem))?;
    // So it was before there was a type for directories.
    let old = matches!(kind, EntryType::Regular | EntryType::Continuous) && name.ends_with(b"/");
    let directory = old || kind == EntryType::Directory;
    let Some(path) = unpack.place(&name, directory)?.filter(wanted) else { return Ok(()) };
    let mode = entry.header().mode().map_err(|e| unpack.refused(&name, e))?;
    if attributes {
        unpack.attributes(&path);
    }
    match kind {
        _ if directory => unpack.directory(&name, path),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            unpack.mode(&path, mode);
            let file = content(entry, &name, unpack, intake, mode)?;
            unpack.put(&name, path, file)
        }
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name_bytes().ok_or_else(|| unpack.refused(&name, "it is a link to nothing"))?;
            match kind {
                EntryType::Symlink => unpack.symlink(&name, path, &target),
                _ => unpack.link(&name, path, &target),
            }
        }
        EntryType::Char | EntryType::Block => unpack.left_out(&path, "a device"),
        EntryType::Fifo => unpack.left_out(&path, "a named pipe"),
        other => Err(unpack.refused(&name, format!("entries of type {:?} are not known", char::from(other.as_byte())))),
    }
}

fn content(
    entry: &mut tar::Entry<'_, impl Read>,
    name: &[u8],
    unpack: &mut Unpack<'_>,
    intake: &Intake,
    mode: u32,
) -> Result<Entry, ToolchainError> {
    let size = entry.size();
    unpack.expect(name, size)?;
    let digest = intake.take(&unpack.named(name), entry)?;
    if digest.size_bytes() != size {
        let problem = format!("the archive ends after {} of its {size} bytes: a part is missing", digest.size_bytes());
        return Err(unpack.refused(name, problem));
    }
    // The owner's bit, as in an import of a directory.
    Ok(Entry::Stored { digest, executable: mode & 0o100 != 0 })
}

/// Whether the entry has extended attributes.
fn attributes(entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, String> {
    let mut found = false;
    for extension in entry.pax_extensions().map_err(|e| e.to_string())?.into_iter().flatten() {
        let key = extension.map_err(|e| format!("its PAX header is not valid: {e}"))?.key_bytes();
        if key.starts_with(b"GNU.sparse.") {
            return Err("it is sparse in the way of PAX, which is not read here: pack it without --sparse".to_owned());
        }
        found |= key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.");
    }
    Ok(found)
}

/// Where the archive is being read.
struct Position {
    /// Bytes of headers that may still come.
    headers_left: Cell<u64>,
    at: Cell<u64>,
    ended: Cell<bool>,
}

struct Watched<'a, R> {
    reader: R,
    position: &'a Position,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Position { headers_left, at, ended } = self.position;
        if headers_left.get() == 0 {
            return Err(io::Error::other(format!("the headers of one entry are larger than {HEADER_BYTES_MAX} bytes")));
        }
        let room = usize::try_from(headers_left.get()).unwrap_or(usize::MAX).min(into.len());
        let read = self.reader.read(&mut into[..room])?;
        if headers_left.get() != u64::MAX {
            headers_left.set(headers_left.get() - read as u64);
        }
        at.set(at.get() + read as u64);
        ended.set(read == 0 && room > 0);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
