//! The command line of a compiler driver, word by word: what each word is, and what the whole is to do.
//!
//! Pure. The options are those of the drivers of gcc and clang. An option that is not in the table is a flag: it is passed on, and
//! paths in it are mapped like all others.
use super::options::{self, Form};

/// What a word, or the part of it behind its option, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Part of the program, or of what it is when it runs: never changed.
    Verbatim,
    /// May hold paths: a root of the workspace in it is mapped, a file that it names is an input.
    Text,
    /// A directory in which headers are looked for.
    Include(Search),
    /// A header that is read before the source.
    Forced,
    /// A file on its own: source, object, library.
    Positional,
    /// What is written.
    Output,
    /// A list of dependencies that is written.
    DepFile,
    /// The name of the object in that list.
    DepTarget,
    /// A directory that is an input as a whole.
    Tree,
    /// A directory with libraries.
    LibraryDirectory,
    /// The name of a library.
    Library,
    /// Words for the linker, with commas between them.
    Linker,
}

/// Which includes a directory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// `#include "x.h"` alone.
    Quote,
    /// Both kinds.
    Bracket,
}

/// One word: `option` as it is, then `value`, which is a `part`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// `-I` of `-Iinclude`; empty where the option is a word of its own, or there is none.
    pub option: &'static str,
    /// The rest.
    pub value: String,
    /// What that is.
    pub part: Part,
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `-c`: an object for each source.
    Compile,
    /// `-S`: assembly for each source.
    Assembly,
    /// `-E`: to the end of the preprocessor.
    Preprocess,
    /// `-M`, `-MM`: a list of dependencies and nothing else.
    Dependencies,
    /// `-fsyntax-only`.
    Check,
    /// Everything, to a program or a library.
    Link,
    /// `--version` and the like.
    Query,
}

/// The list of dependencies that comes with a compile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dep {
    /// `-MF`, where it is there.
    pub file: Option<String>,
}

/// A command line, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// All words behind the compiler.
    pub words: Vec<Word>,
    /// What to do.
    pub mode: Mode,
    /// `-o`.
    pub output: Option<String>,
    /// What is compiled.
    pub sources: Vec<String>,
    /// `-MD`, `-MMD`, or the same by way of `-Wp,`.
    pub dep: Option<Dep>,
    /// One of the sources is stdin.
    pub stdin: bool,
    /// The result depends on the processor of the machine.
    pub native: Option<String>,
    /// Files that are written beside the object, by what replaces its suffix.
    pub beside: Vec<&'static str>,
    /// An option after which nobody can say what is read or written.
    pub refused: Option<(String, &'static str)>,
}

impl Word {
    /// As it stood.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.option, self.value)
    }

    fn new(option: &'static str, value: impl Into<String>, part: Part) -> Self {
        Self { option, value: value.into(), part }
    }
}

impl Line {
    /// Reads the words behind the compiler; response files are expanded already.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Self {
        let mut reader = Reader::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            reader.word(argument, &mut rest);
        }
        reader.finish()
    }

    /// Only the dependencies of the source are asked for, on stdout: the same words without what is written.
    #[must_use]
    pub fn scanning(&self) -> Vec<Word> {
        let mut words = Vec::new();
        let mut skip = false;
        for (i, word) in self.words.iter().enumerate() {
            let next = self.words.get(i + 1).map(|next| next.part);
            if std::mem::take(&mut skip) {
                continue;
            }
            let written = matches!(word.part, Part::Output | Part::DepFile | Part::DepTarget);
            // The option whose value is the next word goes with it.
            let heads = options::takes_next(&word.text())
                && matches!(next, Some(Part::Output | Part::DepFile | Part::DepTarget));
            if written || heads {
                skip = heads;
                continue;
            }
            if !options::only_when_compiling(&word.text()) {
                words.push(word.clone());
            }
        }
        words.extend(["-M", "-MG"].map(|flag| Word::new("", flag, Part::Verbatim)));
        words
    }
}

