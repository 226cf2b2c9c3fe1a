//! What somebody may have meant.

/// The candidate that differs from `text` by the fewest edits, where these are at most a third of
/// its length: beyond that a suggestion is noise.
#[must_use]
pub fn nearest(text: &str, candidates: impl IntoIterator<Item = String>) -> Option<String> {
    let most = text.chars().count() / 3;
    candidates.into_iter().map(|c| (distance(text, &c), c)).filter(|(d, _)| *d <= most).min().map(|(_, c)| c)
}

/// Insertions, deletions and replacements that turn one text into the other (Levenshtein), without
/// regard to the case of letters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_near_and_far_is_nothing() {
        for (a, b, edits) in [("", "abc", 3), ("kitten", "sitting", 3), ("ISA", "isa", 0), ("ab", "ba", 2)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
        let known = ["OSFamily", "ISA"].map(str::to_owned);
        assert_eq!(nearest("OsFamly", known.clone()).as_deref(), Some("OSFamily"));
        assert_eq!(nearest("container-image", known), None);
    }
}
