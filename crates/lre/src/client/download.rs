//! From a result to files of this machine.
use crate::client::{Client, ClientError};
use futures::{StreamExt, TryStreamExt};
use lre_model::{ActionResult, Digest, Directory, Hasher, Node, RelPath, decode_tree};
use lre_store::{Blob, BlobStore, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Largest `Tree` that is read into memory, in bytes: a million files are about 100 MB.
const TREE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes read and hashed at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Blobs on their way at the same time.
const DOWNLOADS_AT_ONCE: usize = 16;

/// What a download brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// Files written.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// All that is to be written, before anything is.
#[derive(Default)]
struct Layout {
    directories: Vec<PathBuf>,
    files: Vec<(PathBuf, Digest, bool)>,
    symlinks: Vec<(PathBuf, String)>,
}

impl Client {
    /// Writes all outputs of `result` below `directory`, which stands for the working directory of the
    /// command. Every file is verified, and appears whole or not at all.
    ///
    /// # Errors
    /// Blobs that are gone or wrong, and files that cannot be written.
    pub async fn download(&self, result: &ActionResult, directory: &Path) -> Result<Downloaded, ClientError> {
        let layout = self.layout(result, directory).await?;
        let mut downloaded = Downloaded::default();
        for path in &layout.directories {
            fs::create_dir_all(path).map_err(local(path))?;
        }
        let one = |(path, digest, executable): &(PathBuf, Digest, bool)| {
            let (path, digest, executable) = (path.clone(), *digest, *executable);
            async move {
                let blob = self.store().read(digest).await?;
                write_file(&path, digest, &blob, executable)?;
                Ok::<_, ClientError>(digest.size_bytes())
            }
        };
        let mut written = futures::stream::iter(layout.files.iter().map(one)).buffer_unordered(DOWNLOADS_AT_ONCE);
        while let Some(bytes) = written.try_next().await? {
            downloaded.files += 1;
            downloaded.bytes += bytes;
        }
        // Last: a symlink that the command made must not lead a file of ours elsewhere.
        for (path, target) in &layout.symlinks {
            write_symlink(path, target)?;
        }
        Ok(downloaded)
    }

    async fn layout(&self, result: &ActionResult, directory: &Path) -> Result<Layout, ClientError> {
        let mut layout = Layout::default();
        let function = result.function();
        let wire = result.wire();
        for file in &wire.output_files {
            let digest = Digest::from_wire(function, file.digest.as_ref()).map_err(promise)?;
            layout.files.push((place(directory, &file.path)?, digest, file.is_executable));
        }
        for output in &wire.output_directories {
            let at = place(directory, &output.path)?;
            let tree = Digest::from_wire(function, output.tree_digest.as_ref()).map_err(promise)?;
            let blob = self.store().read(tree).await?.into_bytes(TREE_BYTES_MAX).await?;
            let (root, children) = decode_tree(function, &blob).map_err(promise)?;
            layout.directory(&at, &root, &children)?;
        }
        // REAPI 2.1: `output_symlinks`; the two older fields say the same again.
        for link in &wire.output_symlinks {
            layout.symlinks.push((place(directory, &link.path)?, link.target.clone()));
        }
        let paths = layout.files.iter().map(|(path, ..)| path).chain(layout.symlinks.iter().map(|(path, _)| path));
        let parents: BTreeSet<_> = paths.filter_map(|path| path.parent()).map(Path::to_owned).collect();
        layout.directories.extend(parents);
        Ok(layout)
    }

    /// Writes a stream of the command to `sink`: `raw` where the server sent it along, else the blob.
    ///
    /// # Errors
    /// The blob is gone, or the sink takes nothing.
    pub async fn copy_stream(
        &self,
        raw: &[u8],
        digest: Option<Digest>,
        sink: &mut (impl Write + Send),
    ) -> Result<(), ClientError> {
        let closed = |source| ClientError::Local { path: "the output stream".into(), source };
        match digest {
            Some(digest) if raw.is_empty() && !digest.is_empty_blob() => {
                let blob = self.store().read(digest).await?;
                copy(&blob, digest, sink)?;
            }
            _ => sink.write_all(raw).map_err(closed)?,
        }
        sink.flush().map_err(closed)
    }

    /// Both streams of a result, as bytes.
    ///
    /// # Errors
    /// As [`Client::copy_stream`].
    pub async fn streams(&self, result: &ActionResult) -> Result<(Vec<u8>, Vec<u8>), ClientError> {
        let (stdout, stderr) = stream_digests(result)?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.copy_stream(&result.wire().stdout_raw, stdout, &mut out).await?;
        self.copy_stream(&result.wire().stderr_raw, stderr, &mut err).await?;
        Ok((out, err))
    }
}

/// The digests of stdout and stderr, where the server named them.
///
/// # Errors
/// Malformed ones.
pub fn stream_digests(result: &ActionResult) -> Result<(Option<Digest>, Option<Digest>), ClientError> {
    let digest = |wire: &Option<lre_proto::re::Digest>| {
        wire.as_ref().map(|wire| Digest::from_wire(result.function(), Some(wire)).map_err(promise)).transpose()
    };
    Ok((digest(&result.wire().stdout_digest)?, digest(&result.wire().stderr_digest)?))
}

impl Layout {
    fn directory(
        &mut self,
        at: &Path,
        directory: &Directory,
        children: &HashMap<Digest, Directory>,
    ) -> Result<(), ClientError> {
        self.directories.push(at.to_owned());
        for (name, node) in directory.children() {
            let at = at.join(name.as_str());
            match node {
                Node::File { digest, executable } => self.files.push((at, *digest, *executable)),
                Node::Symlink { target } => self.symlinks.push((at, target.clone())),
                Node::Directory { digest } => {
                    let child = children.get(digest);
                    let child = child.ok_or_else(|| promise(format!("a Tree lacks its directory {digest}")))?;
                    self.directory(&at, child, children)?;
                }
            }
        }
        Ok(())
    }
}

fn promise(problem: impl ToString) -> ClientError {
    ClientError::Protocol(problem.to_string())
}

fn local(path: &Path) -> impl Fn(io::Error) -> ClientError {
    let path = path.to_owned();
    move |source| ClientError::Local { path: path.clone(), source }
}

/// Outputs may lie beside the working directory, never above the place that the caller chose.
fn place(directory: &Path, path: &str) -> Result<PathBuf, ClientError> {
    let path = RelPath::parse(path).map_err(promise)?;
    Ok(path.segments().iter().fold(directory.to_owned(), |at, name| at.join(name)))
}

fn write_file(path: &Path, digest: Digest, blob: &Blob, executable: bool) -> Result<(), ClientError> {
    let local = local(path);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".lre-").tempfile_in(parent).map_err(&local)?;
    copy(blob, digest, file.as_file_mut())?;
    let mode = if executable { 0o755 } else { 0o644 };
    file.as_file().set_permissions(PermissionsExt::from_mode(mode)).map_err(&local)?;
    file.persist(path).map_err(|e| local(e.error))?;
    Ok(())
}

