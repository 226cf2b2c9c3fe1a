//! What a source or header asks for: an over-approximation, without a preprocessor.
//!
//! Every line that begins with a directive counts, whatever `#if` or comment it is in: what is asked for in vain is not there,
//! and what is not needed is left out again by the compiler's own scan. What must not happen is that something is overlooked; so
//! where the operand is not to be read from the line, that is said.
use std::collections::BTreeSet;

/// One thing that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Between the quotes.
    pub name: String,
    /// `"x.h"`: looked for beside the asking file first.
    pub quote: bool,
    /// `#include_next`: the first that is found need not be the one.
    pub next: bool,
    /// It is only asked whether it is there, or read by the assembler: no list of dependencies names it.
    pub unlisted: bool,
}

/// What a file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// By name.
    pub all: Vec<Ask>,
    /// Something is read whose name no scan by the compiler would tell: nobody knows what is needed.
    pub unknowable: bool,
    /// The name of some include is made by macros; the compiler's scan tells it where it is missing.
    pub computed: bool,
    /// It has `#pragma once` in it.
    pub once: bool,
    /// Macros that stand for `__has_include`.
    pub aliases: Vec<String>,
    /// Where the name of an absolute path stands in the text, from its first byte to behind its last.
    pub absolute: Vec<std::ops::Range<usize>>,
}

impl Asks {
    /// Of the text of a file.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut asks = Self::default();
        let mut start = 0;
        while start < text.len() {
            let end = text[start..].iter().position(|b| *b == b'\n').map_or(text.len(), |i| start + i);
            asks.line(text, start, end);
            start = end + 1;
        }
        asks.embedded(text);
        asks
    }

    /// What a text asks for by way of the macros `names`.
    #[must_use]
    pub fn through(text: &[u8], names: &BTreeSet<String>) -> Self {
        let mut asks = Self::default();
        let mut start = 0;
        for line in text.split_inclusive(|b| *b == b'\n').take_while(|_| !names.is_empty()) {
            let end = start + line.strip_suffix(b"\n").unwrap_or(line).len();
            let (word, rest) = word(text, start, end);
            for name in names {
                asks.question(text, word, rest..end, name.as_bytes());
            }
            start += line.len();
        }
        asks
    }

    fn line(&mut self, text: &[u8], start: usize, end: usize) {
        let (word, rest) = word(text, start, end);
        match word {
            b"include" | b"import" => self.operand(text, rest..end, false),
            b"include_next" => self.operand(text, rest..end, true),
            b"embed" => self.embed(text, rest..end),
            b"pragma" => self.once |= text[rest..end].starts_with(b"once"),
            _ => {
                for asked in [&b"__has_include"[..], b"__has_include_next", b"__has_embed"] {
                    self.question(text, word, rest..end, asked);
                }
            }
        }
    }

    fn operand(&mut self, text: &[u8], range: std::ops::Range<usize>, next: bool) {
        let Some((name, quote, at)) = literal(text, range) else {
            self.computed = true;
            return;
        };
        if name.starts_with('/') {
            self.absolute.push(at);
        }
        self.all.push(Ask { name, quote, next, unlisted: false });
    }

    fn embed(&mut self, text: &[u8], range: std::ops::Range<usize>) {
        match literal(text, range) {
            Some((name, quote, _)) => self.all.push(Ask { name, quote, next: false, unlisted: true }),
            None => self.unknowable = true,
        }
    }

    /// `__has_include(<x.h>)`, with whatever else is in the condition, over as many lines as it has.
    fn question(&mut self, text: &[u8], directive: &[u8], range: std::ops::Range<usize>, word: &[u8]) {
        let std::ops::Range { start: mut at, mut end } = range;
        let defined = match directive {
            b"if" | b"elif" => None,
            // `#define __has_include(x) 0` asks for nothing.
            b"define" => Some(at..at + name_length(&text[at..end])),
            _ => return,
        };
        at = defined.as_ref().map_or(at, |name| name.end);
        while end < text.len() && text[..end].ends_with(b"\\") {
            end = text[end + 1..].iter().position(|b| *b == b'\n').map_or(text.len(), |i| end + 1 + i);
        }
        while let Some(found) = find(&text[at..end], word) {
            let part = text[..at + found].last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
            at += found + word.len();
            let rest = skip_blanks(&text[..end], at);
            if part || text.get(rest) != Some(&b'(') {
                // `defined(__has_include)`, and the longer word is found by itself.
                continue;
            }
            let next = word.ends_with(b"next");
            match (literal(text, skip_blanks(&text[..end], rest + 1)..end), &defined) {
                (Some((name, quote, _)), _) => self.all.push(Ask { name, quote, next, unlisted: true }),
                // `#define HAS(x) __has_include(x)`: who uses that says what is asked for.
                (None, Some(name)) if passes_on(&text[name.end..end], &text[rest..end]) => {
                    self.aliases.push(String::from_utf8_lossy(&text[name.clone()]).into_owned());
                }
                (None, _) => self.unknowable = true,
            }
        }
    }

    /// `.incbin "x"` and `.include "x"` of the assembler, as they stand or in a string.
    fn embedded(&mut self, text: &[u8]) {
        for word in [&b".incbin"[..], b".include"] {
            let mut at = 0;
            while let Some(found) = find(&text[at..], word) {
                at += found + word.len();
                let mut rest = skip_blanks(text, at);
                if rest == at && !matches!(text.get(at), Some(b'"' | b'\\')) {
                    continue;
                }
                if text.get(rest) == Some(&b'\\') {
                    rest += 1;
                }
                match literal(text, rest..text.len()) {
                    Some((name, true, _)) => {
                        let name = name.trim_end_matches('\\').to_owned();
                        self.all.push(Ask { name, quote: true, next: false, unlisted: true });
                    }
                    // Words like these stand in comments, too.
                    _ => self.unknowable |= word == b".incbin",
                }
            }
        }
    }
}

