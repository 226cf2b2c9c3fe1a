//! A copy of the memory on the disk, so that a start need not read the log.
//!
//! It is fuzzy: first the end of the log is noted, then the entries are copied while others go on. What is written meanwhile
//! is behind that end, is read again after the checkpoint, and says the same or something newer.
use super::index::Slot;
use super::invocations::Invocations;
use super::medium::{Handle, Medium};
use super::record::{At, u32_at, u64_at};
use super::state::State;
use super::{Catalogue, Invocation, unpoisoned};
use std::io;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Its name, and its name while it is written.
pub(super) const NAME: &str = "checkpoint";
pub(super) const NEW: &str = "checkpoint.new";

const MAGIC: [u8; 7] = *b"lreChk\0";
const VERSION: u8 = 1;
const HEADER: usize = 64;
const SLOT: usize = 64;
const TRAILER: usize = 8;
const BLOCK: usize = 1024 * 1024;

/// Bytes behind the last checkpoint that are worth a new one: they take a start some 50 ms.
const TAIL_BYTES: u64 = 32 * 1024 * 1024;

/// What is known of a checkpoint that was read.
pub(super) struct Position {
    pub at: At,
    /// The seed of the segment, so that another one with its number is noticed.
    pub seed: u64,
}

/// Why there is none.
pub(super) enum NoCheckpoint {
    /// There is no such file, or it is damaged.
    Bad,
    /// A newer program wrote it.
    Version(u8),
}

fn header(at: At, seed: u64, invocations: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..7].copy_from_slice(&MAGIC);
    header[7] = VERSION;
    header[8..12].copy_from_slice(&at.segment.to_le_bytes());
    header[12..16].copy_from_slice(&at.offset.to_le_bytes());
    header[16..24].copy_from_slice(&seed.to_le_bytes());
    header[24..32].copy_from_slice(&(invocations as u64).to_le_bytes());
    let sum = xxhash_rust::xxh3::xxh3_64(&header[..56]);
    header[56..64].copy_from_slice(&sum.to_le_bytes());
    header
}

fn encode_slot(slot: &Slot, out: &mut Vec<u8>) {
    out.extend_from_slice(&slot.hash);
    out.extend_from_slice(&slot.size_bytes.to_le_bytes());
    for number in [slot.segment, slot.offset, slot.stored, slot.used, slot.oldest] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&slot.invocation.to_le_bytes());
    let mut stored = *slot;
    stored.set_seen(false);
    out.extend_from_slice(&[stored.rank, stored.bits]);
}

fn decode_slot(bytes: &[u8; SLOT]) -> Slot {
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[..32]);
    let mut slot = Slot {
        hash,
        size_bytes: u64_at(bytes, 32),
        segment: u32_at(bytes, 40),
        offset: u32_at(bytes, 44),
        stored: u32_at(bytes, 48),
        used: u32_at(bytes, 52),
        oldest: u32_at(bytes, 56),
        invocation: u16::from_le_bytes([bytes[60], bytes[61]]),
        rank: bytes[62],
        bits: bytes[63],
    };
    slot.set_seen(false);
    slot
}

/// All invocations, each as its number, its last call, the length of its payload in a record, and that.
fn encode_invocations(invocations: &Invocations) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, known) in invocations.all() {
        let payload = known.encode();
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&known.last.to_le_bytes());
        out.extend_from_slice(&u16::try_from(payload.len()).unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&payload);
    }
    out
}

fn decode_invocations(mut bytes: &[u8], into: &mut Invocations) -> Option<()> {
    while !bytes.is_empty() {
        let (fixed, rest) = bytes.split_at_checked(8)?;
        let (payload, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([fixed[6], fixed[7]])))?;
        let known = Invocation::decode(u32_at(fixed, 2), payload)?;
        into.learn(u16::from_le_bytes([fixed[0], fixed[1]]), known);
        bytes = rest;
    }
    Some(())
}

