//! Toolchains pinned by content: lock file, sources, import, registry, introspection.
#![forbid(unsafe_code)]

mod access;
mod advertised;
mod capture;
mod copy;
mod difference;
mod error;
mod export;
mod facts;
mod import;
mod intake;
mod introspect;
mod layout;
mod lock;
mod materialise;
mod obtain;
mod progress;
mod registry;
mod resolve;
mod scratch;
mod sources;
mod types;

pub use access::{Access, Build, Builder, Built};
pub use advertised::{Advertised, COUNT as ADVERTISED_COUNT, LIST as ADVERTISED_LIST};
pub use capture::{Captured, capture};
pub use copy::copy_tree;
pub use difference::first_difference;
pub use error::{BadSource, Gone, Mismatch, ToolchainError, Tried, in_full};
pub use export::{Carried, Exported, export, import};
pub use facts::{CcFacts, CustomFacts, Facts, JavaFacts, RustFacts};
pub use import::{Imported, Warning, import_directory, import_layout};
pub use introspect::{
    Input, Manifest, Probe, Probed, Prober, Seen, Unfit, Version, introspect, introspect_described, look,
};
pub use layout::{Entry, Layout};
pub use lock::{LockFile, Locked};
pub use materialise::{load_tree, materialise, sweep};
pub use obtain::{Obtained, Place, obtain};
pub use progress::{Progress, Stage};
pub use registry::{Registry, check_name};
pub use resolve::{Accepted, Refused, Resolved, absent, resolve};
pub use sources::deb;
pub use sources::{Added, Archive, Cas, Deb, Nix, Oci, Source, Wanted, Zig, add};
pub use types::{Closure, Family, Kind, Toolchain};
