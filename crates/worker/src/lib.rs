//! Prepare, run, collect: implements [`Executor`].
#![forbid(unsafe_code)]

mod executor;
mod load;

pub use executor::{Executor, Failure, Outcome, Work};
pub use load::{LoadError, Loaded, load};
