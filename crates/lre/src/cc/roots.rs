//! Places of this machine, and where they are in an input root: the same for everybody, wherever the checkout is.
//!
//! `src` is the workspace, `build` the build directory; a source that lies elsewhere and was named on the command line brings its
//! directory along. Everything else is the toolchain's, or is not there.
use lre_model::RelPath;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Component, Path, PathBuf};

/// Where the sandbox has the input root (docs/reference/platform.md).
pub const EXEC: &str = "/lre/exec";

/// Files that only the top of a build directory has.
const BUILD_MARKS: [&str; 2] = ["CMakeCache.txt", "build.ninja"];

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    /// Below the input root.
    name: String,
    /// Where it is, as people write it; the first is the one that they are told.
    paths: Vec<PathBuf>,
}

/// All places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    roots: Vec<Root>,
    directory: PathBuf,
}

/// A path that is in no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside(pub PathBuf);

impl Roots {
    /// As they follow from the working directory, what the user said, and the first source.
    #[must_use]
    pub fn find(directory: &Path, said: &[PathBuf], source: Option<&str>) -> Self {
        let build = directory.ancestors().find(|at| BUILD_MARKS.iter().any(|mark| at.join(mark).is_file()));
        let home = build.and_then(cmake_home);
        let source = source.map(|source| lexical(&directory.join(source)));
        let beside = || source.as_ref().and_then(|source| source.parent()).map(Path::to_owned);
        let near = |at: &Path| crate::paths::workspace(at);
        let workspace = match (said.first(), home) {
            (Some(said), _) => said.clone(),
            (None, Some(home)) => near(&home).unwrap_or(home),
            (None, None) => {
                let here = near(directory);
                let inside = |root: &PathBuf| source.as_ref().is_none_or(|source| source.starts_with(root));
                here.filter(inside)
                    .or_else(|| beside().and_then(|at| near(&at)))
                    .or_else(|| beside().filter(|at| !at.starts_with(directory) && !directory.starts_with(at)))
                    .unwrap_or_else(|| directory.to_owned())
            }
        };
        let mut roots = Self { roots: Vec::new(), directory: directory.to_owned() };
        roots.add("src", &workspace);
        for (i, more) in said.iter().enumerate().skip(1) {
            roots.add(&format!("src{}", i + 1), more);
        }
        let build = build.filter(|build| *build != workspace);
        match build {
            Some(build) => roots.add("build", build),
            None if roots.inside(directory).is_none() => roots.add("build", directory),
            None => {}
        }
        roots
    }

    fn add(&mut self, name: &str, path: &Path) {
        let mut paths = vec![lexical(path)];
        paths.extend(std::fs::canonicalize(path).ok().filter(|real| *real != paths[0]));
        self.roots.push(Root { name: name.to_owned(), paths });
    }

    /// One more place, for what was named on the command line.
    pub fn also(&mut self, path: &Path) {
        if self.inside(path).is_none() {
            self.add(&format!("named{}", self.roots.len()), path);
        }
    }

    /// The working directory, on this machine.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The working directory, in the input root.
    ///
    /// # Errors
    /// It is in no place.
    pub fn working_directory(&self) -> Result<String, Outside> {
        self.inside(&self.directory).ok_or_else(|| Outside(self.directory.clone()))
    }

    /// `path` of this machine, in the input root; the innermost place counts.
    #[must_use]
    pub fn inside(&self, path: &Path) -> Option<String> {
        let path = lexical(path);
        let under = |root: &Root| {
            let below = root.paths.iter().filter_map(|at| path.strip_prefix(at).ok());
            let below = below.min_by_key(|below| below.as_os_str().len())?.to_str()?;
            Some(if below.is_empty() { root.name.clone() } else { format!("{}/{below}", root.name) })
        };
        let found =
            self.roots.iter().filter_map(|root| under(root).map(|inside| (inside.len() - root.name.len(), inside)));
        found.min_by_key(|(below, _)| *below).map(|(_, inside)| inside)
    }

