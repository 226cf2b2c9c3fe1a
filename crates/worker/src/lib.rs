//! Prepare, run, collect: implements [`Executor`].
#![forbid(unsafe_code)]

mod executor;
mod load;
mod slot_tree;

pub use executor::{Executor, Failure, Outcome, Work};
pub use load::{LoadError, Loaded, load};
