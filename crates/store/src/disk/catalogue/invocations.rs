//! Who asked: runs of clients, by a number that fits into an entry.
use super::super::holds::{IDLE_MINUTES, MARK_MINUTES};
use super::Invocation;
use super::record::u32_at;
use std::collections::{BTreeMap, HashMap};

/// Longest name and tool that are kept, in bytes: they come from outside.
const NAME_BYTES_MAX: usize = 128;
const TOOL_BYTES_MAX: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Invocations {
    by_number: BTreeMap<u16, Invocation>,
    by_name: HashMap<String, u16>,
}

impl Invocations {
    pub(super) fn find(&self, name: &str) -> Option<(u16, &Invocation)> {
        let number = *self.by_name.get(name)?;
        Some((number, self.by_number.get(&number)?))
    }

    /// The number of the next new one: the lowest that is free; where none is, that of the one that was silent the longest.
    pub(super) fn next(&self) -> u16 {
        let gap = (1..=u16::MAX).zip(self.by_number.keys()).find(|(free, taken)| free != *taken).map(|(free, _)| free);
        let behind = || u16::try_from(self.by_number.len() + 1).ok();
        let silent = || self.by_number.iter().min_by_key(|(_, known)| known.last).map_or(1, |(number, _)| *number);
        gap.or_else(behind).unwrap_or_else(silent)
    }

    /// Remembers what a record says.
    pub(super) fn learn(&mut self, number: u16, invocation: Invocation) {
        self.by_name.insert(invocation.name.clone(), number);
        if let Some(old) = self.by_number.insert(number, invocation)
            && self.by_number.get(&number).is_some_and(|new| new.name != old.name)
            && self.by_name.get(&old.name) == Some(&number)
        {
            self.by_name.remove(&old.name);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u16, &Invocation)> + '_ {
        self.by_number.iter().map(|(number, known)| (*number, known))
    }

    pub(super) fn minute(&self) -> u32 {
        self.by_number.values().map(|known| known.last).max().unwrap_or(0)
    }
}

fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

impl Invocation {
    pub(super) fn new(name: &str, tool: &str, minute: u32) -> Self {
        let (name, tool) = (shortened(name, NAME_BYTES_MAX), shortened(tool, TOOL_BYTES_MAX));
        Self { name: name.to_owned(), tool: tool.to_owned(), began: minute, last: minute }
    }

    /// It calls again. One that has been idle begins anew: what it was told before may have gone, and whoever calls all its
    /// runs by one name must not hold everything for ever.
    pub(super) fn called(&self, minute: u32) -> Self {
        let idle = self.last.saturating_add(IDLE_MINUTES + MARK_MINUTES) < minute;
        Self { began: if idle { minute } else { self.began }, last: minute, ..self.clone() }
    }

    /// The payload of its record; the head has the minute of its last call.
    pub(super) fn encode(&self) -> Vec<u8> {
        let name = u32::try_from(self.name.len()).unwrap_or(0);
        [&self.began.to_le_bytes(), &name.to_le_bytes(), self.name.as_bytes(), self.tool.as_bytes()].concat()
    }

    pub(super) fn decode(last: u32, payload: &[u8]) -> Option<Self> {
        let (fixed, text) = payload.split_at_checked(8)?;
        let (name, tool) = text.split_at_checked(u32_at(fixed, 4) as usize)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self { name: text(name)?, tool: text(tool)?, began: u32_at(fixed, 0), last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_comes_back_as_it_was() {
        let long = "é".repeat(200);
        let invocation = Invocation::new(&long, "bazel 8", 7);
        assert!(invocation.name.len() <= NAME_BYTES_MAX && long.starts_with(&invocation.name));
        assert_eq!(Invocation::decode(7, &invocation.encode()), Some(invocation.clone()));
        assert_eq!(Invocation::decode(7, &invocation.encode()[..7]), None);
        assert_eq!(Invocation::decode(7, &invocation.encode()[..9]), None, "its name is cut");
    }

    #[test]
    fn one_that_was_idle_begins_anew() {
        let first = Invocation::new("a", "", 1_000);
        let later = first.called(1_000 + IDLE_MINUTES + MARK_MINUTES);
        assert_eq!((later.began, later.last), (1_000, 1_000 + IDLE_MINUTES + MARK_MINUTES));
        let idle = later.called(later.last + IDLE_MINUTES + MARK_MINUTES + 1);
        assert_eq!((idle.began, idle.name.as_str()), (idle.last, "a"));
    }

    #[test]
    fn numbers_are_used_again_at_the_end_of_all() {
        let mut all = Invocations::default();
        let named = |n: u32| Invocation::new(&format!("run {n}"), "", n);
        assert_eq!(all.next(), 1);
        for n in 1..=65_535 {
            all.learn(n as u16, named(n));
        }
        assert_eq!(all.next(), 1, "it was silent the longest");
        all.learn(1, named(70_000));
        assert!(all.find("run 1").is_none(), "its number is somebody else's");
        assert_eq!(all.find("run 70000").map(|(number, _)| number), Some(1));
        assert_eq!((all.next(), all.all().count()), (2, 65_535));
    }

    /// Compaction changes the order in which they are read.
    #[test]
    fn a_number_that_is_taken_is_given_to_nobody() {
        let mut all = Invocations::default();
        all.learn(4, Invocation::new("fourth", "", 1));
        all.learn(1, Invocation::new("first", "", 1));
        assert_eq!(all.next(), 2);
    }
}
