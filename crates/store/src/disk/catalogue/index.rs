//! All entries, in memory: slots of 64 bytes in chunks, and a table of their numbers.
//!
//! A million entries take 64 MB and 10.5 MB. The chunks never move, so that growing needs no second copy of them; the table is
//! in parts, so that nobody waits for the growing of all of it.
use super::entry::{Entry, Key, Kind, Place, Stamp};
use super::record::{At, Head, Says};
use hashbrown::HashTable;
use lre_model::DigestFunction;

/// Slots in a chunk: 256 KiB.
pub(super) const CHUNK: usize = 4096;
const PARTS: usize = 16;
/// No slot.
const NONE: u32 = u32::MAX;

const KIND: u8 = 0b11;
const BLAKE3: u8 = 1 << 2;
const FILE: u8 = 1 << 3;
const SEEN: u8 = 1 << 4;
const LIFTED: u8 = 1 << 6;

/// What is known of a key, and where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Slot {
    pub hash: [u8; 32],
    pub size_bytes: u64,
    /// Where its record is.
    pub segment: u32,
    /// See `segment`. Of a free slot: the next free one.
    pub offset: u32,
    pub stored: u32,
    pub used: u32,
    /// The lowest number of a segment that may have records of this key, dead ones too.
    pub oldest: u32,
    pub invocation: u16,
    pub rank: u8,
    /// Kind (0: the slot is free), function, place, and so on.
    pub bits: u8,
}

const _: () = assert!(size_of::<Slot>() == 64, "the memory of a million entries is promised");

impl Slot {
    const FREE: Self = Self {
        hash: [0; 32],
        size_bytes: 0,
        segment: 0,
        offset: NONE,
        stored: 0,
        used: 0,
        oldest: 0,
        invocation: 0,
        rank: 0,
        bits: 0,
    };

    /// What the record at this place says, which must be one of those that say what an entry is.
    pub(super) fn of(head: &Head, at: At) -> Self {
        let function = if head.function == DigestFunction::Blake3 { BLAKE3 } else { 0 };
        let file = if head.says == Says::File { FILE } else { 0 };
        Self {
            hash: head.hash,
            size_bytes: head.size,
            segment: at.segment,
            offset: at.offset,
            stored: head.stored,
            used: head.stamp.minute,
            oldest: at.segment,
            invocation: head.stamp.invocation,
            rank: head.stamp.rank,
            bits: head.kind as u8 | function | file,
        }
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        match self.bits & KIND {
            1 => Some(Kind::Blob),
            2 => Some(Kind::Result),
            3 => Some(Kind::Name),
            _ => None,
        }
    }

    pub(super) fn key(&self) -> Option<Key> {
        let function = if self.bits & BLAKE3 == 0 { DigestFunction::Sha256 } else { DigestFunction::Blake3 };
        Some(Key { kind: self.kind()?, function, hash: self.hash })
    }

    fn is(&self, key: &Key) -> bool {
        self.bits & (KIND | BLAKE3) == bits_of(key) && self.hash == key.hash
    }

    pub(super) fn at(&self) -> At {
        At { segment: self.segment, offset: self.offset }
    }

    pub(super) fn is_file(&self) -> bool {
        self.bits & FILE != 0
    }

    pub(super) fn set_seen(&mut self, seen: bool) {
        self.bits = if seen { self.bits | SEEN } else { self.bits & !SEEN };
    }

    /// Whether its mark is in memory alone, so that an older one in the log counts still.
    pub(super) fn is_lifted(&self) -> bool {
        self.bits & LIFTED != 0
    }

    pub(super) fn set_lifted(&mut self, lifted: bool) {
        self.bits = if lifted { self.bits | LIFTED } else { self.bits & !LIFTED };
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { minute: self.used, invocation: self.invocation, rank: self.rank }
    }

    /// The head of a record that says all of it.
    pub(super) fn head(&self, key: &Key) -> Head {
        let head = match self.is_file() {
            true => Head::file(key, self.size_bytes, self.stamp()),
            false => Head::put(key, self.size_bytes, self.stamp()),
        };
        Head { stored: self.stored, ..head }
    }

    pub(super) fn mark(&mut self, stamp: Stamp) {
        let mut entry = self.entry();
        entry.mark(stamp);
        (self.used, self.invocation, self.rank) = (entry.used, entry.invocation, entry.rank);
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            size_bytes: self.size_bytes,
            place: if self.is_file() { Place::File } else { Place::Packed },
            stored_bytes: self.stored,
            used: self.used,
            invocation: self.invocation,
            rank: self.rank,
            seen: self.bits & SEEN != 0,
        }
    }
}

fn bits_of(key: &Key) -> u8 {
    key.kind as u8 | if key.function == DigestFunction::Blake3 { BLAKE3 } else { 0 }
}

/// The first bytes of a hash, as a number.
pub(super) fn prefix(hash: &[u8; 32]) -> u64 {
    super::record::u64_at(hash, 0)
}

