//! Wire types of the Remote Execution API. Nothing else.
//!
//! `re` and its neighbours come from the `bazel-remote-apis` crate as they are; `bytestream` is
//! ours, because its messages carry every byte of a build (see there), and so is `admin`, which no API has.
#![forbid(unsafe_code)]

pub mod admin;
pub mod bytestream;
pub mod usage;

pub use bazel_remote_apis::build::bazel::remote::asset::v1 as asset;
pub use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
pub use bazel_remote_apis::build::bazel::remote::logstream::v1 as logstream;
pub use bazel_remote_apis::build::bazel::semver;
pub use bazel_remote_apis::google::{longrunning, protobuf, rpc};

/// An encoded `google.protobuf.FileDescriptorSet` of the services that we serve and all their
/// messages, for server reflection. `tests/descriptors` makes and checks it.
pub const DESCRIPTORS: &[u8] = include_bytes!("../descriptors.binpb");
