//! The user configuration for BuildStream 2: artifacts and sources shared through the server.
//!
//! Everything in it is of one user: which toolchain builds an element is in BuildStream's project, whose sandboxes are
//! whole root file systems that it stages itself.
use crate::head;

/// The file, in the workspace; never committed.
pub const LOCAL: &str = "lre.local.buildstream.conf";

/// The user's own file. The index of artifacts is the Remote Asset API, the storage the CAS; both are one address.
pub(crate) fn local(tcp: &str) -> String {
    let servers = |name: &str| {
        format!("\n{name}:\n  override-project-caches: true\n  servers:\n  - url: http://{tcp}\n    push: true\n")
    };
    format!(
        "{}\n# Used with: bst --config {LOCAL} ...\n{}{}",
        head::LOCAL,
        servers("artifacts"),
        servers("source-caches")
    )
}
