//! Response files: `@file` stands for the words in it.
use std::io;
use std::path::Path;

/// How deep they may name each other; gcc gives up at 2,000 files in all.
const DEPTH_MAX: usize = 16;

/// All words, each `@file` replaced by what is in it. One that cannot be read is a word like any other, as for the
/// compiler.
///
/// # Errors
/// A file that is no text, or files that name each other.
pub fn expand(arguments: Vec<String>, directory: &Path) -> io::Result<Vec<String>> {
    expand_to(arguments, directory, DEPTH_MAX)
}

fn expand_to(arguments: Vec<String>, directory: &Path, depth: usize) -> io::Result<Vec<String>> {
    let mut all = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let Some(path) = argument.strip_prefix('@') else {
            all.push(argument);
            continue;
        };
        let text = match std::fs::read(directory.join(path)) {
            Ok(text) => text,
            Err(_) => {
                all.push(argument);
                continue;
            }
        };
        if depth == 0 {
            return Err(io::Error::other(format!("the response file {path} names itself")));
        }
        let text = String::from_utf8(text).map_err(|_| io::Error::other(format!("{path} is not UTF-8")))?;
        all.extend(expand_to(words(&text), directory, depth - 1)?);
    }
    Ok(all)
}

/// Words with blanks between them; quotes of both kinds keep blanks, a backslash keeps whatever follows.
fn words(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => all.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_separated_as_the_compiler_does() {
        for (text, expected) in [
            ("a b\n c\t", &["a", "b", "c"][..]),
            (r#""a b" 'c d' e\ f "g\"h" '' "#, &["a b", "c d", "e f", "g\"h", ""]),
            (r#"-DX="y z"w"#, &["-DX=y zw"]),
            ("", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn files_are_expanded_and_what_is_none_stays() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "-c @b").unwrap();
        std::fs::write(dir.path().join("b"), "'x y.c'").unwrap();
        std::fs::write(dir.path().join("loop"), "@loop").unwrap();
        let expand = |words: &[&str]| expand(words.iter().map(|w| (*w).to_owned()).collect(), dir.path());
        assert_eq!(expand(&["-O", "@a", "@none"]).unwrap(), ["-O", "-c", "x y.c", "@none"]);
        assert!(expand(&["@loop"]).unwrap_err().to_string().contains("names itself"));
    }
}
