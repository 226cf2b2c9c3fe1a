//! Toolchains pinned by content: lock file, sources, import, registry, introspection.
#![forbid(unsafe_code)]

mod resolve;
mod types;

pub use resolve::{Accepted, Refused, Resolved, resolve};
pub use types::{Closure, Kind, Toolchain};
