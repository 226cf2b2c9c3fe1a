//! Prepare, run, collect: implements [`Executor`].
//!
//! [`Reader`] reads an action; [`LocalExecutor`] moves it through `prepare` (inputs laid out, plan
//! written), `run` (the launcher performs the plan) and `collect` (outputs stored).
#![forbid(unsafe_code)]

mod collect;
mod executor;
mod explain;
mod launcher;
mod layers;
mod limits;
mod live;
mod load;
mod local;
mod mount_points;
mod plan;
mod prepare;
mod ready;
mod remembered;
mod remove;
mod rooms;
mod root;
mod run;
mod run_directory;
mod slot_difference;
mod slot_tree;
mod slot_watch;
mod union;
mod usage;

// The server stands above this crate and not above the sandbox, and must ask before it starts.
pub use lre_sandbox::{Finding, check as check_sandbox, check_directory};

pub use executor::{Executor, Failure, Outcome, Work};
pub use launcher::LauncherProgram;
pub use limits::{Breach, ExecutionLimits, Limited, Machine};
pub use live::{Follow, Live, Stream};
pub use load::{LoadError, Loaded, Reader};
pub use local::{LocalExecutor, LocalOptions};
pub use plan::EXEC_ROOT;
pub use run::worker_name;
