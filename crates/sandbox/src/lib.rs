//! The sandbox: the plan as data, and the launcher process that performs it.
//!
//! Knows nothing of the Remote Execution API. The only crate with `unsafe`, all of it in
//! `sys` and `sys_notify`: the system calls for which no safe wrapper exists.

pub mod cgroup;
mod check;
pub mod client;
pub mod launcher;
mod plan;
mod probe;
mod protocol;
mod sys;
mod sys_notify;

pub use check::{Finding, check, check_directory};
pub use plan::{
    Exec, HOST_NAME, INNER_ID, Inputs, Network, RootPlan, STDERR, STDOUT, SandboxPlan, Step, TREE, UPPER, WORK,
};
pub use protocol::{Ended, FRAME_BYTES_MAX, FrameError, How, Reply, Run, Usage, Wanted, decode, encode, frame_length};
