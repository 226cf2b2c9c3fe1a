//! The bytes of the log: the header of a segment and the head of a record (docs/reference/store.md, "The log").
use super::entry::{Key, Kind, Stamp};
use lre_model::DigestFunction;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Length of the header of a segment, and of the head of a record.
pub(super) const HEAD: usize = 64;

/// The first bytes of every segment of every version.
const MAGIC: [u8; 7] = *b"lreLog\0";
/// The version of segments that this code reads and writes.
pub(super) const VERSION: u8 = 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Says {
    /// Here are the bytes of a blob.
    Blob = 1,
    /// Here is the result of an action.
    Result = 2,
    /// Here is what a name means.
    Name = 3,
    /// The bytes of this blob are in a file of its own.
    File = 4,
    /// What was said of this key before counts no more.
    Forget = 5,
    /// These keys were used.
    Use = 6,
    /// This invocation was seen.
    Invocation = 7,
}

/// The head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Length of the payload as it is in the log.
    pub stored: u32,
    pub says: Says,
    /// What the key is of. Of no meaning for an invocation.
    pub kind: Kind,
    pub function: DigestFunction,
    /// The size that the digest has. Of a forget: the offset and, shifted by 32, the segment of the last record that it ends.
    pub size: u64,
    pub hash: [u8; 32],
    /// Of a forget its minute is the lowest number of a segment with records that it ends.
    pub stamp: Stamp,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub segment: u32,
    pub offset: u32,
}

impl Head {
    /// Of a record with the bytes of `key`.
    pub(super) fn put(key: &Key, size: u64, stamp: Stamp) -> Self {
        let says = match key.kind {
            Kind::Blob => Says::Blob,
            Kind::Result => Says::Result,
            Kind::Name => Says::Name,
        };
        Self { stored: 0, says, kind: key.kind, function: key.function, size, hash: key.hash, stamp }
    }

    /// Of a record that there is a file.
    pub(super) fn file(key: &Key, size: u64, stamp: Stamp) -> Self {
        Self { says: Says::File, ..Self::put(key, size, stamp) }
    }

    /// Of a record that ends all records of `key`, which are in the segments from `lowest` on, up to that at `last`.
    ///
    /// It says so, because compaction copies it behind records that it does not end.
    pub(super) fn forget(key: &Key, lowest: u32, last: At) -> Self {
        let size = u64::from(last.offset) | u64::from(last.segment) << 32;
        Self { says: Says::Forget, ..Self::put(key, size, Stamp { minute: lowest, ..Stamp::default() }) }
    }

    /// Of a record that keys of one kind and function were used.
    pub(super) fn used(kind: Kind, function: DigestFunction, stamp: Stamp) -> Self {
        Self { says: Says::Use, ..Self::put(&Key { kind, function, hash: [0; 32] }, 0, stamp) }
    }

    /// Of a record of an invocation.
    pub(super) fn invocation(number: u16, minute: u32) -> Self {
        let stamp = Stamp { minute, invocation: number, rank: 0 };
        let key = Key { kind: Kind::Blob, function: DigestFunction::Sha256, hash: [0; 32] };
        Self { says: Says::Invocation, ..Self::put(&key, 0, stamp) }
    }

    pub(super) fn key(&self) -> Key {
        Key { kind: self.kind, function: self.function, hash: self.hash }
    }

    /// Of a forget: the last record that it ends.
    pub(super) fn ends(&self) -> At {
        let [offset, segment] = [self.size, self.size >> 32].map(|n| (n & u64::from(u32::MAX)) as u32);
        At { segment, offset }
    }

    /// Of a forget: the segments that may have records that it ends.
    pub(super) fn ends_in(&self) -> std::ops::RangeInclusive<u32> {
        let last = self.ends().segment;
        self.stamp.minute.min(last)..=last
    }

    /// Whether it says what an entry is.
    pub(super) fn is_put(&self) -> bool {
        matches!(self.says, Says::Blob | Says::Result | Says::Name | Says::File)
    }

    /// Length of the whole record.
    pub(super) fn length(&self) -> u64 {
        HEAD as u64 + u64::from(self.stored)
    }

