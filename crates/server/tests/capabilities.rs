//! PROTOCOL, B, and the first lines of A.
mod common;

use common::{TestServer, connect_tcp, connect_unix};
use lre_model::DigestFunction;
use lre_proto::bytestream::ReadRequest;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_proto::re::{self, GetCapabilitiesRequest, ServerCapabilities};
use tonic::metadata::MetadataValue;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

async fn capabilities(server: &TestServer, instance_name: &str) -> ServerCapabilities {
    let request = GetCapabilitiesRequest { instance_name: instance_name.to_owned() };
    server.capabilities().get_capabilities(request).await.unwrap().into_inner()
}

/// PROTOCOL 1 and 9: any instance name, before anything else, and both sections always.
#[tokio::test]
async fn every_instance_has_a_cache_and_an_executor() {
    let server = TestServer::start().await;
    let first = capabilities(&server, "").await;
    for instance in ["main", "default_instance", "a/b/c"] {
        assert_eq!(capabilities(&server, instance).await, first);
    }
    assert!(first.cache_capabilities.is_some() && first.execution_capabilities.is_some());
}

/// PROTOCOL 10: 2.0 to 2.3. Bazel stops at a low version above 2.0.
#[tokio::test]
async fn versions_from_2_0_to_2_3() {
    let server = TestServer::start().await;
    let advertised = capabilities(&server, "").await;
    let (low, high) = (advertised.low_api_version.unwrap(), advertised.high_api_version.unwrap());
    assert_eq!(((low.major, low.minor), (high.major, high.minor)), ((2, 0), (2, 3)));
}

/// PROTOCOL 5, 12 to 15: what clients choose their way by.
#[tokio::test]
async fn the_cache_says_what_it_takes() {
    let server = TestServer::start().await;
    let cache = capabilities(&server, "").await.cache_capabilities.unwrap();
    assert_eq!(cache.digest_functions, DigestFunction::ALL.map(DigestFunction::to_wire));
    assert!(cache.action_cache_update_capabilities.unwrap().update_enabled);
    assert!((1..4 * 1024 * 1024).contains(&cache.max_batch_total_size_bytes));
    assert_eq!(cache.symlink_absolute_path_strategy, re::symlink_absolute_path_strategy::Value::Allowed as i32);
    let zstd = [re::compressor::Value::Zstd as i32];
    assert_eq!(cache.supported_compressors, zstd);
    assert_eq!(cache.supported_batch_update_compressors, zstd);
    let range = &cache.cache_priority_capabilities.unwrap().priorities[0];
    assert!(range.min_priority <= 0 && range.max_priority >= 0, "0 is the default and must be in it");
}

/// PROTOCOL 11, 15 and 16: digest functions, priorities and node properties are told.
#[tokio::test]
async fn the_executor_says_what_it_takes() {
    let server = TestServer::start().await;
    let execution = capabilities(&server, "").await.execution_capabilities.unwrap();
    assert!(execution.exec_enabled);
    assert_ne!(execution.digest_function, re::digest_function::Value::Unknown as i32);
    assert!(execution.digest_functions.contains(&execution.digest_function));
    assert!(!execution.execution_priority_capabilities.unwrap().priorities.is_empty());
    assert_eq!(execution.supported_node_properties, ["mtime", "unix_mode"], "not platform properties");
}

/// PROTOCOL 19: no version is announced to go that is still said to be spoken; of ours none goes.
#[tokio::test]
async fn no_version_is_deprecated() {
    let server = TestServer::start().await;
    let advertised = capabilities(&server, "").await;
    assert!(advertised.deprecated_api_version.is_none());
    let of = |version: Option<lre_proto::semver::SemVer>| version.map(|v| (v.major, v.minor, v.patch));
    assert!(of(advertised.low_api_version) <= of(advertised.high_api_version));
}

/// PROTOCOL 17: no largest blob is told, because there is none; see `bytestream_large.rs`.
#[tokio::test]
async fn there_is_no_largest_blob() {
    let server = TestServer::start().await;
    assert_eq!(capabilities(&server, "").await.cache_capabilities.unwrap().max_cas_blob_size_bytes, 0);
}

/// PROTOCOL 4: the header that repeats a resource name is for routers; what it says, also if it is wrong, changes nothing.
#[tokio::test]
async fn the_resource_name_header_is_ignored() {
    let server = TestServer::start().await;
    let digest = server.put("content").await;
    let name = format!("blobs/{digest}");
    for header in [name.as_str(), "blobs/nonsense", "uploads/../../etc/passwd"] {
        let mut request = tonic::Request::new(ReadRequest { resource_name: name.clone(), ..Default::default() });
        request.metadata_mut().insert("build.bazel.remote.execution.v2.resource-name", header.parse().unwrap());
        let mut stream = server.bytes().read(request).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().unwrap().data, "content");
    }
}

/// PROTOCOL 3: a malformed RequestMetadata is nobody's reason to fail.
#[tokio::test]
async fn malformed_request_metadata_is_ignored() {
    let server = TestServer::start().await;
    let mut request = tonic::Request::new(GetCapabilitiesRequest::default());
    let name = "build.bazel.remote.execution.v2.requestmetadata-bin";
    request.metadata_mut().insert_bin(name, MetadataValue::from_bytes(b"\xff\xff\xff"));
    server.capabilities().get_capabilities(request).await.unwrap();
}

/// PROTOCOL 8: a Unix socket and loopback TCP, at the same time, the same services.
#[tokio::test]
async fn both_listeners_give_the_same_answers() {
    let server = TestServer::start().await;
    let mut answers = Vec::new();
    for channel in [connect_tcp(server.tcp).await, connect_unix(&server.socket).await] {
        let request = GetCapabilitiesRequest::default();
        answers.push(CapabilitiesClient::new(channel).get_capabilities(request).await.unwrap().into_inner());
    }
    assert_eq!(answers[0], answers[1]);
}

/// PROTOCOL 6: health of the whole and of each service; an unknown one is NOT_FOUND.
#[tokio::test]
async fn health_is_reported() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel.clone());
    for service in lre_server::services::health::NAMES {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "{service} serves");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".to_owned() }).await;
    common::refused(unknown, tonic::Code::NotFound);
}
