//! `file:PATH`: a toolchain that was exported into a file (see [`crate::export`]).
use super::{Finding, Found, Tree};
use crate::error::ToolchainError;
use crate::export::import;
use std::path::Path;

/// What the file says of the toolchain is taken over, but for its name, and for its kind where another is wanted.
pub(super) async fn exported(file: &Path, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
    let carried = import(finding.store, file, finding.access, finding.progress.clone()).await?;
    let locked = carried.locked;
    if locked.kind != finding.wanted.kind {
        let problem = format!("it is a {} toolchain, not a {} one: use --kind {0}", locked.kind, finding.wanted.kind);
        return Err(ToolchainError::unusable(file.display().to_string(), problem));
    }
    // Its paths are those of the sandbox already; see `Toolchain::locate`.
    let mount = locked.toolchain().mount();
    let prefix = if mount == "/" { "" } else { mount.as_str() };
    let from_top = |path: &String| path.strip_prefix(prefix).unwrap_or(path).to_owned();
    Ok(Found {
        tree: Tree::Stored(locked.digest, carried.imported.hold),
        warnings: Vec::new(),
        tools: locked.tools.iter().map(|(role, path)| (role.clone(), from_top(path))).collect(),
        environment: locked.environment,
        source: finding.wanted.source.to_string(),
        recipe: Vec::new(),
    })
}