    /// Appends the record to `out`, as it must be at `offset` of the segment with this seed.
    pub(super) fn encode(&self, seed: u64, offset: u64, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let mut head = [0; HEAD];
        head[8..12].copy_from_slice(&self.stored.to_le_bytes());
        head[12] = self.says as u8;
        head[13] = self.function as u8;
        head[14] = match self.says {
            Says::Forget | Says::Use => self.kind as u8,
            _ => 0,
        };
        head[15] = self.stamp.rank;
        head[16..24].copy_from_slice(&self.size.to_le_bytes());
        head[24..56].copy_from_slice(&self.hash);
        head[56..60].copy_from_slice(&self.stamp.minute.to_le_bytes());
        head[60..62].copy_from_slice(&self.stamp.invocation.to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        let sum = checksum(seed, offset, &out[start..]);
        out[start..start + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// The head at the beginning of `bytes`, where they could be one. Says nothing of the checksum.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEAD] = bytes.first_chunk()?;
        let says = match head[12] {
            1 => Says::Blob,
            2 => Says::Result,
            3 => Says::Name,
            4 => Says::File,
            5 => Says::Forget,
            6 => Says::Use,
            7 => Says::Invocation,
            _ => return None,
        };
        let function = *DigestFunction::ALL.get(usize::from(head[13]))?;
        let (kind, of) = match says {
            Says::Forget | Says::Use => (kind(head[14])?, head[14]),
            Says::Blob | Says::File | Says::Invocation => (Kind::Blob, 0),
            Says::Result => (Kind::Result, 0),
            Says::Name => (Kind::Name, 0),
        };
        if head[14] != of || head[62..64] != [0; 2] {
            return None;
        }
        let minute = u32_at(head, 56);
        let invocation = u16::from_le_bytes([head[60], head[61]]);
        let mut hash = [0; 32];
        hash.copy_from_slice(&head[24..56]);
        Some(Self {
            stored: u32_at(head, 8),
            says,
            kind,
            function,
            size: u64_at(head, 16),
            hash,
            stamp: Stamp { minute, invocation, rank: head[15] },
        })
    }
}

fn kind(byte: u8) -> Option<Kind> {
    [Kind::Blob, Kind::Result, Kind::Name].into_iter().find(|kind| *kind as u8 == byte)
}

/// Whether `record`, head and payload, is what was written at `offset` of the segment with this seed.
pub(super) fn is_sound(seed: u64, offset: u64, record: &[u8]) -> bool {
    record.len() >= HEAD && u64_at(record, 0) == checksum(seed, offset, record)
}

fn checksum(seed: u64, offset: u64, record: &[u8]) -> u64 {
    xxh3_64_with_seed(&record[8..], seed ^ offset)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// The header of a new segment, and the seed of its checksums.
pub(super) fn new_header(number: u32) -> ([u8; HEAD], u64) {
    let mut header = [0; HEAD];
    header[..7].copy_from_slice(&MAGIC);
    header[7] = VERSION;
    header[8..12].copy_from_slice(&number.to_le_bytes());
    header[16..32].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let sum = xxh3_64(&header[..32]);
    header[32..40].copy_from_slice(&sum.to_le_bytes());
    (header, u64_at(&header, 16))
}

/// What the first bytes of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It is the segment with the number asked for, with this seed.
    Segment(u64),
    /// It is a segment of another version.
    Version(u8),
    /// It is no segment, or a damaged one: no record in it can be told from chance.
    Foreign,
}

/// What the first [`HEAD`] bytes of the file with this number say.
pub(super) fn read_header(number: u32, header: &[u8; HEAD]) -> Header {
    if header[..7] != MAGIC || u64_at(header, 32) != xxh3_64(&header[..32]) {
        return Header::Foreign;
    }
    match header[7] {
        VERSION if u32_at(header, 8) == number && header[12..16] == [0; 4] && header[40..] == [0; 24] => {
            Header::Segment(u64_at(header, 16))
        }
        VERSION => Header::Foreign,
        version => Header::Version(version),
    }
}
