//! Layers, one on top of the other. Each is hashed twice while it is read, packed and unpacked, and nothing of an
//! image is used before both are what its manifest and its configuration say.
use super::super::checked::{checked, piped};
use super::super::compressed::decompressed;
use super::super::http::{Download, Sha256};
use super::super::tar::{Whiteouts, read_tar};
use crate::error::ToolchainError;
use crate::import::Warning;
use crate::intake::Intake;
use crate::layout::Layout;
use std::io::Read;
use std::sync::mpsc::channel;

/// One layer, as its image describes it.
pub(super) struct Layer<T> {
    /// For errors.
    pub(super) shown: String,
    /// Of the bytes as they are kept, where that is known.
    pub(super) packed: Option<(u64, Sha256)>,
    /// Of the tar archive in it.
    pub(super) diff_id: Sha256,
    /// Where it is.
    pub(super) place: T,
}

/// A layer that can be read.
pub(super) struct Opened {
    pub(super) bytes: Box<dyn Read + Send>,
    /// The file that was fetched for it.
    pub(super) download: Option<Download>,
}

/// Reads all layers. While one is read the next is fetched.
pub(super) fn read_layers<T: Sync>(
    layers: &[Layer<T>],
    open: impl Fn(&Layer<T>) -> Result<Opened, ToolchainError> + Sync,
    intake: &Intake,
) -> Result<(Layout, Vec<Warning>), ToolchainError> {
    let (mut layout, mut warnings, mut downloads) = (Layout::default(), Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let (sender, opened) = channel();
        // It ends with the first layer that nobody waits for.
        let open = &open;
        scope.spawn(move || layers.iter().map(open).try_for_each(|opened| sender.send(opened)));
        for (layer, opened) in layers.iter().zip(opened) {
            let Opened { bytes, download } = opened?;
            downloads.extend(download);
            read_layer(layer, bytes, intake, &mut layout, &mut warnings)?;
        }
        Ok::<_, ToolchainError>(())
    })?;
    // An import that fails later finds them again.
    downloads.into_iter().for_each(Download::forget);
    Ok((layout, warnings))
}

/// What the bytes are is told before what is wrong in them, which follows from it.
fn read_layer<T>(
    layer: &Layer<T>,
    bytes: Box<dyn Read + Send>,
    intake: &Intake,
    layout: &mut Layout,
    warnings: &mut Vec<Warning>,
) -> Result<(), ToolchainError> {
    let refused = |problem: String| ToolchainError::unusable(&layer.shown, problem);
    let broken = |e: std::io::Error| refused(format!("it cannot be read: {e}"));
    let (packed, packed_check) = checked(bytes);
    let (read, tar_check) = match decompressed(packed) {
        Ok(plain) => {
            let (plain, check) = checked(plain);
            (read_tar(piped(plain), &layer.shown, intake, layout, warnings, Whiteouts::Oci), Some(check))
        }
        Err(e) => (Err(broken(e)), None),
    };
    // To its end, before the packed bytes are counted.
    let unpacked = tar_check.map(|check| check.finish().map_err(broken));
    let (size, found) = packed_check.finish().map_err(broken)?;
    if let Some((wanted_size, wanted)) = layer.packed {
        if size < wanted_size {
            return Err(refused(format!("it ends after {size} of {wanted_size} bytes: a part is missing")));
        }
        if found != wanted {
            return Err(refused(format!("its SHA-256 is {found}, but {wanted} was expected")));
        }
    }
    // Half of a stream has another digest, but that it is half is what is wrong.
    let (_, found) = match unpacked {
        Some(unpacked) => unpacked?,
        None => return read,
    };
    if found != layer.diff_id {
        let wanted = layer.diff_id;
        return Err(refused(format!("unpacked, its SHA-256 is {found}, but its image says {wanted}")));
    }
    read
}
