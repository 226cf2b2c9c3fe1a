//! Reads NARs: Nix's archives, one for each store path.
//!
//! A NAR and a REAPI `Directory` have the same data model (files with one executable bit, symlinks, directories), and
//! a NAR of a tree can be written in one way only. What could be said in another way is refused here, so that the
//! hash of what was read can be had again from the store alone (see `dump`).
use super::path::Sha256;
use crate::error::ToolchainError;
use crate::layout::{Entry, Layout};
use lre_model::{DigestFunction, Hasher, RelPath};
use std::io::{self, BufReader, Read};

/// The first word.
pub(super) const MAGIC: &str = "nix-archive-1";

/// Longest word of the format itself.
const WORD_BYTES_MAX: u64 = 16;
/// Longest file name that Linux takes.
const NAME_BYTES_MAX: u64 = 255;
/// Longest target of a symlink that Linux takes, in bytes.
const TARGET_BYTES_MAX: u64 = 4095;
/// Most directories below each other. It bounds the stack; deep trees of real packages have some thirty.
const DEPTH_MAX: usize = 256;
/// Bytes taken from the archive at once.
const BUFFER_BYTES: usize = 128 * 1024;

/// What a NAR was, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Of all its bytes.
    pub hash: Sha256,
    /// Its length.
    pub size_bytes: u64,
}

/// Gives a file's content away and says what stands in its place: the content, and whether it is executable.
pub(super) type Take<'a> = dyn FnMut(&mut dyn Read, bool) -> Result<Entry, ToolchainError> + 'a;

/// What is wrong with a NAR.
#[derive(Debug, thiserror::Error)]
pub(super) enum Bad {
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    #[error("it ends too early")]
    Truncated,
    #[error("it goes on after its end")]
    Longer,
    #[error("`{expected}` is expected where it says `{found}`")]
    Word { expected: &'static str, found: String },
    #[error("{what} of {length} bytes is too long")]
    Long { what: &'static str, length: u64 },
    #[error("what fills up to eight bytes is not zero")]
    Padding,
    #[error("`{0}` cannot name a file")]
    Name(String),
    #[error("`{after}` comes after `{before}`: names must be in order, each once")]
    Order { before: String, after: String },
    #[error("{what} is not valid UTF-8: `{text}`")]
    NotUtf8 { what: &'static str, text: String },
    #[error("a symlink has no target, or one with a NUL in it")]
    Target,
    #[error("its directories are nested too deeply")]
    Depth,
    /// Not the archive's fault.
    #[error(transparent)]
    Taking(#[from] Box<ToolchainError>),
}

impl From<io::Error> for Bad {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Read(e) }
    }
}

/// Reads all of a NAR into `layout` at `at`. What was put there is of no use where this fails.
pub(super) fn read(from: impl Read, at: &RelPath, layout: &mut Layout, take: &mut Take<'_>) -> Result<Whole, Bad> {
    let hashed = Hashed { from, hasher: Hasher::new(DigestFunction::Sha256) };
    let mut nar = Nar { from: BufReader::with_capacity(BUFFER_BYTES, hashed), layout, take };
    nar.expect(MAGIC)?;
    nar.node(at, 0)?;
    match nar.from.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => return Err(Bad::Longer),
        Err(e) => return Err(Bad::Read(e)),
    }
    let digest = nar.from.into_inner().hasher.finish();
    Ok(Whole { hash: Sha256(*digest.hash()), size_bytes: digest.size_bytes() })
}

/// Below the buffer, so that what is hashed comes in large pieces.
struct Hashed<R> {
    from: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

struct Nar<'a, 'b, R> {
    from: R,
    layout: &'a mut Layout,
    take: &'a mut Take<'b>,
}

impl<R: Read> Nar<'_, '_, R> {
    /// `( type ... )`
    fn node(&mut self, at: &RelPath, depth: usize) -> Result<(), Bad> {
        if depth > DEPTH_MAX {
            return Err(Bad::Depth);
        }
        self.expect("(")?;
        self.expect("type")?;
        match &*self.word()? {
            "regular" => self.regular(at),
            "symlink" => self.symlink(at),
            "directory" => self.directory(at, depth),
            found => Err(Bad::Word { expected: "regular", found: found.to_owned() }),
        }
    }

    fn regular(&mut self, at: &RelPath) -> Result<(), Bad> {
        let mut word = self.word()?;
        let executable = word == "executable";
        if executable {
            self.expect("")?;
            word = self.word()?;
        }
        if word != "contents" {
            return Err(Bad::Word { expected: "contents", found: word });
        }
        let length = self.number()?;
        let mut content = Content { from: &mut self.from, left: length, failed: None };
        let taken = (self.take)(&mut content, executable);
        // What is wrong with the archive is why it could not be taken, not the other way round.
        match (content.failed, content.left, taken) {
            (Some(bad), _, _) => return Err(bad),
            (None, _, Err(e)) => return Err(Box::new(e).into()),
            (None, 0, Ok(entry)) => self.layout.insert(at.clone(), entry),
            (None, _, Ok(_)) => return Err(Bad::Truncated),
        }
        self.padding(length)?;
        self.expect(")")
    }