/// Copies and verifies: whatever the way here was, what is handed on is what was named.
fn copy(blob: &Blob, expected: Digest, sink: &mut impl Write) -> Result<(), ClientError> {
    let mut hasher = Hasher::new(expected.function());
    let mut offset = 0;
    while offset < blob.size_bytes() {
        let chunk = blob.read_at(offset, CHUNK_BYTES).map_err(StoreError::from)?;
        if chunk.is_empty() {
            break;
        }
        hasher.update(&chunk);
        sink.write_all(&chunk).map_err(StoreError::from)?;
        offset += chunk.len() as u64;
    }
    let actual = hasher.finish();
    match actual == expected {
        true => Ok(()),
        false => Err(StoreError::Corrupt { expected, actual }.into()),
    }
}

fn write_symlink(path: &Path, target: &str) -> Result<(), ClientError> {
    match fs::symlink_metadata(path) {
        Ok(present) if present.is_symlink() => fs::remove_file(path).map_err(local(path))?,
        _ => {}
    }
    std::os::unix::fs::symlink(target, path).map_err(local(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use lre_model::DigestFunction;

    #[test]
    fn a_wrong_blob_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let blob = Blob::from(Bytes::from_static(b"content"));
        let right = Digest::of(DigestFunction::Sha256, b"content");
        write_file(&path, right, &blob, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
        let wrong = Digest::of(DigestFunction::Sha256, b"another");
        assert!(write_file(&dir.path().join("bad"), wrong, &blob, false).is_err());
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["out"]);
    }

    #[test]
    fn symlinks_are_replaced_and_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        write_symlink(&path, "a").unwrap();
        write_symlink(&path, "b").unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("b"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(write_symlink(&path, "b").is_err());
    }

    #[test]
    fn no_output_leaves_its_directory() {
        assert!(place(Path::new("/w"), "../x").is_err());
        assert_eq!(place(Path::new("/w"), "a/b").unwrap(), Path::new("/w/a/b"));
    }
}
