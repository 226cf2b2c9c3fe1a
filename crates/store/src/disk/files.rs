//! Blobs that are files: whether they are there, and whether they are what their name says.
use super::catalogue::{Key, Place};
use super::layout::Room;
use super::verify::Checked;
use super::{Inner, unpoisoned};
use crate::FileBlob;
use lre_model::Digest;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

/// What was found of a blob without reading it.
pub(super) enum Look {
    Present,
    Absent,
    /// There is something under its name, and only its bytes can tell whether it is the blob.
    Doubtful,
}

impl Inner {
    pub(super) fn is_in_doubt(&self, metadata: &Metadata) -> bool {
        // The time of the inode, not of the content: that one is constant here. A hard link makes
        // it younger, which at worst has a sound blob hashed once more.
        metadata.ctime() >= self.doubt_since.load(Ordering::Relaxed)
    }

    /// Looks at the disk for the file of a blob, not at what is known.
    pub(super) fn look(&self, digest: Digest) -> io::Result<Look> {
        let (path, key) = (self.layout.of(Room::Blobs, digest), Key::blob(digest));
        let mut losses = self.catalogue.losses();
        let mut found = fs::symlink_metadata(&path);
        // A folder is watched when the first blob is found in it, and what was found before that counts
        // no more. What is absent costs one look.
        if found.is_ok() && self.watch.watch(digest, &path) {
            losses = self.catalogue.losses();
            found = fs::symlink_metadata(&path);
        }
        match found {
            Ok(m) if m.is_file() && m.len() == digest.size_bytes() && !self.is_in_doubt(&m) => {
                self.catalogue.see(&key, losses);
                Ok(Look::Present)
            }
            Ok(_) => Ok(Look::Doubtful),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.note_gone(digest, self.forget_file(&key, &path)?);
                Ok(Look::Absent)
            }
            Err(e) => Err(e),
        }
    }

    /// Forgets a blob whose file is gone, unless somebody is just making it. Whether it was known.
    fn forget_file(&self, key: &Key, path: &Path) -> io::Result<bool> {
        let _one = self.placing(key);
        let gone = || matches!(fs::symlink_metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound);
        Ok(!self.catalogue.forget_if(&[*key], |_, entry| entry.place == Place::File && gone())?.is_empty())
    }

    fn note_gone(&self, digest: Digest, was_known: bool) {
        if was_known {
            self.notes.note(Checked::FileBlob, digest, "its file is gone", "forgotten");
        }
    }

    /// Reads what lies under the name of `digest`: it is the blob, or the blob of another size with
    /// the hash of that name (then the asked one does not exist), or it is moved aside.
    pub(super) fn prove(&self, digest: Digest) -> io::Result<bool> {
        let one = unpoisoned(self.repair.lock());
        let (path, key) = (self.layout.of(Room::Blobs, digest), Key::blob(digest));
        let losses = self.catalogue.losses();
        let why = match open_regular(&path) {
            Ok(Some(file)) => {
                let actual = crate::hash_reader(digest.function(), file)?;
                if actual.hash() == digest.hash() {
                    self.catalogue.see(&key, losses);
                    return Ok(actual == digest);
                }
                format!("its content is that of {actual}")
            }
            Ok(None) => "it is not a regular file".to_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.note_gone(digest, self.forget_file(&key, &path)?);
                return Ok(false);
            }
            Err(e) => return Err(e),
        };
        self.quarantine(&one, &path, &why)?;
        self.notes.note(Checked::FileBlob, digest, &why, "moved to quarantine/, forgotten");
        self.forget_file(&key, &path)?;
        Ok(false)
    }

    /// Whether the file of a blob is there and right. Blocks.
    pub(super) fn has_file(&self, digest: Digest) -> io::Result<bool> {
        match self.look(digest)? {
            Look::Present => Ok(true),
            Look::Absent => Ok(false),
            Look::Doubtful => self.prove(digest),
        }
    }

    /// The open file of a blob that is known to be right; `None` where it is gone or another.
    pub(super) fn open(&self, digest: Digest) -> io::Result<Option<FileBlob>> {
        let path = self.layout.of(Room::Blobs, digest);
        match open_regular(&path) {
            Ok(Some(file)) if file.metadata()?.len() == digest.size_bytes() => {
                Ok(Some(FileBlob::stored(file, path, digest)))
            }
            Ok(_) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Moves a file out of the way, for a person to look at. It is never served again.
    pub(super) fn quarantine(&self, one: &MutexGuard<'_, ()>, path: &Path, why: &str) -> io::Result<()> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let to = self.quarantine_name(one, &name);
        match fs::rename(path, &to) {
            Ok(()) => {
                self.quarantined.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(file = %path.display(), moved_to = %to.display(), why, "moved aside, not served");
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Moves a file out of the way that nobody knows.
    pub(super) fn move_foreign(&self, path: &Path) -> io::Result<()> {
        let why = "no digest names it";
        self.quarantine(&unpoisoned(self.repair.lock()), path, why)?;
        let below = path.strip_prefix(self.layout.root()).unwrap_or(path).display();
        self.notes.note(Checked::Foreign, below, why, "moved to quarantine/");
        Ok(())
    }

    /// Keeps what was found in the place of a damaged record, for a person to look at. The record is forgotten.
    pub(super) fn keep_damaged(&self, key: &Key, found: &[u8], why: &str) -> io::Result<()> {
        let one = unpoisoned(self.repair.lock());
        let to = self.quarantine_name(&one, &hex::encode(key.hash));
        self.quarantined.fetch_add(1, Ordering::Relaxed);
        let done = "forgotten; what was found is in quarantine/";
        self.notes.note(Checked::packed(key.kind), hex::encode(key.hash), why, done);
        tracing::warn!(?key, kept_in = %to.display(), why, "a damaged record is forgotten, not served");
        // To look at it is a service; a full disk must not make an error of a miss.
        if let Err(error) = fs::write(&to, found) {
            tracing::warn!(file = %to.display(), %error, "what was found could not be kept");
        }
        Ok(())
    }

    /// A name in `quarantine/` that is not taken.
    fn quarantine_name(&self, _one: &MutexGuard<'_, ()>, name: &str) -> PathBuf {
        let mut to = self.layout.quarantine().join(name);
        let mut n = 0;
        while to.symlink_metadata().is_ok() {
            n += 1;
            to = self.layout.quarantine().join(format!("{name}.{n}"));
        }
        to
    }
}

/// Opens a file for reading without following a symlink and without waiting for the writer of a
/// pipe; `None` where it is not a regular file.
pub(super) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => {
            let file = File::from(fd);
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
