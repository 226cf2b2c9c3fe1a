//! `descriptors.binpb`: what server reflection shows of our services.
//!
//! Descriptors are what `protoc` makes of `.proto` files. Neither is here: the `bazel-remote-apis` crate
//! ships only the Rust code generated from them. But that code says everything: each field carries
//! its type and number, each service its methods. So the descriptors are read back from it, checked in,
//! and this test fails when they no longer fit the crate.
//!
//! `UPDATE=1 cargo test -p lre-proto --test descriptors` writes them anew.
mod describe;
mod source;

use lre_proto::{asset, logstream, longrunning, re, rpc};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};
use prost_types::FileDescriptorSet;
use std::path::PathBuf;
use std::process::Command;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Where the sources of the `bazel-remote-apis` crate are on this machine.
fn generated() -> PathBuf {
    // For this platform alone: crates of others need not have been fetched.
    let version = run("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = run(&cargo, &["metadata", "--format-version=1", "--locked", "--filter-platform", host]);
    let metadata: serde_json::Value = serde_json::from_str(&output).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|p| p["name"] == "bazel-remote-apis").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().join("src/generated")
}

fn checked_in() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/descriptors.binpb"))
}

#[test]
fn the_descriptors_are_those_of_the_crate() {
    let set = describe::all(&source::read(&generated()));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(checked_in(), set.encode_to_vec()).unwrap();
    }
    let checked_in = FileDescriptorSet::decode(&*std::fs::read(checked_in()).unwrap()).unwrap();
    assert_eq!(checked_in, set, "run again with UPDATE=1");
}

fn pool() -> DescriptorPool {
    // Resolves every name and refuses whatever protoc would.
    DescriptorPool::decode(lre_proto::DESCRIPTORS).unwrap()
}

#[test]
fn the_services_are_there_with_their_methods() {
    let pool = pool();
    let mut services: Vec<_> = pool.services().map(|s| (s.full_name().to_owned(), s.methods().len())).collect();
    services.sort();
    let expected = [
        (asset::fetch_server::SERVICE_NAME, 2),
        (asset::push_server::SERVICE_NAME, 2),
        (re::action_cache_server::SERVICE_NAME, 2),
        (re::capabilities_server::SERVICE_NAME, 1),
        (re::content_addressable_storage_server::SERVICE_NAME, 8),
        (re::execution_server::SERVICE_NAME, 2),
        (logstream::log_stream_service_server::SERVICE_NAME, 1),
        (lre_proto::bytestream::byte_stream_server::SERVICE_NAME, 3),
        (longrunning::operations_server::SERVICE_NAME, 5),
    ];
    assert_eq!(services, expected.map(|(name, methods)| (name.to_owned(), methods)));
    let execute = pool.get_service_by_name("build.bazel.remote.execution.v2.Execution").unwrap();
    let execute = execute.methods().find(|m| m.name() == "Execute").unwrap();
    assert!(execute.is_server_streaming() && !execute.is_client_streaming());
    assert_eq!(execute.output().full_name(), "google.longrunning.Operation");
    let bytes = pool.get_service_by_name("google.bytestream.ByteStream").unwrap();
    let write = bytes.methods().find(|m| m.name() == "Write").unwrap();
    assert!(write.is_client_streaming() && !write.is_server_streaming());
}

/// A message written by the generated code is read with the descriptors alone, and nothing of it is
/// unknown to them.
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(name: &str, message: &M) -> DynamicMessage {
    let descriptor = pool().get_message_by_name(name).unwrap();
    let dynamic = DynamicMessage::decode(descriptor, &*message.encode_to_vec()).unwrap();
    assert_eq!(dynamic.unknown_fields().count(), 0, "{name}");
    assert_eq!(M::decode(&*dynamic.encode_to_vec()).unwrap(), *message);
    dynamic
}

#[test]
fn messages_are_read_with_them() {
    let digest = re::Digest { hash: "ab".into(), size_bytes: 7 };
    let action = re::Action {
        command_digest: Some(digest.clone()),
        timeout: Some(lre_proto::protobuf::Duration { seconds: 5, nanos: 1 }),
        do_not_cache: true,
        salt: b"salt".to_vec(),
        platform: Some(re::Platform {
            properties: vec![re::platform::Property { name: "n".into(), value: "v".into() }],
        }),
        ..Default::default()
    };
    let dynamic = check("build.bazel.remote.execution.v2.Action", &action);
    assert_eq!(dynamic.get_field_by_name("do_not_cache").unwrap().as_bool(), Some(true));
    let result = re::ActionResult {
        output_files: vec![re::OutputFile { digest: Some(digest), is_executable: true, ..Default::default() }],
        exit_code: -1,
        stdout_raw: b"out".to_vec(),
        ..Default::default()
    };
    check("build.bazel.remote.execution.v2.ActionResult", &result);
    let mut response = re::ExecuteResponse { result: Some(result), cached_result: true, ..Default::default() };
    response.server_logs.insert("log".into(), re::LogFile { human_readable: true, ..Default::default() });
    let dynamic = check("build.bazel.remote.execution.v2.ExecuteResponse", &response);
    let logs = dynamic.get_field_by_name("server_logs").unwrap();
    assert!(matches!(&*logs, Value::Map(map) if map.len() == 1), "a map is a map");
}

#[test]
fn enumerations_and_oneofs_keep_their_names() {
    let pool = pool();
    let function = pool.get_enum_by_name("build.bazel.remote.execution.v2.DigestFunction.Value").unwrap();
    let names: Vec<_> = function.values().map(|v| (v.number(), v.name().to_owned())).collect();
    assert!(names.contains(&(1, "SHA256".to_owned())) && names.contains(&(9, "BLAKE3".to_owned())), "{names:?}");
    let error = rpc::Status { code: 5, message: "gone".into(), details: vec![] };
    let operation = longrunning::Operation {
        name: "operations/1".into(),
        done: true,
        result: Some(longrunning::operation::Result::Error(error)),
        ..Default::default()
    };
    let dynamic = check("google.longrunning.Operation", &operation);
    assert!(dynamic.has_field_by_name("error") && !dynamic.has_field_by_name("response"));
    let oneofs: Vec<_> = dynamic.descriptor().oneofs().map(|o| o.name().to_owned()).collect();
    assert_eq!(oneofs, ["result"]);
}
