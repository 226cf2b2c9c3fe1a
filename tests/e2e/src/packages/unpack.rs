//! Many packages into one folder that can be the root of a file system.
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What maintainer scripts would have written, as far as anything that we run reads it.
const FILES: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];
/// The same, for links.
const LINKS: &[(&str, &str)] = &[("bin/sh", "dash")];

/// Unpacks `packages` into `root`, which appears whole or not at all.
pub fn into(packages: &[PathBuf], root: &Path) -> Result<()> {
    let parent = root.parent().context("a root has a parent")?;
    fs::create_dir_all(parent)?;
    let unfinished = tempfile::Builder::new().prefix("unpacking-").tempdir_in(parent)?;
    for package in packages {
        let output = Command::new("dpkg-deb").arg("-x").arg(package).arg(unfinished.path()).output();
        let output = output.context("dpkg-deb is needed")?;
        if !output.status.success() {
            bail!("{} cannot be unpacked: {}", package.display(), String::from_utf8_lossy(&output.stderr));
        }
    }
    for (name, content) in FILES {
        let path = unfinished.path().join(name);
        fs::create_dir_all(path.parent().context("a file has a parent")?)?;
        fs::write(path, content)?;
    }
    fs::create_dir_all(unfinished.path().join(crate::jail::NEW_ROOT))?;
    for (name, target) in LINKS {
        let path = unfinished.path().join(name);
        if path.symlink_metadata().is_err() {
            symlink(target, path)?;
        }
    }
    // Whoever runs the tests as another user must be able to look in.
    fs::set_permissions(unfinished.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(unfinished.keep(), root)?;
    Ok(())
}
