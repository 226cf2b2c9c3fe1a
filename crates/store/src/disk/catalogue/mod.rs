//! What the store has: of every blob, result and name how large it is, where it lies and when it was used last; and
//! the bytes of what is small.
//!
//! All of it is in memory ([`entry`]) and in an append log of segments, so that a start reads a checkpoint and the tail
//! behind it. A blob that input trees link to, or that is large, is a file of its own beside the log: then the log has a
//! record that says so, and not its bytes.
//!
//! Every change is one record, written before the memory knows of it. What is written is in the page cache when a call
//! returns: `kill -9` loses nothing of it. [`Catalogue::sync`] brings it to the disk.
//!
//! | room | what |
//! |---|---|
//! | [`record`] | the bytes: header of a segment, head of a record |
//! | [`medium`] | what is asked of the disk |
//! | [`index`], [`state`], [`invocations`] | the memory |
//! | [`writer`] | the end of the log |
//! | [`scan`], [`open`] | a start: reading what was written |
//! | [`checkpoint`] | a copy of the memory, so that a start reads little |
//! | [`compact`], [`scrub`] | what is done in the background |
mod checkpoint;
mod compact;
mod entry;
mod index;
mod invocations;
mod medium;
mod open;
mod read;
mod record;
mod scan;
mod scrub;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use entry::{Entry, Key, Kind, Place, RECORD_HEAD_BYTES, Stamp};

use super::holds::MARK_MINUTES;
use bytes::Bytes;
use index::{Slot, prefix};
use lre_model::DigestFunction;
use medium::{Folder, Handles, Medium};
use record::{At, Head};
use state::State;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use writer::Writer;

/// Bytes of a segment. A larger record makes a larger one.
const SEGMENT_BYTES: u64 = 128 * 1024 * 1024;

/// Keys that are looked for at the same time.
const WARM_KEYS: usize = 64;

/// Keys in one record of use.
const USES_MAX: usize = 64 * 1024;

/// See the module.
///
/// Who changes something has the writer's lock from the look at what there is until the memory knows of the change, and so
/// across the write of its records. The lock of the memory is never held across anything that the disk does: who only looks
/// or reads waits for nobody's write.
pub(crate) struct Catalogue {
    medium: Arc<dyn Medium>,
    handles: Handles,
    segment_bytes: u64,
    // Locks, in the order in which they are taken.
    compacting: Mutex<Option<compact::Work>>,
    checkpointing: Mutex<()>,
    syncing: Mutex<()>,
    writer: Mutex<Writer>,
    state: RwLock<State>,
}