/// Whether the macro with these parameters asks for just what it is asked for.
fn passes_on(parameters: &[u8], operand: &[u8]) -> bool {
    let inner = |text: &[u8]| -> Option<Vec<u8>> {
        let text = text.strip_prefix(b"(")?;
        let close = text.iter().position(|b| *b == b')')?;
        Some(text[..close].trim_ascii().to_vec())
    };
    let parameter = inner(parameters).map(|name| if name == b"..." { b"__VA_ARGS__".to_vec() } else { name });
    parameter.is_some_and(|name| !name.is_empty() && inner(operand) == Some(name))
}

/// The name of the directive that this line is, and where what follows it begins.
fn word(text: &[u8], start: usize, end: usize) -> (&[u8], usize) {
    let line = &text[start..end];
    let Some(at) = directive(line) else { return (b"", end) };
    let word_end = at + name_length(&line[at..]);
    (&line[at..word_end], start + skip_blanks(line, word_end))
}

fn name_length(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}

/// Where the name of the directive begins that this line is.
fn directive(line: &[u8]) -> Option<usize> {
    // Behind the end of a comment, too.
    let behind = line.windows(2).enumerate().filter(|(_, pair)| pair == b"*/").map(|(i, _)| i + 2);
    [0].into_iter().chain(behind).find_map(|from| {
        let at = skip_blanks(line, from);
        let mark = [&b"#"[..], b"%:", b"??="].into_iter().find(|mark| line[at..].starts_with(mark))?;
        Some(skip_blanks(line, at + mark.len()))
    })
}

/// The next place that is neither a blank nor in a comment that ends.
fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c) => at += 1,
            Some(b'\\') if text.get(at + 1) == Some(&b'\n') => at += 2,
            Some(b'/') if text.get(at + 1) == Some(&b'*') => match find(&text[at + 2..], b"*/") {
                Some(end) => at += end + 4,
                None => return at,
            },
            _ => return at,
        }
    }
}

