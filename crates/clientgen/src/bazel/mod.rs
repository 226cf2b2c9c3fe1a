//! Files for Bazel: a module with toolchains and platforms, and flags that use them.
//!
//! The flags keep the labels under which such modules are known:
//! `@local-remote-execution//generated-cc/config:platform` and `…:cc-toolchain` (TOOLCHAINS 5).
//!
//! # Versions of Bazel
//! One module serves a `WORKSPACE` file (4.2 to 6) and bzlmod (7 to 9). Debian's 4.2.3 and 7.7.1 run it in the
//! end-to-end tests; for 5, 6, 8 and 9 it follows their documentation and sources. What differs:
//! - From 9 on the rules of C++ are no longer built in. The package `generated-cc/cc` uses the built-in ones, and a
//!   repository that `MODULE.bazel` declares those of `rules_cc`; `generated-cc/config` asks the Bazel that loads it
//!   which are there, and the other is never loaded.
//! - Rules of Java come from `rules_java` for all, which every version brings along. Bazel 4 is told of the toolchain
//!   by flags of its own, in a configuration of their own (`--config=lre-bazel4`).
mod module;
mod rc;

use crate::Unsuitable;
use crate::choice::Choice;
use lre_toolchain::LockFile;
use std::collections::BTreeMap;

pub use crate::Options;
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

/// All files that belong into the workspace, by path, to be committed.
///
/// # Errors
/// See [`Unsuitable`].
pub fn files(lock: &LockFile, options: &Options) -> Result<BTreeMap<String, String>, Unsuitable> {
    let choice = Choice::new(lock, options)?;
    let command = command(options.prefix.as_deref())?;
    let mut files = module::files(&choice)?;
    files.insert(RC.to_owned(), rc::committed(&choice, &command));
    Ok(files)
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
