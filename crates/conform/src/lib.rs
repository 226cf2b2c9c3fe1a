//! Asks any REAPI server, over the wire, whether it keeps the contract of docs/reference/protocol.md.
//!
//! It knows wire types and digests and nothing of how our server works: what it finds must hold for everybody.
#![forbid(unsafe_code)]

pub mod clauses;
