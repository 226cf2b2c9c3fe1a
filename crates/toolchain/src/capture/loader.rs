//! Where the dynamic loader finds a library: on this machine, and with nothing but the captured tree.
use super::elf::{self, Elf};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where loaders that cannot be asked look, most specific first: Debian's, then those of others.
const USUAL_DIRECTORIES: [&str; 6] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// Finds libraries as the dynamic loader of this machine does.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    /// Directories that the loader searches whatever its configuration says.
    defaults: Vec<PathBuf>,
    /// The contents of `ld.so.cache`: name to paths.
    cache: BTreeMap<String, Vec<PathBuf>>,
    /// ELF files that were read before.
    known: HashMap<PathBuf, Option<Elf>>,
}

/// A library that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where, on the host.
    pub path: PathBuf,
    /// Whether a loader without `ld.so.cache` would find it as well.
    pub without_cache: bool,
}

impl Loader {
    /// Asks the dynamic loader `interpreter` (`--list-diagnostics`, glibc 2.33 or newer) and `ldconfig`.
    /// Neither needs to answer: then the usual directories are searched.
    pub(crate) fn ask(interpreter: Option<&Path>) -> Self {
        let diagnostics = interpreter.and_then(|i| output(Command::new(i).arg("--list-diagnostics")));
        let mut defaults = system_directories(&diagnostics.unwrap_or_default());
        if defaults.is_empty() {
            defaults = USUAL_DIRECTORIES.map(PathBuf::from).into();
        }
        let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"].into_iter().find(|p| Path::new(p).exists());
        let cache = ldconfig.and_then(|l| output(Command::new(l).arg("-p"))).unwrap_or_default();
        Self { defaults, cache: parse_cache(&cache), known: HashMap::new() }
    }

    /// One that knows what is given here and looks nowhere else.
    #[cfg(test)]
    pub(crate) fn of(defaults: &[&Path], cache: &[(&str, &Path)]) -> Self {
        let cache = cache.iter().map(|(name, path)| ((*name).to_owned(), vec![path.to_path_buf()])).collect();
        Self { defaults: defaults.iter().map(|d| d.to_path_buf()).collect(), cache, known: HashMap::new() }
    }

    /// The first directory that is searched by default and exists.
    pub(crate) fn default_directory(&self) -> Option<&Path> {
        self.defaults.iter().map(PathBuf::as_path).find(|d| d.is_dir())
    }

    /// The ELF file at `path`, where it is one. What cannot be read is none.
    pub(crate) fn elf(&mut self, path: &Path) -> Option<Elf> {
        let read = || elf::read(path).ok().flatten();
        self.known.entry(path.to_owned()).or_insert_with(read).clone()
    }

    /// Finds the library `name` that the file at `from` (its real path) loads. `inherited` are the `DT_RPATH`
    /// directories of the files that loaded `from`.
    pub(crate) fn find(&mut self, name: &str, from: &Path, elf: &Elf, inherited: &[PathBuf]) -> Option<Found> {
        if name.contains('/') {
            return self.fits(Path::new(name), elf).then(|| Found { path: name.into(), without_cache: true });
        }
        let mut directories = match &elf.runpath {
            // DT_RUNPATH switches off DT_RPATH, that of the loading files included.
            Some(runpath) => expand(runpath, from),
            None => [expand(elf.rpath.as_deref().unwrap_or_default(), from), inherited.to_vec()].concat(),
        };
        let own = directories.len();
        directories.extend(self.defaults.iter().cloned());
        let cached = self.cache.get(name).cloned().unwrap_or_default();
        let searched = |d: &PathBuf| (d.join(name), true);
        let candidates: Vec<_> = directories[..own]
            .iter()
            .map(searched)
            .chain(cached.into_iter().map(|path| (path, false)))
            .chain(directories[own..].iter().map(searched))
            .collect();
        let (path, without_cache) = candidates.into_iter().find(|(path, _)| self.fits(path, elf))?;
        let without_cache = without_cache || path.parent().is_some_and(|d| self.is_default(d));
        Some(Found { path, without_cache })
    }

