//! Who is calling, for logs and for people (PROTOCOL, 3).
use lre_proto::re;
use prost::Message;
use tonic::metadata::MetadataMap;

/// The header of `RequestMetadata`.
const HEADER: &str = "build.bazel.remote.execution.v2.requestmetadata-bin";

/// A header of ours on `Execute`, with any value: the action is run, also where its result is known, and
/// the answer's message tells what the command wanted and did not get. A header and no property: it
/// must not change the action's digest.
pub const EXPLAIN_HEADER: &str = "lre-explain";

/// Whether the request has [`EXPLAIN_HEADER`].
pub(crate) fn wants_explanation(metadata: &MetadataMap) -> bool {
    metadata.contains_key(EXPLAIN_HEADER)
}

/// One run of a client: `RequestMetadata.tool_invocation_id`. Free text, may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InvocationId(pub String);

/// What a client says about itself. All of it is hearsay: nothing is decided by it but wording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// `bazel`, `buck2`, `siso`, …
    pub tool: String,
    /// Its version.
    pub tool_version: String,
    /// One run of the client.
    pub invocation: InvocationId,
    /// The kind of action: `CppCompile`.
    pub mnemonic: String,
    /// The target that the action belongs to.
    pub target: String,
}

impl Caller {
    /// Reads the header. Absent or malformed, it is as if the client had said nothing: a peer that
    /// failed such calls made whole clients unusable.
    #[must_use]
    pub fn of(metadata: &MetadataMap) -> Self {
        let decode = |value: &tonic::metadata::MetadataValue<_>| {
            let bytes = value.to_bytes().ok()?;
            re::RequestMetadata::decode(bytes).ok()
        };
        let wire = metadata.get_bin(HEADER).and_then(decode).unwrap_or_default();
        let details = wire.tool_details.unwrap_or_default();
        Self {
            tool: details.tool_name,
            tool_version: details.tool_version,
            invocation: InvocationId(wire.tool_invocation_id),
            mnemonic: wire.action_mnemonic,
            target: wire.target_id,
        }
    }

    /// Reads it before the rest of the request is taken apart; nothing where there is no such header.
    pub(crate) fn of_headers(headers: &http::HeaderMap) -> Option<Self> {
        let mut only = http::HeaderMap::with_capacity(1);
        only.insert(HEADER, headers.get(HEADER)?.clone());
        Some(Self::of(&MetadataMap::from_headers(only)))
    }

    /// Whether it is `lre` itself.
    #[must_use]
    pub fn is_lre(&self) -> bool {
        self.tool == "lre"
    }

    /// Whether the client compares the `committed_size` of a finished compressed upload with the
    /// size of the blob (PROTOCOL, 37): siso does, all others want the count of bytes sent.
    #[must_use]
    pub fn counts_uncompressed(&self) -> bool {
        self.tool.eq_ignore_ascii_case("siso")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    fn header(bytes: &[u8]) -> MetadataMap {
        let mut map = MetadataMap::new();
        map.insert_bin(HEADER, MetadataValue::from_bytes(bytes));
        map
    }

    #[test]
    fn a_caller_is_read_from_the_header() {
        let wire = re::RequestMetadata {
            tool_details: Some(re::ToolDetails { tool_name: "bazel".into(), tool_version: "7.7.1".into() }),
            tool_invocation_id: "i".into(),
            action_mnemonic: "CppCompile".into(),
            target_id: "//:a".into(),
            ..Default::default()
        };
        let caller = Caller::of(&header(&wire.encode_to_vec()));
        assert_eq!((caller.tool.as_str(), caller.invocation.0.as_str()), ("bazel", "i"));
        assert_eq!((caller.mnemonic.as_str(), caller.target.as_str()), ("CppCompile", "//:a"));
    }

    /// PROTOCOL, 3: never fail on a malformed or missing one.
    #[test]
    fn nonsense_is_nobody() {
        assert_eq!(Caller::of(&MetadataMap::new()), Caller::default());
        assert_eq!(Caller::of(&header(b"\xff\xff\xff")), Caller::default());
        let mut http = http_map();
        http.insert(HEADER, "not base64 !!".parse().unwrap());
        assert_eq!(Caller::of(&MetadataMap::from_headers(http)), Caller::default());
    }

    fn http_map() -> tonic::codegen::http::HeaderMap {
        tonic::codegen::http::HeaderMap::new()
    }
}
