//! Files that were asked for in vain, as this machine has them.
use super::{Line, View, Weight};
use crate::explain::said::Said;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories of which no program needs anything to succeed: caches, locales, clocks, the kernel's
/// own. Whatever looks there is content without.
const NOISE: &[&str] = &[
    "/dev",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/inputrc",
    "/etc/localtime",
    "/etc/locale.alias",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/selinux",
    "/etc/terminfo",
    "/lib/terminfo",
    "/lre",
    "/nonexistent",
    "/proc",
    "/run/nscd",
    "/run/systemd",
    "/selinux",
    "/sys",
    "/usr/lib/locale",
    "/usr/share/i18n",
    "/usr/share/locale",
    "/usr/share/locale-langpack",
    "/usr/share/terminfo",
    "/usr/share/zoneinfo",
    "/var/run/nscd",
];
/// The same for all whose paths start so: the loader's cache, configuration and list of preloads.
const NOISE_START: &str = "/etc/ld.so.";

/// Paths that this machine has and that are looked at closely, and looks for names in directories.
/// Enough for any search path; an action that asks for everything shall not keep the server busy.
const PATHS_MAX: usize = 200;
const LOOKS_MAX: usize = 4000;

/// The lines for these paths, absolute and as the command saw them; `listed` are directories that it
/// has and has opened.
pub(super) fn lines(paths: &[&str], listed: &[&str], said: &Said, view: &View<'_>) -> Vec<Line> {
    let mut search = Search { said, looks: LOOKS_MAX, known: BTreeSet::new(), lines: Vec::new() };
    let here = |paths: &[&str]| -> Vec<_> {
        paths.iter().filter_map(|path| view.on_this_machine(path)).take(PATHS_MAX).collect()
    };
    for path in here(paths) {
        search.take(&path);
    }
    // Only names of modules: whoever looks for a file asks for it, and finds it where it is.
    let modules: Vec<_> = said.modules().collect();
    if !modules.is_empty() {
        for directory in here(listed) {
            search.take_named_below(&directory, &modules);
        }
    }
    search.lines
}

impl View<'_> {
    /// Where this machine would have it, if it has it, and if it can matter.
    pub(super) fn on_this_machine(&self, path: &str) -> Option<PathBuf> {
        let mounts = self.closure.toolchains.iter().map(|toolchain| toolchain.mount()).filter(|mount| mount != "/");
        let below_mount = mounts
            .filter(|mount| mount != "/nix/store")
            .find_map(|mount| path.strip_prefix(&mount).filter(|rest| rest.starts_with('/')).map(str::to_owned));
        let path = PathBuf::from(below_mount.unwrap_or_else(|| path.to_owned()));
        // What goes to a terminal is not for an action to choose.
        let text = path.to_str()?;
        let noise = text.starts_with(NOISE_START) || text.contains(char::is_control);
        let below = |directory: &&Path| path.starts_with(directory);
        let nobodys = NOISE.iter().map(Path::new).any(|noise| below(&noise)) || self.own.iter().any(below);
        (!noise && !nobodys && path.symlink_metadata().is_ok()).then_some(path)
    }
}

struct Search<'a> {
    said: &'a Said,
    looks: usize,
    /// Files that have a line: one file is seen under two paths where /lib is a link to /usr/lib.
    known: BTreeSet<(u64, u64)>,
    lines: Vec<Line>,
}

impl Search<'_> {
    fn take(&mut self, path: &Path) {
        let Some(text) = path.to_str() else { return };
        if !path.is_dir() {
            self.tell(path, weigh(text, self.said));
        } else if self.said.mentions(text) {
            self.tell(path, Weight::Said);
        } else if !self.take_named_below(path, &self.said.names()) {
            self.tell(path, Weight::Directory);
        }
    }

    /// A compiler that finds no directory asks for no file in it, and says its name all the same.
    fn take_named_below(&mut self, directory: &Path, names: &[&str]) -> bool {
        let before = self.lines.len();
        for name in names {
            for below in [directory.join(name), directory.join(format!("{name}.py"))] {
                if self.looks == 0 {
                    return self.lines.len() > before;
                }
                self.looks -= 1;
                if below.symlink_metadata().is_ok() {
                    self.tell(&below, Weight::Named(usize::MAX - name.split('/').count()));
                }
            }
        }
        self.lines.len() > before
    }

    fn tell(&mut self, path: &Path, weight: Weight) {
        let is_new = path.metadata().map_or(true, |found| self.known.insert((found.dev(), found.ino())));
        if is_new {
            let text = format!("wanted {}, which is on this machine but not an input", path.display());
            self.lines.push(Line { weight, at: self.lines.len(), text });
        }
    }
}

/// What speaks for the file `path`.
fn weigh(path: &str, said: &Said) -> Weight {
    if said.mentions(path) {
        return Weight::Said;
    }
    match said.mentions_end_of(path) {
        0 if is_related(path, said) => Weight::Related,
        0 => Weight::Unsaid,
        names => Weight::Named(usize::MAX - names),
    }
}

/// `-lz` is libz.so or libz.a; the package `zlib` is zlib.pc, the module `yaml` yaml.py.
fn is_related(path: &str, said: &Said) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, ending)) = name.split_once('.') else { return false };
    match stem.strip_prefix("lib") {
        Some(library) if ending.starts_with("so") || ending == "a" => said.mentions(&format!("-l{library}")),
        _ => stem.len() > 2 && said.mentions(stem),
    }
}
