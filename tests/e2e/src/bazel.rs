//! Debian's Bazels in their jails, offline, and what they say about a build.
use crate::jail::Root;
use crate::packages::Packages;
use anyhow::{Context, Result, bail};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The Bazels that can be had as packages. Between them everything about external repositories has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 4.2.3 of Debian 12: repositories are named in `WORKSPACE`.
    V4,
    /// 7.7.1 of the release after 13: modules are named in `MODULE.bazel`.
    V7,
}

impl Version {
    /// The packages it comes in.
    pub fn packages(self) -> Packages {
        Packages::of_this_checkout(match self {
            Self::V4 => "bazel-4",
            Self::V7 => "bazel-7",
        })
    }

    /// The program in its root, and the Java that it runs on.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::V4 => ("/usr/bin/bazel-4", "/usr/lib/jvm/java-17-openjdk-amd64"),
            Self::V7 => ("/usr/bin/bazel", "/usr/lib/jvm/java-25-openjdk-amd64"),
        }
    }

    /// The folder in `stubs/` with what this Bazel would download before it builds anything, and the flag that gives
    /// it one of them. The stubs say as much as our projects need.
    fn stubs(self) -> (&'static str, &'static str) {
        match self {
            Self::V4 => ("repositories", "--override_repository"),
            // Debian's own /etc/bazel/bazelrc overrides the modules that Debian has; these are the others.
            Self::V7 => ("modules", "--override_module"),
        }
    }

    /// What its Java has to be told. Debian's 7 looks for the native part of zstd beside its own, where it is not.
    fn java_flags(self) -> &'static [&'static str] {
        match self {
            Self::V4 => &[],
            Self::V7 => &["--host_jvm_args=-DZstdNativePath=/usr/lib/x86_64-linux-gnu/libzstd-jni.so"],
        }
    }

    fn grpc_log(self) -> &'static str {
        match self {
            Self::V4 => "--experimental_remote_grpc_log",
            Self::V7 => "--remote_grpc_log",
        }
    }
}

/// Somebody who builds: a user with a home, an output base and a workspace.
pub struct Bazel {
    /// Which.
    pub version: Version,
    /// Where Bazel is.
    pub root: Root,
    /// Who runs it; `None` is whoever runs the test.
    pub user: Option<u32>,
    /// `$HOME`; the output base is in it.
    pub home: PathBuf,
    /// Where the WORKSPACE file is.
    pub workspace: PathBuf,
    /// Further environment.
    pub environment: Vec<(String, String)>,
    /// Whether Bazel's own server stays between two commands, as it does for users: what is measured then is no start of
    /// Java. Whoever sets it calls [`Bazel::shutdown`]; a server that nobody ended ends by itself when it has been idle.
    pub resident: bool,
    /// Further startup options, before the command.
    pub startup: Vec<String>,
}

/// After so many idle seconds a resident Bazel ends by itself.
const IDLE_SECONDS_MAX: u32 = 120;

/// What a build left behind.
#[derive(Debug, Default)]
pub struct Build {
    /// How many processes ran in which way, as Bazel counts them: `remote`, `remote cache hit`, `internal`, ...
    pub processes: BTreeMap<String, usize>,
    /// Hash of every action that Bazel asked a remote service about, with what it does and for which target; by the
    /// service's method.
    pub actions: BTreeMap<String, BTreeSet<String>>,
    /// How often Bazel called each method of a remote service, as its own log has it.
    pub calls: BTreeMap<String, usize>,
    /// The resource names of its ByteStream calls, likewise.
    pub resources: BTreeSet<String>,
    /// Everything that was printed.
    pub output: String,
}

impl Build {
    /// Processes other than Bazel's own that were not done in this way.
    pub fn other_than(&self, way: &str) -> BTreeMap<&str, usize> {
        let others = self.processes.iter().filter(|(name, _)| *name != way && *name != "internal");
        others.map(|(name, count)| (name.as_str(), *count)).collect()
    }

    /// How long Bazel says that it took: `INFO: Elapsed time: 1.234s, Critical Path: 0.98s`.
    pub fn elapsed(&self) -> Option<Duration> {
        let (_, after) = self.output.split_once("INFO: Elapsed time: ")?;
        let (seconds, _) = after.split_once('s')?;
        seconds.parse().ok().map(Duration::from_secs_f64)
    }

    /// How many were.
    pub fn count(&self, way: &str) -> usize {
        self.processes.get(way).copied().unwrap_or(0)
    }

    /// All actions that were looked up in the action cache or executed.
    pub fn digests(&self) -> BTreeSet<String> {
        self.actions.values().flatten().cloned().collect()
    }
}

