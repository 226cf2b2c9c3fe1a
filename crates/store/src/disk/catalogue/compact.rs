//! Frees room: what counts of a segment is copied to the end of the log, and the segment is removed.
use super::medium::segment_name;
use super::read::Record;
use super::record::{At, HEAD, Head, Says, u64_at};
use super::scan::{Scan, Step};
use super::state::{Segment, State};
use super::{Catalogue, unpoisoned};
use std::io;

/// Bytes that are copied under one lock of the writer.
const BATCH_BYTES: u64 = 256 * 1024;

/// Dead bytes for which the segment written to is ended: fewer are not worth a new one.
const ROLL_BYTES: u64 = 1024 * 1024;

/// A segment that is being emptied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    segment: u32,
    seed: u64,
    /// Copied up to here.
    offset: u64,
    end: u64,
}

/// A record as it was found: head, place, payload.
type Copy = (Head, At, Vec<u8>);

impl Catalogue {
    /// Frees room: moves what counts out of the segment with the most dead bytes, at most about `bytes` of it, if half of it
    /// is dead (`all`: if a tenth is). Returns `false` when there is nothing left to do.
    ///
    /// # Errors
    /// The disk failed or is full; nothing is lost.
    pub(crate) fn compact(&self, bytes: u64, all: bool) -> io::Result<bool> {
        let mut working = unpoisoned(self.compacting.lock());
        let mut work = match *working {
            Some(work) => work,
            None => match self.choose(all)? {
                Some(work) => work,
                None => return Ok(false),
            },
        };
        *working = Some(work);
        let until = work.offset.saturating_add(bytes.max(1));
        while work.offset < work.end && work.offset < until {
            self.copy_some(&mut work)?;
            *working = Some(work);
        }
        if work.offset >= work.end {
            self.finish(&work)?;
            *working = None;
        }
        Ok(true)
    }

    fn choose(&self, all: bool) -> io::Result<Option<Work>> {
        let mut writer = unpoisoned(self.writer.lock());
        let chosen = {
            let state = unpoisoned(self.state.read());
            let worth = |(number, segment): &(&u32, &Segment)| {
                let dead = state.dead(**number, segment);
                let enough = if all { dead * 10 >= segment.len } else { dead * 2 >= segment.len };
                // One that is only a header is what the last compaction has made of the last one.
                let empty = segment.len <= HEAD as u64 && **number != writer.number;
                empty || (dead > 0 && enough && (**number != writer.number || all || dead >= ROLL_BYTES))
            };
            let most =
                state.segments.iter().filter(worth).max_by_key(|(number, segment)| state.dead(**number, segment));
            most.map(|(number, segment)| (*number, *segment))
        };
        let Some((number, segment)) = chosen else { return Ok(None) };
        if number == writer.number {
            self.roll(&mut writer)?;
        }
        Ok(Some(Work { segment: number, seed: segment.seed, offset: HEAD as u64, end: segment.len }))
    }

    /// Copies what counts of the next records.
    fn copy_some(&self, work: &mut Work) -> io::Result<()> {
        let file = self.handles.get(work.segment)?;
        let mut scan = Scan::new(file, work.seed, work.offset, work.end);
        let mut found = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            match scan.next()? {
                None => break,
                // What was damaged is looked for when all else is copied.
                Some(Step::Torn(_)) => {}
                Some(Step::Record { head, offset, payload }) => {
                    bytes += head.length();
                    found.push((head, At { segment: work.segment, offset }, payload.to_vec()));
                }
            }
        }
        let offset = scan.offset;
        self.copy_records(&found)?;
        work.offset = offset;
        Ok(())
    }

    /// Writes those records again that still count.
    pub(super) fn copy_records(&self, found: &[Copy]) -> io::Result<()> {
        let mut writer = unpoisoned(self.writer.lock());
        let mut copies = Vec::new();
        let state = unpoisoned(self.state.read());
        for copy in found {
            what_counts(&state, copy, &mut copies);
        }
        drop(state);
        let records: Vec<_> = copies.iter().map(|(head, _, payload)| (*head, &payload[..])).collect();
        let mut from = copies.iter().map(|(_, at, _)| *at);
        let before = unpoisoned(self.state.read()).written;
        let written = self.append(&mut writer, records, |state, head, to| {
            let Some(from) = from.next() else { return };
            if head.is_put() {
                state.moved(&head.key(), from, to, head);
            } else {
                state.keep(head, to);
            }
        });
        unpoisoned(self.state.write()).written = before;
        written
    }

    /// Removes a segment that has been copied.
    fn finish(&self, work: &Work) -> io::Result<()> {
        let left = self.records_of(At { segment: work.segment, offset: 0 });
        for (key, slot) in left {
            // It was not found on the way, because it or its neighbour is damaged.
            match self.record_of(&key, &slot)? {
                Record::Sound(payload) => self.copy_records(&[(slot.head(&key), slot.at(), payload.to_vec())])?,
                _ if slot.is_file() => self.copy_records(&[(slot.head(&key), slot.at(), Vec::new())])?,
                _ => {
                    self.drop_damaged(&key, slot.at())?;
                }
            }
        }
        // What is forgotten may have older records elsewhere, and this segment what ends them until that is written.
        let mut writer = unpoisoned(self.writer.lock());
        self.pay(&mut writer)?;
        drop(writer);
        self.sync()?;
        match self.medium.remove(&segment_name(work.segment)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // While its name can come back it is not gone, and what ends its records must stay.
        self.medium.sync()?;
        self.handles.close(work.segment);
        unpoisoned(self.state.write()).segments.remove(&work.segment);
        Ok(())
    }
}

/// Appends to `copies` what is to be written instead of a record.
fn what_counts(state: &State, (head, at, payload): &Copy, copies: &mut Vec<Copy>) {
    let key = head.key();
    match head.says {
        Says::Blob | Says::Result | Says::Name | Says::File => {
            if let Some(slot) = state.index.get(&key).filter(|slot| slot.at() == *at) {
                copies.push((slot.head(&key), *at, payload.clone()));
            }
        }
        Says::Use => {
            let mut still = Vec::new();
            for mark in payload.chunks_exact(8) {
                if state.counts(u64_at(mark, 0), head) {
                    still.extend_from_slice(mark);
                }
            }
            if !still.is_empty() {
                copies.push((*head, *at, still));
            }
        }
        Says::Invocation => {
            let known = state.invocations.all().find(|(number, _)| *number == head.stamp.invocation);
            if known.is_some_and(|(_, known)| known.last == head.stamp.minute && known.encode() == *payload) {
                copies.push((*head, *at, payload.clone()));
            }
        }
        Says::Forget => {
            // It counts as long as there is a segment that may have a record that it ends.
            if state.segments.range(head.ends_in()).any(|(number, _)| *number != at.segment) {
                copies.push((*head, *at, Vec::new()));
            }
        }
    }
}
