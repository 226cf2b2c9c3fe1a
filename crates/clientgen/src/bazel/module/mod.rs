//! The module `local-remote-execution`: one package for each language and each toolchain with a manifest.
//!
//! The folder lies in the project, and `//...` of a project with bzlmod goes into it: its packages are then loaded as
//! packages of the project as well. So `BUILD` files load by the module's full name, in whose context alone
//! `rules_java` and the like are visible, and no target is built by a pattern.
mod cc;
mod custom;
mod java;
mod platform;
mod rust;

use super::MODULE;
use crate::Unsuitable;
use crate::choice::{Choice, Role};
use crate::head::version;
use lre_toolchain::Locked;
use std::collections::BTreeMap;

pub(super) use java::compiles as compiles_java;

/// A path in the module, and what is there.
type File = (String, String);

/// Modules that the generated files load from, with the oldest version that has what they load: Bazel takes the
/// newest that anybody asks for, and no version of Bazel asks for an older one.
const PLATFORMS: &str = "bazel_dep(name = \"platforms\", version = \"0.0.10\")\n";
const RULES_CC: &str = "bazel_dep(name = \"rules_cc\", version = \"0.0.9\")\n";
const RULES_JAVA: &str = "bazel_dep(name = \"rules_java\", version = \"7.2.0\")\n";

/// All files of the module, by path in the workspace.
pub(super) fn files(choice: &Choice<'_>) -> Result<BTreeMap<String, String>, Unsuitable> {
    let mut files = root(choice);
    files.extend(cc::files(choice));
    if let Some(java) = &choice.java {
        files.extend(java::files(choice, java));
    }
    if let Some(rust) = &choice.rust {
        files.extend(rust::files(choice, rust)?);
    }
    files.extend(choice.custom.iter().flat_map(|custom| custom::files(choice, custom)));
    Ok(files.into_iter().map(|(path, content)| (format!("{MODULE}/{path}"), content)).collect())
}

/// What makes the folder a repository, in the old way and in the new one.
fn root(choice: &Choice<'_>) -> Vec<File> {
    let head = head(choice.toolchains());
    let cc = choice.cc.as_ref().map_or("", |_| RULES_CC);
    let java = choice.java.as_ref().map_or("", |_| RULES_JAVA);
    let loaded = choice.cc.as_ref().map_or("", |_| cc::MODULE_LINES);
    let module = format!("module(name = \"{MODULE}\", version = \"0\")\n\n{PLATFORMS}{cc}{java}{loaded}");
    vec![
        ("BUILD".to_owned(), format!("{head}# The packages are below.\n")),
        ("WORKSPACE".to_owned(), format!("{head}workspace(name = \"{MODULE}\")\n")),
        ("MODULE.bazel".to_owned(), format!("{head}{module}")),
    ]
}

/// Says what a file was made from.
fn head<'a>(toolchains: impl IntoIterator<Item = &'a Locked>) -> String {
    let each = toolchains.into_iter().map(|locked| {
        format!(
            "# Generated from lre.lock: toolchain `{}`, {},\n# {}. Do not edit.\n",
            locked.name,
            version(locked),
            locked.digest
        )
    });
    each.collect()
}

/// The head of a file that is about one role.
fn head_of<F>(role: &Role<'_, F>) -> String {
    head([role.locked])
}

/// A file of ours that is the same for every toolchain.
fn fixed(path: impl Into<String>, content: &str) -> File {
    (path.into(), content.to_owned())
}

/// A `BUILD` file: the head, loads, visibility, then the targets.
fn build(head: &str, loads: &[&str], targets: &[String]) -> String {
    let loads: String = loads.iter().map(|load| format!("{load}\n")).collect();
    let gap = if loads.is_empty() { "" } else { "\n" };
    format!("{head}{loads}{gap}package(default_visibility = [\"//visibility:public\"])\n\n{}", targets.join("\n"))
}
