//! Which tests run, in which order, with what.
use crate::cargo;
use anyhow::{Context, Result, ensure};
use lre_e2e::packages::Packages;
use std::path::PathBuf;
use std::process::Command;

/// A test that cannot run here must not look as if it had passed.
const MUST_WORK: (&str, &str) = ("LRE_KERNEL_MUST_WORK", "1");

/// Everything. The binary first (the end-to-end tests use it), then one `cargo test` over the workspace. Run by root,
/// the kernel and end-to-end tests also do as an ordinary user what they do as root.
pub fn all() -> Result<()> {
    let binary = build_binary()?;
    cargo::run("tests", &["test", "--workspace", "--no-fail-fast"], &[MUST_WORK, ("LRE_BIN", &binary)])
}

/// The end-to-end tests alone.
pub fn e2e(filter: Option<&str>) -> Result<()> {
    let binary = build_binary()?;
    let mut arguments = vec!["test", "--package", "lre-e2e"];
    arguments.extend(filter);
    arguments.extend(["--", "--nocapture"]);
    cargo::run("end to end", &arguments, &[MUST_WORK, ("LRE_BIN", &binary)])
}

/// The tests that compare with committed files, each with what is compared. With `UPDATE=1` they rewrite instead.
///
/// Data of old versions (tests/compat) is not among them: it is what it is and is never rewritten.
const GOLDEN: &[(&str, &[&str])] = &[
    ("descriptors of the wire", &["test", "--package", "lre-proto", "--test", "descriptors"]),
    ("files for build clients", &["test", "--package", "lre-clientgen", "--test", "golden"]),
    ("docs/reference/protocol.md", &["test", "--package", "xtask", "protocol"]),
    ("docs/reference", &["test", "--package", "lre", "--lib", "reference"]),
];

/// Runs them; with `update` what has changed is shown by git afterwards.
pub fn golden(update: bool) -> Result<()> {
    let environment: &[(&str, &str)] = if update { &[("UPDATE", "1")] } else { &[] };
    for (what, arguments) in GOLDEN {
        cargo::run(what, arguments, environment)?;
    }
    Ok(())
}

/// The benchmarks, optimised, against the optimised `lre`. They compare with bubblewrap: that of `LRE_BWRAP`, else the
/// pinned package's.
pub fn bench(scenario: Option<&str>, row: Option<&str>) -> Result<()> {
    // Both at once: by itself each would be built with other features.
    cargo::run("build", &["build", "--release", "--package", "lre", "--package", "lre-bench"], &[])?;
    let path = |path: PathBuf| path.into_os_string().into_string().ok().context("a path that is not UTF-8");
    let release = cargo::target_directory()?.join("release");
    let lre = path(release.join("lre"))?;
    let bwrap = match std::env::var("LRE_BWRAP") {
        Ok(chosen) => chosen,
        Err(_) => path(Packages::of_this_checkout("bazel-4").ready()?.path().join("usr/bin/bwrap"))?,
    };
    let mut command = Command::new(release.join("lre-bench"));
    command.args(scenario).args(row).env("LRE_BIN", lre).env("LRE_BWRAP", bwrap);
    eprintln!("==> bench: {command:?}");
    let status = command.status().context("lre-bench")?;
    ensure!(status.success(), "bench failed: {status}");
    Ok(())
}

/// Builds `lre` together with everything that `cargo test` will want (a build of its own would unite other features
/// and compile half of the dependencies twice), and returns its path.
fn build_binary() -> Result<String> {
    cargo::run("build", &["build", "--workspace", "--all-targets"], &[])?;
    let path = cargo::target_directory()?.join("debug/lre");
    path.into_os_string().into_string().ok().context("the path of the target directory is not UTF-8")
}
