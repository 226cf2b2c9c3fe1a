//! PROTOCOL, 6: server reflection, asked by its own client.
mod common;

use common::TestServer;
use prost::Message;
use prost_types::FileDescriptorProto;
use std::collections::BTreeSet;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

async fn ask(server: &TestServer, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer: ServerReflectionResponse = answers.message().await.unwrap().unwrap();
    answer.message_response.unwrap()
}

async fn file(server: &TestServer, question: MessageRequest) -> FileDescriptorProto {
    let MessageResponse::FileDescriptorResponse(files) = ask(server, question).await else { panic!("no file") };
    FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap()
}

/// PROTOCOL 6: reflection lists every service.
#[tokio::test]
async fn every_service_is_listed() {
    let server = TestServer::start().await;
    let MessageResponse::ListServicesResponse(list) = ask(&server, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list")
    };
    let names: BTreeSet<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in lre_server::services::health::NAMES.into_iter().filter(|name| !name.is_empty()) {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    assert!(names.contains("grpc.health.v1.Health") && names.contains("grpc.reflection.v1.ServerReflection"));
}

/// PROTOCOL 6: a service leads to all of its messages, file by file.
#[tokio::test]
async fn a_service_leads_to_all_of_its_messages() {
    let server = TestServer::start().await;
    let symbol = MessageRequest::FileContainingSymbol("build.bazel.remote.execution.v2.Execution".to_owned());
    let api = file(&server, symbol).await;
    assert_eq!(api.package(), "build.bazel.remote.execution.v2");
    let execution = api.service.iter().find(|s| s.name() == "Execution").unwrap();
    let execute = execution.method.iter().find(|m| m.name() == "Execute").unwrap();
    assert_eq!(execute.output_type(), ".google.longrunning.Operation");
    assert!(execute.server_streaming());
    let request = api.message_type.iter().find(|m| m.name() == "ExecuteRequest").unwrap();
    let fields: Vec<_> = request.field.iter().map(|f| (f.name(), f.number())).collect();
    assert!(fields.contains(&("action_digest", 6)) && fields.contains(&("skip_cache_lookup", 3)), "{fields:?}");
    // As grpcurl does: everything that a file needs, file by file.
    let mut wanted = api.dependency.clone();
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if seen.insert(name.clone()) {
            let next = file(&server, MessageRequest::FileByFilename(name.clone())).await;
            assert_eq!(next.name(), name);
            wanted.extend(next.dependency);
        }
    }
    assert!(seen.contains("google/protobuf/any.proto") && seen.contains("google/rpc/status.proto"), "{seen:?}");
}

#[tokio::test]
async fn older_tools_are_answered_too() {
    let server = TestServer::start().await;
    let question = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().message_response.is_some());
}

/// PROTOCOL 6, bad input: an unknown symbol is NOT_FOUND.
#[tokio::test]
async fn an_unknown_symbol_is_an_error_in_the_answer() {
    let server = TestServer::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol("no.such.Symbol".to_owned())),
    };
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::iter([request])).await;
    let answer = match answers {
        Ok(answers) => answers.into_inner().message().await,
        Err(status) => Err(status),
    };
    common::refused(answer, tonic::Code::NotFound);
}
