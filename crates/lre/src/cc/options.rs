//! What is known of the options of gcc's and clang's drivers. Facts from their manuals.
use super::words::{Part, Search};

/// How an option takes its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the next word.
    Separate,
    /// In the same word.
    Joined,
    /// In the same word, or where that ends, in the next.
    Either,
}

use Form::{Either, Joined, Separate};

const BRACKET: Part = Part::Include(Search::Bracket);

/// Options with a value. Of two that fit, the longer is meant.
const OPTIONS: &[(&str, Form, Part)] = &[
    ("-I", Either, BRACKET),
    ("-isystem", Either, BRACKET),
    ("-idirafter", Either, BRACKET),
    ("-cxx-isystem", Either, BRACKET),
    ("-iquote", Either, Part::Include(Search::Quote)),
    ("-include", Either, Part::Forced),
    ("-imacros", Either, Part::Forced),
    ("-include-pch", Separate, Part::Positional),
    ("-iprefix", Either, Part::Text),
    ("-iwithprefix", Either, Part::Verbatim),
    ("-iwithprefixbefore", Either, Part::Verbatim),
    ("-isysroot", Either, Part::Tree),
    ("-imultilib", Either, Part::Verbatim),
    ("--sysroot=", Joined, Part::Tree),
    ("--sysroot", Separate, Part::Tree),
    ("-B", Either, Part::Tree),
    ("--gcc-toolchain=", Joined, Part::Tree),
    ("-D", Either, Part::Verbatim),
    ("-U", Either, Part::Verbatim),
    ("-A", Either, Part::Verbatim),
    ("-x", Either, Part::Verbatim),
    ("-o", Either, Part::Output),
    ("-MF", Either, Part::DepFile),
    ("-MT", Either, Part::DepTarget),
    ("-MQ", Either, Part::DepTarget),
    ("-Wp,-MD,", Joined, Part::DepFile),
    ("-Wp,-MMD,", Joined, Part::DepFile),
    ("-MJ", Either, Part::Output),
    ("--serialize-diagnostics", Separate, Part::Output),
    ("-serialize-diagnostics", Separate, Part::Output),
    ("-aux-info", Separate, Part::Output),
    ("-L", Either, Part::LibraryDirectory),
    ("-l", Either, Part::Library),
    ("-T", Either, Part::Text),
    ("-specs=", Joined, Part::Text),
    ("--specs=", Joined, Part::Text),
    ("-Wl,", Joined, Part::Linker),
    ("-Xlinker", Separate, Part::Text),
    ("-Xassembler", Separate, Part::Text),
    ("-Xpreprocessor", Separate, Part::Text),
    ("-Xclang", Separate, Part::Text),
    ("-mllvm", Separate, Part::Verbatim),
    ("--param", Separate, Part::Verbatim),
    ("-target", Separate, Part::Verbatim),
    ("-arch", Separate, Part::Verbatim),
    ("-z", Separate, Part::Verbatim),
    ("-u", Separate, Part::Verbatim),
    ("-e", Separate, Part::Verbatim),
    ("-dumpbase", Separate, Part::Verbatim),
    ("-dumpbase-ext", Separate, Part::Verbatim),
    ("-dumpdir", Separate, Part::Verbatim),
    ("-wrapper", Separate, Part::Verbatim),
    ("-framework", Separate, Part::Verbatim),
];

/// Words that an option of the table begins, though they are others.
const OTHERS: &[&str] = &["-include-pch", "-objc", "-Ofast", "-undef", "-undefined", "-Ttext", "-Tdata", "-Tbss"];

/// The option that `argument` begins with, how it takes its value, and what that is.
pub fn find(argument: &str) -> Option<(&'static str, Form, Part)> {
    let fits = |(name, form, _): &&(&str, Form, Part)| match form {
        Separate => argument == *name,
        Joined => argument.starts_with(name),
        Either => {
            argument == *name || argument.starts_with(name) && !OTHERS.iter().any(|other| argument.starts_with(other))
        }
    };
    OPTIONS.iter().filter(fits).max_by_key(|(name, ..)| name.len()).copied()
}

/// Whether the value of this word, which is an option as a whole, is the next word.
pub fn takes_next(word: &str) -> bool {
    matches!(find(word), Some((name, Separate | Either, _)) if name == word)
}

/// Flags that say what to write, and would write something in a scan.
pub fn only_when_compiling(word: &str) -> bool {
    matches!(word, "-c" | "-S" | "-MD" | "-MMD" | "-MP" | "-MG" | "-fsyntax-only" | "-pipe" | "-ftime-trace")
        || word.starts_with("-save-temps")
        || word.starts_with("-Wp,-M")
}

