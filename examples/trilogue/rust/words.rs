//! How often each word of a text occurs.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One line for each word: how often, then the word. The most frequent first, equally frequent ones in the order of
/// the alphabet. A word is a run of ASCII letters, in lower case.
pub fn table(text: &str) -> String {
    let mut counts = BTreeMap::<String, u32>::new();
    for word in text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_ascii_lowercase()).or_default() += 1;
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(_, count)| Reverse(*count));
    let mut table = String::new();
    for (word, count) in rows {
        writeln!(table, "{count} {word}").expect("a String takes everything");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn frequent_words_come_first() {
        assert_eq!(table("One two, TWO; three two-one"), "3 two\n2 one\n1 three\n");
        assert_eq!(table(" .\n"), "");
    }
}
