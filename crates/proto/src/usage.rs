//! What a command used of its machine, in the message that other servers of this API publish: Buildbarn's
//! `POSIXResourceUsage`, which its browser and other tools know how to show. The API leaves the type open
//! (`ExecutedActionMetadata.auxiliary_metadata`), so one that exists is worth more than one of our own.
use crate::protobuf;

/// The name by which an `Any` says that it is a [`PosixResourceUsage`].
pub const TYPE_URL: &str = "type.googleapis.com/buildbarn.resourceusage.POSIXResourceUsage";

/// What `getrusage` says of a command and the children that it has waited for.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PosixResourceUsage {
    /// Processor time in user mode.
    #[prost(message, optional, tag = "1")]
    pub user_time: Option<protobuf::Duration>,
    /// Processor time in the kernel.
    #[prost(message, optional, tag = "2")]
    pub system_time: Option<protobuf::Duration>,
    /// The largest resident set of any of the processes, in bytes.
    #[prost(int64, tag = "3")]
    pub maximum_resident_set_size: i64,
    /// Page faults that needed no reading.
    #[prost(int64, tag = "7")]
    pub page_reclaims: i64,
    /// Page faults that did.
    #[prost(int64, tag = "8")]
    pub page_faults: i64,
    /// Reads from a disk.
    #[prost(int64, tag = "10")]
    pub block_input_operations: i64,
    /// Writes to a disk.
    #[prost(int64, tag = "11")]
    pub block_output_operations: i64,
    /// How often a process waited for something.
    #[prost(int64, tag = "15")]
    pub voluntary_context_switches: i64,
    /// How often another process took the processor.
    #[prost(int64, tag = "16")]
    pub involuntary_context_switches: i64,
    /// The signal that ended the command, without `SIG`; empty where none did.
    #[prost(string, tag = "17")]
    pub termination_signal: String,
}
