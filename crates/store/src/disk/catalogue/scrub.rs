//! Looks at every record that counts.
use super::entry::{Entry, Key};
use super::index::Slot;
use super::read::Record;
use super::record::At;
use super::{Catalogue, Cursor, Payload, unpoisoned};
use std::io;

impl Catalogue {
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
        let from = from.map_or(At { segment: 0, offset: 0 }, |c| At { segment: c.segment, offset: c.offset });
        let Some(segment) = self.next_segment(from.segment) else { return Ok(None) };
        let from = if segment == from.segment { from } else { At { segment, offset: 0 } };
        let mut left = bytes;
        for (key, slot) in self.records_of(from) {
            if left == 0 {
                return Ok(Some(Cursor { segment: slot.segment, offset: slot.offset }));
            }
            left = left.saturating_sub(slot.entry().log_bytes());
            if slot.is_file() {
                self.scrub_file(&key, &slot)?;
            } else if let Some(payload) = self.payload_of(&key, &slot)? {
                found(&key, &slot.entry(), payload);
            }
        }
        let next = self.next_segment(segment.saturating_add(1));
        Ok(next.map(|segment| Cursor { segment, offset: 0 }))
    }

    fn next_segment(&self, from: u32) -> Option<u32> {
        unpoisoned(self.state.read()).segments.range(from..).next().map(|(number, _)| *number)
    }

    /// The entries whose records are in a segment, from an offset on, in order.
    pub(super) fn records_of(&self, from: At) -> Vec<(Key, Slot)> {
        let mut records = Vec::new();
        for number in 0.. {
            let state = unpoisoned(self.state.read());
            let Some(slots) = state.index.chunk(number) else { break };
            let of_it = slots.filter(|slot| slot.segment == from.segment && slot.offset >= from.offset);
            records.extend(of_it.filter_map(|slot| Some((slot.key()?, *slot))));
        }
        records.sort_unstable_by_key(|(_, slot)| slot.offset);
        records
    }

    /// The record of a file has nothing that the memory has not: where it is damaged it is written again.
    fn scrub_file(&self, key: &Key, slot: &Slot) -> io::Result<()> {
        if let Record::Damaged(_) = self.record_of(key, slot)? {
            self.copy_records(&[(slot.head(key), slot.at(), Vec::new())])?;
        }
        Ok(())
    }
}
