//! `lre.v1.Store`: what the command line asks the server that has its store open (docs/reference/admin.md).
//!
//! One process at a time owns a store. So `lre cache` asks the server where one runs, and does the same in its own process
//! where none does. Times are seconds since 1970; sizes are bytes.

/// Some things, and what they take.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Part {
    /// What they are; one of a set that docs/reference/admin.md lists.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How many there are.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// What they take on the disk.
    #[prost(uint64, tag = "3")]
    pub bytes: u64,
}

/// What one run of a client used last.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InvocationUsage {
    /// `RequestMetadata.tool_invocation_id`; empty for what nobody said who asked for it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Tool and version.
    #[prost(string, tag = "2")]
    pub tool: String,
    /// Its first call.
    #[prost(uint64, tag = "3")]
    pub began: u64,
    /// Its last call, to a quarter of an hour.
    #[prost(uint64, tag = "4")]
    pub last: u64,
    /// Blobs, results and names.
    #[prost(uint64, tag = "5")]
    pub count: u64,
    /// What they take.
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
}

/// What a registered toolchain takes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ToolchainUsage {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its digest as `{hash}/{size}`.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// Blobs, each once.
    #[prost(uint64, tag = "3")]
    pub count: u64,
    /// What they take.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
    /// Of that, what other toolchains have too.
    #[prost(uint64, tag = "5")]
    pub shared_bytes: u64,
    /// Blobs that are not there.
    #[prost(uint64, tag = "6")]
    pub missing: u64,
}

/// `UsageRequest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct UsageRequest {}

/// `UsageResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UsageResponse {
    /// What the directory takes on the disk, hard links once.
    #[prost(uint64, tag = "1")]
    pub total_bytes: u64,
    /// What the budget counts of that: log, files of blobs, copies.
    #[prost(uint64, tag = "2")]
    pub counted_bytes: u64,
    /// At most this much of that; absent: nothing is evicted by itself.
    #[prost(uint64, optional, tag = "3")]
    pub budget_bytes: Option<u64>,
    /// Of what is counted, what cannot be evicted now.
    #[prost(uint64, tag = "4")]
    pub held_bytes: u64,
    /// The build that holds most of it, in words; empty where none is known.
    #[prost(string, tag = "9")]
    pub holder: String,
    /// By what it is; the sum is `total_bytes`.
    #[prost(message, repeated, tag = "5")]
    pub kinds: Vec<Part>,
    /// Blobs, results and names by the time of their last use.
    #[prost(message, repeated, tag = "6")]
    pub ages: Vec<Part>,
    /// The same by who used them last.
    #[prost(message, repeated, tag = "7")]
    pub invocations: Vec<InvocationUsage>,
    /// By toolchain; what they share is counted for each.
    #[prost(message, repeated, tag = "8")]
    pub toolchains: Vec<ToolchainUsage>,
}

/// `CollectRequest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CollectRequest {
    /// Evict down to this; where it is absent, down to what the server evicts to by itself.
    #[prost(uint64, optional, tag = "1")]
    pub to_bytes: Option<u64>,
    /// Evict nothing, and tell what would go.
    #[prost(bool, tag = "2")]
    pub dry_run: bool,
}

/// `CollectResponse`: any number of `progress`, then `done`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CollectResponse {
    /// What happened.
    #[prost(oneof = "CollectEvent", tags = "1, 2")]
    pub event: Option<CollectEvent>,
}

/// See [`CollectResponse`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum CollectEvent {
    /// How far it has come.
    #[prost(message, tag = "1")]
    Progress(Progress),
    /// What was done.
    #[prost(message, tag = "2")]
    Done(Collected),
}

/// How far something has come.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Progress {
    /// What is being done.
    #[prost(string, tag = "1")]
    pub stage: String,
    /// Done.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
    /// To be done, as far as is known.
    #[prost(uint64, tag = "3")]
    pub of_bytes: u64,
}

/// What went.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Collected {
    /// By what it was.
    #[prost(message, repeated, tag = "1")]
    pub freed: Vec<Part>,
    /// Counted as the budget does, before.
    #[prost(uint64, tag = "2")]
    pub before_bytes: u64,
    /// The same afterwards.
    #[prost(uint64, tag = "3")]
    pub after_bytes: u64,
    /// What it was to come down to.
    #[prost(uint64, tag = "4")]
    pub to_bytes: u64,
    /// Last use of the first that went; 0: nothing did.
    #[prost(uint64, tag = "5")]
    pub oldest: u64,
    /// Last use of the last that went.
    #[prost(uint64, tag = "6")]
    pub youngest: u64,
    /// Of what was there before, what cannot be evicted now.
    #[prost(uint64, tag = "7")]
    pub held_bytes: u64,
    /// The build that holds most of it, in words; empty where none is known, or it came down to that.
    #[prost(string, tag = "8")]
    pub holder: String,
    /// It was ended before it was done: the server is going away.
    #[prost(bool, tag = "9")]
    pub interrupted: bool,
}

/// `VerifyRequest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct VerifyRequest {}

/// `VerifyResponse`: any number of `progress` and `problem`, then `done`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VerifyResponse {
    /// What happened.
    #[prost(oneof = "VerifyEvent", tags = "1, 2, 3")]
    pub event: Option<VerifyEvent>,
}

/// See [`VerifyResponse`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum VerifyEvent {
    /// How far it has come.
    #[prost(message, tag = "1")]
    Progress(Progress),
    /// Something was wrong, and has been repaired.
    #[prost(message, tag = "2")]
    Problem(Problem),
    /// What was looked at.
    #[prost(message, tag = "3")]
    Done(Verified),
}

/// Something that was wrong.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Problem {
    /// What it is; one of a set that docs/reference/admin.md lists.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// Which: a digest, or a path below the store.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// What is wrong with it.
    #[prost(string, tag = "3")]
    pub problem: String,
    /// What was done.
    #[prost(string, tag = "4")]
    pub done: String,
}

/// What was looked at.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Verified {
    /// By what it is, with the bytes that were read.
    #[prost(message, repeated, tag = "1")]
    pub checked: Vec<Part>,
    /// How many problems there were.
    #[prost(uint64, tag = "2")]
    pub problems: u64,
    /// How long it took.
    #[prost(uint64, tag = "3")]
    pub millis: u64,
    /// Not everything was looked at: the server is going away.
    #[prost(bool, tag = "4")]
    pub interrupted: bool,
}

#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated by tonic-build from build.rs"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/lre.v1.Store.rs"));
}
pub use generated::{store_client, store_server};
