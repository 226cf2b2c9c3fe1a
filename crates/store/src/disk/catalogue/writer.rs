//! The end of the log, where records are written.
use super::entry::Key;
use super::index::Slot;
use super::medium::{Handle, Medium, segment_name};
use super::record::{At, HEAD, Head, new_header};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes that are gathered for one write. A larger record is written by itself.
const GATHER_BYTES: usize = 1024 * 1024;

/// One at a time writes.
pub(super) struct Writer {
    /// The segment written to.
    pub number: u32,
    pub file: Arc<dyn Handle>,
    pub seed: u64,
    /// Where the next record begins. All before it is in memory.
    pub offset: u64,
    /// The number of the next segment. No number comes twice, even where making one has failed.
    pub next: u32,
    /// A write has failed and may have left bytes behind `offset`. Where they are whole records they must go before others
    /// are written in their place: those that remain would come after them.
    pub torn: bool,
    /// Records, with their payloads, of what the memory knows already: what was forgotten, what was used. Written before any other; they stay
    /// while the disk is full.
    pub owed: Vec<(Head, Vec<u8>)>,
    /// What the last sync does not cover.
    pub unsynced: BTreeMap<u32, Arc<dyn Handle>>,
    /// The names of segments are not synced.
    pub unsynced_names: bool,
    /// Bytes written since the position of the last checkpoint.
    pub tail: u64,
    buffer: Vec<u8>,
    /// What the buffer holds.
    pub gathered: Vec<(Head, At)>,
}

/// A new segment: its number, file and seed.
pub(super) struct New {
    pub number: u32,
    pub file: Arc<dyn Handle>,
    pub seed: u64,
}

impl New {
    pub(super) fn create(medium: &dyn Medium, number: u32) -> io::Result<Self> {
        let name = segment_name(number);
        let file = medium.create(&name)?;
        let (header, seed) = new_header(number);
        if let Err(e) = file.write_at(&header, 0) {
            // An empty file; if it stays the next start removes it.
            let _ = medium.remove(&name);
            return Err(e);
        }
        Ok(Self { number, file, seed })
    }
}

impl Writer {
    /// Goes on behind `offset` in a segment.
    pub(super) fn new(segment: New, offset: u64, next: u32) -> Self {
        Self {
            number: segment.number,
            file: segment.file,
            seed: segment.seed,
            offset,
            next,
            torn: false,
            owed: Vec::new(),
            unsynced: BTreeMap::new(),
            unsynced_names: true,
            tail: 0,
            buffer: Vec::new(),
            gathered: Vec::new(),
        }
    }

    /// Has it written, as soon as something can be, that an entry is forgotten.
    pub(super) fn owe(&mut self, key: &Key, entry: &Slot) {
        self.owed.push((Head::forget(key, entry.oldest, entry.at()), Vec::new()));
    }

    /// Whether a record of this length belongs into the next segment.
    pub(super) fn is_full(&self, length: u64, segment_bytes: u64) -> bool {
        self.offset > HEAD as u64 && self.offset + length > segment_bytes
    }

    /// Makes a new segment and goes on there.
    pub(super) fn roll(&mut self, medium: &dyn Medium) -> io::Result<()> {
        let number = self.next;
        self.next =
            number.checked_add(1).ok_or_else(|| io::Error::other("the log has used up all numbers of segments"))?;
        let New { number, file, seed } = New::create(medium, number)?;
        // What a failed write has left in the old one is at its end and would be read at the next start.
        if self.torn {
            self.file.truncate(self.offset)?;
        }
        self.unsynced.insert(number, Arc::clone(&file));
        self.unsynced_names = true;
        (self.number, self.file, self.seed, self.offset, self.torn) = (number, file, seed, HEAD as u64, false);
        Ok(())
    }

    /// Takes what fits of `records` for one write, at least one.
    pub(super) fn gather<'a, I>(&mut self, records: &mut std::iter::Peekable<I>, segment_bytes: u64) -> io::Result<()>
    where
        I: Iterator<Item = (Head, &'a [u8])>,
    {
        self.buffer.clear();
        self.gathered.clear();
        while let Some((head, payload)) = records.peek() {
            let stored = u32::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            let head = Head { stored, ..*head };
            let offset = self.offset + self.buffer.len() as u64;
            let full = self.buffer.len() as u64 + head.length() > GATHER_BYTES as u64
                || offset + head.length() > segment_bytes;
            if full && !self.gathered.is_empty() {
                break;
            }
            head.encode(self.seed, offset, payload, &mut self.buffer);
            let offset = u32::try_from(offset).map_err(io::Error::other)?;
            self.gathered.push((head, At { segment: self.number, offset }));
            records.next();
        }
        Ok(())
    }

    /// Writes what was gathered. After an error all is as it was before.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.truncate(self.offset)?;
            self.torn = false;
        }
        // Also where it fails: that its bytes were taken back is to be synced too.
        if !self.unsynced.contains_key(&self.number) {
            self.unsynced.insert(self.number, Arc::clone(&self.file));
        }
        if let Err(e) = self.file.write_at(&self.buffer, self.offset) {
            // At once, where it can be done at once: a start may come before the next write.
            self.torn = self.file.truncate(self.offset).is_err();
            return Err(e);
        }
        let length = self.buffer.len() as u64;
        self.offset += length;
        self.tail += length;
        if self.buffer.capacity() > 2 * GATHER_BYTES {
            self.buffer = Vec::new();
        }
        Ok(())
    }
}
