//! What the `lre` command is made of: its arguments, its configuration, its commands, and a client of
//! the Remote Execution API.
//!
//! A library beside the binary, so that tests drive the client against the real program.
#![forbid(unsafe_code)]

#[macro_use]
mod ui;

pub mod args;
mod builder;
mod cc;
pub mod client;
pub mod commands;
pub mod config;
mod demo;
mod describe;
mod disk;
pub mod exit;
mod holdings;
mod instance;
mod machine;
mod obtain;
mod paths;
mod pinned;
#[cfg(test)]
mod reference;
mod session;
pub mod size;
mod token;
mod workshop;