/// Reads the checkpoint into `state`, which must know the segments. Where it is bad `state` is to be thrown away.
pub(super) fn load(medium: &dyn Medium, state: &mut State) -> io::Result<Result<Position, NoCheckpoint>> {
    let file = match medium.open(NAME) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Err(NoCheckpoint::Bad)),
        file => file?,
    };
    let mut head = [0; HEADER];
    let length = file.length()?;
    let whole = file.read_at(&mut head, 0)? == HEADER && length >= (HEADER + TRAILER) as u64;
    if !whole || head[..7] != MAGIC || u64_at(&head, 56) != xxhash_rust::xxh3::xxh3_64(&head[..56]) {
        return Ok(Err(NoCheckpoint::Bad));
    }
    if head[7] != VERSION {
        return Ok(Err(NoCheckpoint::Version(head[7])));
    }
    let position =
        Position { at: At { segment: u32_at(&head, 8), offset: u32_at(&head, 12) }, seed: u64_at(&head, 16) };
    let entries_end = length - TRAILER as u64;
    let entries_start = (HEADER as u64).saturating_add(u64_at(&head, 24));
    if entries_start > entries_end || !(entries_end - entries_start).is_multiple_of(SLOT as u64) {
        return Ok(Err(NoCheckpoint::Bad));
    }
    let mut sum = Xxh3::new();
    sum.update(&head);
    let mut known = vec![0; usize::try_from(entries_start).map_err(io::Error::other)? - HEADER];
    let all = file.read_at(&mut known, HEADER as u64)? == known.len();
    sum.update(&known);
    if !all || decode_invocations(&known, &mut state.invocations).is_none() {
        return Ok(Err(NoCheckpoint::Bad));
    }
    state.index.reserve(usize::try_from((entries_end - entries_start) / SLOT as u64).unwrap_or(0));
    let read = read_slots(&*file, entries_start, entries_end, &mut sum, state)?;
    Ok(if read { Ok(position) } else { Err(NoCheckpoint::Bad) })
}

fn read_slots(file: &dyn Handle, start: u64, end: u64, sum: &mut Xxh3, state: &mut State) -> io::Result<bool> {
    let mut block = vec![0; BLOCK];
    let mut at = start;
    while at < end {
        let want = (end - at).min(BLOCK as u64) as usize;
        let bytes = &mut block[..want];
        if file.read_at(bytes, at)? < want {
            return Ok(false);
        }
        sum.update(bytes);
        for slot in bytes.as_chunks::<SLOT>().0 {
            state.set(decode_slot(slot));
        }
        at += want as u64;
    }
    let mut trailer = [0; TRAILER];
    Ok(file.read_at(&mut trailer, end)? == TRAILER && u64_at(&trailer, 0) == sum.digest())
}

/// Writes and sums what it writes.
struct Out {
    file: Arc<dyn Handle>,
    buffer: Vec<u8>,
    offset: u64,
    sum: Xxh3,
}

impl Out {
    fn flush(&mut self) -> io::Result<()> {
        self.sum.update(&self.buffer);
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Catalogue {
    /// See [`Catalogue::checkpoint`].
    pub(super) fn write_checkpoint(&self, now: bool) -> io::Result<bool> {
        let _one = unpoisoned(self.checkpointing.lock());
        let (at, seed, tail) = {
            let writer = unpoisoned(self.writer.lock());
            let offset = u32::try_from(writer.offset).unwrap_or(u32::MAX);
            (At { segment: writer.number, offset }, writer.seed, writer.tail)
        };
        let entries = unpoisoned(self.state.read()).index.len();
        let long = tail >= TAIL_BYTES.max(entries * SLOT as u64);
        if tail == 0 || !(long || now) || at.offset == u32::MAX {
            return Ok(false);
        }
        let file = self.new_checkpoint_file()?;
        if let Err(e) = self.fill_checkpoint(file, at, seed) {
            let _ = self.medium.remove(NEW);
            return Err(e);
        }
        self.medium.rename(NEW, NAME)?;
        self.medium.sync()?;
        let mut writer = unpoisoned(self.writer.lock());
        writer.tail = writer.tail.saturating_sub(tail);
        Ok(true)
    }

    fn new_checkpoint_file(&self) -> io::Result<Arc<dyn Handle>> {
        match self.medium.create(NEW) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.medium.remove(NEW)?;
                self.medium.create(NEW)
            }
            file => file,
        }
    }

    fn fill_checkpoint(&self, file: Arc<dyn Handle>, at: At, seed: u64) -> io::Result<()> {
        let mut out = Out { file, buffer: Vec::with_capacity(BLOCK), offset: 0, sum: Xxh3::new() };
        {
            let state = unpoisoned(self.state.read());
            let known = encode_invocations(&state.invocations);
            out.buffer.extend_from_slice(&header(at, seed, known.len()));
            out.buffer.extend_from_slice(&known);
        }
        for number in 0.. {
            // One chunk under one lock.
            match unpoisoned(self.state.read()).index.chunk(number) {
                None => break,
                Some(slots) => slots.for_each(|slot| encode_slot(slot, &mut out.buffer)),
            }
            if out.buffer.len() >= BLOCK - super::index::CHUNK * SLOT {
                out.flush()?;
            }
        }
        out.flush()?;
        // What it names must be there when it is; and so must be what the memory has forgotten, should the checkpoint be lost.
        let mut writer = unpoisoned(self.writer.lock());
        self.pay(&mut writer)?;
        drop(writer);
        self.sync()?;
        out.buffer.extend_from_slice(&out.sum.digest().to_le_bytes());
        out.flush()?;
        out.file.sync()
    }
}
