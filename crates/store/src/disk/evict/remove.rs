//! Takes one entry away: out of the catalogue, and its files off the disk.
use super::super::Inner;
use super::super::catalogue::{Entry, Key, Kind, Place, Stamp};
use super::super::layout::Room;
use super::copies;
use super::order::Turn;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What became of an entry whose turn it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// It was used meanwhile, has gone, or its file cannot be removed.
    Stays,
    /// It is gone.
    Gone {
        /// What it took in the log; free after compaction.
        log_bytes: u64,
        /// Of its file, free now.
        file_bytes: u64,
        /// Of copies in `inodes/`, free now.
        copies_bytes: u64,
    },
}

/// What removing would do, as far as can be seen. `copied`: there may be copies.
pub(super) fn would(inner: &Inner, turn: &Turn, entry: &Entry, copied: bool) -> Removed {
    let copies = digest_of(&turn.key, entry)
        .filter(|_| copied)
        .map(|digest| copies::of(&inner.layout, digest))
        .unwrap_or_default();
    let copies_bytes = copies.iter().map(|(_, bytes)| bytes).sum();
    Removed::Gone { log_bytes: entry.log_bytes(), file_bytes: entry.file_bytes(), copies_bytes }
}

/// Removes an entry, if it is still as it was picked and was used before `floor`; and its copies, where there may be some.
pub(super) fn remove(inner: &Inner, turn: &Turn, entry: &Entry, floor: u32, copied: bool) -> io::Result<Removed> {
    let Some(digest) = digest_of(&turn.key, entry) else {
        // Results and names have no files.
        let Some(gone) = forget(inner, turn, floor)? else { return Ok(Removed::Stays) };
        return Ok(Removed::Gone { log_bytes: gone.log_bytes(), file_bytes: 0, copies_bytes: 0 });
    };
    let path = inner.layout.of(Room::Blobs, digest);
    // To give up the blocks of a large file takes long. It is done when nobody has it open any more, which is
    // after the lock.
    let open = if entry.place == Place::File { open(&path) } else { None };
    // Whoever gives a blob its place passes this lock too. Else a client could be told that it is gone, upload it again, have its
    // new file linked to its name, and we would remove that one; or the copy of it that an input tree is about to link to.
    let one = inner.placing(&turn.key);
    let Some(gone) = forget(inner, turn, floor)? else { return Ok(Removed::Stays) };
    let mut copies_bytes = 0;
    let copies = if copied { copies::of(&inner.layout, digest) } else { Vec::new() };
    for (copy, bytes) in copies {
        match unlink(&copy) {
            Ok(()) => copies_bytes += bytes,
            Err(error) => tracing::warn!(file = %copy.display(), %error, "a copy of an evicted blob stays"),
        }
    }
    if gone.place == Place::File
        && let Err(error) = unlink(&path)
    {
        tracing::warn!(file = %path.display(), %error, "the file of a blob could not be removed");
        // It is there, so it counts; what it is, the next look must say.
        let stamp = Stamp { minute: gone.used, invocation: gone.invocation, rank: gone.rank };
        inner.catalogue.put_file(turn.key, gone.size_bytes, stamp)?;
        inner.catalogue.doubt_one(&turn.key);
        return Ok(Removed::Stays);
    }
    drop(one);
    drop(open);
    Ok(Removed::Gone { log_bytes: gone.log_bytes(), file_bytes: gone.file_bytes(), copies_bytes })
}

/// Of a blob; results and names have none.
fn digest_of(key: &Key, entry: &Entry) -> Option<lre_model::Digest> {
    key.digest(entry.size_bytes).filter(|_| key.kind == Kind::Blob)
}

/// Decides under the lock of the catalogue, where every look and every mark passes: what was promised to somebody since it
/// was picked is younger, and stays.
fn forget(inner: &Inner, turn: &Turn, floor: u32) -> io::Result<Option<Entry>> {
    let mut found = None;
    let forgotten = inner.catalogue.forget_if(&[turn.key], |_, entry| {
        let goes = entry.used == turn.used && entry.used < floor;
        found = goes.then_some(*entry);
        goes
    });
    match forgotten {
        Ok(gone) => Ok(gone.first().map(|(_, entry)| *entry)),
        // Memory has forgotten it, the log not: on a full disk it cannot, and must not keep us from making room. After a
        // start the file is looked for and not found.
        Err(error) if found.is_some() && inner.catalogue.get(&turn.key).is_none() => {
            tracing::debug!(key = ?turn.key, %error, "forgotten for this life only");
            Ok(found)
        }
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> Option<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// What is not there is as good as removed.
fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
