//! The clauses as data. `cargo xtask protocol` reads them as well (it includes this file), so nothing here may use
//! anything but the standard library.

/// What the API thinks of a clause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Level {
    /// M: a server must.
    Must,
    /// S: a server should.
    Should,
    /// O: a server may.
    May,
    /// The API leaves it open.
    Open,
}

impl Level {
    /// As in the tables.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::Must => "M",
            Self::Should => "S",
            Self::May => "O",
            Self::Open => "",
        }
    }
}

/// One clause of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clause {
    /// As tests cite it.
    pub number: u8,
    /// How much it is asked for.
    pub level: Level,
    /// A letter of [`SECTIONS`].
    pub section: char,
    /// In a few words.
    pub title: &'static str,
}

/// The sections, in order.
pub const SECTIONS: [(char, &str); 10] = [
    ('A', "Transport, naming, errors"),
    ('B', "Capabilities"),
    ('C', "Digests"),
    ('D', "ContentAddressableStorage"),
    ('E', "ByteStream"),
    ('F', "ActionCache"),
    ('G', "Execution and operations"),
    ('H', "Command and worker"),
    ('I', "Split and splice"),
    ('J', "Neighbours"),
];

/// All of them, in order. The file is part of the program, so a line that is none is a mistake of ours.
pub fn all() -> Vec<Clause> {
    let lines = include_str!("../clauses.txt").lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| parse(line).expect("a line of clauses.txt")).collect()
}

fn parse(line: &'static str) -> Option<Clause> {
    let mut words = line.splitn(4, ' ');
    let number = words.next()?.parse().ok()?;
    let level = match words.next()? {
        "M" => Level::Must,
        "S" => Level::Should,
        "O" => Level::May,
        "-" => Level::Open,
        _ => return None,
    };
    let section = words.next()?.chars().next()?;
    Some(Clause { number, level, section, title: words.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ninety_in_order_each_in_a_section() {
        let all = all();
        let numbers: Vec<u8> = all.iter().map(|clause| clause.number).collect();
        assert_eq!(numbers, (1..=90).collect::<Vec<_>>());
        assert!(all.is_sorted_by_key(|clause| clause.section));
        assert!(all.iter().all(|clause| SECTIONS.iter().any(|(letter, _)| *letter == clause.section)));
    }
}
