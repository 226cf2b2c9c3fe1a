//! Zip archives. They are read from their end, where the names are. That a file is setuid is not seen here: the crate
//! forgets it.
use super::super::tar::Whiteouts;
use super::super::unpack::Unpack;
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::intake::Intake;
use crate::layout::{Entry, Layout};
use std::fs::File;
use std::io::{BufReader, Read};
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// Of a mode: the bits that say what a file is, and those that say it is a symlink.
const KIND: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// The longest target of a symlink, in bytes.
const TARGET_BYTES_MAX: u64 = 4096;

pub(super) fn read_zip(
    file: File,
    what: &str,
    intake: &Intake,
    layout: &mut Layout,
    warnings: &mut Vec<Warning>,
) -> Result<(), ToolchainError> {
    let broken = |e: ZipError| ToolchainError::unusable(what, problem(&e));
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    if archive.has_duplicate_names() {
        return Err(ToolchainError::unusable(what, "two of its entries have one name"));
    }
    let mut programs = false;
    let mut unpack = Unpack::new(what, layout, warnings, Whiteouts::Plain);
    for index in 0..archive.len() {
        let name = archive.by_index_raw(index).map_err(broken)?.name_raw().to_vec();
        let entry = archive.by_index(index).map_err(|e| unpack.refused(&name, problem(&e)))?;
        programs |= entry.is_file() && entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
        unpack_entry(entry, &name, &mut unpack, intake)?;
    }
    // As zips made on other systems are.
    if !programs && !archive.is_empty() {
        warnings.push(Warning::Note(format!("{what} says of none of its files that it may be executed")));
    }
    Ok(())
}

fn unpack_entry(
    mut entry: ZipFile<'_, BufReader<File>>,
    name: &[u8],
    unpack: &mut Unpack<'_>,
    intake: &Intake,
) -> Result<(), ToolchainError> {
    let mode = entry.unix_mode().unwrap_or(0o644);
    let directory = name.ends_with(b"/") || mode & KIND == DIRECTORY;
    let Some(path) = unpack.place(name, directory)? else { return Ok(()) };
    if directory {
        return unpack.directory(name, path);
    }
    if entry.compression() != CompressionMethod::Stored && entry.compression() != CompressionMethod::Deflated {
        return Err(
            unpack.refused(name, format!("it is compressed with {}, which is not read here", entry.compression()))
        );
    }
    let size = entry.size();
    unpack.expect(name, size)?;
    match mode & KIND {
        SYMLINK => {
            let mut target = Vec::new();
            let read = entry.by_ref().take(TARGET_BYTES_MAX).read_to_end(&mut target);
            read.map_err(|e| unpack.refused(name, format!("it cannot be read: {e}")))?;
            unpack.symlink(name, path, &target)
        }
        REGULAR | 0 => {
            // One byte more than was said is enough to know.
            let digest = intake.take(&unpack.named(name), entry.take(size.saturating_add(1)))?;
            if digest.size_bytes() != size {
                return Err(unpack.refused(name, format!("it does not have the {size} bytes that it is said to have")));
            }
            unpack.put(name, path, Entry::Stored { digest, executable: mode & 0o100 != 0 })
        }
        _ => unpack.left_out(&path, "neither file, directory nor symlink"),
    }
}

fn problem(error: &ZipError) -> String {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => "it is encrypted".to_owned(),
        ZipError::InvalidArchive(problem) => format!("it is not a whole zip archive: {problem}"),
        other => format!("it cannot be read: {other}"),
    }
}
