//! What the user has to do next, for each client.
use crate::commands::doctor;
use lre_clientgen::{Client, Options, bazel};
use std::path::Path;

/// The steps, in order.
pub fn steps(clients: &[Client], workspace: &Path, options: &Options) -> Vec<String> {
    clients.iter().flat_map(|client| of(*client, workspace, options)).collect()
}

fn of(client: Client, workspace: &Path, options: &Options) -> Vec<String> {
    let usage = client.usage(options);
    match client {
        Client::Bazel => {
            let mut steps = missing_lines(workspace);
            // People have it under several names.
            steps.push(match doctor::bazel_program() {
                Some(found) => usage.replacen("bazel", &found.file_name().unwrap_or_default().to_string_lossy(), 1),
                None => format!("install Bazel; then: {usage}"),
            });
            steps
        }
        _ => vec![usage],
    }
}

/// What the user's own files still need so that Bazel's module is found.
fn missing_lines(workspace: &Path) -> Vec<String> {
    let wanted = [
        ("MODULE.bazel", bazel::MODULE_LINES),
        ("WORKSPACE.bazel", bazel::WORKSPACE_LINES),
        ("WORKSPACE", bazel::WORKSPACE_LINES),
    ];
    let present = wanted.iter().filter_map(|(name, lines)| {
        let text = std::fs::read_to_string(workspace.join(name)).ok()?;
        Some((*name, *lines, text))
    });
    let present: Vec<_> = present.collect();
    if present.is_empty() {
        return vec![format!("make a MODULE.bazel with:\n{}", bazel::MODULE_LINES)];
    }
    let lacking = present.into_iter().filter(|(_, _, text)| !text.contains(bazel::MODULE));
    lacking.map(|(name, lines, _)| format!("add to {name}:\n{lines}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_module_are_asked_for_where_they_are_missing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(missing_lines(dir.path())[0].starts_with("make a MODULE.bazel"));
        std::fs::write(dir.path().join("WORKSPACE"), "").unwrap();
        assert!(missing_lines(dir.path())[0].starts_with("add to WORKSPACE:\n"));
        std::fs::write(dir.path().join("WORKSPACE"), bazel::WORKSPACE_LINES).unwrap();
        assert!(missing_lines(dir.path()).is_empty());
    }

    #[test]
    fn every_client_has_a_next_step() {
        let dir = tempfile::tempdir().unwrap();
        for client in Client::ALL {
            assert!(!of(client, dir.path(), &Options::default()).is_empty(), "{client}");
        }
    }
}
