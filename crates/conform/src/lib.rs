//! Asks any REAPI server, over the wire, whether it keeps the contract of docs/reference/protocol.md.
//!
//! It knows wire types and digests and nothing of how our server works: what it finds must hold for everybody. A check is a
//! function that talks to the server and says what it saw; each is independent of all others, makes contents of its own,
//! and ends in time. [`run`] runs them; people are told by `lre conform`.
#![forbid(unsafe_code)]

mod check;
mod checks;
pub mod clauses;
mod http;
mod job;
mod probe;
mod program;
mod run;
mod stream;
mod target;
mod verdict;

pub use check::{Check, Outcome, Report, Summary};
pub use clauses::Level;
pub use program::Program;
pub use run::{Choice, all, run};
pub use target::{BadTarget, Target, Unreachable};
