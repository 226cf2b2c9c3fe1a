//! From a command line to all files that its compile could read: what the compiler's own scan is shown.
use super::compile::{object_of, with_suffix};
use super::files::{Files, tidy};
use super::include::{Ask, Asks};
use super::options::is_preprocessed_already;
use super::roots::{EXEC, Roots, lexical, passed_through};
use super::words::{Line, Part, Search};
use crate::client::ClientError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A directory, on this machine and as the command sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Directory {
    host: PathBuf,
    inside: String,
}

/// Looks for headers.
pub struct Closure<'a> {
    /// What was found.
    pub files: Files,
    roots: &'a Roots,
    quote: Vec<Directory>,
    bracket: Vec<Directory>,
    /// Directories of the command line that are in no place of the workspace: the toolchain's, or nobody's.
    pub foreign: Vec<PathBuf>,
    /// Names that were looked for already: with quotes or not, to be read or not, and from where.
    asked: BTreeSet<(String, bool, bool, PathBuf)>,
    /// What no list of dependencies names.
    unlisted: BTreeSet<String>,
    /// Some name is made by macros.
    computed: bool,
    /// Macros that stand for `__has_include`, and how many of them and of files have been looked through for each other.
    aliases: BTreeSet<String>,
    looked: (usize, usize),
    /// Nobody can tell what is needed.
    pub unknowable: bool,
}

