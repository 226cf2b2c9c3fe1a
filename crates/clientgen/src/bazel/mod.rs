//! Files for Bazel: a module with the toolchain and the platform, and flags that use them.
//!
//! The flags keep the labels under which such modules are known:
//! `@local-remote-execution//generated-cc/config:platform` and `…:cc-toolchain` (TOOLCHAINS 5).
mod module;
mod rc;

use crate::Unsuitable;
use lre_toolchain::{CcFacts, LockFile, Locked};
use std::collections::BTreeMap;

pub use rc::{Address, local_rc};

/// The committed flags, in the workspace.
pub const RC: &str = "lre.bazelrc";
/// The flags of one user, in the workspace; never committed.
pub const LOCAL_RC: &str = "lre.local.bazelrc";
/// The folder of the module, in the workspace.
pub const MODULE: &str = "local-remote-execution";
/// The line that ends a project's `.bazelrc`.
pub const IMPORT_LINE: &str = "try-import %workspace%/lre.bazelrc";
/// What a project's `WORKSPACE` needs.
pub const WORKSPACE_LINES: &str =
    "local_repository(\n    name = \"local-remote-execution\",\n    path = \"local-remote-execution\",\n)\n";
/// What a project's `MODULE.bazel` needs.
pub const MODULE_LINES: &str = "bazel_dep(name = \"local-remote-execution\", version = \"0\")\n\
    local_path_override(\n    module_name = \"local-remote-execution\",\n    path = \"local-remote-execution\",\n)\n";

/// What the user may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which toolchain of the lock file; absent: the only one with a C compiler.
    pub toolchain: Option<String>,
    /// With `lre`, every flag is of `build:lre` and counts only with `--config=lre`; absent: always.
    pub prefix: Option<String>,
}

/// All files that belong into the workspace, by path, to be committed.
///
/// # Errors
/// See [`Unsuitable`].
pub fn files(lock: &LockFile, options: &Options) -> Result<BTreeMap<String, String>, Unsuitable> {
    let (locked, facts) = choose(lock, options.toolchain.as_deref())?;
    let command = command(options.prefix.as_deref())?;
    let mut files = module::files(locked, facts);
    files.insert(RC.to_owned(), rc::committed(locked, facts, &command));
    Ok(files)
}

fn choose<'a>(lock: &'a LockFile, name: Option<&str>) -> Result<(&'a Locked, &'a CcFacts), Unsuitable> {
    let mut suitable: Vec<_> = lock.toolchains().iter().filter_map(|t| Some((t, t.facts.cc.as_ref()?))).collect();
    if let Some(name) = name {
        suitable.retain(|(t, _)| t.name == name);
        return suitable.first().copied().ok_or_else(|| Unsuitable::NoSuch(name.to_owned()));
    }
    match &suitable[..] {
        [] => Err(Unsuitable::NoCompiler),
        [one] => Ok(*one),
        many => Err(Unsuitable::Several(many.iter().map(|(t, _)| t.name.clone()).collect())),
    }
}

/// `build`, or `build:PREFIX`. Flags of `build` count for `test`, `run` and the like as well.
fn command(prefix: Option<&str>) -> Result<String, Unsuitable> {
    match prefix {
        None => Ok("build".to_owned()),
        Some(prefix) if !prefix.is_empty() && prefix.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) => {
            Ok(format!("build:{prefix}"))
        }
        Some(prefix) => Err(Unsuitable::Prefix(prefix.to_owned())),
    }
}
