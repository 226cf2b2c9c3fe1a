//! docs/guide/cache.md: its commands run, and what they print is what stands there, but for digests, sizes and times. `UPDATE=1` writes
//! what they print into it.
use crate::home::Home;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const GUIDE: &str = "../../docs/guide/cache.md";

/// A fenced block: its language, and its lines.
struct Block {
    language: String,
    /// Where its text begins and ends in the page.
    at: std::ops::Range<usize>,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open, mut offset) = (Vec::new(), None::<(String, usize)>, 0);
    for line in page.split_inclusive('\n') {
        if let Some(language) = line.strip_prefix("```") {
            open = match open.take() {
                None => Some((language.trim().to_owned(), offset + line.len())),
                Some((language, begin)) => {
                    blocks.push(Block { language, at: begin..offset });
                    None
                }
            };
        }
        offset += line.len();
    }
    blocks
}

/// What differs from run to run: hexadecimal digits, numbers with their units, how long ago something was, and the spaces that align them.
fn forgotten(text: &str) -> Vec<String> {
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| "(),;:/".contains(c));
        let hex = bare.len() >= 32 && bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-' || c == '/');
        let number = bare.starts_with(|c: char| c.is_ascii_digit());
        let unit = ["B", "kB", "MB", "GB", "kB/s", "MB/s", "GB/s", "B/s"].contains(&bare);
        match () {
            () if hex || bare.contains(".../") => "HEX".to_owned(),
            () if number => "N".to_owned(),
            () if unit => "B".to_owned(),
            () => word.to_owned(),
        }
    };
    let line = |line: &str| {
        let line = line.replace("just now", "N ago");
        line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<_> = text.lines().map(line).collect();
    // Two threads find them.
    lines.sort_by_key(|line| !line.starts_with("FAIL"));
    let problems = lines.iter().take_while(|line| line.starts_with("FAIL")).count();
    lines[..problems].sort();
    lines
}

/// The server that the guide starts ends with the test.
struct Up<'a>(&'a Home);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.run(&["down"]);
    }
}

#[test]
fn the_guide_to_the_cache_is_true() {
    let home = Home::new();
    let _up = Up(&home);
    // As for a person who has set nothing.
    symlink(home.path().join("cache"), home.path().join(".cache")).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE);
    let page = fs::read_to_string(&file).unwrap();
    let (mut written, mut end, mut said) = (String::new(), 0, String::new());
    for block in blocks(&page) {
        let text = &page[block.at.clone()];
        match block.language.as_str() {
            "sh" => said = home.shell(text).replace(&home.store().display().to_string(), "~/.cache/lre"),
            "text" => {
                written.push_str(&page[end..block.at.start]);
                written.push_str(&said);
                end = block.at.end;
                if std::env::var_os("UPDATE").is_none() {
                    assert_eq!(forgotten(&said), forgotten(text), "printed:\n{said}\nin the guide:\n{text}");
                }
            }
            other => panic!("a block of {other}"),
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, written + &page[end..]).unwrap();
    }
}
