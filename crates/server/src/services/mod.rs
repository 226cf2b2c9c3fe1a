//! One file for each service of the API.
pub mod action_cache;
pub mod bytestream;
pub mod capabilities;
pub mod cas;
pub mod execution;
pub mod health;
pub mod reflection;
mod tree;
