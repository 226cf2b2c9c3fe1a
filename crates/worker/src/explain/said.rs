//! What a command wrote about its failure, read with the eyes of somebody who looks for the cause.
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the end of stdout and of stderr is read.
const TAIL_BYTES: u64 = 64 * 1024;
/// How many names of files are taken out of it, the last ones first.
const NAMES_MAX: usize = 100;

/// How programs say that something is not there, in small letters. Actions run with LC_ALL=C.
const MISSING: &[&str] = &[
    "no such file",
    "not found",
    "cannot find",
    "can't find",
    "could not find",
    "couldn't find",
    "unable to find",
    "failed to find",
    "unable to locate",
    "could not locate",
    "cannot locate",
    "cannot open",
    "can't open",
    "could not open",
    "couldn't open",
    "unable to open",
    "failed to open",
    "error opening",
    "cannot load",
    "could not load",
    "failed to load",
    "cannot access",
    "cannot read",
    "can't read",
    "could not read",
    "failed to read",
    "can't cd",
    "does not exist",
    "doesn't exist",
    "do not exist",
    "not installed",
    "no module named",
    "unknown module",
    "unresolved import",
    "no rule to make",
    "enoent",
    "errno 2]",
    "os error 2)",
];
/// How they say that nobody answers.
const UNREACHABLE: &[&str] = &[
    "unreachable",
    "refused",
    "failed to connect",
    "could not connect",
    "couldn't connect",
    "cannot connect",
    "can't connect",
    "unable to connect",
];
/// How they say that a host has no address.
const NAMELESS: &[&str] = &[
    "name resolution",
    "name or service",
    "could not resolve",
    "couldn't resolve",
    "cannot resolve",
    "unable to resolve",
    "failed to resolve",
    "resolve host",
    "failed to lookup",
    "no such host",
    "unknown host",
    "unknownhost",
    "getaddrinfo",
    "enotfound",
    "eai_again",
];

/// The end of what a command wrote.
#[derive(Debug, Default)]
pub(super) struct Said {
    text: String,
    small: String,
}

