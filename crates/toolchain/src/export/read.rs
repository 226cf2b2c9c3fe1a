//! Reading the file: every entry is known before it comes.
use super::refused;
use super::walk::{Step, What, walk};
use super::{
    Carried, DIRECTORIES, DIRECTORIES_BYTES_MAX, MANIFEST, MANIFEST_BYTES_MAX, Manifest, SCHEMA_VERSION, TREE,
};
use crate::access::Access;
use crate::error::{ToolchainError, io_at};
use crate::import::Imported;
use crate::intake::{Intake, take_in};
use crate::lock::Locked;
use crate::materialise::load_tree;
use crate::progress::Progress;
use crate::sources::compressed::decompressed;
use lre_model::{Digest, InputRoot, InputTree, decode_tree};
use lre_store::BlobStore;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tar::EntryType;

/// Bytes of headers before one entry: a long name. The reader of archives keeps them in memory.
const HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// Brings a toolchain from a file that [`super::export`] wrote into the store. Nobody is told of it yet.
///
/// # Errors
/// [`ToolchainError::Export`] names the file and the first thing in it that is not as it should be; nothing is
/// registered then, and what has arrived of the contents only makes the next try quicker.
pub async fn import(
    store: &dyn BlobStore,
    file: &Path,
    access: &Access,
    progress: Arc<dyn Progress>,
) -> Result<Carried, ToolchainError> {
    let path = file.to_owned();
    let function = head(file).await?.digest.function();
    let (locked, hold) = take_in(store, function, access, progress, move |intake| {
        let packed = File::open(&path).map_err(io_at("read the file", &path))?;
        Reading::begin(&path, packed)?.all(intake)
    })
    .await?;
    // Not the word of the reader, but a look at the store.
    let (tree, all) = load_tree(store, locked.digest).await?;
    Ok(Carried { imported: Imported::of_tree(&tree, Vec::new(), all.and(hold)), locked })
}

/// What the file says it is. Nothing of the tree is looked at.
///
/// # Errors
/// It is no such file.
async fn head(file: &Path) -> Result<Locked, ToolchainError> {
    let path = file.to_owned();
    crate::import::blocking(move || {
        let packed = File::open(&path).map_err(io_at("read the file", &path))?;
        let mut reading = Reading::begin(&path, packed)?;
        let Reading { file, archive, allowance } = &mut reading;
        let mut entries = archive.entries().map_err(|e| refused(file, e))?;
        manifest(&mut Entries { file, entries: &mut entries, allowance })
    })
    .await
}

/// A file that is being read.
struct Reading {
    file: PathBuf,
    archive: tar::Archive<Guarded<Box<dyn Read + Send>>>,
    allowance: Rc<Cell<u64>>,
}

impl Reading {
    fn begin(file: &Path, packed: File) -> Result<Self, ToolchainError> {
        let reader = decompressed(packed).map_err(|e| refused(file, e))?;
        let allowance = Rc::new(Cell::new(u64::MAX));
        let archive = tar::Archive::new(Guarded { reader, allowance: allowance.clone() });
        Ok(Self { file: file.to_owned(), archive, allowance })
    }

    /// Reads it to its end; contents go into the store.
    fn all(mut self, intake: &Intake) -> Result<Locked, ToolchainError> {
        let Self { file, archive, allowance } = &mut self;
        let mut entries = archive.entries().map_err(|e| refused(file, e))?;
        let mut entries = Entries { file, entries: &mut entries, allowance };
        let locked = manifest(&mut entries)?;
        let tree = directories(&mut entries, &locked)?;
        for (digest, directory) in tree.directories() {
            intake.take(&digest.to_string(), &directory.encode()[..])?;
        }
        for step in walk(&tree) {
            entries.expect(&step, intake)?;
        }
        entries.expect_end()?;
        allowance.set(u64::MAX);
        // What follows the end mark is nothing, and the checksum of the whole is at its very end.
        let mut rest = self.archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(|e| refused(&self.file, broken(&e)))?;
        Ok(locked)
    }
}

