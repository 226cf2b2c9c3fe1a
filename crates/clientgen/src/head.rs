//! The head of generated files: that they are, and from what.
use lre_toolchain::{JavaFacts, Locked};
use std::collections::BTreeMap;

/// Names of variables under which tools are known, for the comment.
const VARIABLES: [(&str, &str); 7] = [
    ("CC", "cc"),
    ("CXX", "c++"),
    ("AR", "ar"),
    ("LD", "ld"),
    ("STRIP", "strip"),
    ("JAVA", "java"),
    ("RUSTC", "rustc"),
];

/// The first line of a file that is committed.
pub(crate) const COMMITTED: &str =
    "# Generated from lre.lock; do not edit. `lre init --check` says whether it has drifted.";
/// The first line of a file of one user.
pub(crate) const LOCAL: &str = "# Written by `lre init` for this user and machine; do not commit.";

/// The head of a file with comments of this kind, what is said for people included.
pub(crate) fn committed(toolchains: &[&Locked], people: &[&str]) -> String {
    let mut lines = vec![COMMITTED.to_owned()];
    if !people.is_empty() {
        lines.push("#".to_owned());
        lines.extend(people.iter().map(|line| format!("# {line}")));
    }
    for locked in toolchains {
        lines.push("#".to_owned());
        lines.extend(environment(locked).into_iter().map(|line| format!("# {line}")));
    }
    lines.join("\n") + "\n"
}

/// The environment that makes up the toolchain, for people: a cache miss between two machines begins
/// with a difference here.
pub(crate) fn environment(locked: &Locked) -> Vec<String> {
    let mut variables: BTreeMap<&str, String> =
        locked.environment.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
    let tools = VARIABLES.iter().filter_map(|(variable, role)| Some((*variable, locked.tools.get(*role)?.clone())));
    variables.extend(tools);
    if let Some(java) = &locked.facts.java {
        variables.insert("JAVA_HOME", java.home.clone());
    }
    let title = format!("The toolchain `{}`, {}, is made up of:", locked.name, version(locked));
    let mount = format!("{} at {}", locked.digest, locked.toolchain().mount());
    let lines = variables.into_iter().map(|(name, value)| format!("{name}={value}"));
    [title, mount].into_iter().chain(lines).collect()
}

/// What a toolchain says of itself, in all its languages.
pub(crate) fn version(locked: &Locked) -> String {
    let facts = &locked.facts;
    let java = |java: &JavaFacts| format!("Java {} ({})", java.version, java.vendor);
    let said = [
        facts.cc.as_ref().map(|cc| cc.version.clone()),
        facts.java.as_ref().map(java),
        facts.rust.as_ref().map(|rust| format!("Rust {}", rust.version)),
        facts.custom.as_ref().map(|custom| custom.version.clone()),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
