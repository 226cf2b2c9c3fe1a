//! Toolchains pinned by content: lock file, sources, import, registry, introspection.
#![forbid(unsafe_code)]

mod nearest;
mod registry;
mod resolve;
mod types;

pub use registry::{Registry, check_name};
pub use resolve::{Accepted, Refused, Resolved, resolve};
pub use types::{Closure, Kind, Toolchain};
