//! Running cargo, and asking it.
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate is two directories below the workspace").to_path_buf()
}

/// `cargo`, the one that runs us, in the root of the workspace.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(arguments);
    command
}

/// Runs cargo, its output shown. Prints the command before and the time after.
pub fn run(what: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut command = command(arguments);
    command.envs(environment.iter().copied());
    let shown: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    eprintln!("==> {what}: {}cargo {}", shown.concat(), arguments.join(" "));
    let start = Instant::now();
    let status = command.status().context("cargo cannot be run")?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    eprintln!("==> {what}: {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// As much of `cargo metadata` as is asked for here.
#[derive(Deserialize)]
pub struct Metadata {
    pub target_directory: PathBuf,
    pub packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub dependencies: Vec<Dependency>,
}

/// What a package depends on.
#[derive(Deserialize)]
pub struct Dependency {
    pub name: String,
    /// `null`, `"build"` or `"dev"`.
    pub kind: Option<String>,
}

/// The packages of this workspace, without what they get from elsewhere.
pub fn metadata() -> Result<Metadata> {
    let output = command(&["metadata", "--format-version=1", "--no-deps", "--offline"]).output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Where cargo builds. It may stand elsewhere than in the workspace (`CARGO_TARGET_DIR`).
pub fn target_directory() -> Result<PathBuf> {
    Ok(metadata()?.target_directory)
}