impl Bazel {
    /// `bazel test //... ARGUMENTS`, which must succeed.
    pub fn test(&self, arguments: &[&str]) -> Result<Build> {
        self.logged("test", "//...", arguments)
    }

    /// `bazel COMMAND TARGET ARGUMENTS`, which must succeed; the error has everything that was printed.
    pub fn logged(&self, command: &str, target: &str, arguments: &[&str]) -> Result<Build> {
        let log = self.home.join("grpc.log");
        // Bazel appends.
        let _ = fs::remove_file(&log);
        let logged = format!("{}={}", self.version.grpc_log(), log.display());
        let mut build = self.targets(command, target, &[arguments, &[&logged]].concat())?;
        // Without a remote service there is no log.
        build.read(&fs::read(&log).unwrap_or_default())?;
        Ok(build)
    }

    /// `bazel COMMAND //... ARGUMENTS`, which must succeed. No calls are logged, so no actions are known afterwards.
    pub fn all_targets(&self, command: &str, arguments: &[&str]) -> Result<Build> {
        self.targets(command, "//...", arguments)
    }

    fn targets(&self, command: &str, target: &str, arguments: &[&str]) -> Result<Build> {
        let mut all = vec![command.to_owned(), target.to_owned()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        all.extend(self.offline()?);
        all.extend(["--color=no", "--curses=no", "--noshow_progress", "--verbose_failures"].map(str::to_owned));
        let output = self.run(&all)?;
        let processes = processes(&output).with_context(|| format!("no summary of processes in:\n{output}"))?;
        Ok(Build { processes, output, ..Build::default() })
    }

    /// `bazel shutdown`: the end of a [resident](Bazel::resident) Bazel.
    pub fn shutdown(&self) -> Result<()> {
        self.run(&["shutdown".to_owned()]).map(drop)
    }

    /// `bazel clean`.
    pub fn clean(&self) -> Result<()> {
        self.run(&["clean".to_owned()]).map(drop)
    }

    /// What the last build left in `bazel-bin`: the digest of each file that a compiler, archiver or linker wrote.
    pub fn outputs(&self) -> Result<BTreeMap<PathBuf, String>> {
        let bin = fs::canonicalize(self.workspace.join("bazel-bin"))?;
        let mut outputs = BTreeMap::new();
        collect(&bin, &bin, &mut outputs)?;
        Ok(outputs)
    }

    fn offline(&self) -> Result<Vec<String>> {
        let (folder, flag) = self.version.stubs();
        let folder = self.home.join("stubs").join(folder);
        let mut flags = Vec::new();
        for stub in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let stub = stub?;
            flags.push(format!("{flag}={}={}", stub.file_name().to_string_lossy(), stub.path().display()));
        }
        // In one order, so that nothing is analysed anew.
        flags.sort();
        Ok(flags)
    }

    fn run(&self, arguments: &[String]) -> Result<String> {
        let visible: [&Path; 2] = [&self.home, &self.workspace];
        let (program, java) = self.version.program();
        let mut command = self.root.command(program, self.user, &self.workspace, &visible);
        command.env("HOME", &self.home).env("USER", "somebody").envs(self.environment.iter().cloned());
        // In batch mode nothing stays behind when the test ends, however it ends.
        let life = if self.resident { format!("--max_idle_secs={IDLE_SECONDS_MAX}") } else { "--batch".to_owned() };
        command.args([life, format!("--server_javabase={java}")]).args(self.version.java_flags()).args(&self.startup);
        command.arg(format!("--output_user_root={}", self.home.join("bazel").display())).args(arguments);
        let output = command.output().context("unshare is needed")?;
        let said = crate::serve::said(&output);
        if !output.status.success() {
            bail!("bazel {} ended with {}:\n{said}", arguments[..arguments.len().min(4)].join(" "), output.status);
        }
        Ok(said)
    }
}

/// A program that is this Bazel, for somebody whose home is `home` (with stubs in it) and whose files are below
/// `visible`: what they type as `bazel`. It leaves nothing running.
pub fn program(version: Version, home: &Path, visible: &Path) -> Result<String> {
    let (folder, flag) = version.stubs();
    let (program, java) = version.program();
    let mut rc = format!("startup --batch --server_javabase={java}\n");
    rc += &format!("startup --output_user_root={}\n", home.join("bazel").display());
    if version == Version::V7 {
        // Else it looks for repositories of the age before modules, too.
        rc += "common --noenable_workspace\n";
    }
    for stub in fs::read_dir(home.join("stubs").join(folder))? {
        let stub = stub?;
        rc += &format!("common {flag}={}={}\n", stub.file_name().display(), stub.path().display());
    }
    fs::write(home.join(".bazelrc"), rc)?;
    let here = Path::new("@here@");
    let command = version.packages().ready()?.command(program, None, here, &[visible]);
    let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
    let mut words = vec!["env -i".to_owned(), format!("HOME={}", home.display()), "USER=somebody".to_owned()];
    for (name, value) in command.get_envs() {
        words.push(format!("{}={}", name.display(), quoted(value.unwrap_or_default())));
    }
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    Ok(format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ").replace("'@here@'", "\"$PWD\"")))
}

