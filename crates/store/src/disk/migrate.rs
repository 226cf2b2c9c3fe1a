//! A store of format 1, or one whose log was lost: the catalogue is made from what lies there.
//!
//! Format 1 had a file for each blob, result and name. The blobs stay as they are; results and names go into the log, from files
//! with a frame:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `lreR` a result, `lreN` a name |
//! | 4 | version of the frame, 1 |
//! | 5 | function of the digest: 0 SHA-256, 1 BLAKE3 |
//! | 6..8 | zero |
//! | 8..16 | the digest's size in bytes, little-endian |
//! | 16..24 | length of the payload in bytes, little-endian |
//! | 24..56 | BLAKE3 of bytes 0..24, the digest's hash, and the payload |
//! | 56.. | payload |
//!
//! Killed in between, it begins again: the file `format` is written when all is in the log, and only then the old files go.
use super::catalogue::{Key, Kind};
use super::files::open_regular;
use super::layout::{Room, VERSION, parse_name};
use super::{Inner, RESULT_BYTES_MAX, lock};
use lre_model::{Digest, DigestFunction, Hasher};
use std::fs;
use std::io::{self, Read};

const HEAD: usize = 24;
const FRAME: usize = HEAD + 32;

impl Inner {
    /// Makes the catalogue. Blocks.
    pub(super) fn migrate(&self) -> io::Result<()> {
        for function in DigestFunction::ALL {
            self.each_file(Room::Blobs, function, |digest, _| {
                let key = Key::blob(digest);
                if self.catalogue.get(&key).is_none() {
                    self.catalogue.put_file(key, digest.size_bytes(), self.stamp(0))?;
                }
                Ok(())
            })?;
            for (room, kind) in [(Room::Results, Kind::Result), (Room::Names, Kind::Name)] {
                self.each_file(room, function, |named, path| self.take_framed(room, kind, named, path))?;
            }
        }
        // What was put in has not been looked at: that is for the first use, as after any start.
        self.catalogue.doubt(|_| true);
        self.catalogue.sync()?;
        lock::write_format(&self.layout)?;
        for room in [Room::Results, Room::Names] {
            match fs::remove_dir_all(self.layout.root().join(room.name())) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        tracing::debug!(format = VERSION, "the catalogue was made from the files of the store");
        Ok(())
    }

    /// Calls `found` for every file of a room that has the name of a digest. Others are for the sweep.
    fn each_file(
        &self,
        room: Room,
        function: DigestFunction,
        mut found: impl FnMut(Digest, &std::path::Path) -> io::Result<()>,
    ) -> io::Result<()> {
        for folder in entries(&self.layout.room(room, function))? {
            let prefix = folder.file_name();
            let Some(prefix) = prefix.to_str().filter(|_| folder.file_type().is_ok_and(|t| t.is_dir())) else {
                continue;
            };
            for file in entries(&folder.path())? {
                let Ok(metadata) = file.metadata() else { continue };
                let name = file.file_name();
                if let Some(digest) = name.to_str().and_then(|name| parse_name(function, prefix, name, metadata.len()))
                    && metadata.is_file()
                {
                    found(digest, &file.path())?;
                }
            }
        }
        Ok(())
    }

    /// Puts the payload of a framed file into the log. What is no such file is left out: it was no result before either.
    fn take_framed(&self, room: Room, kind: Kind, named: Digest, path: &std::path::Path) -> io::Result<()> {
        let Some(file) = open_regular(path)? else { return Ok(()) };
        let mut bytes = Vec::new();
        file.take(RESULT_BYTES_MAX + FRAME as u64).read_to_end(&mut bytes)?;
        if let Some((digest, payload)) = unframe(room.magic(), named, &bytes)
            && self.catalogue.get(&Key::new(kind, digest)).is_none()
        {
            self.catalogue.put(Key::new(kind, digest), digest.size_bytes(), payload, self.stamp(u8::MAX))?;
        }
        Ok(())
    }
}

/// The entries of a folder; none where there is no folder.
fn entries(folder: &std::path::Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The digest with its size, and the payload, where the file is what was written under this name.
fn unframe(magic: [u8; 4], named: Digest, bytes: &[u8]) -> Option<(Digest, &[u8])> {
    let (framing, payload) = bytes.split_at_checked(FRAME)?;
    let (head, sum) = framing.split_at(HEAD);
    let function = match named.function() {
        DigestFunction::Sha256 => 0,
        DigestFunction::Blake3 => 1,
    };
    let number = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let mut hasher = Hasher::new(DigestFunction::Blake3);
    [head, named.hash(), payload].into_iter().for_each(|part| hasher.update(part));
    let sound = head[..4] == magic
        && head[4..8] == [1, function, 0, 0]
        && number(16)? == payload.len() as u64
        && sum == hasher.finish().hash();
    let digest = Digest::parse(named.function(), &named.hash_text(), i64::try_from(number(8)?).ok()?).ok()?;
    sound.then_some((digest, payload))
}
