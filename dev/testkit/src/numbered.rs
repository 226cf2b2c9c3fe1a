//! Blobs and results by number, the same in every process.
use bytes::Bytes;
use lre_model::{ActionResult, Digest, DigestFunction};
use lre_proto::re;
use std::sync::Arc;

/// SHA-256 and BLAKE3 in turn.
#[must_use]
pub fn function(i: usize) -> DigestFunction {
    DigestFunction::ALL[i / 8 % 2]
}

/// Blob number `i`: mostly small, some of 70 KB, some of 400 KB.
#[must_use]
pub fn bytes(i: usize) -> Bytes {
    let size = [3, 300, 4_000, 30_000, 70_000, 400_000, 50, 9_000][i / 2 % 8];
    format!("blob {i}, ").repeat(size / 8 + 1).into()
}

/// Its digest.
#[must_use]
pub fn digest(i: usize) -> Digest {
    Digest::of(function(i), &bytes(i))
}

/// Result number `i`: it names blob number `i` as its output.
///
/// # Panics
/// Never: the digest is well-formed.
#[must_use]
pub fn result(i: usize) -> Arc<ActionResult> {
    let output = re::OutputFile { path: format!("out/{i}"), digest: Some(digest(i).to_wire()), ..Default::default() };
    let wire = re::ActionResult { output_files: vec![output], ..Default::default() };
    Arc::new(ActionResult::from_wire(function(i), wire).expect("a digest of ours"))
}
