//! What is to be told of outputs beside their content (REAPI, `Command.output_node_properties`).
use crate::layers::{Found, Merged};
use crate::slot_tree::MTIME_SECONDS;
use lre_model::{NodeProperties, Property};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Those that were asked for; nothing where none were. What no command has touched is as it was laid out.
pub(super) fn of(found: &Found, wanted: &[Property]) -> Option<NodeProperties> {
    if wanted.is_empty() {
        return None;
    }
    let looked;
    let (metadata, laid_out): (Option<&Metadata>, u32) = match found {
        Found::Written { metadata, .. } | Found::Symlink { metadata: Some(metadata), .. } => (Some(metadata), 0),
        Found::Input { executable, .. } => (None, if *executable { 0o555 } else { 0o444 }),
        Found::Directory(Merged { upper, .. }) => {
            looked = upper.as_ref().and_then(|upper| std::fs::symlink_metadata(upper).ok());
            (looked.as_ref(), 0o755)
        }
        Found::Symlink { metadata: None, .. } | Found::Special(_) => (None, 0o777),
    };
    let mut properties = NodeProperties::default();
    for property in wanted {
        match property {
            Property::Mtime => {
                let written = |m: &Metadata| (m.mtime(), i32::try_from(m.mtime_nsec()).unwrap_or(0));
                properties.mtime = Some(metadata.map_or((MTIME_SECONDS, 0), written));
            }
            Property::UnixMode => {
                properties.unix_mode = Some(metadata.map_or(laid_out, |m| m.permissions().mode() & 0o7777));
            }
        }
    }
    Some(properties)
}