/// `"name"` or `<name>` at the start of `range`; whether it was quotes, and where the name is.
fn literal(text: &[u8], range: std::ops::Range<usize>) -> Option<(String, bool, std::ops::Range<usize>)> {
    let close = match text.get(range.start).filter(|_| !range.is_empty())? {
        b'"' => b'"',
        b'<' => b'>',
        _ => return None,
    };
    let start = range.start + 1;
    let line = &text[start..range.end];
    let length = line.iter().take_while(|b| **b != b'\n').position(|b| *b == close)?;
    let name = std::str::from_utf8(&text[start..start + length]).ok().filter(|name| !name.is_empty())?;
    Some((name.to_owned(), close == b'"', start..start + length))
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    // The first byte is rare enough to look for it alone.
    let mut at = 0;
    while let Some(next) = text[at..].iter().position(|b| *b == word[0]) {
        at += next;
        if text[at..].starts_with(word) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let form = |ask: Ask| {
            let (open, close) = if ask.quote { ('"', '"') } else { ('<', '>') };
            let mark = if ask.next { "+" } else { "" };
            format!("{}{open}{}{close}{mark}", if ask.unlisted { "?" } else { "" }, ask.name)
        };
        Asks::of(text.as_bytes()).all.into_iter().map(form).collect()
    }

    #[test]
    fn directives_are_found_however_they_are_written() {
        for (text, expected) in [
            ("#include <a.h>\n#include \"b.h\"", &["<a.h>", "\"b.h\""][..]),
            ("  #  include\t<a.h> // x", &["<a.h>"]),
            ("%:include <a.h>\r\n??=include <b.h>\r\n", &["<a.h>", "<b.h>"]),
            ("/* x */ #include /* y */ <a.h>", &["<a.h>"]),
            ("/* x\n y */ #/**/include <a.h>", &["<a.h>"]),
            ("#include \\\n <a.h>", &[]),
            ("#include_next <a.h>\n#import \"b.h\"", &["<a.h>+", "\"b.h\""]),
            (
                "#if defined(__has_include) && __has_include ( <a.h> ) || \\\n __has_include(\"b.h\")",
                &["?<a.h>", "?\"b.h\""],
            ),
            ("#if __has_include_next(<a.h>)", &["?<a.h>+"]),
            ("asm(\".incbin \\\"a.bin\\\"\");\n.include \"b.inc\"\n", &["?\"a.bin\"", "?\"b.inc\""]),
            ("#embed \"a.bin\" limit(3)", &["?\"a.bin\""]),
            ("int a; // #include <a.h>\n * #include <b.h>\n", &[]),
            ("#include MACRO\n#define A <a.h>\n#includes <a.h>\n#include \"\"\n#include <x", &[]),
            ("", &[]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn what_nobody_can_know_is_said() {
        for text in [
            "#if __has_include(NAME)",
            "#embed NAME",
            "asm(\".incbin \" PATH);",
            "#define HAS(x) __has_include(BEFORE##x)",
            "#define HAS __has_include(NAME)",
        ] {
            assert!(Asks::of(text.as_bytes()).unknowable, "{text}");
        }
        for text in [
            "#include NAME",
            "#ifdef __has_include\n#endif",
            "x.included = 1;",
            "#define __has_include(x) 0",
            ".include x",
        ] {
            assert!(!Asks::of(text.as_bytes()).unknowable, "{text}");
        }
    }

    #[test]
    fn macros_that_ask_are_followed() {
        let text = "#ifdef __has_include\n#define HAS(x) __has_include(x)\n#else\n#define HAS(x) 0\n#endif\n#define ALSO(x) HAS(x)\n\
                    #if MY_HAS(NAME) || HAS(<a.h>)\n# elif 1 && \\\n HAS( \"b.h\" )\nint c = HAS(<c.h>);\n";
        let asks = Asks::of(text.as_bytes());
        assert_eq!((asks.aliases, asks.unknowable), (vec!["HAS".to_owned()], false));
        let asks = Asks::through(text.as_bytes(), &BTreeSet::from(["HAS".to_owned()]));
        let names: Vec<_> = asks.all.iter().map(|ask| ask.name.as_str()).collect();
        assert_eq!((names, asks.aliases, asks.unknowable), (vec!["a.h", "b.h"], vec!["ALSO".to_owned()], false));
        let asks = Asks::through(b"#if HAS(NAME)\n", &BTreeSet::from(["HAS".to_owned()]));
        assert!(asks.unknowable, "the name is a macro's");
    }

    #[test]
    fn files_that_are_read_once_are_known() {
        for (text, once) in [("# pragma  once\r\n", true), ("#pragma pack(1)\n", false), ("// once", false)] {
            assert_eq!(Asks::of(text.as_bytes()).once, once, "{text}");
        }
    }

    #[test]
    fn absolute_names_are_found_where_they_stand() {
        let text = b"#include \"/w/a.c\"\n";
        let asks = Asks::of(text);
        assert_eq!(&text[asks.absolute[0].clone()], b"/w/a.c");
    }
}
