//! What the store has: of every blob, result and name how large it is, where it lies and when it was used last; and
//! the bytes of what is small.
//!
//! All of it is in memory ([`entry`]) and in an append log of segments, so that a start reads a checkpoint and the tail
//! behind it. A blob that input trees link to, or that is large, is a file of its own beside the log: then the log has a
//! record that says so, and not its bytes.
//!
//! Every change is one record, written before the memory knows of it. What is written is in the page cache when a call
//! returns: `kill -9` loses nothing of it. [`Catalogue::sync`] brings it to the disk.
mod entry;

pub(crate) use entry::{Entry, Key, Kind, Place, RECORD_HEAD_BYTES, Stamp};

use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

/// See the module.
pub(crate) struct Catalogue {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, (Entry, Bytes)>,
    invocations: BTreeMap<u16, Invocation>,
    losses: u64,
}

/// What an open has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// There was no log: made now, or taken away.
    pub fresh: bool,
    /// Records behind the checkpoint, read one by one.
    pub replayed: u64,
    /// Bytes that no record claims: the tail that a power cut has torn, or damage. They were cut off or left behind.
    pub torn_bytes: u64,
    /// The latest minute of any record or entry; the clock of this life begins no earlier.
    pub minute: u32,
}

/// What was found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The bytes; their checksum and their key were right.
    Bytes(Bytes),
    /// It is a file of its own.
    File,
    /// There is no such entry.
    Absent,
    /// The record is not what was written. It has been forgotten already; these are the bytes found in its place.
    Damaged(Vec<u8>),
}

/// What the log and the entries amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Entries of all kinds.
    pub entries: u64,
    /// Length of all segments in bytes, dead records and all.
    pub log_bytes: u64,
    /// Of these, bytes of records that count.
    pub live_bytes: u64,
    /// Blobs that are files, and what they take on the disk: each rounded up to blocks of 4 KiB.
    pub files: u64,
    /// See `files`.
    pub file_bytes: u64,
}