    /// Where `inside` is on this machine.
    #[must_use]
    pub fn outside(&self, inside: &str) -> Option<PathBuf> {
        let (name, below) = inside.split_once('/').unwrap_or((inside, ""));
        let root = self.roots.iter().find(|root| root.name == name)?;
        Some(if below.is_empty() { root.paths[0].clone() } else { root.paths[0].join(below) })
    }

    /// A path of the command line, as the command sees it. What is in no place is the toolchain's.
    #[must_use]
    pub fn argument(&self, path: &str) -> String {
        let absolute = path.starts_with('/');
        let host = self.directory.join(path);
        match self.inside(&host) {
            // A relative path stays one where it leads to the same.
            Some(inside) if !absolute && self.keeps(path, &inside) => path.to_owned(),
            Some(inside) => format!("{EXEC}/{inside}"),
            None => path.to_owned(),
        }
    }

    fn keeps(&self, path: &str, inside: &str) -> bool {
        let here = self.working_directory().ok().and_then(|here| RelPath::parse(&here).ok());
        let there = here.and_then(|here| here.join(path).ok());
        there.is_some_and(|there| there.to_string() == inside)
    }

    /// `text` with every root in it as the command sees it.
    #[must_use]
    pub fn map_text(&self, text: &str) -> String {
        let mut all: Vec<_> =
            self.roots.iter().flat_map(|root| root.paths.iter().map(move |path| (path.to_str(), &root.name))).collect();
        // The innermost first.
        all.sort_by_key(|(path, _)| std::cmp::Reverse(path.map_or(0, str::len)));
        let mut text = text.to_owned();
        for (path, name) in all {
            if let Some(path) = path.filter(|path| *path != "/" && text.contains(path)) {
                text = replace_path(&text, path, &format!("{EXEC}/{name}"));
            }
        }
        text
    }

    /// What a tool said, with the paths as the user knows them.
    #[must_use]
    pub fn told(&self, said: &[u8]) -> Vec<u8> {
        if !said.windows(EXEC.len()).any(|at| at == EXEC.as_bytes()) {
            return said.to_owned();
        }
        // Text in other encodings passes through, byte for byte.
        let mut text: String = said.iter().map(|byte| char::from(*byte)).collect();
        for root in &self.roots {
            let path: String = root.paths[0].to_string_lossy().bytes().map(char::from).collect();
            text = replace_path(&text, &format!("{EXEC}/{}", root.name), &path);
        }
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
    }
}

/// Replaces `from` where it is a whole path or the start of one.
fn replace_path(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = &found[from.len()..];
        let goes_on = |c: char| c.is_alphanumeric() || "_-.+".contains(c);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "_.".contains(c));
        let whole = !after.starts_with(goes_on) && (begins || before.len() == 2 && before.starts_with('-'));
        out.push_str(before);
        out.push_str(if whole { to } else { from });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The source directory of the build directory `build`, where CMake made that.
fn cmake_home(build: &Path) -> Option<PathBuf> {
    let file = std::fs::File::open(build.join("CMakeCache.txt")).ok()?;
    let lines = std::io::BufReader::new(file).lines().map_while(Result::ok);
    let home =
        lines.filter_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL=").map(PathBuf::from)).next()?;
    home.is_absolute().then_some(home)
}

/// Without `.` and `..`, by the text alone.
#[must_use]
pub fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            component => out.push(component),
        }
    }
    out
}

/// Names of the directories between, which must be there for a path with `..` in it to lead anywhere.
#[must_use]
pub fn passed_through(start: &str, path: &str) -> Vec<String> {
    let mut at: Vec<&str> = if path.starts_with('/') { Vec::new() } else { start.split('/').collect() };
    let path = path.strip_prefix(EXEC).unwrap_or(path);
    let mut passed = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                passed.push(at.join("/"));
                at.pop();
            }
            name => at.push(name),
        }
    }
    passed.retain(|path| !path.is_empty());
    passed
}