/// What a hash is found by: it is as good as random already, and a record of use has no more of it.
fn spread(prefix: u64) -> u64 {
    prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn part(spread: u64) -> usize {
    // Neither the bits that choose a bucket nor those that are compared there.
    (spread >> 40) as usize % PARTS
}

/// See the module.
pub(super) struct Index {
    chunks: Vec<Box<[Slot]>>,
    /// The first free slot of a list.
    free: u32,
    /// Slots that were ever used.
    high: u32,
    len: u64,
    parts: [HashTable<u32>; PARTS],
}

fn slot_of(chunks: &[Box<[Slot]>], number: u32) -> &Slot {
    &chunks[number as usize / CHUNK][number as usize % CHUNK]
}

impl Index {
    pub(super) fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, high: 0, len: 0, parts: std::array::from_fn(|_| HashTable::new()) }
    }

    /// Makes room for so many more, so that inserting them does not stop to make it.
    pub(super) fn reserve(&mut self, entries: usize) {
        let Self { chunks, parts, .. } = self;
        for table in parts {
            // They are not spread quite evenly.
            let each = entries / PARTS;
            table.reserve(each + each / 64, |number| spread(prefix(&slot_of(chunks, *number).hash)));
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let hash = spread(prefix(&key.hash));
        self.parts[part(hash)].find(hash, |number| slot_of(&self.chunks, *number).is(key)).copied()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Slot> {
        self.find(key).map(|number| slot_of(&self.chunks, number))
    }

    /// Looks at what [`Index::get`] will look at, of many keys. Each look is a byte of memory that is in no cache, and costs a hundred
    /// times what is done with it; here none depends on another, and the processor waits for many at once.
    pub(super) fn warm(&self, keys: &[Key]) {
        let seen = keys.iter().fold(0, |seen, key| {
            let hash = spread(prefix(&key.hash));
            let first = self.parts[part(hash)].find(hash, |_| true);
            first.map_or(seen, |number| seen ^ slot_of(&self.chunks, *number).hash[0])
        });
        std::hint::black_box(seen);
    }

    /// Its place in the index and its key must stay.
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Slot> {
        let number = self.find(key)?;
        Some(&mut self.chunks[number as usize / CHUNK][number as usize % CHUNK])
    }

    /// Keeps `slot`, which must not be free, in place of another one with its key.
    pub(super) fn insert(&mut self, slot: Slot) -> Option<Slot> {
        let key = slot.key()?;
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, slot));
        }
        let number = self.take_free();
        let Self { chunks, parts, .. } = self;
        chunks[number as usize / CHUNK][number as usize % CHUNK] = slot;
        let hash = spread(prefix(&slot.hash));
        parts[part(hash)].insert_unique(hash, number, |number| spread(prefix(&slot_of(chunks, *number).hash)));
        self.len += 1;
        None
    }

    fn take_free(&mut self) -> u32 {
        if self.free != NONE {
            let number = self.free;
            self.free = slot_of(&self.chunks, number).offset;
            return number;
        }
        let number = self.high;
        if number as usize / CHUNK == self.chunks.len() {
            self.chunks.push(vec![Slot::FREE; CHUNK].into_boxed_slice());
        }
        self.high += 1;
        number
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Slot> {
        let hash = spread(prefix(&key.hash));
        let Self { chunks, parts, .. } = self;
        let found = parts[part(hash)].find_entry(hash, |number| slot_of(chunks, *number).is(key)).ok()?;
        let (number, _) = found.remove();
        let slot = &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK];
        let old = std::mem::replace(slot, Slot { offset: self.free, ..Slot::FREE });
        self.free = number;
        self.len -= 1;
        Some(old)
    }

    /// The keys of this kind and function whose hashes begin so: one, but for chance.
    pub(super) fn beginning(
        &self,
        prefix_: u64,
        kind: Kind,
        function: DigestFunction,
    ) -> impl Iterator<Item = Key> + '_ {
        let hash = spread(prefix_);
        let numbers = self.parts[part(hash)].iter_hash(hash);
        numbers
            .map(|number| slot_of(&self.chunks, *number))
            .filter(move |slot| prefix(&slot.hash) == prefix_)
            .filter_map(Slot::key)
            .filter(move |key| key.kind == kind && key.function == function)
    }

    /// Chunk by chunk, for who must not keep the lock: the slots in use of the chunk with this number; `None` behind the last.
    pub(super) fn chunk(&self, number: usize) -> Option<impl Iterator<Item = &Slot> + '_> {
        Some(self.chunks.get(number)?.iter().filter(|slot| slot.bits & KIND != 0))
    }

    /// All slots in use. Keys must stay.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Slot> + '_ {
        self.chunks.iter_mut().flat_map(|chunk| chunk.iter_mut()).filter(|slot| slot.bits & KIND != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn slot(n: u64, kind: Kind) -> Slot {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(n % 64).to_le_bytes());
        hash[8..16].copy_from_slice(&n.to_le_bytes());
        let key = Key { kind, function: DigestFunction::ALL[(n % 2) as usize], hash };
        Slot::of(&Head::put(&key, n, Stamp::default()), At { segment: 1, offset: n as u32 })
    }

    #[test]
    fn it_is_a_map() {
        let (mut index, mut model) = (Index::new(), BTreeMap::new());
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let slot = slot((state >> 33) % 3_000, if state >> 20 & 1 == 0 { Kind::Blob } else { Kind::Name });
            let key = slot.key().unwrap();
            if (state >> 21) & 3 == 0 {
                assert_eq!(index.remove(&key), model.remove(&key));
            } else {
                assert_eq!(index.insert(slot), model.insert(key, slot));
            }
        }
        assert_eq!(index.len(), model.len() as u64);
        for (key, slot) in &model {
            assert_eq!(index.get(key), Some(slot));
            let begin = index.beginning(prefix(&key.hash), key.kind, key.function);
            assert!(begin.into_iter().any(|found| found == *key));
        }
        let walked = (0..).map_while(|n| index.chunk(n).map(Iterator::count)).sum::<usize>();
        assert_eq!(walked, model.len());
        assert!(index.high < 4_300, "free slots are used again");
    }
}
