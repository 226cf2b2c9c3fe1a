//! Bazel: its version, how it can reach us, and settings of the workspace that work against ours.
use super::Finding;
use crate::commands::Context;
use crate::paths::workspace;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long `bazel --version` may take. Bazelisk would download a Bazel first.
const VERSION_TIME_MAX: Duration = Duration::from_secs(5);

/// Flags in an rc file that take an action away from us, or change its digest from machine to machine.
const CONFLICTS: &[(&str, &str)] = &[
    ("--remote_executor", "actions go to that server"),
    ("--remote_cache", "results come from that cache"),
    ("--disk_cache", "results come from this disk before we are asked"),
    ("--spawn_strategy", "actions may run outside our sandbox"),
    ("--strategy", "actions may run outside our sandbox"),
    ("--genrule_strategy", "actions may run outside our sandbox"),
    ("--dynamic_mode", "links differ from what others build"),
    ("--noincompatible_strict_action_env", "the PATH of this shell enters every action"),
    ("--incompatible_strict_action_env=false", "the PATH of this shell enters every action"),
    ("--incompatible_strict_action_env=0", "the PATH of this shell enters every action"),
    ("--action_env=PATH", "the PATH of this shell enters every action"),
    ("--action_env=HOME", "the home of this user enters every action"),
    ("--crosstool_top", "another toolchain is used"),
    ("--extra_toolchains", "another toolchain may be used"),
    ("--host_platform", "actions may be made for another platform"),
    ("--remote_default_exec_properties", "the platform of every action changes"),
    ("--remote_instance_name", "results are looked for under another name"),
];

/// Everything about Bazel.
pub fn look(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(program(std::env::var_os("PATH").as_deref()).map(|path| transport(context, &path)));
    let here = std::env::current_dir().unwrap_or_default();
    if let Some(workspace) = workspace(&here) {
        let name = context.config.bazel_prefix.as_deref();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        for file in [Some(workspace.join(".bazelrc")), home.map(|home| home.join(".bazelrc"))].into_iter().flatten() {
            findings
                .extend(fs::read_to_string(&file).map_or_else(|_| Vec::new(), |text| conflicts(&file, &text, name)));
        }
        findings.extend(import(&workspace));
    }
    findings
}

/// The user's Bazel, where there is one.
#[must_use]
pub fn program(path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let names = ["bazel", "bazelisk"];
    let directories: Vec<_> = std::env::split_paths(path?).collect();
    let candidates = names.iter().flat_map(|name| directories.iter().map(move |d| d.join(name)));
    candidates.into_iter().find(|candidate| rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok())
}

fn transport(context: &Context, path: &Path) -> Finding {
    let name = version(path).unwrap_or_else(|| path.display().to_string());
    match context.config.listen {
        // Debian's 4.2.3 has no Unix transport at all, others only where their native library loads.
        Some(address) => Finding::ok("bazel", format!("{name}: reaches us over TCP, {address}")),
        None => Finding::fail(
            "bazel",
            format!("{name} cannot be relied upon to speak to a Unix socket, and `listen` is none"),
            "lre config show, then remove `listen: \"none\"`",
        ),
    }
}

/// What `bazel --version` says: `bazel 4.2.3`. It starts no server.
fn version(path: &Path) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let deadline = Instant::now() + VERSION_TIME_MAX;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}

/// Lines of an rc file that hold for our builds and work against them.
fn conflicts(file: &Path, text: &str, config: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(command) = words.next().filter(|command| applies(command, config)) else { continue };
        for word in words {
            let hit = CONFLICTS
                .iter()
                .find(|(flag, _)| word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')));
            // `--disk_cache=` switches it off, which is what we want.
            let Some((flag, effect)) = hit.filter(|(flag, _)| word != format!("{flag}=")) else { continue };
            let place = format!("{}:{}", file.display(), number + 1);
            let mut fix = format!("move it behind a configuration of its own: {command}:NAME {word}");
            let _ = write!(fix, "\nor see what it does: bazel {command} --announce_rc");
            findings.push(Finding::warn("bazelrc", format!("{place}: `{flag}`: {effect}"), fix));
        }
    }
    findings
}

/// Whether lines of this command hold for `bazel build --config=NAME` and `bazel test`.
fn applies(command: &str, config: Option<&str>) -> bool {
    let (command, of) = command.split_once(':').map_or((command, None), |(command, of)| (command, Some(of)));
    ["build", "test", "run", "common", "always"].contains(&command) && (of.is_none() || of == config)
}

/// Whether what `lre init` wrote is used.
fn import(workspace: &Path) -> Option<Finding> {
    if !workspace.join("lre.bazelrc").exists() {
        return None;
    }
    let rc = fs::read_to_string(workspace.join(".bazelrc")).unwrap_or_default();
    let used = rc.lines().any(|line| line.contains("import") && line.trim_end().ends_with("lre.bazelrc"));
    match used {
        true => Some(Finding::ok("bazelrc", "imports lre.bazelrc")),
        false => Some(Finding::warn(
            "bazelrc",
            "nothing imports lre.bazelrc",
            "echo 'try-import %workspace%/lre.bazelrc' >> .bazelrc",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn found(text: &str) -> Vec<String> {
        conflicts(Path::new(".bazelrc"), text, Some("lre")).into_iter().map(|f| f.detail).collect()
    }

    #[test]
    fn lines_that_work_against_us_are_named() {
        let text = "# build --disk_cache=/x\nbuild --jobs=8 --remote_cache=grpc://c\nbuild:ci --remote_executor=e\n\
                    build:lre --spawn_strategy=local\nbuild --disk_cache=\ntest --strategy=TestRunner=local # why\n\
                    build --strategy_regexp=x\n";
        assert_eq!(
            found(text),
            [
                ".bazelrc:2: `--remote_cache`: results come from that cache",
                ".bazelrc:4: `--spawn_strategy`: actions may run outside our sandbox",
                ".bazelrc:6: `--strategy`: actions may run outside our sandbox",
            ]
        );
    }

    #[test]
    fn an_import_is_wanted_once_there_is_something_to_import() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(import(dir.path()), None);
        fs::write(dir.path().join("lre.bazelrc"), "").unwrap();
        assert!(import(dir.path()).unwrap().fix.is_some());
        fs::write(dir.path().join(".bazelrc"), "try-import %workspace%/lre.bazelrc\n").unwrap();
        assert_eq!(import(dir.path()).unwrap().fix, None);
    }

    #[test]
    fn bazel_is_asked_for_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let bazel = dir.path().join("bazel");
        fs::write(&bazel, "#!/bin/sh\necho bazel 4.2.3\n").unwrap();
        assert_eq!(program(Some(dir.path().as_os_str())), None, "not executable");
        fs::set_permissions(&bazel, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(program(Some(dir.path().as_os_str())), Some(bazel.clone()));
        assert_eq!(version(&bazel).as_deref(), Some("bazel 4.2.3"));
        assert_eq!(version(&dir.path().join("gone")), None);
    }
}
