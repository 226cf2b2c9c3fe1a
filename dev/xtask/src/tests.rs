//! Which tests run, in which order, with what.
use crate::cargo;
use anyhow::{Context, Result};

/// A test that cannot run here must not look as if it had passed.
const MUST_WORK: (&str, &str) = ("LRE_KERNEL_MUST_WORK", "1");

/// Everything. The binary first (the end-to-end tests use it), then one `cargo test` over the workspace. Run by root,
/// the kernel and end-to-end tests also do as an ordinary user what they do as root.
pub fn all() -> Result<()> {
    let binary = build_binary()?;
    lre_e2e::packages::Packages::of_this_checkout().ready()?;
    cargo::run("tests", &["test", "--workspace", "--no-fail-fast"], &[MUST_WORK, ("LRE_BIN", &binary)])
}

/// The end-to-end tests alone.
pub fn e2e(filter: Option<&str>) -> Result<()> {
    let binary = build_binary()?;
    lre_e2e::packages::Packages::of_this_checkout().ready()?;
    let mut arguments = vec!["test", "--package", "lre-e2e"];
    arguments.extend(filter);
    arguments.extend(["--", "--nocapture"]);
    cargo::run("end to end", &arguments, &[MUST_WORK, ("LRE_BIN", &binary)])
}

/// Tests named `golden…` compare what is generated with what is committed.
pub fn golden(update: bool) -> Result<()> {
    let environment: &[(&str, &str)] = if update { &[("UPDATE", "1")] } else { &[] };
    cargo::run("golden", &["test", "--workspace", "--exclude", "lre-e2e", "golden"], environment)
}

/// Builds `lre` together with everything that `cargo test` will want (a build of its own would unite other features
/// and compile half of the dependencies twice), and returns its path.
fn build_binary() -> Result<String> {
    cargo::run("build", &["build", "--workspace", "--all-targets"], &[])?;
    let path = cargo::target_directory()?.join("debug/lre");
    path.into_os_string().into_string().ok().context("the path of the target directory is not UTF-8")
}
