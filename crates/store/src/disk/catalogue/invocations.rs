//! Who asked: runs of clients, by a number that fits into an entry.
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
    /// The number given out last.
    last: u16,
}

impl Invocations {
    pub(super) fn find(&self, name: &str) -> Option<(u16, &Invocation)> {
        let number = *self.by_name.get(name)?;
        Some((number, self.by_number.get(&number)?))
    }

    /// The number of the next new one. Where all are taken, that of the one that got its number first.
    pub(super) fn next(&self) -> u16 {
        self.last.checked_add(1).unwrap_or(1)
    }

    /// Remembers what a record says.
    pub(super) fn learn(&mut self, number: u16, invocation: Invocation) {
        if self.find(&invocation.name).is_none_or(|(known, _)| known != number) {
            self.last = number;
        }
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

    /// The number given out last.
    pub(super) fn last(&self) -> u16 {
        self.last
    }

    pub(super) fn set_last(&mut self, last: u16) {
        self.last = last;
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
    fn numbers_are_used_again_at_the_end_of_all() {
        let mut all = Invocations::default();
        for n in 0..65_535 + 10 {
            let name = format!("run {n}");
            assert!(all.find(&name).is_none());
            let number = all.next();
            assert!(number > 0);
            all.learn(number, Invocation::new(&name, "", n));
            assert_eq!(all.find(&name).map(|(number, _)| number), Some(number));
        }
        assert_eq!(all.all().count(), 65_535);
        assert!(all.find("run 9").is_none(), "its number is somebody else's");
        assert_eq!(all.find("run 65535").map(|(number, _)| number), Some(1));
    }
}