/// The first entry.
fn manifest<R: Read>(entries: &mut Entries<'_, '_, R>) -> Result<Locked, ToolchainError> {
    let file = entries.file;
    let text = entries.whole(MANIFEST, MANIFEST_BYTES_MAX)?;
    #[derive(serde::Deserialize)]
    struct Version {
        schema_version: u32,
    }
    let bad = |e: serde_json::Error| refused(file, format!("{MANIFEST}: {e}"));
    // The version first: what a newer one means by its keys is not known here.
    let version: Version = serde_json::from_slice(&text).map_err(bad)?;
    if version.schema_version != SCHEMA_VERSION {
        let version = version.schema_version;
        let problem = format!("{MANIFEST} has schema_version {version}, this lre knows {SCHEMA_VERSION}: update lre");
        return Err(refused(file, problem));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(bad)?;
    manifest.toolchain.validate().map_err(|problem| refused(file, format!("{MANIFEST}: {problem}")))?;
    Ok(manifest.toolchain)
}

/// The second one: with it every byte that follows is pinned.
fn directories<R: Read>(entries: &mut Entries<'_, '_, R>, locked: &Locked) -> Result<InputTree, ToolchainError> {
    let file = entries.file;
    let message = entries.whole(DIRECTORIES, DIRECTORIES_BYTES_MAX)?;
    let function = locked.digest.function();
    let (root, mut children) =
        decode_tree(function, &message).map_err(|e| refused(file, format!("{DIRECTORIES}: {e}")))?;
    let found = Digest::of(function, &root.encode());
    if found != locked.digest {
        let problem = format!("its tree is {found}, but its manifest says {}: it was altered", locked.digest);
        return Err(refused(file, problem));
    }
    let mut tree = InputTree::new(InputRoot(found));
    tree.add(found, Arc::new(root));
    while let Some(wanted) = tree.wanted().first().copied() {
        let missing = || refused(file, format!("{DIRECTORIES} lacks the directory {wanted}"));
        // Reached under its own digest only, so it is what its parent names.
        let directory = children.remove(&wanted).ok_or_else(missing)?;
        tree.add(wanted, Arc::new(directory));
    }
    crate::copy::check_extent(&tree)?;
    Ok(tree)
}

/// The entries that are still to come.
struct Entries<'a, 'e, R: Read> {
    file: &'a Path,
    entries: &'a mut tar::Entries<'e, R>,
    allowance: &'a Cell<u64>,
}

impl<'e, R: Read> Entries<'_, 'e, R> {
    /// The next one, which must have this name.
    fn next(&mut self, name: &str) -> Result<tar::Entry<'e, R>, ToolchainError> {
        self.allowance.set(HEADER_BYTES_MAX);
        let next = self.entries.next();
        self.allowance.set(u64::MAX);
        let entry = match next {
            None => return Err(refused(self.file, format!("{name} is missing: the file ends before it"))),
            Some(Err(e)) => return Err(refused(self.file, format!("{name} cannot be read: {}", broken(&e)))),
            Some(Ok(entry)) => entry,
        };
        let found = entry.path_bytes();
        let found = found.strip_suffix(b"/").unwrap_or(&found);
        if found != name.as_bytes() {
            let problem = format!("where {name} should be is {}", String::from_utf8_lossy(found));
            return Err(refused(self.file, problem));
        }
        Ok(entry)
    }

    /// All of a small entry.
    fn whole(&mut self, name: &str, at_most: u64) -> Result<Vec<u8>, ToolchainError> {
        let file = self.file;
        let entry = self.next(name)?;
        let size = entry.size();
        if size > at_most || entry.header().entry_type() != EntryType::Regular {
            return Err(refused(file, format!("{name} is no file of at most {at_most} bytes")));
        }
        let mut bytes = Vec::new();
        entry.take(at_most).read_to_end(&mut bytes).map_err(|e| refused(file, format!("{name}: {}", broken(&e))))?;
        if bytes.len() as u64 != size {
            return Err(refused(file, format!("{name}: {}", ends())));
        }
        Ok(bytes)
    }

    /// The next one, which must be this; its content goes into the store.
    fn expect(&mut self, step: &Step, intake: &Intake) -> Result<(), ToolchainError> {
        let file = self.file;
        let name = format!("{TREE}/{}", step.path);
        let entry = self.next(&name)?;
        let differs = |problem: &str| refused(file, format!("{}: {problem}", step.path));
        let link = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        let executable = entry.header().mode().map_err(|e| differs(&e.to_string()))? & 0o100 != 0;
        let (expected, ok) = match &step.what {
            What::Directory => ("a directory", entry.header().entry_type() == EntryType::Directory),
            What::Symlink(target) => {
                let same = link == target.as_bytes();
                ("a symlink to what the manifest says", entry.header().entry_type() == EntryType::Symlink && same)
            }
            What::Same(other) => {
                let same = link == format!("{TREE}/{other}").into_bytes();
                ("a link to an equal file", entry.header().entry_type() == EntryType::Link && same)
            }
            What::File { digest, executable: wanted } => {
                let same = entry.size() == digest.size_bytes() && executable == *wanted;
                ("a file of the pinned size and mode", entry.header().entry_type() == EntryType::Regular && same)
            }
        };
        if !ok {
            return Err(differs(&format!("it is not {expected}: the file was altered")));
        }
        let What::File { digest, .. } = &step.what else { return Ok(()) };
        let taken = intake.take(&step.path, entry).map_err(|e| match e {
            ToolchainError::Unusable { problem, .. } => differs(&problem),
            e => e,
        })?;
        match taken == *digest {
            true => Ok(()),
            false if taken.size_bytes() < digest.size_bytes() => Err(differs(ends())),
            false => Err(differs(&format!("its content is {taken}, but {digest} is pinned: the file was altered"))),
        }
    }

    fn expect_end(&mut self) -> Result<(), ToolchainError> {
        self.allowance.set(HEADER_BYTES_MAX);
        match self.entries.next() {
            None => Ok(()),
            Some(Err(e)) => Err(refused(self.file, broken(&e))),
            Some(Ok(entry)) => {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                Err(refused(self.file, format!("{name} is not part of the toolchain: the file was altered")))
            }
        }
    }
}

fn ends() -> &'static str {
    "the file ends in the middle of it: get it again"
}

/// What an error of reading means.
fn broken(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => "the file ends before its end: get it again".to_owned(),
        _ => format!("{e}: the file was altered, or it is no toolchain"),
    }
}

/// Reads no more than it is allowed to.
struct Guarded<R> {
    reader: R,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.get();
        if left == 0 {
            return Err(io::Error::other(format!("the headers of one entry are larger than {HEADER_BYTES_MAX} bytes")));
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(into.len());
        let read = self.reader.read(&mut into[..room])?;
        if left != u64::MAX {
            self.allowance.set(left - read as u64);
        }
        Ok(read)
    }
}
