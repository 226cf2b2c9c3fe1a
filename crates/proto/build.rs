//! Generates the ByteStream service for our own messages.
//!
//! The service is described by hand, so that no `protoc` is needed. The messages stand in
//! `src/bytestream.rs`; they differ from the generated ones only in that `data` is `Bytes`.
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str, request: &str, response: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::bytestream::{request}"))
            .output_type(format!("crate::bytestream::{response}"))
            .codec_path("tonic_prost::ProstCodec")
    };
    let service = Service::builder()
        .name("ByteStream")
        .package("google.bytestream")
        .method(method("read", "Read", "ReadRequest", "ReadResponse").server_streaming().build())
        .method(method("write", "Write", "WriteRequest", "WriteResponse").client_streaming().build())
        .method(
            method("query_write_status", "QueryWriteStatus", "QueryWriteStatusRequest", "QueryWriteStatusResponse")
                .build(),
        )
        .build();
    Builder::new().compile(&[service]);
    println!("cargo:rerun-if-changed=build.rs");
}
