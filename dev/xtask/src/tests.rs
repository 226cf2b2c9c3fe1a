//! Which tests run, in which order, with what.
use crate::cargo;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// A test that cannot run here must not look as if it had passed.
const MUST_WORK: (&str, &str) = ("LRE_KERNEL_MUST_WORK", "1");
/// The user and group `nobody`: an ordinary user that every Debian has.
const ORDINARY: u32 = 65534;

/// Everything. The binary first (the end-to-end tests use it), then one `cargo test` over the workspace,
/// then the kernel tests once more as the other kind of user.
pub fn all() -> Result<()> {
    let binary = build_binary()?;
    lre_e2e::packages::Packages::of_this_checkout().ready()?;
    cargo::run("tests", &["test", "--workspace"], &[MUST_WORK, ("LRE_BIN", &binary)])?;
    kernel_as_ordinary_user()
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

/// Builds `lre` as `cargo test` would, and returns its path.
fn build_binary() -> Result<String> {
    cargo::run("build", &["build", "--package", "lre"], &[])?;
    let path = cargo::target_directory()?.join("debug/lre");
    path.into_os_string().into_string().ok().context("the path of the target directory is not UTF-8")
}

/// The kernel tests have run as whoever called. Root has privileges that hide mistakes, so root runs them again as
/// an ordinary user.
fn kernel_as_ordinary_user() -> Result<()> {
    if !lre_e2e::jail::is_root() {
        eprintln!("==> kernel tests: have run as an ordinary user; as root they run as root as well");
        return Ok(());
    }
    for program in cargo::test_programs("lre-kernel")? {
        let place = tempfile::Builder::new().prefix("lre-kernel-").tempdir_in("/tmp")?;
        chown(place.path(), Some(ORDINARY), Some(ORDINARY))?;
        eprintln!("==> kernel tests as user {ORDINARY}: {}", program.display());
        let status = as_ordinary_user(&program, place.path())?.status()?;
        if !status.success() {
            bail!("the kernel tests fail for an ordinary user ({status})");
        }
    }
    Ok(())
}

/// Makes `$2`, the directory of the build, reachable, then becomes user `$1` and runs the rest.
///
/// A checkout in root's home cannot be entered by anybody else. In a mount namespace of its own the nearest closed
/// directory above (`$3`, if there is one) gets an open one in its place, with the build where it was.
const OPEN: &str = r#"
user=$1 build=$2 closed=$3; shift 3
if [ -n "$closed" ]; then
  kept=$(mktemp -d)
  mount --bind "$build" "$kept"
  mount -t tmpfs -o mode=0755 none "$closed"
  mkdir -p "$build"
  mount --move "$kept" "$build"
  rmdir "$kept"
fi
exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
"#;

fn as_ordinary_user(program: &Path, home: &Path) -> Result<Command> {
    let build = cargo::target_directory()?;
    let open = |directory: &Path| fs::metadata(directory).is_ok_and(|it| it.permissions().mode() & 0o001 != 0);
    let mut above: Vec<&Path> = build.ancestors().collect();
    above.reverse();
    let closed = above.into_iter().find(|directory| !open(directory)).unwrap_or(Path::new(""));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "/bin/sh", "-ec", OPEN, "open"]).arg(ORDINARY.to_string());
    command.arg(&build).arg(closed).arg(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home).env("TMPDIR", home);
    command.current_dir(home).env(MUST_WORK.0, MUST_WORK.1);
    Ok(command)
}
