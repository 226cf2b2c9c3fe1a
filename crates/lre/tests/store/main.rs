//! The store behind the real server, on the real kernel: killed, full, contended for, over its budget.
#[path = "../program/home.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of it")]
mod home;

mod budget;
mod crash;
mod full;
mod one_blob;
mod owner;
mod server;
mod start;