    fn symlink(&mut self, at: &RelPath) -> Result<(), Bad> {
        self.expect("target")?;
        let target = self.text("the target of a symlink", TARGET_BYTES_MAX)?;
        if target.is_empty() || target.contains('\0') {
            return Err(Bad::Target);
        }
        self.layout.insert(at.clone(), Entry::Symlink { target });
        self.expect(")")
    }

    fn directory(&mut self, at: &RelPath, depth: usize) -> Result<(), Bad> {
        self.layout.insert(at.clone(), Entry::Directory);
        let mut before = String::new();
        loop {
            match &*self.word()? {
                ")" => return Ok(()),
                "entry" => {}
                found => return Err(Bad::Word { expected: "entry", found: found.to_owned() }),
            }
            self.expect("(")?;
            self.expect("name")?;
            let name = self.text("a name", NAME_BYTES_MAX)?;
            if matches!(&*name, "" | "." | "..") || name.contains(['/', '\0']) {
                return Err(Bad::Name(name));
            }
            if name <= before {
                return Err(Bad::Order { before, after: name });
            }
            let child = at.join(&name).map_err(|_| Bad::Name(name.clone()))?;
            before = name;
            self.expect("node")?;
            self.node(&child, depth + 1)?;
            self.expect(")")?;
        }
    }

    fn expect(&mut self, expected: &'static str) -> Result<(), Bad> {
        match self.word()? {
            found if found == expected => Ok(()),
            found => Err(Bad::Word { expected, found }),
        }
    }

    fn word(&mut self) -> Result<String, Bad> {
        self.text("a word", WORD_BYTES_MAX)
    }

