//! Which crate may use which. The table is the drawing in ARCHITECTURE.md; an edge that is not in it is a finding.
use super::Finding;
use crate::cargo::Metadata;

/// Every crate of the product, from the ground up, with the crates it may use. Dependencies of tests are not
/// bound by it: what is shipped is layered, what is tested may reach everywhere.
const FLOORS: &[(&str, &[&str])] = &[
    ("lre-proto", &[]),
    ("lre-sandbox", &[]),
    ("lre-model", &["lre-proto"]),
    ("lre-scheduler", &["lre-model"]),
    // It asks anybody's server, so it must not know ours.
    ("lre-conform", &["lre-model", "lre-proto"]),
    // The wire of `upstream` is the one reason why the store knows messages.
    ("lre-store", &["lre-model", "lre-proto"]),
    // Trees go in and come out through `BlobStore`.
    ("lre-toolchain", &["lre-model", "lre-store"]),
    ("lre-worker", &["lre-model", "lre-sandbox", "lre-store", "lre-toolchain"]),
    ("lre-clientgen", &["lre-model", "lre-toolchain"]),
    ("lre-server", &["lre-model", "lre-proto", "lre-scheduler", "lre-store", "lre-toolchain", "lre-worker"]),
    (
        "lre",
        &[
            "lre-proto",
            "lre-sandbox",
            "lre-model",
            "lre-scheduler",
            "lre-conform",
            "lre-store",
            "lre-toolchain",
            "lre-worker",
            "lre-clientgen",
            "lre-server",
        ],
    ),
];
/// What is for development only and never shipped.
const DEVELOPMENT: &[&str] = &["lre-testkit", "lre-fuzz", "lre-e2e", "lre-kernel", "lre-bench", "xtask"];

pub fn check(metadata: &Metadata) -> Vec<Finding> {
    let ours: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some((_, allowed)) = FLOORS.iter().find(|(floor, _)| *floor == name) else {
            if !DEVELOPMENT.contains(&name) {
                findings.push(Finding::new(name, "a crate without a floor: add it to dev/xtask/src/tidy/floors.rs"));
            }
            continue;
        };
        for dependency in package.dependencies.iter().filter(|one| one.kind.as_deref() != Some("dev")) {
            let used = dependency.name.as_str();
            if ours.contains(&used) && !allowed.contains(&used) {
                findings.push(Finding::new(name, format!("must not use {used} (HOUSE: direction, only downwards)")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: serde_json::Value) -> Vec<String> {
        let metadata: Metadata = serde_json::from_value(json).expect("as cargo prints it");
        check(&metadata).into_iter().map(|finding| format!("{}: {}", finding.place, finding.problem)).collect()
    }

    #[test]
    fn an_edge_upwards_is_found_and_one_for_tests_is_not() {
        let package = |name: &str, dependencies: serde_json::Value| serde_json::json!({ "name": name, "dependencies": dependencies });
        let findings = found(serde_json::json!({ "target_directory": "target", "packages": [
            package("lre-proto", serde_json::json!([])),
            package("lre-model", serde_json::json!([
                { "name": "lre-store", "kind": null }, { "name": "lre-proto", "kind": "build" }, { "name": "serde", "kind": null },
            ])),
            package("lre-store", serde_json::json!([{ "name": "lre-testkit", "kind": "dev" }])),
            package("lre-testkit", serde_json::json!([{ "name": "lre-store", "kind": null }])),
            package("lre-util", serde_json::json!([])),
        ]}));
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("lre-model: must not use lre-store"), "{findings:?}");
        assert!(findings[1].starts_with("lre-util: a crate without a floor"), "{findings:?}");
    }

    #[test]
    fn the_table_only_looks_down() {
        for (index, (name, allowed)) in FLOORS.iter().enumerate() {
            for used in *allowed {
                let below = FLOORS[..index].iter().any(|(floor, _)| floor == used);
                assert!(below, "{name} uses {used}, which does not stand above it in the table");
            }
        }
    }
}
