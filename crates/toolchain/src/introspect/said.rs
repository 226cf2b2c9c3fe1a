//! What tools say when they do not find something: gcc, clang, GNU ld, gold, lld, shells and the dynamic
//! loaders of glibc and musl.

/// Something that a tool did not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Absent {
    /// A header, as it was included.
    Header(String),
    /// A file for the linker: a path, the name of an object, or `-lname`.
    Linked(String),
    /// A program: a path or a name.
    Program(String),
    /// A shared library that a program of the toolchain loads.
    Loaded(String),
}

impl Absent {
    /// The name or path.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Header(name) | Self::Linked(name) | Self::Program(name) | Self::Loaded(name) => name,
        }
    }
}

/// The first thing that `said` names as absent.
pub(super) fn absent(said: &str) -> Option<Absent> {
    said.lines().find_map(in_line)
}

fn in_line(line: &str) -> Option<Absent> {
    let line = line.trim();
    // The loaders come first: their lines name programs and headers by chance.
    if let Some(library) = between(line, "error while loading shared libraries: ", ": ") {
        return Some(Absent::Loaded(library));
    }
    if let Some(library) = between(line, "Error loading shared library ", ":") {
        return Some(Absent::Loaded(library));
    }
    if let Some(header) = header(line) {
        return Some(Absent::Header(header));
    }
    if let Some(file) = linked(line) {
        return Some(Absent::Linked(file));
    }
    program(line).map(Absent::Program)
}

/// gcc: `a.c:1:10: fatal error: x.h: No such file or directory`; clang: `fatal error: 'x.h' file not found`; gcc
/// where none of the directories that it knows is there: `no include path in which to search for x.h`.
fn header(line: &str) -> Option<String> {
    if let Some(name) = after(line, "no include path in which to search for ") {
        return Some(name.to_owned());
    }
    let after = after(line, "fatal error: ")?;
    if let Some(name) = after.strip_prefix('\'').and_then(|rest| rest.split_once("' file not found")) {
        return Some(name.0.to_owned());
    }
    // `gcc: fatal error: cannot execute 'cc1'` is about a program.
    let name = after.strip_suffix(": No such file or directory")?;
    (!name.contains([' ', '\''])).then(|| name.to_owned())
}

/// GNU ld, gold and lld, in this order.
fn linked(line: &str) -> Option<String> {
    for start in ["cannot find ", "error: cannot open ", "error: unable to find library ", "cannot find file "] {
        let Some(rest) = after(line, start) else { continue };
        let name = rest.split([' ', ':']).next().unwrap_or_default().trim_matches(['\'', '"']);
        // gcc's `collect2: fatal error: cannot find 'ld'` is about a program.
        let is_file = name.starts_with(['-', '/']) || name.contains('.');
        if is_file {
            return Some(name.to_owned());
        }
    }
    None
}

fn program(line: &str) -> Option<String> {
    // gcc, old gcc, collect2, clang (two), and the shell of a wrapper script.
    for (start, end) in [
        ("cannot execute '", "'"),
        ("error trying to exec '", "'"),
        ("cannot find '", "'"),
        ("Executable \"", "\" doesn't exist"),
        ("invalid linker name in argument '-fuse-ld=", "'"),
        ("linker `", "` not found"),
        ("/usr/bin/env: '", "': No such file"),
        ("env: can't execute '", "': No such file"),
    ] {
        if let Some(name) = between(line, start, end) {
            return Some(name);
        }
    }
    // `/usr/bin/cc: 3: exec: other-gcc: not found` of dash, `/usr/bin/cc: line 3: other-gcc: No such file or directory`
    // and `...: command not found` of bash.
    let ends = [": not found", ": command not found", ": No such file or directory"];
    let before = ends.iter().find_map(|end| line.strip_suffix(end))?;
    let (place, name) = before.rsplit_once(": ")?;
    let numbered = place.split(": ").any(|part| part.trim_start_matches("line ").parse::<u32>().is_ok());
    numbered.then(|| name.to_owned())
}

fn after<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.split_once(start).map(|(_, after)| after)
}

fn between(line: &str, start: &str, end: &str) -> Option<String> {
    after(line, start)?.split_once(end).map(|(name, _)| name.to_owned())
}

/// The include directories that `-E -v` lists, normalised, in order, each once.
pub(crate) fn include_directories(said: &str) -> Vec<String> {
    let after = said.split_once("#include <...> search starts here:").map_or("", |(_, after)| after);
    let listed = after.split_once("End of search list").map_or(after, |(listed, _)| listed);
    // clang on some systems adds ` (framework directory)`.
    unique(listed.lines().map(|line| line.trim().split(" (").next().unwrap_or_default()))
}

/// The include directories that are built in but are not there, normalised, in order, each once.
pub(super) fn absent_directories(said: &str) -> Vec<String> {
    unique(
        said.lines()
            .filter_map(|line| line.trim().strip_prefix("ignoring nonexistent directory \"")?.split('"').next()),
    )
}

/// The directories for libraries that `-print-search-dirs` lists.
pub(super) fn search_directories(said: &str) -> Vec<String> {
    let listed = said.lines().find_map(|line| line.strip_prefix("libraries: ")).unwrap_or_default();
    unique(listed.trim_start_matches('=').split(':'))
}

