//! Writing the file.
use super::walk::{Step, What, walk};
use super::{DIRECTORIES, Exported, MANIFEST, Manifest, SCHEMA_VERSION, TREE, refused};
use crate::copy::parts;
use crate::error::{ToolchainError, io_at};
use crate::import::{Imported, blocking};
use crate::lock::Locked;
use crate::materialise::load_tree;
use crate::progress::{Progress, Stage};
use futures::stream::{self, StreamExt, TryStreamExt};
use lre_model::{Digest, InputTree, encode_tree};
use lre_store::{Blob, BlobStore, MTIME_SECONDS};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

/// zstd level. A file is written once and carried often; the next levels take twice the time for 3 % less.
const ZSTD_LEVEL: i32 = 6;
/// Parts (see `copy`) that are read before they can be written.
const PARTS_AHEAD: usize = 2;
/// Bytes of a blob read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes the toolchain to `to`. The same toolchain gives the same bytes, and the file appears whole or not at all.
///
/// # Errors
/// Blobs that are missing, what the store says, and what the disk says.
pub async fn export(
    store: &dyn BlobStore,
    locked: &Locked,
    to: &Path,
    progress: Arc<dyn Progress>,
) -> Result<Exported, ToolchainError> {
    let (tree, hold) = load_tree(store, locked.digest).await?;
    crate::copy::check_extent(&tree)?;
    let directories = directories(&tree, to)?;
    let steps = walk(&tree);
    let contents: Vec<_> = steps.iter().filter_map(|step| content(&step.what)).collect();
    let size = Imported::of_tree(&tree, Vec::new(), hold);
    let total = contents.iter().map(|d| d.size_bytes()).sum();
    let (sender, receiver) = mpsc::channel(1);
    let manifest = Manifest { schema_version: SCHEMA_VERSION, toolchain: locked.clone() };
    let file = File { path: to.to_owned(), manifest, directories, steps, total, progress };
    let writing = blocking(move || file.write(receiver));
    let reading = async {
        // Owned here, so that the writer sees the end when the reading ends, well or badly.
        let sender = sender;
        let mut read = stream::iter(parts(&contents))
            .map(|part| async move { store.read_many(&part).await.into_iter().collect::<Result<Vec<_>, _>>() })
            .buffered(PARTS_AHEAD);
        while let Some(part) = read.try_next().await? {
            if sender.send(part).await.is_err() {
                // The writer has failed, and says why.
                break;
            }
        }
        Ok::<_, ToolchainError>(())
    };
    let (read, written) = tokio::join!(reading, writing);
    read?;
    Ok(Exported { files: size.files, bytes: size.bytes, written_bytes: written? })
}

fn content(what: &What) -> Option<Digest> {
    match what {
        What::File { digest, .. } => Some(*digest),
        _ => None,
    }
}

/// The message with all directories. What is written must be what is read: a directory whose bytes are not those that
/// we would write has another digest afterwards.
fn directories(tree: &InputTree, to: &Path) -> Result<Vec<u8>, ToolchainError> {
    let mut all = BTreeMap::new();
    for (digest, directory) in tree.directories() {
        if Digest::of(digest.function(), &directory.encode()) != *digest {
            return Err(refused(to, format!("the directory {digest} is not encoded as others would encode it")));
        }
        all.insert(*digest, (**directory).clone());
    }
    let root = all.get(&tree.root.0).cloned().unwrap_or_default();
    Ok(encode_tree(&root, &all))
}

/// What is to be written.
struct File {
    path: PathBuf,
    manifest: Manifest,
    directories: Vec<u8>,
    steps: Vec<Step>,
    total: u64,
    progress: Arc<dyn Progress>,
}

type Archive<W> = tar::Builder<zstd::Encoder<'static, W>>;

impl File {
    fn write(self, parts: mpsc::Receiver<Vec<Blob>>) -> Result<u64, ToolchainError> {
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // What the umask leaves of this, as for any file that a program writes.
        let named = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
        let mut file = named.map_err(io_at("make a file in it", folder))?;
        self.write_to(file.as_file_mut(), parts)?;
        let written = file.as_file().metadata().map_err(io_at("write the file", &self.path))?.len();
        file.as_file().sync_all().map_err(io_at("write the file", &self.path))?;
        file.persist(&self.path).map_err(|e| io_at("write the file", &self.path)(e.error))?;
        Ok(written)
    }