impl<'a> Closure<'a> {
    /// Of the command line `line`.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn of(line: &Line, roots: &'a Roots) -> Result<Self, ClientError> {
        let mut closure = Self::empty(roots);
        closure.directories(line);
        for word in &line.words {
            let host = roots.directory().join(&word.value);
            match word.part {
                Part::Forced if host.is_file() => closure.source(&word.value)?,
                Part::Forced => closure.ask(&ask(&word.value), &closure.here()).map(drop)?,
                Part::Positional if line.sources.contains(&word.value) => closure.source(&word.value)?,
                Part::Positional => closure.plain(&word.value)?,
                Part::Text => closure.mentioned(&word.value)?,
                Part::Tree => {
                    if let Some(inside) = roots.inside(&host) {
                        closure.files.take_tree(&inside, &host)?;
                    }
                }
                _ => {}
            }
        }
        closure.profiles(line)?;
        closure.aliased()?;
        if closure.unknowable {
            closure.take_all()?;
        }
        closure.mark();
        Ok(closure)
    }

    fn empty(roots: &'a Roots) -> Self {
        Self {
            files: Files::default(),
            roots,
            quote: Vec::new(),
            bracket: Vec::new(),
            foreign: Vec::new(),
            asked: BTreeSet::new(),
            unlisted: BTreeSet::new(),
            computed: false,
            aliases: BTreeSet::new(),
            looked: (0, 0),
            unknowable: false,
        }
    }

    fn mark(&mut self) {
        std::mem::take(&mut self.unlisted).iter().for_each(|inside| self.files.unlisted(inside));
    }

    fn here(&self) -> Directory {
        let inside = self.roots.working_directory().unwrap_or_default();
        Directory { host: self.roots.directory().to_owned(), inside }
    }

    /// Where headers are looked for; the working directory comes first, for `-include`.
    fn directories(&mut self, line: &Line) {
        for word in &line.words {
            let Part::Include(search) = word.part else { continue };
            let host = self.roots.directory().join(&word.value);
            let Some(inside) = self.place(&word.value) else {
                self.foreign.push(host);
                continue;
            };
            if host.is_dir() {
                self.files.directory(&inside);
                self.pass(&word.value);
            }
            let list = if search == Search::Quote { &mut self.quote } else { &mut self.bracket };
            list.push(Directory { host, inside });
        }
    }

    /// Where the command sees a path of the command line, as the text has it.
    fn place(&self, path: &str) -> Option<String> {
        let seen = self.roots.argument(path);
        match seen.strip_prefix(EXEC) {
            Some(inside) => Some(inside.trim_start_matches('/').to_owned()),
            None if seen.starts_with('/') => None,
            None => tidy(&format!("{}/{seen}", self.roots.working_directory().ok()?)),
        }
    }

    /// Directories that a path goes through before a `..`.
    fn pass(&mut self, path: &str) {
        let here = self.roots.working_directory().unwrap_or_default();
        for directory in passed_through(&here, &self.roots.argument(path)) {
            self.files.directory(&directory);
        }
    }

    fn source(&mut self, path: &str) -> Result<(), ClientError> {
        let Some(inside) = self.place(path) else { return Ok(()) };
        self.pass(path);
        let host = self.roots.directory().join(path);
        if is_preprocessed_already(path) {
            return self.files.take(&inside, &host).map(drop);
        }
        self.text(&inside, &host)?;
        // A source for the assembler alone is in no list of dependencies.
        self.unlisted.insert(inside);
        Ok(())
    }

    /// An object, a library, or whatever else a word is.
    fn plain(&mut self, path: &str) -> Result<(), ClientError> {
        if let Some(inside) = self.place(path) {
            self.pass(path);
            self.files.take(&inside, &self.roots.directory().join(path))?;
        }
        Ok(())
    }

    /// Files that a word such as `-fplugin=x.so` or `-Wl,--version-script,x` names.
    pub fn mentioned(&mut self, word: &str) -> Result<(), ClientError> {
        let joined = word.strip_prefix("-T").filter(|path| !path.is_empty());
        for path in word.split([',', '=']).chain(joined) {
            if !path.is_empty() && !path.starts_with('-') {
                self.plain(path)?;
            }
        }
        Ok(())
    }

    /// What an earlier run of the program counted. A compiler that does not find it optimises less and says nothing.
    fn profiles(&mut self, line: &Line) -> Result<(), ClientError> {
        for word in line.words.iter().filter(|word| is_profile(&word.value)) {
            let Some((_, path)) = word.value.split_once('=') else { continue };
            let host = self.roots.directory().join(path);
            if let Some(inside) = self.roots.inside(&host).filter(|_| host.is_dir()) {
                self.files.take_tree(&inside, &host)?;
            }
        }
        if line.words.iter().any(|word| is_profile(&word.value)) {
            for source in &line.sources {
                let object = line.output.clone().unwrap_or_else(|| object_of(source, line.mode));
                self.plain(&with_suffix(&object, "gcda"))?;
            }
            for usual in ["default.profdata", "fbdata.afdo"] {
                self.plain(usual)?;
            }
        }
        Ok(())
    }

    /// Macros that stand for `__has_include`: what they are asked for is known when all texts are.
    fn aliased(&mut self) -> Result<bool, ClientError> {
        let mut new = false;
        while self.looked != (self.aliases.len(), self.files.paths().count()) {
            self.looked = (self.aliases.len(), self.files.paths().count());
            let texts: Vec<_> = self.files.paths().map(|(path, read)| (path.to_owned(), read.clone())).collect();
            for (inside, read) in texts {
                let asks = Asks::through(&read.content, &self.aliases);
                new |= self.asked_by(&asks, &inside, read.host())?;
            }
        }
        Ok(new)
    }

    /// Takes a text and everything that it could include. Whether it was new.
    fn text(&mut self, inside: &str, host: &Path) -> Result<bool, ClientError> {
        self.texts(vec![(inside.to_owned(), host.to_owned())])
    }

    fn texts(&mut self, mut left: Vec<(String, PathBuf)>) -> Result<bool, ClientError> {
        let mut new = false;
        while let Some((inside, host)) = left.pop() {
            if is_precompiled(&inside) {
                new |= !self.files.knows(&inside) && self.files.take(&inside, &host)?;
                continue;
            }
            let Some(asks) = self.files.take_text(&inside, &host, self.roots)? else { continue };
            new = true;
            self.follow(&asks, &inside, &host, &mut left);
        }
        Ok(new)
    }

    fn asked_by(&mut self, asks: &Asks, inside: &str, host: &Path) -> Result<bool, ClientError> {
        let mut left = Vec::new();
        self.follow(asks, inside, host, &mut left);
        self.texts(left)
    }

    fn follow(&mut self, asks: &Asks, inside: &str, host: &Path, left: &mut Vec<(String, PathBuf)>) {
        self.unknowable |= asks.unknowable;
        self.computed |= asks.computed;
        self.aliases.extend(asks.aliases.iter().cloned());
        let parent = |path: &str| path.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned());
        let beside = Directory { host: host.parent().unwrap_or(Path::new("/")).to_owned(), inside: parent(inside) };
        for ask in &asks.all {
            let found = self.candidates(ask, &beside);
            if ask.unlisted {
                self.unlisted.extend(found.iter().map(|(inside, _)| inside.clone()));
            }
            left.extend(found);
        }
    }

    /// Where a name could be found that was not looked for yet.
    fn candidates(&mut self, ask: &Ask, beside: &Directory) -> Vec<(String, PathBuf)> {
        let from = if ask.quote { beside.host.clone() } else { PathBuf::new() };
        if !self.asked.insert((ask.name.clone(), ask.quote && !ask.next, ask.unlisted, from)) {
            return Vec::new();
        }
        if ask.name.starts_with('/') {
            let host = lexical(Path::new(&ask.name));
            return self.roots.inside(&host).map(|inside| (inside, host)).into_iter().collect();
        }
        let mut found = Vec::new();
        if ask.quote && self.files.has(&beside.host, &ask.name) {
            found.push(self.at(beside, &ask.name));
            // Both compilers look there first.
            if !ask.next && !ask.unlisted {
                return found;
            }
        }
        let mut directories = if ask.quote { self.quote.clone() } else { Vec::new() };
        directories.extend(self.bracket.iter().cloned());
        if ask.quote && ask.unlisted {
            // Where the assembler begins.
            directories.push(self.here());
        }
        let precompiled = format!("{}.gch", ask.name);
        if ask.quote && !ask.unlisted && found.is_empty() && self.files.has(&beside.host, &precompiled) {
            found.push(self.at(beside, &precompiled));
        }
        for directory in &directories {
            if self.files.has(&directory.host, &ask.name) {
                found.push(self.at(directory, &ask.name));
            } else if !ask.unlisted && self.files.has(&directory.host, &precompiled) {
                // Where both are, the text says the same, and changes with nothing else.
                found.push(self.at(directory, &precompiled));
            }
        }
        found
    }

    fn at(&mut self, directory: &Directory, name: &str) -> (String, PathBuf) {
        for passed in passed_through(&directory.inside, name) {
            self.files.directory(&passed);
        }
        let inside = tidy(&format!("{}/{name}", directory.inside)).unwrap_or_default();
        (inside, directory.host.join(name))
    }

    /// Adds what the working directory or a directory of the command line has under this name. Whether that was anything new.
    fn ask(&mut self, ask: &Ask, beside: &Directory) -> Result<bool, ClientError> {
        let mut new = false;
        for (inside, host) in self.candidates(ask, beside) {
            new |= self.text(&inside, &host)?;
            if ask.unlisted {
                self.unlisted.insert(inside);
            }
        }
        Ok(new)
    }

    /// Whether headers of the toolchain could find some of the workspace.
    #[must_use]
    pub fn has_directories(&self) -> bool {
        !self.bracket.is_empty()
    }

    /// Adds what headers of the toolchain only ask for.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn answer(&mut self, names: &BTreeSet<String>) -> Result<(), ClientError> {
        let here = self.here();
        for name in names {
            self.ask(&Ask { quote: false, next: true, unlisted: true, name: name.clone() }, &here)?;
        }
        self.mark();
        Ok(())
    }

    /// Compares with what the compiler's scan says that it reads. A name that it did not find, and a header that it found
    /// elsewhere though a directory of the workspace has one of that name, are shown to it: then it must look again.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn compare(&mut self, read: &[String]) -> Result<bool, ClientError> {
        let mut new = false;
        for path in read {
            let here = self.here();
            if !path.starts_with('/') && !self.files.knows(&self.seen(path)) {
                // Missing: as the compiler says it, without a directory.
                new |= self.ask(&ask(path), &here)?;
            }
            // A name that stands in a file of the workspace has been looked for everywhere already.
            if !self.computed && self.files.knows(&self.seen(path)) {
                continue;
            }
            // It was asked for by some end of its path.
            let segments: Vec<_> = path.split('/').filter(|s| !s.is_empty()).collect();
            for start in 0..segments.len() {
                let name = segments[start..].join("/");
                let bracket = Ask { quote: false, ..ask(&name) };
                new |= self.ask(&bracket, &here)?;
            }
        }
        new |= self.aliased()?;
        self.mark();
        Ok(new)
    }

    /// A path that the compiler names, in the input root.
    pub fn seen(&self, path: &str) -> String {
        if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.here().inside) }
    }

    /// All that is beside the sources and in the directories of the command line.
    fn take_all(&mut self) -> Result<(), ClientError> {
        let mut all: Vec<_> = self.quote.iter().chain(&self.bracket).cloned().collect();
        all.push(self.here());
        let sources: Vec<_> = self.files.paths().map(|(path, _)| path.to_owned()).collect();
        for inside in sources {
            let Some(parent) = inside.rsplit_once('/').map(|(parent, _)| parent.to_owned()) else { continue };
            if let Some(host) = self.roots.outside(&parent) {
                all.push(Directory { host, inside: parent });
            }
        }
        for directory in all {
            self.files.take_tree(&directory.inside, &directory.host)?;
        }
        Ok(())
    }
}