/// What an open has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// There was no log: made now, or taken away.
    pub fresh: bool,
    /// Records behind the checkpoint, read one by one.
    pub replayed: u64,
    /// Bytes that no record claims: the tail that a power cut has torn, or damage. They were cut off or left behind.
    pub torn_bytes: u64,
    /// The latest minute of any record or entry; the clock of this life begins no earlier.
    pub minute: u32,
    /// Entries of the checkpoint whose segment is gone or has become shorter. They have been forgotten.
    pub lost: u64,
    /// Files in the folder that are not of the log, or segments whose header is damaged. They were not looked into, and
    /// stay where they are.
    pub foreign: Vec<PathBuf>,
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
    /// The disk failed; or a newer program has written there, and then nothing is changed. What is damaged is no error; see
    /// [`Opened`].
    pub(crate) fn open(log: &Path) -> io::Result<(Self, Opened)> {
        std::fs::create_dir_all(log)?;
        let (catalogue, mut opened) = Self::open_on(Arc::new(Folder(log.to_owned())), SEGMENT_BYTES)?;
        opened.foreign.iter_mut().for_each(|name| *name = log.join(&name));
        Ok((catalogue, opened))
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        unpoisoned(self.state.read()).index.get(key).map(Slot::entry)
    }

    /// The entries of many keys, under one lock: `seen` is called for each in order. It must not call the catalogue.
    pub(crate) fn look(&self, keys: impl IntoIterator<Item = Key>, mut seen: impl FnMut(Key, Option<Entry>)) {
        let state = unpoisoned(self.state.read());
        let (mut keys, mut some) = (keys.into_iter(), Vec::with_capacity(WARM_KEYS));
        loop {
            some.extend(keys.by_ref().take(WARM_KEYS));
            if some.is_empty() {
                return;
            }
            if some.len() > 1 {
                state.index.warm(&some);
            }
            some.drain(..).for_each(|key| seen(key, state.index.get(&key).map(Slot::entry)));
        }
    }

    /// The bytes of an entry.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn read(&self, key: &Key) -> io::Result<Payload> {
        Ok(self.read_payload(key, |_| true)?.map_or(Payload::Absent, |(_, payload)| payload))
    }

    /// The same with the entry, of an entry for which `is_it` says so.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn read_if(&self, key: &Key, is_it: impl Fn(&Entry) -> bool) -> io::Result<Option<(Entry, Payload)>> {
        self.read_payload(key, is_it)
    }

    /// Keeps an entry with its bytes in the log, in place of an older one. `size_bytes` is the size in the digest.
    ///
    /// # Errors
    /// The disk failed or is full: then nothing has changed.
    pub(crate) fn put(&self, key: Key, size_bytes: u64, payload: &[u8], stamp: Stamp) -> io::Result<()> {
        let mut writer = unpoisoned(self.writer.lock());
        self.append(&mut writer, [(Head::put(&key, size_bytes, stamp), payload)], |state, head, at| {
            state.set(Slot::of(head, at));
        })
    }

    /// Many at once, with one write for each MiB.
    ///
    /// # Errors
    /// As [`Catalogue::put`]; some of them may be kept.
    pub(crate) fn put_many(&self, entries: &[(Key, u64, &[u8])], stamp: Stamp) -> io::Result<()> {
        let mut writer = unpoisoned(self.writer.lock());
        let records = entries.iter().map(|(key, size, payload)| (Head::put(key, *size, stamp), *payload));
        self.append(&mut writer, records, |state, head, at| state.set(Slot::of(head, at)))
    }

    /// Says that there is a file with the bytes of a blob, in place of what was known of it. It counts as seen.
    ///
    /// # Errors
    /// As [`Catalogue::put`].
    pub(crate) fn put_file(&self, key: Key, size_bytes: u64, stamp: Stamp) -> io::Result<()> {
        let mut writer = unpoisoned(self.writer.lock());
        self.append(&mut writer, [(Head::file(&key, size_bytes, stamp), &[][..])], |state, head, at| {
            let mut slot = Slot::of(head, at);
            slot.set_seen(true);
            state.set(slot);
        })
    }

    /// Marks entries as used; where `stamp.rank` is higher than theirs it becomes theirs. Returns those that there
    /// are none of. Nothing is written of those that stay as they are.
    ///
    /// # Errors
    /// As [`Catalogue::put`]; but the memory has marked them, and the record is written as soon as something can be.
    pub(crate) fn touch(&self, keys: &[Key], stamp: Stamp) -> io::Result<Vec<Key>> {
        let mut writer = unpoisoned(self.writer.lock());
        let (mut gone, mut used) = (Vec::new(), Uses::default());
        {
            let mut state = unpoisoned(self.state.write());
            for key in keys {
                match state.index.get_mut(key) {
                    None => gone.push(*key),
                    Some(slot) => {
                        let before = slot.stamp();
                        slot.mark(stamp);
                        if slot.stamp() != before || (slot.is_lifted() && slot.used == stamp.minute) {
                            slot.set_lifted(false);
                            used.add(key);
                        }
                    }
                }
            }
        }
        for ((kind, function), prefixes) in used.0 {
            writer.owed.push((Head::used(kind, function, stamp), prefixes));
        }
        self.pay(&mut writer)?;
        Ok(gone)
    }

    /// As [`Catalogue::touch`], in memory alone: for marks that can be made again after a start. Also on a full disk.
    pub(crate) fn lift(&self, keys: &[Key], stamp: Stamp) {
        let mut state = unpoisoned(self.state.write());
        for key in keys {
            if let Some(slot) = state.index.get_mut(key) {
                let before = slot.stamp();
                slot.mark(stamp);
                if slot.stamp() != before {
                    slot.set_lifted(true);
                }
            }
        }
    }

    /// Forgets those entries of which `is_it` says so, under the lock. Returns them. Counts as a loss for each.
    ///
    /// # Errors
    /// As [`Catalogue::put`]; memory forgets them all the same, so that nothing is promised of them, and the records are written
    /// as soon as something can be.
    pub(crate) fn forget_if(
        &self,
        keys: &[Key],
        mut is_it: impl FnMut(&Key, &Entry) -> bool,
    ) -> io::Result<Vec<(Key, Entry)>> {
        let mut writer = unpoisoned(self.writer.lock());
        let mut forgotten = Vec::new();
        let mut state = unpoisoned(self.state.write());
        for key in keys {
            if state.index.get(key).is_some_and(|slot| is_it(key, &slot.entry()))
                && let Some(slot) = state.remove(key)
            {
                forgotten.push((*key, slot.entry()));
                writer.owe(key, &slot);
                state.losses += 1;
            }
        }
        drop(state);
        self.pay(&mut writer)?;
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
        let mut working = unpoisoned(self.compacting.lock());
        let _checkpointing = unpoisoned(self.checkpointing.lock());
        let _syncing = unpoisoned(self.syncing.lock());
        let mut writer = unpoisoned(self.writer.lock());
        let number = writer.next;
        // Parts of it may still be there, and would be read at the next start.
        match self.medium.list() {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            listed => {
                let ours = |name: &str| name.starts_with(checkpoint::NAME) || medium::segment_number(name).is_some();
                let left = listed.unwrap_or_default();
                left.iter().filter(|(name, _)| ours(name)).try_for_each(|(name, _)| self.medium.remove(name))?;
            }
        }
        let losses = unpoisoned(self.state.read()).losses + 1;
        let mut state = State::new();
        state.losses = losses;
        self.handles.close_all();
        *writer = open::fresh(&*self.medium, &self.handles, &mut state, number)?;
        *working = None;
        *unpoisoned(self.state.write()) = state;
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
        match state.index.get_mut(key).filter(|slot| same && slot.is_file()) {
            Some(slot) => slot.set_seen(true),
            None => return false,
        }
        true
    }

    /// The files of those blobs for which `is_it` says so must be looked at again. Counts as a loss.
    pub(crate) fn doubt(&self, mut is_it: impl FnMut(&Key) -> bool) {
        let mut state = unpoisoned(self.state.write());
        state.losses += 1;
        for slot in state.index.all_mut() {
            if slot.is_file() && slot.key().is_some_and(|key| is_it(&key)) {
                slot.set_seen(false);
            }
        }
    }

    /// The same of one blob.
    pub(crate) fn doubt_one(&self, key: &Key) {
        let mut state = unpoisoned(self.state.write());
        state.losses += 1;
        if let Some(slot) = state.index.get_mut(key) {
            slot.set_seen(false);
        }
    }

    /// Calls `seen` for every entry, in no order, a few thousand under one lock: what comes and goes meanwhile may be told or
    /// not. It must not call the catalogue.
    pub(crate) fn each(&self, mut seen: impl FnMut(&Key, &Entry)) {
        for number in 0.. {
            let state = unpoisoned(self.state.read());
            let Some(slots) = state.index.chunk(number) else { return };
            for slot in slots {
                if let Some(key) = slot.key() {
                    seen(&key, &slot.entry());
                }
            }
        }
    }

    /// See [`Stats`].
    pub(crate) fn stats(&self) -> Stats {
        unpoisoned(self.state.read()).stats()
    }

    /// The number of an invocation, new or known, which is seen at this minute. Durable: a new one at once, the last call to
    /// [`MARK_MINUTES`]; on a full disk as soon as there is room. Numbers are used again after 65,535.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn invocation(&self, name: &str, tool: &str, minute: u32) -> io::Result<u16> {
        let new = Invocation::new(name, tool, minute);
        let recent = |state: &State| {
            let (number, known) = state.invocations.find(&new.name)?;
            (minute < known.last.saturating_add(MARK_MINUTES)).then_some(number)
        };
        {
            let state = unpoisoned(self.state.read());
            if let Some(number) = recent(&state) {
                return Ok(number);
            }
        }
        let mut writer = unpoisoned(self.writer.lock());
        let (number, seen) = {
            let state = unpoisoned(self.state.read());
            if let Some(number) = recent(&state) {
                return Ok(number);
            }
            match state.invocations.find(&new.name) {
                Some((number, known)) => (number, known.called(minute)),
                None => (state.invocations.next(), new),
            }
        };
        writer.owed.push((Head::invocation(number, minute), seen.encode()));
        unpoisoned(self.state.write()).invocations.learn(number, seen);
        match self.pay(&mut writer) {
            // Who only reads is not refused for it; it is written as soon as something can be.
            Err(e) if !matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Err(e),
            _ => Ok(number),
        }
    }

    /// All invocations that are known, by number.
    pub(crate) fn invocations(&self) -> Vec<(u16, Invocation)> {
        let state = unpoisoned(self.state.read());
        state.invocations.all().map(|(number, known)| (number, known.clone())).collect()
    }

    /// Brings all records to the disk that were written before the call.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn sync(&self) -> io::Result<()> {
        // One after the other: who comes second must not find that the first has taken all, and not wait for it.
        let _one = unpoisoned(self.syncing.lock());
        let (unsynced, names) = {
            let mut writer = unpoisoned(self.writer.lock());
            // That it could not be written was told already.
            let _ = self.pay(&mut writer);
            (std::mem::take(&mut writer.unsynced), std::mem::take(&mut writer.unsynced_names))
        };
        let synced = unsynced.values().try_for_each(|file| file.sync());
        let synced = synced.and_then(|()| if names { self.medium.sync() } else { Ok(()) });
        if synced.is_err() {
            let mut writer = unpoisoned(self.writer.lock());
            writer.unsynced.extend(unsynced);
            writer.unsynced_names |= names;
        }
        synced
    }

    /// Writes a checkpoint, if what a start would have to read behind the last one has become long, or `now` says so. Blocks
    /// nobody for longer than it takes to copy a few thousand entries.
    ///
    /// # Errors
    /// The disk failed or is full; the last checkpoint stays.
    pub(crate) fn checkpoint(&self, now: bool) -> io::Result<bool> {
        self.write_checkpoint(now)
    }

    /// Writes records at the end of the log, and says each to `applied` when it is there, with the memory.
    fn append<'a>(
        &self,
        writer: &mut Writer,
        records: impl IntoIterator<Item = (Head, &'a [u8])>,
        applied: impl FnMut(&mut State, &Head, At),
    ) -> io::Result<()> {
        // In the order in which the memory has learnt of it.
        self.pay(writer)?;
        self.write_all(writer, records, applied)
    }

    /// Writes the records that are owed.
    fn pay(&self, writer: &mut Writer) -> io::Result<()> {
        while !writer.owed.is_empty() {
            let mut owed = std::mem::take(&mut writer.owed);
            let mut paid = 0;
            let records = owed.iter().map(|(head, payload)| (*head, &payload[..]));
            let written = self.write_all(writer, records, |_, _, _| paid += 1);
            owed.drain(..paid);
            writer.owed = owed;
            written?;
        }
        Ok(())
    }

    fn write_all<'a>(
        &self,
        writer: &mut Writer,
        records: impl IntoIterator<Item = (Head, &'a [u8])>,
        mut applied: impl FnMut(&mut State, &Head, At),
    ) -> io::Result<()> {
        let mut records = records.into_iter().peekable();
        while let Some((_, payload)) = records.peek() {
            if writer.is_full(record::HEAD as u64 + payload.len() as u64, self.segment_bytes) {
                self.roll(writer)?;
            }
            writer.gather(&mut records, self.segment_bytes)?;
            writer.write()?;
            let mut state = unpoisoned(self.state.write());
            state.grown(writer.number, writer.offset);
            for (head, at) in &writer.gathered {
                applied(&mut state, head, *at);
            }
        }
        Ok(())
    }

    /// Goes on in a new segment.
    fn roll(&self, writer: &mut Writer) -> io::Result<()> {
        writer.roll(&*self.medium)?;
        self.handles.add(writer.number, Arc::clone(&writer.file));
        let segment = state::Segment { seed: writer.seed, len: writer.offset, ..state::Segment::default() };
        unpoisoned(self.state.write()).segments.insert(writer.number, segment);
        Ok(())
    }
}

/// What was used, for records of it: one list for each kind and function.
#[derive(Default)]
struct Uses(Vec<((Kind, DigestFunction), Vec<u8>)>);

impl Uses {
    fn add(&mut self, key: &Key) {
        let of = (key.kind, key.function);
        let known = self.0.iter().rposition(|(other, prefixes)| *other == of && prefixes.len() < 8 * USES_MAX);
        let at = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push((of, Vec::new()));
        }
        self.0[at].1.extend_from_slice(&prefix(&key.hash).to_le_bytes());
    }
}

/// A place in the log, for [`Catalogue::scrub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub segment: u32,
    pub offset: u32,
}