impl Said {
    /// Reads the ends of both files. One that is not there says nothing.
    pub(super) fn read(stdout: &Path, stderr: &Path) -> Self {
        let [stdout, stderr] = [stdout, stderr].map(|path| tail(path).unwrap_or_default());
        // Stderr last: its names come first.
        Self::new(format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
    }

    pub(super) fn new(text: String) -> Self {
        Self { small: text.to_lowercase(), text }
    }

    /// Whether it hints at something that is not there.
    pub(super) fn misses_something(&self) -> bool {
        self.has(MISSING) || self.misses_somebody() || self.misses_a_name()
    }

    /// Whether it hints at somebody who does not answer.
    pub(super) fn misses_somebody(&self) -> bool {
        self.has(UNREACHABLE)
    }

    /// Whether it hints at a host whose address is not known.
    pub(super) fn misses_a_name(&self) -> bool {
        self.has(NAMELESS)
    }

    fn has(&self, hints: &[&str]) -> bool {
        hints.iter().any(|hint| self.small.contains(hint))
    }

    /// Whether `word` stands there by itself, not as a part of a longer word.
    pub(super) fn mentions(&self, word: &str) -> bool {
        let of_a_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+');
        self.text.match_indices(word).any(|(at, _)| {
            // A full stop ends a sentence, unless the name goes on.
            let mut after = self.text[at + word.len()..].chars();
            let goes_on = match after.next() {
                Some('.') => after.next().is_some_and(of_a_word),
                next => next.is_some_and(of_a_word),
            };
            let before = self.text[..at].chars().next_back();
            !goes_on && !before.is_some_and(|c| of_a_word(c) || c == '.')
        })
    }

    /// How many names at the end of `path` it mentions together.
    pub(super) fn mentions_end_of(&self, path: &str) -> usize {
        let starts = path.rmatch_indices('/').map(|(at, _)| at + 1);
        starts.take_while(|start| self.mentions(&path[*start..])).count()
    }

    /// Words that can be names of files below some directory.
    pub(super) fn names(&self) -> Vec<&str> {
        let no_name = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | '/'));
        let below = |word: &&str| !word.split('/').any(|part| matches!(part, "" | "." | ".."));
        let words = self.text.split(no_name).rev().map(|word| word.trim_end_matches(['.', '/']));
        let words = words.filter(|word| word.len() > 2 && word.contains(['.', '/'])).filter(below);
        let mut seen = BTreeSet::new();
        self.modules().chain(words).filter(|name| seen.insert(*name)).take(NAMES_MAX).collect()
    }

    /// Python names modules, not files.
    pub(super) fn modules(&self) -> impl Iterator<Item = &str> {
        self.text.split("No module named ").skip(1).filter_map(|rest| {
            let rest = rest.trim_start_matches(['\'', '"']);
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
            (end > 0).then(|| &rest[..end])
        })
    }
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How tools of many kinds say it, word for word.
    #[test]
    fn words_for_something_missing_are_known() {
        for text in [
            "a.c:1:10: fatal error: zlib.h: No such file or directory",
            "a.c:1:10: fatal error: 'zlib.h' file not found",
            "/usr/bin/ld: cannot find -lz: No such file or directory",
            "ModuleNotFoundError: No module named 'yaml'",
            "sh: 1: protoc: not found",
            "bash: line 1: protoc: command not found",
            "make: *** No rule to make target 'x.o', needed by 'all'.  Stop.",
            "Error: ENOENT: no such file or directory, open '/etc/x'",
            "error: couldn't read `/x.rs`: No such file or directory (os error 2)",
            "Package zlib was not found in the pkg-config search path.",
            "error while loading shared libraries: libz.so.1: cannot open shared object file",
            "curl: (6) Could not resolve host: example.com",
            "ping: connect: Network is unreachable",
            "socket.gaierror: [Errno -3] Temporary failure in name resolution",
            "dial tcp: lookup example.com: no such host",
            "Error: getaddrinfo EAI_AGAIN registry.npmjs.org",
            "java.net.ConnectException: Connection refused",
            "ls: cannot access '/x': No such file or directory",
        ] {
            assert!(Said::new(text.to_owned()).misses_something(), "{text}");
        }
        for text in ["", "a.c:3: error: expected ';' before '}' token", "1 test failed", "Segmentation fault"] {
            assert!(!Said::new(text.to_owned()).misses_something(), "{text}");
        }
    }

    #[test]
    fn a_mention_is_a_whole_word() {
        let said = Said::new("fatal error: sys/zlib.h: No such file. See 'libz.so.1', not xlibz.so".to_owned());
        for word in ["zlib.h", "sys/zlib.h", "libz.so.1", "file"] {
            assert!(said.mentions(word), "{word}");
        }
        for word in ["lib.h", "libz.so", "zlib", "sys/zlib", "ile"] {
            assert!(!said.mentions(word), "{word}");
        }
        let ends = ["/usr/include/sys/zlib.h", "/usr/include/zlib.h", "/usr/include/x.h"];
        assert_eq!(ends.map(|path| said.mentions_end_of(path)), [2, 1, 0]);
    }

    #[test]
    fn names_of_files_are_taken_out() {
        let said =
            Said::new("a.c:1: error: <sys/x.h> and 'y.h'... No module named 'yaml'\n../z.h /abs/z.h ok e".to_owned());
        assert_eq!(said.names(), ["yaml", "y.h", "sys/x.h", "a.c"]);
    }

    #[test]
    fn only_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (stdout, stderr) = (dir.path().join("o"), dir.path().join("e"));
        std::fs::write(&stderr, format!("not found{}", "x".repeat(TAIL_BYTES as usize))).unwrap();
        assert!(!Said::read(&stdout, &stderr).misses_something());
        std::fs::write(&stdout, "not found").unwrap();
        assert!(Said::read(&stdout, &stderr).misses_something());
    }
}