#[derive(Default)]
struct Reader {
    words: Vec<Word>,
    modes: [bool; 7],
    output: Option<String>,
    sources: Vec<String>,
    others: usize,
    dep: Option<Dep>,
    dep_file: Option<String>,
    language: Option<String>,
    stdin: bool,
    native: Option<String>,
    beside: Vec<&'static str>,
    refused: Option<(String, &'static str)>,
    rpath: bool,
}

impl Reader {
    fn word(&mut self, argument: &str, rest: &mut std::slice::Iter<'_, String>) {
        if argument == "-" || !argument.starts_with('-') {
            return self.positional(argument);
        }
        self.flag(argument);
        let Some((name, form, part)) = options::find(argument) else {
            return self.words.push(Word::new("", argument, Part::Text));
        };
        let joined = &argument[name.len()..];
        if form == Form::Joined || (form == Form::Either && !joined.is_empty()) {
            self.value(name, joined, part);
            return self.words.push(Word::new(name, joined, part));
        }
        self.words.push(Word::new("", argument, Part::Verbatim));
        if let Some(value) = rest.next() {
            let part = if name == "-Xlinker" { self.linker(value) } else { part };
            self.value(name, value, part);
            self.words.push(Word::new("", value.clone(), part));
        }
    }

    /// `-Xlinker -rpath -Xlinker DIR`: what the program is to have in it, when it runs.
    fn linker(&mut self, value: &str) -> Part {
        let was = std::mem::replace(&mut self.rpath, matches!(value, "-rpath" | "--rpath" | "-R"));
        if was { Part::Verbatim } else { Part::Text }
    }

    fn positional(&mut self, argument: &str) {
        let named = self.language.as_deref().filter(|language| *language != "none");
        if argument == "-" {
            self.stdin = true;
            self.sources.push(argument.to_owned());
        } else if named.is_some() || options::is_source(argument) {
            self.sources.push(argument.to_owned());
        } else {
            self.others += 1;
        }
        self.words.push(Word::new("", argument, Part::Positional));
    }

    fn value(&mut self, name: &str, value: &str, part: Part) {
        match (name, part) {
            ("-x", _) => self.language = Some(value.to_owned()),
            (_, Part::Output) if name == "-o" => self.output = Some(value.to_owned()),
            (_, Part::DepFile) => {
                let joined = name.starts_with("-Wp,");
                // `-Wp,-MD,a.d,-MT,a.o`
                let file = value.split(',').next().filter(|_| joined).unwrap_or(value);
                self.dep_file = Some(file.to_owned());
                if joined {
                    self.dep.get_or_insert_default();
                }
            }
            _ => {}
        }
    }

    fn flag(&mut self, argument: &str) {
        let mode = match argument {
            "-c" => Some(Mode::Compile),
            "-S" => Some(Mode::Assembly),
            "-E" => Some(Mode::Preprocess),
            "-M" | "-MM" => Some(Mode::Dependencies),
            "-fsyntax-only" => Some(Mode::Check),
            _ if options::is_query(argument) => Some(Mode::Query),
            _ => None,
        };
        if let Some(mode) = mode {
            self.modes[mode as usize] = true;
        }
        if matches!(argument, "-MD" | "-MMD") {
            self.dep.get_or_insert_default();
        }
        if options::is_native(argument) {
            self.native = Some(argument.to_owned());
        }
        self.beside.extend(options::beside(argument));
        if let Some(why) = options::refused(argument) {
            self.refused.get_or_insert((argument.to_owned(), why));
        }
    }

