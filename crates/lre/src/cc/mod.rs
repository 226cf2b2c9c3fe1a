//! `lre cc`: each compile of make, CMake or ninja as a hermetic action.
//!
//! 1. The command line is understood (`words`), and the toolchain of `lre.lock` is taken for the compiler that it names (`role`).
//! 2. All files that could be read are found (`include`, `closure`): quickly, and rather too many than too few.
//! 3. The pinned compiler is shown these, in the sandbox, and says which it reads (`compile`). That is an action too, so a
//!    scan whose files have not changed is a hit; its inputs are everything that could change its answer, also a header that
//!    appears in a directory where an earlier one was not. So there is no manifest that could be stale.
//! 4. The compile runs with exactly these, at paths that are the same for everybody (`roots`).
//! 5. What it left is written where the compiler would have written it, with the paths of this machine (`deliver`).
//!
//! Whatever is no compile of one source (a link, `-E`, a probe of `configure`) runs as one action with all that it names
//! (`whole`): in the same toolchain, and it is said.
mod closure;
mod compile;
mod deliver;
mod depfile;
mod environment;
mod files;
mod include;
mod options;
mod questions;
mod record;
mod response;
mod role;
mod roots;
mod whole;
mod words;

pub use compile::{Launch, run};
pub use record::stats;
pub use roots::from_variable as roots_of;
