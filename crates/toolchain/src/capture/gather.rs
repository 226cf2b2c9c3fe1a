//! Collects files of this machine into a layout, each at the path it has here, with every symlink on
//! the way and everything that is needed to run it.
use super::elf::Elf;
use super::loader::Loader;
use crate::error::{ToolchainError, io_at};
use crate::import::Warning;
use crate::layout::{Entry, Layout, entry_of};
use lre_model::RelPath;
use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// As the kernel (MAXSYMLINKS).
const SYMLINKS_MAX: u32 = 40;
/// Longest `#!` line, in bytes, as the kernel (BINPRM_BUF_SIZE).
const SCRIPT_LINE_BYTES_MAX: u64 = 256;

/// What has been collected so far.
pub(crate) struct Gather {
    pub layout: Layout,
    pub warnings: Vec<Warning>,
    loader: Loader,
    /// Files whose needs have been looked at, by their real path.
    analysed: HashSet<PathBuf>,
    /// Directories that were added with all their contents, by their real path.
    whole: HashSet<PathBuf>,
}

/// Which files of a directory are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// All, and nothing of them is a program.
    Data,
    /// All, and what the programs and libraries among them need.
    Programs,
    /// All but programs, and what the libraries among them need.
    Libraries,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Led {
    /// A file; its real path.
    File(PathBuf),
    /// A directory; its real path.
    Directory(PathBuf),
}

impl Gather {
    pub(crate) fn new(loader: Loader) -> Self {
        Self {
            layout: Layout::default(),
            warnings: Vec::new(),
            loader,
            analysed: HashSet::new(),
            whole: HashSet::new(),
        }
    }