/// What the user sets: `a:b` names two directories.
#[must_use]
pub fn from_variable(value: Option<std::ffi::OsString>, here: &Path) -> Vec<PathBuf> {
    let all = value.map(|value| std::env::split_paths(&value).collect::<Vec<_>>()).unwrap_or_default();
    all.into_iter().filter(|path| !path.as_os_str().is_empty()).map(|path| here.join(path)).collect()
}

/// For messages: each place with where it is.
impl std::fmt::Display for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: BTreeMap<_, _> = self.roots.iter().map(|root| (root.paths[0].display().to_string(), ())).collect();
        f.write_str(&all.into_keys().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn world() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let at = fs::canonicalize(dir.path()).unwrap();
        for folder in ["w/src/a", "w/build/sub", "elsewhere", "b"] {
            fs::create_dir_all(at.join(folder)).unwrap();
        }
        fs::write(at.join("w/lre.lock"), "").unwrap();
        (dir, at)
    }

    #[test]
    fn places_are_the_same_wherever_they_are() {
        let (_dir, at) = world();
        let w = at.join("w");
        for build in [w.join("build"), at.join("b")] {
            fs::write(build.join("CMakeCache.txt"), format!("A:B=c\nCMAKE_HOME_DIRECTORY:INTERNAL={}\n", w.display()))
                .unwrap();
            let roots = Roots::find(&build, &[], Some("../w/src/a.c"));
            assert_eq!(roots.working_directory().unwrap(), "build");
            assert_eq!(roots.inside(&w.join("src/a.c")).unwrap(), "src/src/a.c");
            assert_eq!(roots.inside(&build.join("x/../g.h")).unwrap(), "build/g.h");
            assert_eq!(roots.argument(&format!("{}/src", w.display())), "/lre/exec/src/src");
            assert_eq!(roots.argument("CMakeFiles/a.o"), "CMakeFiles/a.o");
            assert_eq!(roots.argument("/usr/include"), "/usr/include");
            let text = format!("-fdebug-prefix-map={}=.,{}2", w.display(), w.display());
            assert_eq!(roots.map_text(&text), format!("-fdebug-prefix-map=/lre/exec/src=.,{}2", w.display()));
            assert_eq!(
                roots.told(b"/lre/exec/src/a.c:1: \xff"),
                [w.to_str().unwrap().as_bytes(), b"/a.c:1: \xff"].concat()
            );
        }
    }

    #[test]
    fn without_cmake_the_workspace_is_all() {
        let (_dir, at) = world();
        let w = at.join("w");
        let roots = Roots::find(&w.join("src"), &[], Some("a/x.c"));
        assert_eq!(roots.working_directory().unwrap(), "src/src");
        assert_eq!(roots.argument("../include"), "../include");
        // A source elsewhere, and no mark anywhere.
        let source = format!("{}/x.c", at.join("elsewhere").display());
        let roots = Roots::find(&at.join("b"), &[], Some(&source));
        assert_eq!(roots.working_directory().unwrap(), "build");
        assert_eq!(roots.argument(&source), "/lre/exec/src/x.c");
        // What the user says comes first.
        let roots = Roots::find(&w.join("src"), &[at.clone(), "/opt/x".into()], None);
        assert_eq!(roots.working_directory().unwrap(), "src/w/src");
        assert_eq!(roots.argument("/opt/x/i"), "/lre/exec/src2/i");
    }

    #[test]
    fn directories_on_the_way_are_named() {
        assert_eq!(passed_through("build", "../src/a/../b.h"), ["build", "src/a"]);
        assert_eq!(passed_through("build", "/lre/exec/src/a/b.h"), Vec::<String>::new());
        assert_eq!(passed_through("src/lib", "x/../y.h"), ["src/lib/x"]);
    }
}