    fn finish(self) -> Line {
        let has = |mode: Mode| self.modes[mode as usize];
        let order = [Mode::Dependencies, Mode::Preprocess, Mode::Check, Mode::Assembly, Mode::Compile];
        let mode = match order.into_iter().find(|mode| has(*mode)) {
            _ if has(Mode::Query) || self.sources.len() + self.others == 0 => Mode::Query,
            Some(mode) => mode,
            None => Mode::Link,
        };
        let Self { words, output, sources, dep, dep_file, stdin, native, beside, refused, .. } = self;
        let dep = dep.map(|_| Dep { file: dep_file });
        Line { words, mode, output, sources, dep, stdin, native, beside, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_word_comes_out_as_it_went_in() {
        for text in [
            "-c a.c -o a.o",
            "-Iinc -I inc2 -isystem sys -isystemsys2 -iquote q -include f.h -imacros m.h -DX=1 -D Y -c a.c -oa.o",
            "-MD -MT t -MF a.d -MQ q -MP -x c++ -c a.x -std=c++17 -Wall -Wl,-rpath,/x -L lib -lz -Wp,-MMD,b.d",
            "--sysroot=/s --sysroot /s -B bin -specs=f -T script -Xlinker -rpath -Xlinker /r -Xclang -load --param a=b",
        ] {
            let words: Vec<_> = line(text).words.iter().map(Word::text).collect();
            assert_eq!(words.join(" "), text);
        }
    }

    #[test]
    fn what_is_to_be_done_is_understood() {
        for (text, mode, sources, output) in [
            ("-c a.c -o a.o", Mode::Compile, 1, Some("a.o")),
            ("-c a.c -oa.o", Mode::Compile, 1, Some("a.o")),
            ("-S a.c", Mode::Assembly, 1, None),
            ("-E -c a.c", Mode::Preprocess, 1, None),
            ("-M -c a.c", Mode::Dependencies, 1, None),
            ("a.o b.o -o p", Mode::Link, 0, Some("p")),
            ("a.c b.c", Mode::Link, 2, None),
            ("-x c++ -c a.inc", Mode::Compile, 1, None),
            ("-x c a.c -x none b.o", Mode::Link, 1, None),
            ("-E -", Mode::Preprocess, 1, None),
            ("--version", Mode::Query, 0, None),
            ("-v", Mode::Query, 0, None),
            ("-print-prog-name=ld", Mode::Query, 0, None),
            ("-fsyntax-only a.c", Mode::Check, 1, None),
        ] {
            let line = line(text);
            let found = (line.mode, line.sources.len(), line.output.as_deref());
            assert_eq!(found, (mode, sources, output), "{text}");
        }
    }

    #[test]
    fn dependency_lists_are_found_in_all_their_spellings() {
        for (text, file) in [
            ("-MD -MF a.d -c a.c", Some("a.d")),
            ("-MMD -MFa.d -c a.c", Some("a.d")),
            ("-MD -c a.c", None),
            ("-Wp,-MD,a.d -c a.c", Some("a.d")),
            ("-Wp,-MMD,a.d,-MT,a.o -c a.c", Some("a.d")),
        ] {
            assert_eq!(line(text).dep, Some(Dep { file: file.map(str::to_owned) }), "{text}");
        }
        assert_eq!(line("-MF a.d -c a.c").dep, None, "gcc refuses that itself");
    }

    #[test]
    fn a_scan_writes_nothing() {
        let scan = |text: &str| line(text).scanning().iter().map(Word::text).collect::<Vec<_>>().join(" ");
        assert_eq!(scan("-Iinc -MD -MT x -MF a.d -o a.o -c a.c"), "-Iinc a.c -M -MG");
        assert_eq!(scan("-MMD -MP -Wp,-MD,x.d -oa.o -c a.c -save-temps -O2"), "a.c -O2 -M -MG");
    }

    #[test]
    fn what_nobody_can_foresee_is_noticed() {
        assert_eq!(line("-c a.c -march=native").native.as_deref(), Some("-march=native"));
        assert_eq!(line("-c a.c -gsplit-dwarf -fstack-usage").beside, ["dwo", "su"]);
        for text in ["-c a.c -wrapper x", "-c a.c -fdump-tree-all", "-c a.cc -fmodules-ts"] {
            assert!(line(text).refused.is_some(), "{text}");
        }
        assert_eq!(line("-c a.c -dM -fmodulo-sched").refused, None);
    }
}