/// Whether a flag has the compiler read what a run of the program counted.
fn is_profile(word: &str) -> bool {
    const READ: [&str; 5] =
        ["-fprofile-use", "-fprofile-instr-use", "-fprofile-sample-use", "-fauto-profile", "-fbranch-probabilities"];
    READ.contains(&word.split_once('=').map_or(word, |(option, _)| option))
}

/// A header that gcc has read already, for later.
fn is_precompiled(inside: &str) -> bool {
    inside.ends_with(".gch")
}

fn ask(name: &str) -> Ask {
    Ask { name: name.to_owned(), quote: true, next: false, unlisted: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What is an input of `line`, where these files are; those in no list of dependencies with `!`.
    fn inputs(files: &[(&str, &str)], line: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(dir.path()).unwrap();
        fs::write(at.join("lre.lock"), "").unwrap();
        for (name, text) in files {
            fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
            fs::write(at.join(name), text).unwrap();
        }
        let line = Line::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let roots = Roots::find(&at, &[], line.sources.first().map(String::as_str));
        let closure = Closure::of(&line, &roots).unwrap();
        assert!(!closure.unknowable);
        let name = |(path, read): (&str, &super::super::files::Read)| {
            format!("{}{}", if read.unlisted { "!" } else { "" }, path.trim_start_matches("src/"))
        };
        closure.files.paths().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_assembler_looks_in_the_working_directory() {
        let files = [
            ("a/s.s", ".incbin \"d.bin\"\n.include \"e.inc\"\n"),
            ("d.bin", "x"),
            ("a/e.inc", ".include \"f.inc\"\n"),
            ("f.inc", ""),
            ("i/d.bin", "y"),
        ];
        assert_eq!(inputs(&files, "-Ii -c a/s.s"), "!a/e.inc !a/s.s !d.bin !f.inc !i/d.bin");
    }

    #[test]
    fn a_profile_is_an_input() {
        let files = [("p.c", ""), ("o/p.gcda", "1"), ("d/x.gcda", "2"), ("d/default.profdata", "3")];
        assert_eq!(inputs(&files, "-c p.c -o o/p.o"), "!p.c");
        assert_eq!(inputs(&files, "-fprofile-use -c p.c -o o/p.o"), "!o/p.gcda !p.c");
        assert_eq!(inputs(&files, "-fprofile-use=d -c p.c"), "!d/default.profdata !d/x.gcda !p.c");
    }

    #[test]
    fn a_precompiled_header_is_taken_where_it_is_alone() {
        let files = [("p.c", "#include <h.h>\n"), ("i/h.h.gch", "1"), ("j/h.h", ""), ("j/h.h.gch", "2")];
        assert_eq!(inputs(&files, "-Ii -Ij -c p.c"), "!i/h.h.gch j/h.h !p.c");
        assert_eq!(inputs(&files, "-Ij -include i/h.h -c p.c"), "!i/h.h.gch j/h.h !p.c");
    }

    #[test]
    fn a_macro_that_asks_is_followed_over_files() {
        let files = [
            ("p.c", "#include \"has.h\"\n#if HAS(<opt.h>)\n#endif\n"),
            ("has.h", "#define HAS(x) __has_include(x)\n"),
            ("i/opt.h", ""),
            ("other.o", ""),
        ];
        assert_eq!(inputs(&files, "-Ii -c p.c"), "has.h !i/opt.h !p.c");
    }
}
