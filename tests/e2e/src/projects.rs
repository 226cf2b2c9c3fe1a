//! The projects that are built.
use crate::binary;
use crate::jail::Root;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

/// The example of this repository, as a user would have checked it out.
pub fn inkwell(into: &Path) -> Result<()> {
    copy(&binary::workspace().join("examples/inkwell"), into)
}

/// The example in three languages.
pub fn trilogue(into: &Path) -> Result<()> {
    copy(&binary::workspace().join("examples/trilogue"), into)
}

/// GoogleTest's sources as Debian ships them, with a BUILD file of ours.
pub fn googletest(root: &Root, into: &Path) -> Result<()> {
    copy(&root.path().join("usr/src/googletest/googletest"), into)?;
    // Theirs would make packages of the folders that our BUILD file reaches into.
    for theirs in ["test/BUILD.bazel", "BUILD.bazel"] {
        let _ = fs::remove_file(into.join(theirs));
    }
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("projects/googletest"), into)
}

/// Adds to `MODULE.bazel` what `lre init` prints.
pub fn use_module(workspace: &Path) -> Result<()> {
    let file = workspace.join("MODULE.bazel");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    if !text.contains("local-remote-execution") {
        fs::write(&file, text + MODULE_LINES)?;
    }
    Ok(())
}

const MODULE_LINES: &str = r#"
bazel_dep(name = "local-remote-execution", version = "0")
local_path_override(
    module_name = "local-remote-execution",
    path = "local-remote-execution",
)
"#;

/// Copies a directory into another that may exist. Files that git would not have checked out stay behind.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target).with_context(|| source.display().to_string())?;
        } else if !name.to_string_lossy().starts_with("bazel-") {
            symlink(fs::read_link(&source)?, &target)?;
        }
    }
    Ok(())
}

/// Copies a workspace as another checkout of it has it: its sources and those of `committed` that are there.
///
/// What `lre init` wrote for this machine alone (`lre.local.bazelrc`) and Bazel's links stay behind.
pub fn copy_checkout(from: &Path, to: &Path, committed: &[&str]) -> Result<()> {
    copy(from, to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("lre.") && !committed.contains(&name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in committed {
        anyhow::ensure!(to.join(name).exists(), "{name} is not there, though it is for everybody");
    }
    Ok(())
}

/// Gives a directory and everything in it to another user.
pub fn give_to(user: u32, path: &Path) -> Result<()> {
    chown(path, Some(user), Some(user))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_symlink() {
                std::os::unix::fs::lchown(entry.path(), Some(user), Some(user))?;
            } else {
                give_to(user, &entry.path())?;
            }
        }
    }
    Ok(())
}
