//! Listeners and the services of the Remote Execution API.
//!
//! A request comes in through [`listen`], past [`auth`], to one file of [`services`]; [`compose`]
//! puts the parts together. gRPC codes are chosen in [`status`] and nowhere else.
#![forbid(unsafe_code)]

pub mod auth;
mod authority;
pub mod compose;
pub mod drive;
pub mod fetch;
pub mod http;
mod invocation;
pub mod limits;
pub mod listen;
pub mod metadata;
pub mod operation;
pub mod services;
mod sock_diag;
mod socket;
pub mod status;
