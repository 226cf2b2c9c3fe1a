//! What the memory knows: the entries, the segments, the invocations. Whatever a record says is said to this, when it is
//! written and when it is read again, so that both come to the same.
use super::entry::{Key, Stamp};
use super::index::{Index, Slot};
use super::invocations::Invocations;
use super::record::{At, HEAD, Head, Says, u64_at};
use super::{Invocation, Stats};
use std::collections::BTreeMap;

/// Bytes that must be written before what compaction has kept of a segment is looked at again: it may have become dead, and
/// must not be copied for ever either.
const RECHECK_BYTES: u64 = 1 << 30;

/// A segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    /// See [`super::record::is_sound`].
    pub seed: u64,
    /// Its length in bytes; of that written to: up to where records are.
    pub len: u64,
    /// Of these, bytes of records that entries point to.
    pub live: u64,
    /// Bytes of other records that compaction has found to count still, and when that was, in [`State::written`].
    pub kept: u64,
    pub kept_at: u64,
    /// Those of them that say what is forgotten count while there is an older segment that is none younger than this.
    pub kept_forgets: u64,
    pub kept_until: u32,
}

/// See the module.
pub(super) struct State {
    pub index: Index,
    /// By number. Those that are gone are gone from the disk, whatever happens to it.
    pub segments: BTreeMap<u32, Segment>,
    pub invocations: Invocations,
    pub losses: u64,
    /// Bytes written in this life, those of compaction left out.
    pub written: u64,
    files: u64,
    file_bytes: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            index: Index::new(),
            segments: BTreeMap::new(),
            invocations: Invocations::default(),
            losses: 0,
            written: 0,
            files: 0,
            file_bytes: 0,
        }
    }

    /// Keeps an entry in place of an older one.
    pub(super) fn set(&mut self, slot: Slot) {
        let Some(key) = slot.key() else { return };
        if let Some(old) = self.index.insert(slot) {
            self.uncount(&old);
            if old.oldest < slot.oldest
                && let Some(slot) = self.index.get_mut(&key)
            {
                slot.oldest = old.oldest;
            }
        }
        self.count(&slot);
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Slot> {
        let slot = self.index.remove(key)?;
        self.uncount(&slot);
        Some(slot)
    }

    /// Remembers that the record of an entry was copied, where the entry is still that.
    pub(super) fn moved(&mut self, key: &Key, from: At, to: At, head: &Head) {
        let Some(slot) = self.index.get_mut(key).filter(|slot| slot.at() == from) else { return };
        let old = *slot;
        let new = Slot { oldest: old.oldest.min(to.segment), bits: slot.bits, ..Slot::of(head, to) };
        *slot = new;
        slot.set_lifted(false);
        let new = *slot;
        self.uncount(&old);
        self.count(&new);
    }

    /// Remembers how long the segment written to is.
    pub(super) fn grown(&mut self, number: u32, len: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            self.written += len - segment.len;
            segment.len = len;
        }
    }

    fn count(&mut self, slot: &Slot) {
        let entry = slot.entry();
        if let Some(segment) = self.segments.get_mut(&slot.segment) {
            segment.live += entry.log_bytes();
        }
        if slot.is_file() {
            self.files += 1;
            self.file_bytes += entry.file_bytes();
        }
    }

    fn uncount(&mut self, slot: &Slot) {
        let entry = slot.entry();
        if let Some(segment) = self.segments.get_mut(&slot.segment) {
            segment.live -= entry.log_bytes();
        }
        if slot.is_file() {
            self.files -= 1;
            self.file_bytes -= entry.file_bytes();
        }
    }

    /// Does what the record at this place says. Returns an entry that a forget has ended although it may have records in older
    /// segments than the forget says: an earlier forget was lost in a power cut.
    pub(super) fn apply(&mut self, head: &Head, payload: &[u8], at: At) -> Option<Slot> {
        match head.says {
            Says::Blob | Says::Result | Says::Name | Says::File => self.set(Slot::of(head, at)),
            Says::Forget => {
                if self.index.get(&head.key()).is_some_and(|slot| slot.at() <= head.ends()) {
                    let ended = self.remove(&head.key());
                    let lowest = *head.ends_in().start();
                    return ended.filter(|slot| self.segments.range(slot.oldest.min(lowest)..lowest).next().is_some());
                }
            }
            Says::Use => payload.chunks_exact(8).for_each(|prefix| self.mark(u64_at(prefix, 0), head)),
            Says::Invocation => {
                if let Some(invocation) = Invocation::decode(head.stamp.minute, payload) {
                    self.invocations.learn(head.stamp.invocation, invocation);
                }
            }
        }
        None
    }

    /// Marks what begins with this prefix as a record of use says.
    pub(super) fn mark(&mut self, prefix: u64, head: &Head) {
        let first = self.index.beginning(prefix, head.kind, head.function).next();
        // As good as always there is one; where chance has made two both are used.
        let more: Vec<_> = self.index.beginning(prefix, head.kind, head.function).skip(1).collect();
        for key in first.into_iter().chain(more) {
            if let Some(slot) = self.index.get_mut(&key) {
                slot.mark(head.stamp);
            }
        }
    }

    /// Whether a mark still says something of an entry that begins so.
    pub(super) fn counts(&self, prefix: u64, head: &Head) -> bool {
        let Stamp { minute, rank, .. } = head.stamp;
        self.index.beginning(prefix, head.kind, head.function).any(|key| {
            self.index
                .get(&key)
                .is_some_and(|slot| slot.is_lifted() || slot.used == minute || (rank > 0 && slot.rank == rank))
        })
    }

    /// Takes out what points to no byte of the log: its segment is gone, or has become shorter. Returns how many.
    pub(super) fn prune(&mut self) -> u64 {
        let Self { index, segments, .. } = self;
        let mut lost = Vec::new();
        for slot in (0..).map_while(|n| index.chunk(n)).flatten() {
            let end = u64::from(slot.offset) + HEAD as u64 + u64::from(slot.stored);
            if segments.get(&slot.segment).is_none_or(|segment| end > segment.len) {
                lost.extend(slot.key());
            }
        }
        lost.iter().filter(|key| self.remove(key).is_some()).count() as u64
    }

    /// Remembers that compaction has written this, and that it counts although no entry points to it.
    pub(super) fn keep(&mut self, head: &Head, at: At) {
        let written = self.written;
        let Some(segment) = self.segments.get_mut(&at.segment) else { return };
        segment.kept_at = written;
        if head.says == Says::Forget {
            segment.kept_forgets += head.length();
            segment.kept_until = segment.kept_until.max(head.ends().segment);
        } else {
            segment.kept += head.length();
        }
    }

    /// Bytes of a segment that compaction would free, as far as that can be said without looking.
    pub(super) fn dead(&self, number: u32, segment: &Segment) -> u64 {
        let mut counts = HEAD as u64 + segment.live;
        if self.written.saturating_sub(segment.kept_at) < RECHECK_BYTES {
            counts += segment.kept;
            if self.segments.range(..=segment.kept_until).any(|(other, _)| *other != number) {
                counts += segment.kept_forgets;
            }
        }
        segment.len.saturating_sub(counts)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            entries: self.index.len(),
            log_bytes: self.segments.values().map(|s| s.len).sum(),
            live_bytes: self.segments.values().map(|s| s.live).sum(),
            files: self.files,
            file_bytes: self.file_bytes,
        }
    }

    /// The latest minute of any entry or invocation.
    pub(super) fn minute(&self) -> u32 {
        let slots = (0..).map_while(|n| self.index.chunk(n)).flatten();
        slots.map(|slot| slot.used).max().unwrap_or(0).max(self.invocations.minute())
    }
}
