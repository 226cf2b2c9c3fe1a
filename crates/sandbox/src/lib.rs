//! The sandbox: the plan as data, and the launcher process that performs it.
//!
//! Knows nothing of the Remote Execution API. The only crate with `unsafe`.

mod plan;
mod protocol;

pub use plan::{Exec, HOST_NAME, INNER_ID, SandboxPlan, Step};
pub use protocol::{Ended, FRAME_BYTES_MAX, FrameError, How, Reply, Request, Usage, decode, encode};
