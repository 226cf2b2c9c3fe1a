//! Asking a compiler of this machine.
use super::programs;
use crate::error::{ToolchainError, io_at};
use crate::types::Family;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the compiler is run with: nothing of the user's, whose `CPATH` or `LIBRARY_PATH` would leak
/// into the toolchain.
const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C"), ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")];

/// A compiler of this machine.
#[derive(Debug)]
pub(crate) struct Compiler {
    /// The C driver, as it was given.
    pub cc: PathBuf,
    /// The C++ driver, where there is one.
    pub cxx: Option<PathBuf>,
    /// All drivers and their siblings that belong to it.
    pub drivers: BTreeSet<PathBuf>,
    pub family: Family,
    /// The first line of `--version`.
    pub version: String,
}

/// A run of it.
pub(crate) struct Ran {
    pub ok: bool,
    /// stdout, then stderr.
    pub text: String,
}

impl Compiler {
    /// Asks the compiler at `cc` who it is and finds its siblings.
    pub(crate) fn ask(cc: &Path) -> Result<Self, ToolchainError> {
        if !cc.is_absolute() || !cc.is_file() {
            return Err(ToolchainError::NotFound {
                what: format!("the compiler {}", cc.display()),
                hint: "install one (Debian: apt install gcc g++), or name another: capture:/path/to/cc".to_owned(),
            });
        }
        let mut compiler = Self {
            cc: cc.to_owned(),
            cxx: None,
            drivers: BTreeSet::new(),
            family: Family::Gcc,
            version: String::new(),
        };
        let said = compiler.stdout(&["--version"])?;
        compiler.version = said.lines().next().unwrap_or_default().trim().to_owned();
        compiler.family = Family::of_version(&said).ok_or_else(|| ToolchainError::Compiler {
            compiler: cc.display().to_string(),
            problem: format!("it says `{}`, which is neither gcc nor clang", compiler.version),
        })?;
        compiler.find_siblings()?;
        Ok(compiler)
    }

    /// Finds the drivers that belong to this one: the names that it goes by are those of the symlinks
    /// that lead to it, and its siblings lie beside one of these.
    fn find_siblings(&mut self) -> Result<(), ToolchainError> {
        let chain = symlink_chain(&self.cc)?;
        let mut own = BTreeSet::new();
        let mut generic = BTreeSet::new();
        let mut cxx = Vec::new();
        for link in &chain {
            let (Some(directory), Some(name)) = (link.parent(), link.file_name().and_then(|n| n.to_str())) else {
                continue;
            };
            for sibling in programs::siblings(name) {
                let path = directory.join(&sibling);
                if !path.is_file() {
                    continue;
                }
                if sibling.contains("++") {
                    cxx.push(path.clone());
                }
                let set = if ["cc", "c++", "cpp"].contains(&sibling.as_str()) { &mut generic } else { &mut own };
                set.insert(path);
            }
        }
        // `cc` beside `clang` is as a rule another compiler: it belongs to this one only where it leads
        // to the same file as one of the names that do.
        let real = |p: &Path| fs::canonicalize(p).ok();
        let reals: BTreeSet<_> = own.iter().chain(&chain).filter_map(|p| real(p)).collect();
        generic.retain(|p| real(p).is_some_and(|r| reals.contains(&r)));
        self.drivers = own.into_iter().chain(generic).chain([self.cc.clone()]).collect();
        self.cxx = cxx.into_iter().find(|p| self.drivers.contains(p));
        Ok(())
    }

    /// The directory of the driver as it was given.
    pub(crate) fn directory(&self) -> &Path {
        self.cc.parent().unwrap_or(Path::new("/"))
    }