/// Puts the stub repositories into a home.
pub fn write_stubs(home: &Path) -> Result<()> {
    let stubs = Path::new(env!("CARGO_MANIFEST_DIR")).join("stubs");
    crate::projects::copy(&stubs, &home.join("stubs"))
}

fn collect(top: &Path, folder: &Path, outputs: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = path.symlink_metadata()?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        if kind.is_dir() && extension != "runfiles" {
            collect(top, &path, outputs)?;
        } else if kind.is_file() && ["", "a", "d", "jar", "o", "rlib", "so", "txt"].contains(&extension) {
            outputs.insert(path.strip_prefix(top)?.to_owned(), crate::packages::sha256_of(&path)?);
        }
    }
    Ok(())
}

/// `INFO: 85 processes: 38 internal, 40 remote, 7 remote cache hit.`
fn processes(output: &str) -> Option<BTreeMap<String, usize>> {
    let line = output.lines().find(|line| line.starts_with("INFO: ") && line.contains(" process"))?;
    let (_, list) = line.trim_end_matches('.').split_once(": ")?.1.split_once(": ")?;
    list.split(", ")
        .map(|one| one.split_once(' ').and_then(|(count, way)| Some((way.to_owned(), count.parse().ok()?))))
        .collect()
}

/// As much of Bazel's `remote_logging.LogEntry` as is asked for here.
#[derive(Clone, PartialEq, Message)]
struct LogEntry {
    #[prost(message, optional, tag = "1")]
    metadata: Option<RequestMetadata>,
    #[prost(string, tag = "3")]
    method_name: String,
    #[prost(message, optional, tag = "4")]
    details: Option<Details>,
}

/// As much of the API's `RequestMetadata`.
#[derive(Clone, PartialEq, Message)]
struct RequestMetadata {
    #[prost(string, tag = "2")]
    action_id: String,
    #[prost(string, tag = "5")]
    action_mnemonic: String,
    #[prost(string, tag = "6")]
    target_id: String,
}

/// As much of `remote_logging.RpcCallDetails`: the streams of bytes.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, optional, tag = "5")]
    read: Option<Read>,
    #[prost(message, optional, tag = "6")]
    write: Option<Write>,
}

#[derive(Clone, PartialEq, Message)]
struct Read {
    #[prost(message, optional, tag = "1")]
    request: Option<ReadRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct ReadRequest {
    #[prost(string, tag = "1")]
    resource_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(string, repeated, tag = "1")]
    resource_names: Vec<String>,
}

impl Build {
    /// Adds what a log of calls says. Only calls about an action make one known: an upload carries the action's name too.
    fn read(&mut self, mut log: &[u8]) -> Result<()> {
        while !log.is_empty() {
            let entry = LogEntry::decode_length_delimited(&mut log).context("Bazel's log of calls")?;
            let method = entry.method_name.rsplit('/').next().unwrap_or_default().to_owned();
            *self.calls.entry(method.clone()).or_default() += 1;
            let details = entry.details.unwrap_or_default();
            self.resources.extend(details.read.and_then(|read| read.request).map(|request| request.resource_name));
            self.resources.extend(details.write.map(|write| write.resource_names).unwrap_or_default());
            if let ("Execute" | "GetActionResult", Some(metadata)) = (method.as_str(), entry.metadata) {
                let RequestMetadata { action_id, action_mnemonic, target_id } = metadata;
                self.actions.entry(method).or_default().insert(format!("{action_id} {action_mnemonic} {target_id}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_what_bazel_says() {
        let output = "INFO: Elapsed time: 1.234s, Critical Path: 0.98s\nINFO: 1 process: 1 internal.\n".to_owned();
        let build = Build { output, ..Build::default() };
        assert_eq!(build.elapsed(), Some(Duration::from_millis(1234)));
    }

    #[test]
    fn a_summary_is_counted_by_way() {
        let counted = processes("Loading\nINFO: 85 processes: 38 internal, 47 remote cache hit.\n").unwrap();
        assert_eq!(counted, BTreeMap::from([("internal".to_owned(), 38), ("remote cache hit".to_owned(), 47)]));
        assert_eq!(processes("INFO: 1 process: 1 internal.").unwrap().len(), 1);
        assert!(processes("INFO: Elapsed time: 3 s").is_none());
    }
}