/// Whether somebody only asks.
pub fn is_query(argument: &str) -> bool {
    const ASKED: &[&str] =
        &["--version", "--help", "--target-help", "-dumpversion", "-dumpmachine", "-dumpfullversion"];
    ASKED.contains(&argument)
        || argument == "-dumpspecs"
        || argument == "-###"
        || argument.starts_with("--help=")
        || argument.starts_with("-print-")
        || argument.starts_with("--print-")
}

/// Whether the answer is this machine's.
pub fn is_native(argument: &str) -> bool {
    ["-march=", "-mtune=", "-mcpu="].iter().any(|option| argument.strip_prefix(option) == Some("native"))
}

/// What is written beside the object.
pub fn beside(argument: &str) -> &'static [&'static str] {
    match argument {
        "-gsplit-dwarf" | "-gsplit-dwarf=split" => &["dwo"],
        "-fstack-usage" => &["su"],
        "--coverage" | "-coverage" | "-ftest-coverage" => &["gcno"],
        "-ftime-trace" => &["json"],
        "-fsave-optimization-record" => &["opt.yaml", "opt-record.json.gz"],
        "-save-temps" | "-save-temps=obj" | "-save-temps=cwd" => &["i", "ii", "s", "bc"],
        _ if argument.starts_with("-fcallgraph-info") => &["ci"],
        _ => &[],
    }
}

/// Why nobody can tell what it reads or writes.
pub fn refused(argument: &str) -> Option<&'static str> {
    const WRITES: &str = "the names of the files that it writes are known to the compiler alone";
    match argument {
        "-wrapper" => Some("it runs another program, which is not the toolchain's"),
        "-da" => Some(WRITES),
        _ if lists(argument) => Some(WRITES),
        _ if argument.starts_with("-fdump-") => Some(WRITES),
        _ if argument.starts_with("-fopt-info") && argument.contains('=') => Some(WRITES),
        _ if argument.starts_with("-fmodules") || argument.starts_with("-fmodule-") => {
            Some("what a module is made of is known to the compiler alone")
        }
        _ => None,
    }
}

/// `-Wa,-adhln=a.lst` and `-Wa,--MD=a.d`: files of the assembler, which the driver knows nothing of.
fn lists(argument: &str) -> bool {
    let mut words = argument.strip_prefix("-Wa,").into_iter().flat_map(|words| words.split(','));
    words.any(|word| word.starts_with("-a") && word.contains('=') || word.starts_with("--MD"))
}

/// Whether a file of this name is compiled, and not linked.
pub fn is_source(path: &str) -> bool {
    const SOURCES: &[&str] = &[
        "c", "i", "cc", "cp", "cxx", "cpp", "CPP", "c++", "C", "ii", "ixx", "cppm", "h", "hh", "hp", "hxx", "hpp",
        "HPP", "h++", "H", "tcc", "m", "mi", "mm", "M", "mii", "s", "S", "sx",
    ];
    extension(path).is_some_and(|extension| SOURCES.contains(&extension))
}

/// Whether the preprocessor reads files of this name.
pub fn is_preprocessed_already(path: &str) -> bool {
    extension(path).is_some_and(|extension| matches!(extension, "i" | "ii" | "mi" | "mii"))
}

fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map(|(_, extension)| extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_option_is_meant() {
        for (argument, name) in [
            ("-include", "-include"),
            ("-includex.h", "-include"),
            ("-I/x", "-I"),
            ("-isystem/x", "-isystem"),
            ("--sysroot=/x", "--sysroot="),
            ("-iwithprefixbefore", "-iwithprefixbefore"),
            ("-MFx", "-MF"),
            ("-MTx", "-MT"),
        ] {
            assert_eq!(find(argument).map(|(name, ..)| name), Some(name), "{argument}");
        }
        for flag in ["-O2", "-Wall", "-fPIC", "-g", "-std=c11", "-M", "-MD", "-MMD", "-MP", "-undef", "-pthread"] {
            assert_eq!(find(flag), None, "{flag}");
        }
    }

    #[test]
    fn sources_are_known_by_their_names() {
        for source in ["a.c", "a.b.cc", "x/y.S", "a.hpp", "a.C"] {
            assert!(is_source(source), "{source}");
        }
        for other in ["a.o", "liba.a", "a", "d.c/a", "a.so.1"] {
            assert!(!is_source(other), "{other}");
        }
    }
}
