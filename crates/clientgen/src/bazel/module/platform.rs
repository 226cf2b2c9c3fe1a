//! Platforms: where actions run, by the properties that the server reads.
use crate::choice::{Choice, Role};
use crate::starlark::{call, dict, list, text};
use lre_toolchain::Locked;

/// Constraint values for Bazel's toolchain resolution, below `@platforms//`.
pub(super) fn constraints(triple: Option<&str>) -> Vec<String> {
    let cpu = triple.map(|triple| format!("@platforms//cpu:{}", cpu(triple).constraint));
    cpu.into_iter().chain(["@platforms//os:linux".to_owned()]).collect()
}

/// The same with the constraint value of a role that is apart.
pub(super) fn where_it_runs<F>(choice: &Choice<'_>, role: &Role<'_, F>) -> Vec<String> {
    let own = role.apart.then(|| format!("//generated-{}/config:{}", role.name, role.constraint()));
    constraints(choice.triple()).into_iter().chain(own).collect()
}

/// The `platform` on which the actions of a role run; for one apart, with what makes it different from the main one.
pub(super) fn of_role<'a, F>(choice: &Choice<'a>, role: &Role<'a, F>) -> String {
    let platform = platform(choice, &where_it_runs(choice, role), &choice.platform(role));
    if !role.apart {
        return platform;
    }
    let setting = call("constraint_setting", [("name", text("place")), ("tags", list(&["manual"]))]);
    let value = call(
        "constraint_value",
        [("name", text(role.constraint())), ("constraint_setting", text(":place")), ("tags", list(&["manual"]))],
    );
    format!(
        "# Mounted as `/`, as the toolchain of the main platform is, so it cannot share its sandbox.\n\
         {setting}\n{value}\n{platform}"
    )
}

/// The main platform.
pub(super) fn main(choice: &Choice<'_>) -> String {
    platform(choice, &constraints(choice.triple()), &choice.main)
}

// No parent: a host's platform would bring in what Bazel found on this machine.
fn platform(choice: &Choice<'_>, constraints: &[String], toolchains: &[&Locked]) -> String {
    let properties = choice.properties(toolchains);
    let properties = properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    call(
        "platform",
        [("name", text("platform")), ("constraint_values", list(constraints)), ("exec_properties", dict(properties))],
    )
}

/// An instruction set.
pub(super) struct Cpu {
    /// In `--cpu` and `cc_toolchain`.
    pub bazel: &'static str,
    /// Below `@platforms//cpu`.
    pub constraint: &'static str,
}

/// Of a triple such as `x86_64-linux-gnu`.
pub(super) fn cpu(triple: &str) -> Cpu {
    if triple.starts_with("aarch64") {
        Cpu { bazel: "aarch64", constraint: "aarch64" }
    } else {
        Cpu { bazel: "k8", constraint: "x86_64" }
    }
}