    /// The `DT_RPATH` directories that the libraries of this file inherit.
    pub(crate) fn inherited(elf: &Elf, from: &Path, inherited: &[PathBuf]) -> Vec<PathBuf> {
        match (&elf.runpath, &elf.rpath) {
            (None, Some(rpath)) => [expand(rpath, from), inherited.to_vec()].concat(),
            _ => inherited.to_vec(),
        }
    }

    fn is_default(&self, directory: &Path) -> bool {
        let real = directory.canonicalize();
        self.defaults
            .iter()
            .any(|d| d == directory || real.as_ref().is_ok_and(|r| d.canonicalize().ok().as_ref() == Some(r)))
    }

    /// A library for another processor or word size is passed over, as the loader does.
    fn fits(&mut self, path: &Path, elf: &Elf) -> bool {
        self.elf(path).is_some_and(|found| found.machine == elf.machine)
    }
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.env_clear().env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The directories of a search path; `$ORIGIN` is the directory of the file that has it.
fn expand(path: &str, from: &Path) -> Vec<PathBuf> {
    let origin = from.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    path.split(':')
        .filter(|d| !d.is_empty())
        .map(|d| d.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin))
        .filter(|d| d.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// Lines such as `path.system_dirs[0x0]="/lib/x86_64-linux-gnu/"`.
fn system_directories(diagnostics: &str) -> Vec<PathBuf> {
    diagnostics
        .lines()
        .filter_map(|line| line.strip_prefix("path.system_dirs[")?.split('"').nth(1))
        .map(|d| PathBuf::from(d.trim_end_matches('/')))
        .collect()
}

/// Lines such as `libz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1`. Variants for better
/// processors are left out: they would make the tree work on some machines only.
fn parse_cache(text: &str) -> BTreeMap<String, Vec<PathBuf>> {
    let mut cache: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.contains("hwcap")) {
        if let Some((left, path)) = line.split_once(" => ")
            && let Some(name) = left.split_whitespace().next()
        {
            cache.entry(name.to_owned()).or_default().push(path.trim().into());
        }
    }
    cache
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_and_ldconfig_say_is_understood() {
        let said =
            "path.prefix=\"/usr\"\npath.system_dirs[0x0]=\"/lib/x86_64-linux-gnu/\"\npath.system_dirs[0x1]=\"/lib/\"\n";
        assert_eq!(system_directories(said), ["/lib/x86_64-linux-gnu", "/lib"].map(PathBuf::from));
        let said = "2 libs found in cache `/etc/ld.so.cache'\n\
            \tlibz.so.1 (libc6,x86-64, hwcap: \"x86-64-v3\") => /lib/glibc-hwcaps/x86-64-v3/libz.so.1\n\
            \tlibz.so.1 (libc6,x86-64) => /lib/libz.so.1\nCache generated by: ldconfig\n";
        assert_eq!(parse_cache(said), [("libz.so.1".to_owned(), vec![PathBuf::from("/lib/libz.so.1")])].into());
    }

    #[test]
    fn origin_is_the_directory_of_the_file() {
        let found = expand("$ORIGIN/../lib:${ORIGIN}:relative::/opt/lib", Path::new("/opt/gcc/bin/gcc"));
        assert_eq!(found, ["/opt/gcc/bin/../lib", "/opt/gcc/bin", "/opt/lib"].map(PathBuf::from));
    }

    #[test]
    fn the_c_library_of_this_program_is_found_by_default() {
        let exe = std::env::current_exe().unwrap();
        let elf = elf::read(&exe).unwrap().unwrap();
        let mut loader = Loader::ask(elf.interpreter.as_deref().map(Path::new));
        let name = elf.needed.iter().find(|n| n.starts_with("libc.")).unwrap();
        let found = loader.find(name, &exe, &elf, &[]).expect("the C library");
        assert!(found.without_cache && found.path.exists(), "{found:?}");
        assert_eq!(loader.find("libno-such-thing.so.9", &exe, &elf, &[]), None);
    }
}
