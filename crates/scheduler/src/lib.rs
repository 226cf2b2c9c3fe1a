//! Queue and admission as a step function. Pure: no thread, no clock, no socket.
//!
//! [`Queue::step`] takes what happened and when, and says what is to be done; the server's loop
//! does it. So a test can live through an hour of queueing in a microsecond, and a seed replays it.
#![forbid(unsafe_code)]

mod line;
mod queue;
mod slots;

pub use queue::{Effect, Event, ExecutionId, Limits, OperationId, Queue, Refusal, Sharing, Submission};
pub use slots::{Affinity, Slot};