    fn text(&mut self, what: &'static str, bytes_max: u64) -> Result<String, Bad> {
        let length = self.number()?;
        if length > bytes_max {
            return Err(Bad::Long { what, length });
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        self.padding(length)?;
        String::from_utf8(bytes)
            .map_err(|e| Bad::NotUtf8 { what, text: String::from_utf8_lossy(e.as_bytes()).into_owned() })
    }

    fn number(&mut self) -> Result<u64, Bad> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn padding(&mut self, length: u64) -> Result<(), Bad> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..padding(length)];
        self.fill(bytes)?;
        if bytes.iter().any(|b| *b != 0) { Err(Bad::Padding) } else { Ok(()) }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Bad> {
        self.from.read_exact(bytes).map_err(Bad::from)
    }
}

/// How many zeros follow text of this length.
pub(super) fn padding(length: u64) -> usize {
    (8 - (length % 8) as usize) % 8
}

/// One file's content. That it is cut off is an error, never a shorter file.
struct Content<'a, R> {
    from: &'a mut R,
    left: u64,
    failed: Option<Bad>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let error = match self.from.read(&mut buffer[..most]) {
            Ok(read @ 1..) => {
                self.left -= read as u64;
                return Ok(read);
            }
            Ok(0) => io::Error::from(io::ErrorKind::UnexpectedEof),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => e,
        };
        let kind = error.kind();
        self.failed = Some(error.into());
        Err(kind.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Every word as the format has it, the content of files too.
    fn nar(words: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [&[MAGIC], words].concat() {
            bytes.extend((word.len() as u64).to_le_bytes());
            bytes.extend(word.as_bytes());
            bytes.extend(&[0; 8][..padding(word.len() as u64)]);
        }
        bytes
    }

    fn read_all(nar: &[u8]) -> Result<(Layout, Whole), Bad> {
        let mut layout = Layout::default();
        let mut take = |content: &mut dyn Read, executable| {
            let mut bytes = Vec::new();
            match content.read_to_end(&mut bytes) {
                Ok(_) => Ok(Entry::Bytes { content: Bytes::from(bytes), executable }),
                Err(e) => Err(ToolchainError::unusable("x", e)),
            }
        };
        let whole = read(nar, &RelPath::parse("top").unwrap(), &mut layout, &mut take)?;
        Ok((layout, whole))
    }

    const FILE: [&str; 6] = ["(", "type", "regular", "contents", "12345", ")"];
    const TREE: &[&str] = &[
        "(",
        "type",
        "directory", //
        "entry",
        "(",
        "name",
        "a",
        "node",
        "(",
        "type",
        "regular",
        "executable",
        "",
        "contents",
        "",
        ")",
        ")", //
        "entry",
        "(",
        "name",
        "b",
        "node",
        "(",
        "type",
        "symlink",
        "target",
        "../x",
        ")",
        ")", //
        "entry",
        "(",
        "name",
        "c",
        "node",
        "(",
        "type",
        "directory",
        ")",
        ")", //
        ")",
    ];

    #[test]
    fn files_links_and_directories_are_read() {
        let (layout, whole) = read_all(&nar(TREE)).unwrap();
        let shown: Vec<_> = layout.iter().map(|(path, entry)| format!("{path} {entry:?}")).collect();
        assert_eq!(
            shown,
            [
                "top Directory",
                "top/a Bytes { content: b\"\", executable: true }",
                "top/b Symlink { target: \"../x\" }",
                "top/c Directory"
            ]
        );
        assert_eq!(whole.size_bytes, nar(TREE).len() as u64);
        let (layout, _) = read_all(&nar(&FILE)).unwrap();
        let file = Entry::Bytes { content: Bytes::from_static(b"12345"), executable: false };
        assert_eq!(layout.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>(), [file]);
    }

    #[test]
    fn what_is_cut_off_is_said_wherever_it_is_cut() {
        for whole in [nar(TREE), nar(&FILE)] {
            for at in 0..whole.len() {
                let bad = read_all(&whole[..at]).unwrap_err();
                assert!(matches!(bad, Bad::Truncated), "{at} of {}: {bad}", whole.len());
            }
            assert!(matches!(read_all(&[whole, vec![0]].concat()), Err(Bad::Longer)));
        }
    }

    #[test]
    fn what_can_be_said_in_another_way_is_refused() {
        let entry = |name: &'static str| ["entry", "(", "name", name, "node", "(", "type", "directory", ")", ")"];
        let directory = |names: &[&'static str]| {
            let entries: Vec<_> = names.iter().flat_map(|name| entry(name)).collect();
            read_all(&nar(&[&["(", "type", "directory"], &entries[..], &[")"]].concat())).map(drop)
        };
        directory(&["B", "a", "a.", "é"]).unwrap();
        for names in [&["b", "a"][..], &["a", "a"], &["a", "B"]] {
            assert!(matches!(directory(names), Err(Bad::Order { .. })), "{names:?}");
        }
        for name in ["", ".", "..", "a/b", "/", "a\0"] {
            assert!(matches!(directory(&[name]), Err(Bad::Name(_))), "{name:?}");
        }
        let long = &*"x".repeat(256).leak();
        assert!(matches!(directory(&[&long[1..]]), Ok(())));
        assert!(matches!(directory(&[long]), Err(Bad::Long { length: 256, .. })));
        for target in ["", "a\0b"] {
            let bad = read_all(&nar(&["(", "type", "symlink", "target", target, ")"]));
            assert!(matches!(bad, Err(Bad::Target)), "{target:?}");
        }
        for words in [
            &["(", "type", "pipe", ")"][..],
            &["(", "type", "regular", ")"],
            &["(", "type", "regular", "executable", "x", "contents", "", ")"],
            &["(", "type", "regular", "contents", "", "contents", "", ")"],
            &["(", "target", "x", "type", "symlink", ")"],
            &["(", "type", "directory", "entry", "(", "node", "(", "type", "directory", ")", ")", ")"],
        ] {
            assert!(matches!(read_all(&nar(words)), Err(Bad::Word { .. })), "{words:?}");
        }
        let mut padded = nar(&FILE);
        let at = padded.windows(5).position(|w| w == b"12345").unwrap() + 5;
        padded[at] = 1;
        assert!(matches!(read_all(&padded), Err(Bad::Padding)));
    }

    /// What says that it is large costs nothing, and what is nested without end does not end us.
    #[test]
    fn lengths_and_depths_are_not_believed() {
        let huge = [&nar(&[])[..], &u64::MAX.to_le_bytes(), b"(("].concat();
        assert!(matches!(read_all(&huge), Err(Bad::Long { length: u64::MAX, .. })));
        let content = [&nar(&FILE[..4])[..], &u64::MAX.to_le_bytes(), b"123"].concat();
        assert!(matches!(read_all(&content), Err(Bad::Truncated)));
        let deeper = ["(", "type", "directory", "entry", "(", "name", "a", "node"];
        assert!(matches!(read_all(&nar(&deeper.repeat(100_000))), Err(Bad::Depth)));
        let enough = [&deeper.repeat(DEPTH_MAX)[..], &["(", "type", "directory", ")"], &[")", ")"].repeat(DEPTH_MAX)];
        read_all(&nar(&enough.concat())).unwrap();
    }

    /// A store that is full is not the archive's fault.
    #[test]
    fn what_cannot_be_taken_is_told_as_it_is() {
        let mut take = |_: &mut dyn Read, _| Err(ToolchainError::unusable("store", "full"));
        let refused = read(&nar(&FILE)[..], &RelPath::parse("x").unwrap(), &mut Layout::default(), &mut take);
        assert!(matches!(refused, Err(Bad::Taking(e)) if e.to_string().contains("full")));
        let mut forgets = |_: &mut dyn Read, _| Ok(Entry::Directory);
        let half = read(&nar(&FILE)[..], &RelPath::parse("x").unwrap(), &mut Layout::default(), &mut forgets);
        assert!(half.is_err(), "content that was not taken whole is not passed over");
    }
}
