//! What a command used of its machine, for `ExecutedActionMetadata.auxiliary_metadata`.
//!
//! The API leaves the type of that message open. Ours is `google.protobuf.Struct`, which is part of every protobuf library:
//! whoever prints a result as JSON must know the type of every `Any` in it, and prints nothing at all where it does not.
//! BuildBox's trexe left an empty file for `--action-result-json` when this was another server's own message.
use crate::protobuf::Any;
use prost::Message;
use std::collections::BTreeMap;

/// The name by which an `Any` says that it is a `google.protobuf.Struct`.
pub const TYPE_URL: &str = "type.googleapis.com/google.protobuf.Struct";

/// What `getrusage` says of a command and the children that it has waited for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceUsage {
    /// By name; all of them counts, bytes or seconds.
    pub numbers: BTreeMap<&'static str, f64>,
    /// The signal that ended the command, without `SIG`; empty where none did.
    pub termination_signal: String,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, Message)]
struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

/// As much of `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(oneof = "Kind", tags = "2, 3")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
}

impl ResourceUsage {
    /// The message.
    #[must_use]
    pub fn to_any(&self) -> Any {
        let value = |kind| Value { kind: Some(kind) };
        let numbers = self.numbers.iter().map(|(name, number)| ((*name).to_owned(), value(Kind::Number(*number))));
        let mut fields: BTreeMap<_, _> = numbers.collect();
        if !self.termination_signal.is_empty() {
            let signal = value(Kind::Text(self.termination_signal.clone()));
            fields.insert("termination_signal".to_owned(), signal);
        }
        Any { type_url: TYPE_URL.to_owned(), value: Struct { fields }.encode_to_vec() }
    }
}