    /// Where it finds a program: `-print-prog-name`, and where it names none, beside itself.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let said = self.stdout(&[&format!("-print-prog-name={name}")]).unwrap_or_default();
        let said = Path::new(said.trim());
        if said.is_absolute() && said.is_file() {
            return Some(said.to_owned());
        }
        programs::find(name, Some(self.directory()))
    }

    /// Where it finds a file for the linker: `-print-file-name`, which echoes what it does not find.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        let said = self.stdout(&[&format!("-print-file-name={name}")]).ok()?;
        let said = Path::new(said.trim());
        (said.is_absolute() && said.exists()).then(|| said.to_owned())
    }

    /// What it says to stdout; an error where it fails.
    pub(crate) fn stdout(&self, arguments: &[&str]) -> Result<String, ToolchainError> {
        let output = self.output(&self.cc, arguments, Path::new("/"), &[])?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(ToolchainError::Compiler {
            compiler: self.cc.display().to_string(),
            problem: format!("`{}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()),
        })
    }

    /// Runs one of its drivers in `directory`, which it also takes for temporary files.
    pub(crate) fn run(
        &self,
        driver: &Path,
        arguments: &[&str],
        directory: &Path,
        environment: &[(&str, String)],
    ) -> Result<Ran, ToolchainError> {
        let output = self.output(driver, arguments, directory, environment)?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Ran { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
    }

    fn output(
        &self,
        driver: &Path,
        arguments: &[&str],
        directory: &Path,
        environment: &[(&str, String)],
    ) -> Result<Output, ToolchainError> {
        let mut command = Command::new(driver);
        command.args(arguments).current_dir(directory).env_clear().envs(ENVIRONMENT);
        if directory != Path::new("/") {
            command.env("TMPDIR", directory);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(std::process::Stdio::null()).output().map_err(io_at("run the compiler", driver))
    }
}

/// The path itself and every path on the way where its last part is a symlink: `/usr/bin/cc`,
/// `/etc/alternatives/cc`, `/usr/bin/gcc`, `/usr/bin/gcc-12`.
fn symlink_chain(path: &Path) -> Result<Vec<PathBuf>, ToolchainError> {
    let mut chain = vec![path.to_owned()];
    // As many as the kernel follows; it has just followed these.
    for _ in 0..40 {
        let Some(last) = chain.last() else { break };
        let Ok(target) = fs::read_link(last) else { break };
        let directory = last.parent().unwrap_or(Path::new("/"));
        let next = directory.join(target);
        // `..` is resolved by the kernel, as the directory may be a symlink itself.
        let real = next.parent().and_then(|d| fs::canonicalize(d).ok());
        match (real, next.file_name()) {
            (Some(directory), Some(name)) => chain.push(directory.join(name)),
            _ => break,
        }
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn fake(path: &Path, says: &str) {
        fs::write(path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn siblings_are_found_by_the_names_of_the_symlinks_and_strangers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().canonicalize().unwrap();
        for name in ["t-gcc-12", "t-g++-12", "t-gcov-12", "clang", "clang++"] {
            fake(&bin.join(name), "gcc (Test) 12.1");
        }
        for (link, to) in
            [("cc", "gcc"), ("gcc", "gcc-12"), ("gcc-12", "t-gcc-12"), ("g++", "t-g++-12"), ("c++", "clang++")]
        {
            symlink(to, bin.join(link)).unwrap();
        }
        let compiler = Compiler::ask(&bin.join("cc")).unwrap();
        let names: Vec<_> = compiler.drivers.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["cc", "g++", "gcc", "gcc-12", "t-g++-12", "t-gcc-12", "t-gcov-12"], "c++ is clang++ here");
        assert_eq!(compiler.cxx, Some(bin.join("g++")));
        assert_eq!(compiler.version, "gcc (Test) 12.1");
    }

    #[test]
    fn what_is_no_compiler_is_refused_with_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cc");
        fake(&path, "tcc version 0.9");
        let refused = Compiler::ask(&path).unwrap_err().to_string();
        assert!(refused.contains("tcc version 0.9"), "{refused}");
        let refused = Compiler::ask(&dir.path().join("none")).unwrap_err().to_string();
        assert!(refused.contains("apt install gcc"), "{refused}");
    }
}
