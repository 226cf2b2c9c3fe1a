//! A toolchain that a manifest describes: its tools by name, for rules of the project.
use super::platform;
use super::{File, build, head_of};
use crate::choice::{Choice, Role};
use crate::starlark::{call, dict, list, text};
use lre_toolchain::CustomFacts;

/// What a project loads; `PACKAGE` and `TOOLS` are filled in.
const TOOLCHAIN: &str = include_str!("../static/custom.bzl");

/// The package `generated-<name>` and its `config`.
pub(super) fn files<'a>(choice: &Choice<'a>, role: &Role<'a, CustomFacts>) -> Vec<File> {
    let package = format!("generated-{}", role.name);
    let head = head_of(role);
    let facts = role.facts;
    let pairs = |(name, value): (&'static str, &std::collections::BTreeMap<String, String>)| {
        (name, dict(value.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
    };
    let description = call(
        "toolchain_description",
        [
            ("name", text("toolchain")),
            pairs(("environment", &facts.environment)),
            ("tags", list(&["manual"])),
            pairs(("tools", &facts.tools)),
            ("version", text(&facts.version)),
        ],
    );
    let names: String = facts.tools.keys().map(|name| format!("    {name}\n")).collect();
    let bzl = TOOLCHAIN.replace("PACKAGE", &package).replace("    TOOLS\n", &names);
    let targets = [call("toolchain_type", [("name", text("toolchain_type"))]), description];
    let load = format!("load(\"@local-remote-execution//{package}:toolchain.bzl\", \"toolchain_description\")");
    vec![
        (format!("{package}/toolchain.bzl"), format!("{head}{bzl}")),
        (format!("{package}/BUILD"), build(&head, &[&load], &targets)),
        (format!("{package}/config/BUILD"), build(&head, &[], &config(choice, role, &package))),
    ]
}

fn config<'a>(choice: &Choice<'a>, role: &Role<'a, CustomFacts>, package: &str) -> Vec<String> {
    let toolchain = call(
        "toolchain",
        [
            ("name", text("toolchain")),
            ("exec_compatible_with", list(&platform::where_it_runs(choice, role))),
            ("tags", list(&["manual"])),
            ("toolchain", text(&format!("//{package}:toolchain"))),
            ("toolchain_type", text(&format!("//{package}:toolchain_type"))),
        ],
    );
    vec![platform::of_role(choice, role), toolchain]
}
