//! Generates the services whose messages are ours.
//!
//! They are described by hand, so that no `protoc` is needed. The messages of ByteStream stand in
//! `src/bytestream.rs`; they differ from the generated ones only in that `data` is `Bytes`. Those of our own service
//! stand in `src/admin.rs`.
use tonic_build::manual::{Builder, Method, Service};

fn main() {
    Builder::new().compile(&[byte_stream(), store()]);
    println!("cargo:rerun-if-changed=build.rs");
}

fn byte_stream() -> Service {
    let method = |name: &str, route: &str, request: &str, response: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::bytestream::{request}"))
            .output_type(format!("crate::bytestream::{response}"))
            .codec_path("tonic_prost::ProstCodec")
    };
    Service::builder()
        .name("ByteStream")
        .package("google.bytestream")
        .method(method("read", "Read", "ReadRequest", "ReadResponse").server_streaming().build())
        .method(method("write", "Write", "WriteRequest", "WriteResponse").client_streaming().build())
        .method(
            method("query_write_status", "QueryWriteStatus", "QueryWriteStatusRequest", "QueryWriteStatusResponse")
                .build(),
        )
        .build()
}

fn store() -> Service {
    let method = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::admin::{route}Request"))
            .output_type(format!("crate::admin::{route}Response"))
            .codec_path("tonic_prost::ProstCodec")
    };
    Service::builder()
        .name("Store")
        .package("lre.v1")
        .method(method("usage", "Usage").build())
        .method(method("collect", "Collect").server_streaming().build())
        .method(method("verify", "Verify").server_streaming().build())
        .build()
}
