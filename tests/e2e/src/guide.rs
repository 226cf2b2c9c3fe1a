//! The guides, followed word for word.
//!
//! What a page shows as `sh` is what its reader types, so it is what runs here: all blocks of the page, one after the
//! other, in one shell that stops at the first mistake.
use crate::bazel::{self, Version};
use crate::serve::{Home, said};
use crate::{binary, packages};
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The recipe that the guides use.
const RECIPE: &str = "deb:cc-debian12";

/// Everything that the reader of `docs/guide/PAGE` types.
///
/// # Errors
/// There is no such page, or nothing is typed in it.
pub fn script(page: &str) -> Result<String> {
    let path = binary::workspace().join("docs/guide").join(page);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let blocks = blocks(&text);
    if blocks.is_empty() { bail!("{page} has no commands") } else { Ok(blocks.concat()) }
}

fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in page.lines() {
        match (&mut block, line) {
            (None, "```sh") => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// Somebody who reads a page.
pub struct Reader {
    /// Theirs.
    pub home: Home,
}

impl Reader {
    /// With a home and nothing else.
    pub fn new() -> Result<Self> {
        let reader = Self { home: Home::new()? };
        fs::create_dir(reader.programs())?;
        std::os::unix::fs::symlink(binary::lre(), reader.programs().join("lre"))?;
        reader.lay_out_packages()?;
        Ok(reader)
    }

    /// A program that the page takes for granted.
    pub fn has(&self, name: &str, script: &str) -> Result<()> {
        let path = self.programs().join(name);
        fs::write(&path, script)?;
        fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(Into::into)
    }

    /// Debian's Bazel, which runs in its jail and without a network.
    pub fn has_bazel(&self, version: Version) -> Result<()> {
        let home = self.home.path().join("bazel-home");
        fs::create_dir(&home)?;
        bazel::write_stubs(&home)?;
        self.has("bazel", &bazel::program(version, &home, self.home.path())?)
    }

    /// Types it all; what was said.
    ///
    /// # Errors
    /// A command of the page fails.
    pub fn follow(&self, page: &str) -> Result<String> {
        // A server in the background outlives the shell, so the shell ends it.
        let script = format!("set -euo pipefail\ntrap 'lre down >/dev/null 2>&1' EXIT\n{}", self.had(script(page)?)?);
        let mut command = Command::new("bash");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.programs().display());
        command.env_clear().env("PATH", path).env("HOME", self.home.path().join("home")).arg("-c").arg(&script);
        command.env("XDG_RUNTIME_DIR", self.home.path().join("run"));
        command.env("LRE_STORE", self.home.store()).env("LRE_SOCKET", self.home.socket());
        // The usual port may be somebody's.
        command.env("LRE_LISTEN", "127.0.0.1:0").current_dir(self.home.work());
        let output = command.output().context("bash is needed")?;
        if !output.status.success() {
            bail!("{page}: {}\n{}", output.status, said(&output));
        }
        Ok(said(&output))
    }

    /// The script with what can be had.
    ///
    /// Mirrors drop old versions, so a recipe that comes with the program cannot be fetched for ever. Where it is gone its
    /// packages of today stand in, said loudly: a guide is about what one types. With `LRE_PACKAGES_LOCKED=1` it is an error.
    fn had(&self, script: String) -> Result<String> {
        if !script.contains(RECIPE) || self.has_packages()? {
            return Ok(script);
        }
        let output = self.home.lre(&["toolchain", "add", "tried", "--from", RECIPE]).output()?;
        if output.status.success() {
            return Ok(script);
        }
        let said = said(&output);
        if std::env::var_os("LRE_PACKAGES_LOCKED").is_some() || !said.contains("archives drop old versions") {
            bail!("{RECIPE}: {said}");
        }
        eprintln!("WARNING: {said}\nhint: cargo run -p lre-toolchain --example deb_lock; commit the lock files");
        Ok(script.replace(RECIPE, "deb:gcc,g++,binutils,make"))
    }

    /// Whether all packages of [`RECIPE`] are laid out already.
    fn has_packages(&self) -> Result<bool> {
        let lock = fs::read_to_string(binary::workspace().join("crates/toolchain/locks/cc-debian12.lock"))?;
        let folder = self.home.store().join("toolchains/incoming/packages");
        let mut pinned = lock.lines().filter_map(|line| line.split(' ').next()).filter(|word| word.len() == 64);
        Ok(pinned.all(|sha256| folder.join(format!("{sha256}.deb")).exists()))
    }

    fn programs(&self) -> PathBuf {
        self.home.path().join("programs")
    }

    /// Packages that some test has fetched need not be fetched again.
    fn lay_out_packages(&self) -> Result<()> {
        let (from, to) =
            (packages::cache_directory().join("packages"), self.home.store().join("toolchains/incoming/packages"));
        fs::create_dir_all(&to)?;
        for pinned in fs::read_dir(binary::workspace().join("crates/toolchain/locks"))? {
            for line in fs::read_to_string(pinned?.path())?.lines() {
                let name = format!("{}.deb", line.split(' ').next().unwrap_or_default());
                link(&from.join(&name), &to.join(&name));
            }
        }
        Ok(())
    }
}

/// One more name of a file, or a copy; nothing where there is none.
fn link(from: &Path, to: &Path) {
    if from.exists() && !to.exists() && fs::hard_link(from, to).is_err() {
        let _ = fs::copy(from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_marked() {
        let page = "text\n```sh\na\nb\n```\n```\noutput\n```\n```sh\nc\n```\n";
        assert_eq!(blocks(page), ["a\nb\n", "c\n"]);
    }
}