    /// Adds what is at the absolute path `path`, with every symlink on the way. The kernel is not asked
    /// for the real path, as it would not tell which symlinks there were. Nothing where
    /// nothing is there or it is no file or directory.
    pub(crate) fn path(&mut self, path: &Path) -> Result<Option<Led>, ToolchainError> {
        let mut left: VecDeque<OsString> = names(path).collect();
        let mut at = PathBuf::from("/");
        let mut symlinks = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&name);
            let kind = match fs::symlink_metadata(&next) {
                Ok(metadata) => metadata.file_type(),
                Err(_) => return Ok(None),
            };
            if kind.is_dir() {
                at = next;
                continue;
            }
            match entry_of(&next, kind)? {
                Some(Entry::Symlink { target }) => {
                    symlinks += 1;
                    if symlinks > SYMLINKS_MAX {
                        return Ok(None);
                    }
                    if target.starts_with('/') {
                        at = PathBuf::from("/");
                    }
                    for name in names(Path::new(&target)).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(name);
                    }
                    self.layout.insert(inside(&next)?, Entry::Symlink { target });
                }
                Some(file) if left.is_empty() => {
                    self.layout.insert(inside(&next)?, file);
                    return Ok(Some(Led::File(next)));
                }
                _ => return Ok(None),
            }
        }
        if at != Path::new("/") {
            self.layout.insert(inside(&at)?, Entry::Directory);
        }
        Ok(Some(Led::Directory(at)))
    }

    /// Whether nothing has been added at this path, followed through the symlinks of this machine.
    pub(crate) fn layout_lacks(&self, path: &Path) -> bool {
        let real = fs::canonicalize(path).ok().and_then(|real| inside(&real).ok());
        real.is_none_or(|real| self.layout.get(&real).is_none())
    }

    /// Adds a program or library with all it needs. Says whether it is there.
    pub(crate) fn program(&mut self, path: &Path) -> Result<bool, ToolchainError> {
        match self.path(path)? {
            Some(Led::File(real)) => {
                self.needs(&real)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Adds a directory with what is in it, and what its symlinks lead to. Says whether it is there.
    pub(crate) fn directory(&mut self, path: &Path, contents: Contents) -> Result<bool, ToolchainError> {
        let Some(Led::Directory(real)) = self.path(path)? else { return Ok(false) };
        if self.whole.iter().any(|w| real.starts_with(w)) {
            return Ok(true);
        }
        self.whole.insert(real.clone());
        let mut all = Layout::default();
        all.add_directory(&real, &inside(&real)?, &mut self.warnings)?;
        for (path, entry) in all.iter() {
            let host = host(path);
            match entry {
                Entry::Symlink { .. } => self.symlink(&host, path, entry, contents)?,
                Entry::Host(_) if contents == Contents::Libraries && is_program(&host) => {}
                entry => {
                    self.layout.insert(path.clone(), entry.clone());
                    if matches!(entry, Entry::Host(_)) && contents != Contents::Data {
                        self.needs(&host)?;
                    }
                }
            }
        }
        Ok(true)
    }

    /// A symlink in a directory that is added, and what it leads to.
    fn symlink(
        &mut self,
        host: &Path,
        path: &RelPath,
        entry: &Entry,
        contents: Contents,
    ) -> Result<(), ToolchainError> {
        // A link into somebody's home must not drag that home in.
        let real = fs::canonicalize(host).unwrap_or_default();
        if real.is_dir() && !real.starts_with("/usr") {
            self.layout.insert(path.clone(), entry.clone());
            let note = format!("{} leads to {}, which is left out", host.display(), real.display());
            self.warnings.push(Warning::Note(note));
            return Ok(());
        }
        match self.path(host)? {
            Some(Led::File(real)) if contents != Contents::Data => self.needs(&real),
            Some(Led::File(_)) => Ok(()),
            Some(Led::Directory(real)) => self.directory(&real, contents).map(drop),
            None => {
                self.layout.insert(path.clone(), entry.clone());
                Ok(())
            }
        }
    }

    /// Adds what the file at the real path `file` needs to run: libraries, the dynamic loader,
    /// the interpreter of a script.
    fn needs(&mut self, file: &Path) -> Result<(), ToolchainError> {
        let mut left = vec![(file.to_owned(), Vec::new())];
        while let Some((file, inherited)) = left.pop() {
            if !self.analysed.insert(file.clone()) {
                continue;
            }
            let Some(elf) = self.loader.elf(&file) else {
                for program in script_programs(&file)? {
                    left.extend(self.followed(&program, &[])?);
                }
                continue;
            };
            if let Some(interpreter) = &elf.interpreter {
                left.extend(self.followed(Path::new(interpreter), &[])?);
            }
            let handed_down = Loader::inherited(&elf, &file, &inherited);
            for name in &elf.needed {
                left.extend(self.library(name, &file, &elf, &inherited, &handed_down)?);
            }
        }
        Ok(())
    }

    fn followed(
        &mut self,
        path: &Path,
        inherited: &[PathBuf],
    ) -> Result<Option<(PathBuf, Vec<PathBuf>)>, ToolchainError> {
        match self.path(path)? {
            Some(Led::File(real)) => Ok(Some((real, inherited.to_vec()))),
            _ => Ok(None),
        }
    }

    fn library(
        &mut self,
        name: &str,
        file: &Path,
        elf: &Elf,
        inherited: &[PathBuf],
        handed_down: &[PathBuf],
    ) -> Result<Option<(PathBuf, Vec<PathBuf>)>, ToolchainError> {
        let Some(found) = self.loader.find(name, file, elf, inherited) else {
            let note = format!("{} loads {name}, which is not on this machine", file.display());
            self.warnings.push(Warning::Note(note));
            return Ok(None);
        };
        if !found.without_cache {
            self.reach_without_cache(name, &found.path)?;
        }
        self.followed(&found.path, handed_down)
    }

    /// The tree has no `ld.so.cache`, which would name libraries of this machine. A library that only
    /// the cache knows gets a symlink where every loader looks.
    fn reach_without_cache(&mut self, name: &str, path: &Path) -> Result<(), ToolchainError> {
        let Some(directory) = self.loader.default_directory().map(Path::to_owned) else { return Ok(()) };
        let link = directory.join(name);
        // The real directory, with the symlinks that lead to it.
        let Some(Led::Directory(real)) = self.path(&directory)? else { return Ok(()) };
        if let Some(target) = path.to_str()
            && !link.exists()
        {
            self.layout.insert(inside(&real.join(name))?, Entry::Symlink { target: target.to_owned() });
            let note = format!("{} is found through ld.so.cache; linked as {}", path.display(), link.display());
            self.warnings.push(Warning::Note(note));
        }
        Ok(())
    }
}

/// Whether it is executable and no library, as far as its name tells.
fn is_program(file: &Path) -> bool {
    let executable = fs::metadata(file).is_ok_and(|m| m.permissions().mode() & 0o100 != 0);
    executable && !file.file_name().is_some_and(|n| n.to_string_lossy().contains(".so"))
}

/// The interpreter of a `#!` script, and the program that `env` would look up for it.
fn script_programs(file: &Path) -> Result<Vec<PathBuf>, ToolchainError> {
    let opened = File::open(file).map_err(io_at("read the file", file))?;
    let executable = opened.metadata().is_ok_and(|m| m.permissions().mode() & 0o100 != 0);
    if !executable {
        return Ok(Vec::new());
    }
    let mut start = Vec::new();
    opened.take(SCRIPT_LINE_BYTES_MAX).read_to_end(&mut start).map_err(io_at("read the file", file))?;
    let Some(line) = start.strip_prefix(b"#!").and_then(|l| l.split(|b| *b == b'\n').next()) else {
        return Ok(Vec::new());
    };
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_whitespace();
    let Some(interpreter) = words.next().filter(|i| i.starts_with('/')) else { return Ok(Vec::new()) };
    let mut programs = vec![PathBuf::from(interpreter)];
    if interpreter.ends_with("/env")
        && let Some(name) = words.find(|w| !w.starts_with('-'))
    {
        programs.extend(super::programs::find(name, None));
    }
    Ok(programs)
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Where the absolute host path stands in the tree: at the same place.
pub(crate) fn inside(host: &Path) -> Result<RelPath, ToolchainError> {
    let text = host.to_str().ok_or_else(|| ToolchainError::NotUtf8(host.to_owned()))?;
    Ok(RelPath::parse(text.trim_start_matches('/'))?)
}

fn host(inside: &RelPath) -> PathBuf {
    PathBuf::from(format!("/{inside}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn gather() -> Gather {
        Gather::new(Loader::ask(None))
    }

    fn entry<'a>(gather: &'a Gather, host: &Path) -> Option<&'a Entry> {
        gather.layout.get(&inside(host).unwrap())
    }

    /// Debian: /usr/bin/cc -> /etc/alternatives/cc -> /usr/bin/gcc -> gcc-12, below /bin -> usr/bin.
    #[test]
    fn every_symlink_on_the_way_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for d in ["usr/bin", "etc/alternatives"] {
            fs::create_dir_all(top.join(d)).unwrap();
        }
        symlink("usr/bin", top.join("bin")).unwrap();
        symlink(top.join("etc/alternatives/cc"), top.join("usr/bin/cc")).unwrap();
        symlink("../../bin/gcc", top.join("etc/alternatives/cc")).unwrap();
        fs::write(top.join("usr/bin/gcc"), "not a program").unwrap();
        let mut gather = gather();
        assert!(gather.program(&top.join("bin/cc")).unwrap());
        for link in ["bin", "usr/bin/cc", "etc/alternatives/cc"] {
            assert!(matches!(entry(&gather, &top.join(link)), Some(Entry::Symlink { .. })), "{link}");
        }
        assert_eq!(entry(&gather, &top.join("usr/bin/gcc")), Some(&Entry::Host(top.join("usr/bin/gcc"))));
        assert!(!gather.program(&top.join("bin/c++")).unwrap());
        symlink("loop", top.join("loop")).unwrap();
        assert!(!gather.program(&top.join("loop")).unwrap());
    }

    #[test]
    fn a_script_brings_its_interpreter_and_the_libraries_of_that() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().canonicalize().unwrap().join("script");
        fs::write(&script, "#! /usr/bin/env -S sh -e\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut gather = gather();
        gather.program(&script).unwrap();
        let has = |what: &str| gather.layout.iter().any(|(path, _)| path.to_string().contains(what));
        assert!(has("bin/env") && has("bin/sh") && has("libc.so") && has("ld-linux"), "{:?}", gather.layout);
        assert_eq!(gather.warnings, []);
    }

    #[test]
    fn a_directory_comes_whole_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("include/empty")).unwrap();
        fs::write(top.join("include/a.h"), "").unwrap();
        symlink("nowhere", top.join("include/dangling.h")).unwrap();
        symlink("../other.h", top.join("include/b.h")).unwrap();
        fs::create_dir(top.join("home")).unwrap();
        fs::write(top.join("home/secret"), "").unwrap();
        symlink("../home", top.join("include/mine")).unwrap();
        fs::write(top.join("other.h"), "").unwrap();
        let mut gather = gather();
        assert!(gather.directory(&top.join("include"), Contents::Data).unwrap());
        let before = gather.layout.clone();
        assert!(gather.directory(&top.join("include/empty"), Contents::Data).unwrap());
        assert_eq!(gather.layout, before);
        for there in ["include/empty", "include/a.h", "include/dangling.h", "include/b.h", "other.h"] {
            assert!(entry(&gather, &top.join(there)).is_some(), "{there}");
        }
        assert!(entry(&gather, &top.join("include/mine")).is_some());
        for absent in ["home", "home/secret"] {
            assert_eq!(entry(&gather, &top.join(absent)), None, "a link must not drag in what it leads to");
        }
        assert!(!gather.directory(&top.join("include/a.h"), Contents::Data).unwrap());
    }

    /// A library in /usr/local/lib is found through ld.so.cache as a rule. The tree has no cache, so it
    /// must be reachable where every loader looks.
    #[test]
    fn a_library_that_only_the_cache_knows_is_linked_where_loaders_look() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let [default, local] = ["default", "local"].map(|d| top.join(d));
        fs::create_dir(&default).unwrap();
        fs::create_dir(&local).unwrap();
        let cc = |arguments: &[&str]| {
            let ran = std::process::Command::new("cc").args(arguments).current_dir(&top).status();
            assert!(ran.expect("cc, which links this test as well").success());
        };
        fs::write(top.join("a.c"), "int f(void); int main(void) { return f(); }").unwrap();
        fs::write(top.join("f.c"), "int f(void) { return 0; }").unwrap();
        cc(&["-nostdlib", "-shared", "f.c", "-o", "local/libf.so"]);
        cc(&["-nostdlib", "a.c", "-Llocal", "-lf", "-Wl,-e,main", "-o", "a"]);
        let library = local.join("libf.so");
        let mut gather = Gather::new(Loader::of(&[&default], &[("libf.so", &library)]));
        gather.program(&top.join("a")).unwrap();
        let target = library.to_str().unwrap().to_owned();
        assert_eq!(entry(&gather, &default.join("libf.so")), Some(&Entry::Symlink { target }));
        assert_eq!(entry(&gather, &library), Some(&Entry::Host(library.clone())));
        assert_eq!(gather.warnings.len(), 1, "{:?}", gather.warnings);
        let mut without = Gather::new(Loader::of(&[&default], &[]));
        without.program(&top.join("a")).unwrap();
        assert!(without.warnings[0].to_string().contains("libf.so, which is not on this machine"));
    }
}
