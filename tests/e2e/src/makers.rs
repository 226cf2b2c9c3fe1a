//! A machine with CMake, ninja and make, without any compiler, and a server with one: who builds there with `lre cc`.
use crate::binary;
use crate::jail::Root;
use crate::packages::Packages;
use crate::serve::{Home, Serve, said};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// See the module.
pub struct Makers {
    root: Root,
    /// Ends before its home goes.
    pub server: Serve,
    /// Of the server.
    pub home: Home,
}

/// One line of the log of `lre cc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// `compile`, `local`, `refused`.
    pub what: String,
    /// `hit`, `ran`, `failed`.
    pub outcome: String,
    /// Why it was no compile.
    pub reason: String,
    /// What was compiled.
    pub file: String,
    /// The digest of the action.
    pub action: String,
}

impl Makers {
    /// With this machine's gcc as the toolchain `cc`.
    pub fn new() -> Result<Self> {
        let root = Packages::of_this_checkout("cmake").ready()?;
        let home = Home::new()?;
        let server = home.serve()?;
        home.must(&["toolchain", "add", "cc", "--from", "capture:/usr/bin/gcc"])?;
        Ok(Self { root, server, home })
    }

    /// Where the packages are.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A checkout at `path` of the home, made by `fill`, with the files of `clients`.
    pub fn project(&self, path: &str, clients: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let at = self.home.work().join(path);
        fs::create_dir_all(&at)?;
        fill(&at)?;
        let output =
            self.home.lre(&["init", "--client", clients, "--toolchain", "cc", "--yes"]).current_dir(&at).output()?;
        ensure!(output.status.success(), "lre init: {}", said(&output));
        Ok(at)
    }

    /// `program`, in `cwd`, on the machine without a compiler, by somebody whose home is `person` (a name).
    pub fn command(&self, person: &str, cwd: &Path, program: &str, arguments: &[&str]) -> Command {
        let lre = binary::lre();
        let programs = lre.parent().expect("a program is in a folder");
        let mut command = self.root.command(program, None, cwd, &[self.home.path(), programs]);
        let home = self.home.path().join("people").join(person);
        fs::create_dir_all(&home).expect("a home can be made");
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display()));
        command.env("HOME", &home).env("LRE_CC_LOG", self.log(person));
        // Another person's home has no store: they are told where the server is.
        command.env("LRE_SERVER", format!("unix:{}", self.home.socket().display()));
        command.args(arguments);
        command
    }

    /// The same, which must succeed; what it said.
    pub fn must(&self, person: &str, cwd: &Path, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run(person, cwd, program, arguments)?;
        ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said(&output));
        Ok(said(&output))
    }

    /// The same, however it ends.
    pub fn run(&self, person: &str, cwd: &Path, program: &str, arguments: &[&str]) -> Result<Output> {
        self.command(person, cwd, program, arguments).output().with_context(|| program.to_owned())
    }

    fn log(&self, person: &str) -> PathBuf {
        self.home.path().join("people").join(format!("{person}.jsonl"))
    }

    /// What `lre cc` did for somebody since they were asked last.
    pub fn done(&self, person: &str) -> Result<Vec<Done>> {
        let log = self.log(person);
        let text = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let one = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line)?;
            let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            let (what, outcome, reason) = (field("what"), field("outcome"), field("reason"));
            Ok(Done { what, outcome, reason, file: field("file"), action: field("action") })
        };
        text.lines().map(one).collect()
    }
}

/// A program that is `name` of the packages, for somebody whose files are below `visible`: it sees no compiler, and `lre`.
pub fn program(name: &str, visible: &Path) -> Result<String> {
    let lre = binary::lre();
    let programs = lre.parent().context("a program is in a folder")?;
    let root = Packages::of_this_checkout("cmake").ready()?;
    let command = root.command(name, None, Path::new("@here@"), &[visible, programs]);
    let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
    let path = format!("PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let mut words = vec!["env".to_owned(), quoted(path.as_ref()), quoted(command.get_program())];
    words.extend(command.get_args().map(quoted));
    Ok(format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ").replace("'@here@'", "\"$PWD\"")))
}

/// How many of `done` are of this kind and ended so.
pub fn count(done: &[Done], what: &str, outcome: &str) -> usize {
    done.iter().filter(|one| one.what == what && one.outcome == outcome).count()
}

/// The digests of the compiles, by the name of the source.
pub fn compiles(done: &[Done]) -> Vec<(String, String)> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let compiles = done.iter().filter(|one| one.what == "compile");
    let mut all: Vec<_> = compiles.map(|one| (name(&one.file), one.action.clone())).collect();
    all.sort();
    all
}
