//! Reads a segment from one end to the other, and finds its way behind what is damaged.
use super::medium::Handle;
use super::record::{HEAD, Head, is_sound};
use std::io;
use std::sync::Arc;

/// Bytes read at a time.
const BLOCK: usize = 1024 * 1024;

/// How much may be hashed in the search for the next sound record, for each byte of the segment: a payload may be full of
/// what looks like heads.
const SEARCH_FACTOR: u64 = 8;

/// See the module.
pub(super) struct Scan {
    file: Arc<dyn Handle>,
    seed: u64,
    /// Where the next record begins.
    pub offset: u64,
    end: u64,
    /// Behind the last sound record.
    sound_end: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins.
    base: u64,
    may_hash: u64,
}

/// What comes next in a segment.
pub(super) enum Step<'a> {
    Record {
        head: Head,
        offset: u32,
        payload: &'a [u8],
    },
    /// So many bytes that are no record.
    Torn(u64),
}

impl Scan {
    /// From `offset` to `end`.
    pub(super) fn new(file: Arc<dyn Handle>, seed: u64, offset: u64, end: u64) -> Self {
        let may_hash = end.saturating_mul(SEARCH_FACTOR);
        Self { file, seed, offset, end, sound_end: offset, buffer: Vec::new(), base: 0, may_hash }
    }

    /// Behind the last sound record that it has come to.
    pub(super) fn sound_end(&self) -> u64 {
        self.sound_end
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Step<'_>>> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let at = self.offset;
        let Some(head) = self.sound_at(at)? else {
            self.offset = self.search(at + 1)?;
            return Ok(Some(Step::Torn(self.offset - at)));
        };
        self.offset = at + head.length();
        self.sound_end = self.offset;
        let start = usize::try_from(at - self.base).unwrap_or(usize::MAX);
        let payload = &self.buffer[start + HEAD..start + HEAD + head.stored as usize];
        Ok(Some(Step::Record { head, offset: u32::try_from(at).unwrap_or(u32::MAX), payload }))
    }

    /// The bytes from `at` on, at least `need` of them where there are so many.
    fn bytes(&mut self, at: u64, need: u64) -> io::Result<&[u8]> {
        let need = need.min(self.end.saturating_sub(at));
        if at < self.base || at + need > self.base + self.buffer.len() as u64 {
            let want = need.max(BLOCK as u64).min(self.end - at);
            self.buffer.resize(usize::try_from(want).map_err(io::Error::other)?, 0);
            self.base = at;
            let read = self.file.read_at(&mut self.buffer, at)?;
            if read < self.buffer.len() {
                self.buffer.truncate(read);
                self.end = at + read as u64;
            }
        }
        let start = usize::try_from(at - self.base).unwrap_or(usize::MAX);
        Ok(self.buffer.get(start..).unwrap_or_default())
    }

    /// The head of the record at `at`, if all of it is sound. Then the buffer has all of it.
    fn sound_at(&mut self, at: u64) -> io::Result<Option<Head>> {
        let Some(head) = Head::decode(self.bytes(at, HEAD as u64)?) else { return Ok(None) };
        if at + head.length() > self.end {
            return Ok(None);
        }
        let seed = self.seed;
        let length = usize::try_from(head.length()).map_err(io::Error::other)?;
        let record = self.bytes(at, head.length())?;
        Ok(record.get(..length).is_some_and(|record| is_sound(seed, at, record)).then_some(head))
    }

    /// Where the next sound record begins, from `at` on, or the end.
    fn search(&mut self, mut at: u64) -> io::Result<u64> {
        while at + HEAD as u64 <= self.end {
            let bytes = self.bytes(at, HEAD as u64)?;
            let possible = bytes.windows(HEAD).position(|window| Head::decode(window).is_some());
            match possible {
                // All windows of this block have been looked at.
                None => at += (bytes.len() as u64).saturating_sub(HEAD as u64 - 1).max(1),
                Some(skip) => {
                    at += skip as u64;
                    let length = Head::decode(self.bytes(at, HEAD as u64)?).map_or(0, |head| head.length());
                    if at + length <= self.end {
                        if length > self.may_hash {
                            break;
                        }
                        self.may_hash -= length;
                        if self.sound_at(at)?.is_some() {
                            return Ok(at);
                        }
                    }
                    at += 1;
                }
            }
        }
        Ok(self.end)
    }
}