/// One run of a client, by what it calls itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// `RequestMetadata.tool_invocation_id`, shortened to 128 bytes.
    pub name: String,
    /// Tool and version, shortened to 64 bytes.
    pub tool: String,
    /// Its first call.
    pub began: u32,
    /// Its last call, to [`super::holds::MARK_MINUTES`].
    pub last: u32,
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Catalogue {
    /// Opens the log in the folder `log`, which is made where it does not exist.
    ///
    /// # Errors
    /// The disk failed. What is damaged is no error; see [`Opened`].
    pub(crate) fn open(log: &Path) -> io::Result<(Self, Opened)> {
        std::fs::create_dir_all(log)?;
        let opened = Opened { fresh: true, ..Opened::default() };
        Ok((Self { state: RwLock::default() }, opened))
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        unpoisoned(self.state.read()).entries.get(key).map(|(entry, _)| *entry)
    }

    /// The entries of many keys, under one lock: `seen` is called for each in order. It must not call the catalogue.
    pub(crate) fn look(&self, keys: impl IntoIterator<Item = Key>, mut seen: impl FnMut(Key, Option<Entry>)) {
        let state = unpoisoned(self.state.read());
        keys.into_iter().for_each(|key| seen(key, state.entries.get(&key).map(|(entry, _)| *entry)));
    }

    /// The bytes of an entry.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn read(&self, key: &Key) -> io::Result<Payload> {
        Ok(match unpoisoned(self.state.read()).entries.get(key) {
            None => Payload::Absent,
            Some((entry, _)) if entry.place == Place::File => Payload::File,
            Some((_, bytes)) => Payload::Bytes(bytes.clone()),
        })
    }

    /// Keeps an entry with its bytes in the log, in place of an older one. `size_bytes` is the size in the digest.
    ///
    /// # Errors
    /// The disk failed or is full: then nothing has changed.
    pub(crate) fn put(&self, key: Key, size_bytes: u64, payload: &[u8], stamp: Stamp) -> io::Result<()> {
        self.put_many(&[(key, size_bytes, payload)], stamp)
    }

    /// Many at once, with one write.
    ///
    /// # Errors
    /// As [`Catalogue::put`]; some of them may be kept.
    pub(crate) fn put_many(&self, entries: &[(Key, u64, &[u8])], stamp: Stamp) -> io::Result<()> {
        let mut state = unpoisoned(self.state.write());
        for (key, size_bytes, payload) in entries {
            let stored = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            let entry = Entry::new(*size_bytes, Place::Packed, stored, stamp);
            state.entries.insert(*key, (entry, Bytes::copy_from_slice(payload)));
        }
        Ok(())
    }

    /// Says that there is a file with the bytes of a blob, in place of what was known of it. It counts as seen.
    ///
    /// # Errors
    /// As [`Catalogue::put`].
    pub(crate) fn put_file(&self, key: Key, size_bytes: u64, stamp: Stamp) -> io::Result<()> {
        let mut entry = Entry::new(size_bytes, Place::File, 0, stamp);
        entry.seen = true;
        unpoisoned(self.state.write()).entries.insert(key, (entry, Bytes::new()));
        Ok(())
    }

    /// Marks entries as used; where `stamp.rank` is higher than theirs it becomes theirs. Returns those that there
    /// are none of.
    ///
    /// # Errors
    /// As [`Catalogue::put`].
    pub(crate) fn touch(&self, keys: &[Key], stamp: Stamp) -> io::Result<Vec<Key>> {
        let mut state = unpoisoned(self.state.write());
        let mut gone = Vec::new();
        for key in keys {
            match state.entries.get_mut(key) {
                Some((entry, _)) => entry.mark(stamp),
                None => gone.push(*key),
            }
        }
        Ok(gone)
    }

    /// As [`Catalogue::touch`], in memory alone: for marks that can be made again after a start. Also on a full disk.
    pub(crate) fn lift(&self, keys: &[Key], stamp: Stamp) {
        let mut state = unpoisoned(self.state.write());
        for key in keys {
            if let Some((entry, _)) = state.entries.get_mut(key) {
                entry.mark(stamp);
            }
        }
    }

    /// Forgets those entries of which `is_it` says so, under the lock. Returns them. Counts as a loss for each.
    ///
    /// # Errors
    /// As [`Catalogue::put`]; memory forgets them all the same, so that nothing is promised of them.
    pub(crate) fn forget_if(
        &self,
        keys: &[Key],
        mut is_it: impl FnMut(&Key, &Entry) -> bool,
    ) -> io::Result<Vec<(Key, Entry)>> {
        let mut state = unpoisoned(self.state.write());
        let mut forgotten = Vec::new();
        for key in keys {
            if let Some((entry, _)) = state.entries.get(key).filter(|(entry, _)| is_it(key, entry)) {
                forgotten.push((*key, *entry));
                state.entries.remove(key);
                state.losses += 1;
            }
        }
        Ok(forgotten)
    }

    /// Forgets an entry.
    ///
    /// # Errors
    /// As [`Catalogue::forget_if`].
    pub(crate) fn forget(&self, key: Key) -> io::Result<bool> {
        Ok(!self.forget_if(&[key], |_, _| true)?.is_empty())
    }

    /// Begins anew with an empty log: its folder was removed under us.
    ///
    /// # Errors
    /// As [`Catalogue::open`].
    pub(crate) fn reset(&self) -> io::Result<()> {
        let mut state = unpoisoned(self.state.write());
        let losses = state.losses + 1;
        *state = State { losses, ..State::default() };
        Ok(())
    }

    /// How many times something went away. What was there at one count is still there while it is the same.
    pub(crate) fn losses(&self) -> u64 {
        unpoisoned(self.state.read()).losses
    }

    /// Remembers, for this life only, that the file of a blob was seen, if nothing went away since `losses`. `false` where
    /// it was not remembered.
    pub(crate) fn see(&self, key: &Key, losses: u64) -> bool {
        let mut state = unpoisoned(self.state.write());
        let same = state.losses == losses;
        if let Some((entry, _)) = state.entries.get_mut(key)
            && same
        {
            entry.seen = true;
            return true;
        }
        false
    }

    /// The files of those blobs for which `is_it` says so must be looked at again. Counts as a loss.
    pub(crate) fn doubt(&self, mut is_it: impl FnMut(&Key) -> bool) {
        let mut state = unpoisoned(self.state.write());
        state.losses += 1;
        for (key, (entry, _)) in &mut state.entries {
            if entry.place == Place::File && is_it(key) {
                entry.seen = false;
            }
        }
    }

    /// The same of one blob.
    pub(crate) fn doubt_one(&self, key: &Key) {
        let mut state = unpoisoned(self.state.write());
        state.losses += 1;
        if let Some((entry, _)) = state.entries.get_mut(key) {
            entry.seen = false;
        }
    }

    /// Calls `seen` for every entry, in no order, a few thousand under one lock: what comes and goes meanwhile may be told or
    /// not. It must not call the catalogue.
    pub(crate) fn each(&self, mut seen: impl FnMut(&Key, &Entry)) {
        let state = unpoisoned(self.state.read());
        state.entries.iter().for_each(|(key, (entry, _))| seen(key, entry));
    }

    /// See [`Stats`].
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.each(|_, entry| {
            stats.entries += 1;
            stats.live_bytes += entry.log_bytes();
            if entry.place == Place::File {
                stats.files += 1;
                stats.file_bytes += entry.file_bytes();
            }
        });
        stats.log_bytes = stats.live_bytes;
        stats
    }

    /// The number of an invocation, new or known, which is seen at this minute. Durable: a new one at once, the last call to
    /// [`super::holds::MARK_MINUTES`]. Numbers are used again after 65,535.
    ///
    /// # Errors
    /// As [`Catalogue::put`].
    pub(crate) fn invocation(&self, name: &str, tool: &str, minute: u32) -> io::Result<u16> {
        let mut state = unpoisoned(self.state.write());
        if let Some((number, known)) = state.invocations.iter_mut().find(|(_, known)| known.name == name) {
            known.last = known.last.max(minute);
            return Ok(*number);
        }
        let number = state.invocations.last_key_value().map_or(1, |(last, _)| last + 1);
        let new = Invocation { name: name.to_owned(), tool: tool.to_owned(), began: minute, last: minute };
        state.invocations.insert(number, new);
        Ok(number)
    }

    /// All invocations that are known, by number.
    pub(crate) fn invocations(&self) -> Vec<(u16, Invocation)> {
        unpoisoned(self.state.read()).invocations.iter().map(|(number, known)| (*number, known.clone())).collect()
    }

    /// Brings all records to the disk.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Writes a checkpoint, if what a start would have to read behind the last one has become long, or `now` says so. Blocks
    /// nobody for longer than it takes to copy a few thousand entries.
    ///
    /// # Errors
    /// The disk failed or is full; the last checkpoint stays.
    pub(crate) fn checkpoint(&self, now: bool) -> io::Result<bool> {
        let _ = now;
        Ok(false)
    }

    /// Frees room: moves what counts out of the segment with the most dead bytes, at most about `bytes` of it, if half of it
    /// is dead (`all`: if a tenth is). Returns `false` when there is nothing left to do.
    ///
    /// # Errors
    /// The disk failed or is full; nothing is lost.
    pub(crate) fn compact(&self, bytes: u64, all: bool) -> io::Result<bool> {
        let _ = (bytes, all);
        Ok(false)
    }

    /// Reads all records that count, up to `bytes` from where the last call ended (`from`: the start), and calls `found` for
    /// each with its payload, or with what is wrong with it (then it has been forgotten, as with [`Catalogue::read`]). Returns where to
    /// go on; `None` at the end.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn scrub(
        &self,
        from: Option<Cursor>,
        bytes: u64,
        mut found: impl FnMut(&Key, &Entry, Payload),
    ) -> io::Result<Option<Cursor>> {
        let _ = (from, bytes);
        let entries: Vec<_> = unpoisoned(self.state.read()).entries.iter().map(|(k, v)| (*k, v.clone())).collect();
        for (key, (entry, payload)) in entries {
            if entry.place == Place::Packed {
                found(&key, &entry, Payload::Bytes(payload));
            }
        }
        Ok(None)
    }
}

/// A place in the log, for [`Catalogue::scrub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub segment: u32,
    pub offset: u32,
}
