//! `capture:` and `dir:`: what this machine has.
use super::{Finding, Found, SEARCHED, Tree, tools_in};
use crate::ToolchainError;
use crate::capture::capture;
use crate::import::blocking;
use crate::layout::Layout;
use std::path::Path;

/// This machine's compiler, frozen.
pub(super) async fn captured(compiler: &Path, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
    let (compiler, also) = (compiler.to_owned(), finding.wanted.also.clone());
    let progress = finding.progress.clone();
    let captured = blocking(move || capture(&compiler, &also, &*progress)).await?;
    Ok(Found {
        tree: Tree::Layout(captured.layout),
        warnings: captured.warnings,
        environment: captured.environment,
        tools: captured.tools,
        source: finding.wanted.source.to_string(),
        recipe: Vec::new(),
    })
}

/// A directory as it is.
pub(super) async fn directory(path: &Path, finding: &Finding<'_>) -> Result<Found, ToolchainError> {
    let path = path.to_owned();
    let (layout, warnings) = blocking(move || Layout::of_directory(&path)).await?;
    Ok(Found {
        tools: tools_in(&layout, &SEARCHED),
        tree: Tree::Layout(layout),
        warnings,
        environment: Default::default(),
        source: finding.wanted.source.to_string(),
        recipe: Vec::new(),
    })
}