fn unique<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut directories = Vec::new();
    for directory in paths.map(normalise) {
        if directory.starts_with('/') && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// Resolves `.` and `..` in the text alone.
pub(super) fn normalise(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    if path.starts_with('/') { format!("/{}", segments.join("/")) } else { segments.join("/") }
}

/// What was said, on one line: the lines that tell most.
pub(super) fn short(said: &str) -> Option<String> {
    const LINES: usize = 4;
    const CHARACTERS: usize = 240;
    // What `-v` says of how gcc was built is half a page, with `--disable-werror` in it.
    let chatter = |l: &&str| ["Configured with:", "ignoring ", "COLLECT_"].iter().any(|start| l.starts_with(start));
    let lines: Vec<_> = said.lines().map(str::trim).filter(|l| !l.is_empty() && !chatter(l)).collect();
    let telling = |l: &&str| ["error: ", "annot ", "not found", "No such"].iter().any(|t| l.contains(t));
    let mut chosen: Vec<_> = lines.iter().copied().filter(telling).take(LINES).collect();
    if chosen.is_empty() {
        chosen = lines.into_iter().take(LINES).collect();
    }
    let cut = |line: &str| match line.char_indices().nth(CHARACTERS) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    };
    (!chosen.is_empty()).then(|| chosen.into_iter().map(cut).collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_directories_are_normalised_and_unique() {
        let said = "ignoring duplicate\n#include \"...\" search starts here:\n#include <...> search starts here:\n \
            /usr/bin/../lib/gcc/x/12/../../../../include/c++/12\n /usr/include/c++/12\n /usr/include (framework directory)\n\
            End of search list.\n /not/this\n";
        assert_eq!(include_directories(said), ["/usr/include/c++/12", "/usr/include"]);
        assert_eq!(include_directories("nothing"), Vec::<String>::new());
        let said =
            "ignoring nonexistent directory \"/usr/local/include\"\nignoring nonexistent directory \"/a/../b\"\n";
        assert_eq!(absent_directories(said), ["/usr/local/include", "/b"]);
    }

    #[test]
    fn what_is_absent_is_named() {
        let header = |n: &str| Some(Absent::Header(n.to_owned()));
        let linked = |n: &str| Some(Absent::Linked(n.to_owned()));
        let program = |n: &str| Some(Absent::Program(n.to_owned()));
        let loaded = |n: &str| Some(Absent::Loaded(n.to_owned()));
        for (said, expected) in [
            ("/o/x.h:3:10: fatal error: /opt/other/y.h: No such file or directory", header("/opt/other/y.h")),
            (
                "In file included from a.c:1:\na.c:1:10: fatal error: stdio.h: No such file or directory",
                header("stdio.h"),
            ),
            ("a.c:1:10: fatal error: 'stdio.h' file not found", header("stdio.h")),
            ("a.c:1:20: error: no include path in which to search for limits.h", header("limits.h")),
            ("/usr/bin/ld: cannot find crt1.o: No such file or directory", linked("crt1.o")),
            ("/usr/bin/ld: cannot find -lgcc_s: No such file or directory", linked("-lgcc_s")),
            ("ld: cannot find /usr/lib/libc_nonshared.a inside /s", linked("/usr/lib/libc_nonshared.a")),
            ("/usr/bin/ld.gold: error: cannot open crt1.o: No such file or directory", linked("crt1.o")),
            ("/usr/bin/ld.gold: error: cannot find -lc", linked("-lc")),
            ("ld.lld: error: unable to find library -lc++abi", linked("-lc++abi")),
            ("ld.lld: error: cannot open Scrt1.o: No such file or directory", linked("Scrt1.o")),
            ("ld.lld: error: /l/libc.so:5: cannot find file /l/libc_nonshared.a", linked("/l/libc_nonshared.a")),
            ("gcc: fatal error: cannot execute 'cc1': execvp: No such file or directory", program("cc1")),
            ("g++: error trying to exec 'cc1plus': execvp: No such file or directory", program("cc1plus")),
            ("collect2: fatal error: cannot find 'ld'", program("ld")),
            ("clang: error: unable to execute command: Executable \"ld\" doesn't exist!", program("ld")),
            ("clang: error: invalid linker name in argument '-fuse-ld=lld'", program("lld")),
            ("/usr/bin/cc: 3: exec: other-gcc: not found", program("other-gcc")),
            ("/usr/bin/cc: 2: /opt/gcc/bin/gcc: not found", program("/opt/gcc/bin/gcc")),
            ("/usr/bin/cc: line 2: /opt/gcc: No such file or directory", program("/opt/gcc")),
            (
                "/x/cc1: error while loading shared libraries: libisl.so.23: cannot open shared object file",
                loaded("libisl.so.23"),
            ),
            ("Error loading shared library libz.so: No such file or directory (needed by /x)", loaded("libz.so")),
            ("a.c:1: error: expected ';'", None),
            ("", None),
        ] {
            assert_eq!(absent(said), expected, "{said}");
        }
    }

    #[test]
    fn what_is_passed_on_is_what_tells_most() {
        let said = "Configured with: --disable-werror\nUsing it\na.c:1:2: fatal error: x.h: No such file or directory\ncompilation terminated.\n";
        assert_eq!(short(said).as_deref(), Some("a.c:1:2: fatal error: x.h: No such file or directory"));
        assert_eq!(short("one\n\n two\n").as_deref(), Some("one | two"));
        assert_eq!(short(&format!("error: {}", "ä".repeat(400))).map(|s| s.chars().count()), Some(243));
        assert_eq!(short(" \n"), None);
    }
}