    fn write_to(&self, file: &mut std::fs::File, parts: mpsc::Receiver<Vec<Blob>>) -> Result<(), ToolchainError> {
        let failed = |e: io::Error| io_at("write the file", &self.path)(e);
        let archive = || {
            let mut packed = zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL)?;
            // So that a flipped bit is noticed wherever it is.
            packed.include_checksum(true)?;
            Ok(tar::Builder::new(packed))
        };
        let mut archive = archive().map_err(failed)?;
        // A manifest is plain data: there is nothing that JSON cannot say.
        let mut manifest = serde_json::to_vec_pretty(&self.manifest).expect("the manifest is JSON");
        manifest.push(b'\n');
        append_bytes(&mut archive, MANIFEST, &manifest).map_err(failed)?;
        append_bytes(&mut archive, DIRECTORIES, &self.directories).map_err(failed)?;
        let mut blobs = Blobs { parts, part: Vec::new().into_iter() };
        let mut done = 0;
        for step in &self.steps {
            let path = format!("{TREE}/{}", step.path);
            match &step.what {
                What::Directory => archive.append_data(&mut header(EntryType::Directory, 0, true), path, io::empty()),
                What::Symlink(target) => append_link(&mut archive, EntryType::Symlink, &path, target),
                What::Same(other) => append_link(&mut archive, EntryType::Link, &path, &format!("{TREE}/{other}")),
                What::File { digest, executable } => {
                    done += digest.size_bytes();
                    self.progress.update(Stage::Storing, done, self.total);
                    let mut header = header(EntryType::Regular, digest.size_bytes(), *executable);
                    blobs.next().and_then(|blob| archive.append_data(&mut header, path, Content { blob, offset: 0 }))
                }
            }
            .map_err(failed)?;
        }
        let finished = archive.into_inner().and_then(zstd::Encoder::finish).and_then(|mut file| file.flush());
        finished.map_err(failed)
    }
}

fn append_bytes<W: Write>(archive: &mut Archive<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, bytes.len() as u64, false), name, bytes)
}

/// A link with its target word for word: the library would leave out what it thinks makes no difference.
fn append_link<W: Write>(archive: &mut Archive<W>, kind: EntryType, path: &str, target: &str) -> io::Result<()> {
    let mut link = header(kind, 0, kind == EntryType::Symlink);
    if link.set_link_name_literal(target).is_err() {
        // It is too long for a header: it goes before it, as GNU does it.
        let mut long = header(EntryType::GNULongLink, target.len() as u64 + 1, false);
        archive.append_data(&mut long, "././@LongLink", target.as_bytes().chain(&b"\0"[..]))?;
    }
    archive.append_data(&mut link, path, io::empty())
}

/// Everything that could differ between two machines is constant.
fn header(kind: EntryType, size: u64, executable: bool) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_mtime(MTIME_SECONDS.unsigned_abs());
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The contents, one after the other.
struct Blobs {
    parts: mpsc::Receiver<Vec<Blob>>,
    part: std::vec::IntoIter<Blob>,
}

impl Blobs {
    fn next(&mut self) -> io::Result<Blob> {
        loop {
            if let Some(blob) = self.part.next() {
                return Ok(blob);
            }
            let ended = || io::Error::other("the contents could not be read");
            self.part = self.parts.blocking_recv().ok_or_else(ended)?.into_iter();
        }
    }
}

/// A blob as something to read from, to its end and no further.
struct Content {
    blob: Blob,
    offset: u64,
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let chunk = self.blob.read_at(self.offset, into.len().min(CHUNK_BYTES))?;
        if chunk.is_empty() && self.offset < self.blob.size_bytes() && !into.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a blob is shorter than its name says"));
        }
        into[..chunk.len()].copy_from_slice(&chunk);
        self.offset += chunk.len() as u64;
        Ok(chunk.len())
    }
}
