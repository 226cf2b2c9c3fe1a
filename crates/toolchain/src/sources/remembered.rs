//! What was brought before. A source that is pinned (an archive by its SHA-256, an image by its digest, a store
//! path by its name) gives the same tree every time, so the second time nothing is fetched or unpacked: the tree
//! is looked up and held.
//!
//! A note that is wrong, torn or of another version is no loss: the source is asked again.
use super::{Added, Finding, Source};
use crate::error::ToolchainError;
use crate::import::{Imported, Warning};
use crate::materialise::load_tree;
use crate::{Kind, Toolchain};
use lre_model::{Digest, DigestFunction};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;

/// Of the rules by which sources become trees. Whoever changes what a source gives raises it.
const RULES_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Note {
    toolchain: Toolchain,
    warnings: Vec<String>,
}

/// Names what is wanted, where its source pins it.
pub(super) fn key(finding: &Finding<'_>) -> Option<String> {
    let wanted = finding.wanted;
    let pinned = match &wanted.source {
        // What this machine has may have changed.
        Source::Capture(_) | Source::Directory(_) | Source::Cas(_) | Source::Exported(_) => None,
        Source::Archive(archive) => archive.pinned(),
        Source::Deb(deb) => deb.pinned(),
        Source::Nix(nix) => nix.pinned(),
        Source::Oci(oci) => oci.pinned(),
        Source::Zig(zig) => zig.pinned(),
    }?;
    let text = format!("{RULES_VERSION} {:?} {} {pinned}", finding.function, wanted.kind);
    Some(Digest::of(DigestFunction::Sha256, text.as_bytes()).hash_text())
}

fn place(finding: &Finding<'_>, key: &str) -> PathBuf {
    finding.access.directory.join("remembered").join(key)
}

/// What was brought before under this key, if all of it is still in the store.
///
/// # Errors
/// What the store says.
pub(super) async fn look(finding: &Finding<'_>, key: Option<&str>) -> Result<Option<Added>, ToolchainError> {
    let Some(text) = key.and_then(|key| std::fs::read(place(finding, key)).ok()) else { return Ok(None) };
    let Ok(note) = serde_json::from_slice::<Note>(&text) else { return Ok(None) };
    let (tree, hold) = match load_tree(finding.store, note.toolchain.digest).await {
        Ok(loaded) => loaded,
        Err(ToolchainError::Missing { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let warnings = note.warnings.into_iter().map(Warning::Note).collect();
    let source = match &finding.wanted.source {
        // These are known by what they are, which may have been brought from another place.
        source @ (Source::Archive(_) | Source::Oci(_)) => source.to_string(),
        _ => note.toolchain.source.clone(),
    };
    let toolchain = Toolchain { name: finding.wanted.name.clone(), source, ..note.toolchain };
    debug_assert!(Kind::ALL.contains(&toolchain.kind));
    Ok(Some(Added { toolchain, imported: Imported::of_tree(&tree, warnings, hold) }))
}

/// Takes a note of what was brought. That it cannot be written costs the next one time, nothing else.
pub(super) fn keep(finding: &Finding<'_>, key: Option<&str>, added: &Added) {
    let Some(place) = key.map(|key| place(finding, key)) else { return };
    let warnings = added.imported.warnings.iter().map(ToString::to_string).collect();
    let note = Note { toolchain: added.toolchain.clone(), warnings };
    let write = || {
        let folder = place.parent().unwrap_or(&finding.access.directory);
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&note)?)?;
        file.persist(&place).map(drop).map_err(|e| e.error)
    };
    if let Err(e) = write() {
        tracing::debug!("no note of {} is kept: {e}", added.toolchain.name);
    }
}
