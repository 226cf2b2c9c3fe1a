//! Many packages into one folder that can be the root of a file system.
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What maintainer scripts would have written, as far as anything that we run reads it.
const FILES: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];
/// The same, for links: made where there is what they lead to, a neighbour.
const LINKS: &[(&str, &str)] =
    &[("usr/bin/awk", "mawk"), ("usr/bin/c++", "g++"), ("usr/bin/cc", "gcc"), ("usr/bin/sh", "dash")];
/// What every Debian since 12 has at the top, though packages of 12 still have files below `/bin` and `/lib`. So a path
/// holds here that was written down where the root is merged.
const MERGED: &[&str] = &["bin", "lib", "lib64", "sbin"];
/// Names how roots are laid out, since those in the cache outlive a change of this file.
pub const LAYOUT: &str = "merged";

/// Unpacks `packages` into `root`, which appears whole or not at all.
pub fn into(packages: &[PathBuf], root: &Path) -> Result<()> {
    let parent = root.parent().context("a root has a parent")?;
    fs::create_dir_all(parent)?;
    let unfinished = tempfile::Builder::new().prefix("unpacking-").tempdir_in(parent)?;
    for name in MERGED {
        fs::create_dir_all(unfinished.path().join("usr").join(name))?;
        symlink(format!("usr/{name}"), unfinished.path().join(name))?;
    }
    for package in packages {
        unpack(package, unfinished.path())?;
    }
    for (name, content) in FILES {
        let path = unfinished.path().join(name);
        fs::create_dir_all(path.parent().context("a file has a parent")?)?;
        fs::write(path, content)?;
    }
    fs::create_dir_all(unfinished.path().join(crate::jail::NEW_ROOT))?;
    for (name, target) in LINKS {
        let path = unfinished.path().join(name);
        if path.symlink_metadata().is_err() && path.with_file_name(target).exists() {
            symlink(target, path)?;
        }
    }
    // Whoever runs the tests as another user must be able to look in.
    fs::set_permissions(unfinished.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(unfinished.keep(), root)?;
    Ok(())
}

/// One package. Not `dpkg-deb -x`, which replaces a link to a folder by a folder.
fn unpack(package: &Path, root: &Path) -> Result<()> {
    let mut archive = Command::new("dpkg-deb");
    archive.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
    let mut archive = archive.spawn().context("dpkg-deb is needed")?;
    let stream = archive.stdout.take().context("stdout is piped")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "-p", "--no-same-owner", "--keep-directory-symlink", "--warning=no-timestamp", "-C"]);
    let output = tar.arg(root).stdin(stream).output().context("tar is needed")?;
    if !(archive.wait()?.success() && output.status.success()) {
        bail!("{} cannot be unpacked: {}", package.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
