//! Reading one record, and what to do when it is not what was written.
use super::entry::{Entry, Key};
use super::index::Slot;
use super::record::{At, HEAD, Head, is_sound};
use super::{Catalogue, Payload, unpoisoned};
use bytes::Bytes;
use std::io;

/// How often a record may move away while it is being read.
const TRIES: usize = 16;

/// What is in the place of a record.
pub(super) enum Record {
    /// Its payload.
    Sound(Bytes),
    /// Something else.
    Damaged(Vec<u8>),
    /// The segment is not there.
    Gone,
}

impl Catalogue {
    /// See [`Catalogue::read_if`].
    pub(super) fn read_payload(
        &self,
        key: &Key,
        is_it: impl Fn(&Entry) -> bool,
    ) -> io::Result<Option<(Entry, Payload)>> {
        for _ in 0..TRIES {
            let slot = unpoisoned(self.state.read()).index.get(key).copied();
            let Some((slot, entry)) = slot.map(|slot| (slot, slot.entry())).filter(|(_, entry)| is_it(entry)) else {
                return Ok(None);
            };
            if slot.is_file() {
                return Ok(Some((entry, Payload::File)));
            }
            if let Some(payload) = self.payload_of(key, &slot)? {
                return Ok(Some((entry, payload)));
            }
        }
        Err(io::Error::other("a record of the log has moved away each time it was looked at"))
    }

    /// The bytes of an entry, as it was at a moment; `None` where it has moved since.
    pub(super) fn payload_of(&self, key: &Key, slot: &Slot) -> io::Result<Option<Payload>> {
        let found = match self.record_of(key, slot)? {
            Record::Sound(bytes) => return Ok(Some(Payload::Bytes(bytes))),
            Record::Damaged(found) => found,
            Record::Gone => Vec::new(),
        };
        Ok(self.drop_damaged(key, slot.at())?.then_some(Payload::Damaged(found)))
    }

    /// What is where the record of this entry should be.
    pub(super) fn record_of(&self, key: &Key, slot: &Slot) -> io::Result<Record> {
        let seed = unpoisoned(self.state.read()).segments.get(&slot.segment).map(|segment| segment.seed);
        let Some(seed) = seed else { return Ok(Record::Gone) };
        let file = match self.handles.get(slot.segment) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Record::Gone),
            file => file?,
        };
        let mut record = vec![0; HEAD + slot.stored as usize];
        let read = file.read_at(&mut record, u64::from(slot.offset))?;
        record.truncate(read);
        let sound = record.len() == HEAD + slot.stored as usize && is_sound(seed, u64::from(slot.offset), &record);
        match Head::decode(&record) {
            Some(head) if sound && head.is_put() && head.key() == *key => {
                Ok(Record::Sound(Bytes::from(record).slice(HEAD..)))
            }
            _ => Ok(Record::Damaged(record)),
        }
    }

    /// Forgets an entry whose record is damaged; `false` where it is elsewhere by now.
    pub(super) fn drop_damaged(&self, key: &Key, at: At) -> io::Result<bool> {
        let mut writer = unpoisoned(self.writer.lock());
        {
            let mut state = unpoisoned(self.state.write());
            if state.index.get(key).is_none_or(|slot| slot.at() != at) {
                return Ok(false);
            }
            if let Some(slot) = state.remove(key) {
                writer.owe(key, &slot);
                state.losses += 1;
            }
        }
        // A full disk is no reason not to say what was found: the record is owed.
        if let Err(error) = self.pay(&mut writer) {
            tracing::warn!(?key, %error, "a damaged record was forgotten, and that could not be written yet");
        }
        Ok(true)
    }
}
