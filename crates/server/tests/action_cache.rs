//! PROTOCOL, F: ActionCache.
mod common;

use common::{TestServer, noise, refused, sha};
use lre_model::{Digest, DigestFunction};
use lre_proto::re::{self, ActionResult, GetActionResultRequest, OutputFile, UpdateActionResultRequest};
use lre_testkit::TreeBuilder;
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn file(path: &str, digest: Digest) -> OutputFile {
    OutputFile { path: path.to_owned(), digest: Some(digest.to_wire()), ..Default::default() }
}

fn get(action: Digest) -> GetActionResultRequest {
    GetActionResultRequest {
        action_digest: Some(action.to_wire()),
        digest_function: action.function().to_wire(),
        ..Default::default()
    }
}

async fn ask(server: &TestServer, request: GetActionResultRequest) -> Result<ActionResult, Status> {
    Ok(server.actions().get_action_result(request).await?.into_inner())
}

async fn update(server: &TestServer, action: Digest, result: ActionResult) -> Result<ActionResult, Status> {
    let request = UpdateActionResultRequest {
        instance_name: "any/instance".to_owned(),
        action_digest: Some(action.to_wire()),
        action_result: Some(result),
        digest_function: action.function().to_wire(),
        ..Default::default()
    };
    Ok(server.actions().update_action_result(request).await?.into_inner())
}

/// PROTOCOL 43: an unknown action is NOT_FOUND and not an empty result.
#[tokio::test]
async fn an_unknown_action_is_not_found() {
    let server = TestServer::start().await;
    for function in DigestFunction::ALL {
        refused(ask(&server, get(Digest::of(function, b"never run"))).await, Code::NotFound);
    }
}

#[tokio::test]
async fn a_result_is_remembered_for_every_instance_and_by_function() {
    let server = TestServer::start().await;
    let output = server.put("output").await;
    let result = ActionResult { output_files: vec![file("a.o", output)], exit_code: 0, ..Default::default() };
    let stored = update(&server, sha(b"action"), result.clone()).await.unwrap();
    assert_eq!(stored.output_files, result.output_files);
    let answer =
        ask(&server, GetActionResultRequest { instance_name: "x".into(), ..get(sha(b"action")) }).await.unwrap();
    assert_eq!(answer, stored);
    let blake3 = Digest::of(DigestFunction::Blake3, b"action");
    refused(ask(&server, get(blake3)).await, Code::NotFound);
}

/// PROTOCOL 20 to 22, 43, 46, bad input: malformed keys and results are refused with the path of the field.
#[tokio::test]
async fn malformed_requests_are_refused() {
    let server = TestServer::start().await;
    let field = |status: Status| status.get_details_bad_request().unwrap().field_violations[0].field.clone();
    let none = GetActionResultRequest::default();
    assert_eq!(field(refused(ask(&server, none).await, Code::InvalidArgument)), "action_digest");
    let upper = re::Digest { hash: sha(b"a").hash_text().to_uppercase(), size_bytes: 1 };
    let request = GetActionResultRequest { action_digest: Some(upper.clone()), ..Default::default() };
    assert_eq!(field(refused(ask(&server, request).await, Code::InvalidArgument)), "action_digest");
    let md5 = GetActionResultRequest { digest_function: re::digest_function::Value::Md5 as i32, ..get(sha(b"a")) };
    refused(ask(&server, md5).await, Code::InvalidArgument);
    let bad = ActionResult {
        output_files: vec![OutputFile { path: "a".into(), digest: Some(upper), ..Default::default() }],
        ..Default::default()
    };
    let refusal = refused(update(&server, sha(b"action"), bad).await, Code::InvalidArgument);
    assert_eq!(field(refusal), "action_result.output_files[0].digest");
    let request = UpdateActionResultRequest { action_digest: Some(sha(b"a").to_wire()), ..Default::default() };
    refused(server.actions().update_action_result(request).await, Code::InvalidArgument);
    refused(ask(&server, get(sha(b"action"))).await, Code::NotFound);
}

/// PROTOCOL 46, bad input: a result whose outputs were not uploaded is refused, and all of them are named.
#[tokio::test]
async fn a_result_without_its_outputs_is_refused() {
    let server = TestServer::start().await;
    let present = server.put("present").await;
    let result = ActionResult {
        output_files: vec![file("a", sha(b"absent")), file("b", present)],
        stdout_digest: Some(sha(b"absent too").to_wire()),
        ..Default::default()
    };
    let status = refused(update(&server, sha(b"action"), result).await, Code::FailedPrecondition);
    let violations = status.get_details_precondition_failure().unwrap().violations;
    let subjects: Vec<_> = violations.iter().map(|v| v.subject.as_str()).collect();
    assert_eq!(subjects, [sha(b"absent").subject(), sha(b"absent too").subject()]);
    assert!(violations.iter().all(|v| v.r#type == "MISSING"));
    refused(ask(&server, get(sha(b"action"))).await, Code::NotFound);
}

/// PROTOCOL 46, bad input: a refusal of thousands still reaches the client: its trailers are bounded.
#[tokio::test]
async fn thousands_of_missing_outputs_are_refused_readably() {
    let server = TestServer::start().await;
    let output_files = (0..5000_u32).map(|i| file(&format!("o{i}"), sha(&i.to_le_bytes()))).collect();
    let result = ActionResult { output_files, ..Default::default() };
    let status = refused(update(&server, sha(b"action"), result).await, Code::FailedPrecondition);
    assert!(status.message().contains("5000"), "{}", status.message());
    assert!(status.get_details_precondition_failure().is_some());
}

/// PROTOCOL 44: everything that a result names is there, the files inside its trees included, or the
/// result is not, and is forgotten.
#[tokio::test]
async fn an_incomplete_result_is_not_found() {
    let server = TestServer::start().await;
    let built = TreeBuilder::new(DigestFunction::Sha256).file("sub/file", "inside a tree").build();
    let tree = server.put(built.tree.clone()).await;
    let directory = re::OutputDirectory { path: "d".into(), tree_digest: Some(tree.to_wire()), ..Default::default() };
    let result = ActionResult { output_directories: vec![directory], ..Default::default() };
    update(&server, sha(b"action"), result.clone()).await.unwrap();
    refused(ask(&server, get(sha(b"action"))).await, Code::NotFound);
    server.put("inside a tree").await;
    refused(ask(&server, get(sha(b"action"))).await, Code::NotFound);
    update(&server, sha(b"action"), result).await.unwrap();
    assert!(ask(&server, get(sha(b"action"))).await.is_ok());
}

/// PROTOCOL 45: nothing is inlined unless asked for; what is asked for is, and the digest stays.
#[tokio::test]
async fn outputs_are_inlined_on_request() {
    let server = TestServer::start().await;
    let (stdout, stderr) = (server.put("to stdout").await, server.put("to stderr").await);
    let (a, b) = (server.put("a: a.c a.h").await, server.put("b: b.c").await);
    let result = ActionResult {
        output_files: vec![file("a.d", a), file("b.d", b)],
        stdout_digest: Some(stdout.to_wire()),
        stderr_digest: Some(stderr.to_wire()),
        ..Default::default()
    };
    update(&server, sha(b"action"), result).await.unwrap();
    let plain = ask(&server, get(sha(b"action"))).await.unwrap();
    assert!(plain.stdout_raw.is_empty() && plain.stderr_raw.is_empty());
    assert!(plain.output_files.iter().all(|f| f.contents.is_empty()));
    let request = GetActionResultRequest {
        inline_stdout: true,
        inline_stderr: true,
        inline_output_files: vec!["b.d".into(), "not an output".into()],
        ..get(sha(b"action"))
    };
    let inlined = ask(&server, request).await.unwrap();
    assert_eq!((&inlined.stdout_raw[..], &inlined.stderr_raw[..]), (&b"to stdout"[..], &b"to stderr"[..]));
    assert_eq!(inlined.stdout_digest, Some(stdout.to_wire()));
    assert_eq!(
        (&inlined.output_files[0].contents[..], &inlined.output_files[1].contents[..]),
        (&b""[..], &b"b: b.c"[..])
    );
}

/// PROTOCOL 45: hints never make a message longer than clients take.
#[tokio::test]
async fn inlining_stops_before_the_message_is_too_long() {
    let server = TestServer::start().await;
    let mut output_files = Vec::new();
    for i in 0..20 {
        let content = noise(i, 500 * 1024);
        output_files.push(file(&format!("f{i}"), server.put(content).await));
    }
    let large = server.put(noise(99, 8 << 20)).await;
    let result = ActionResult { output_files, stdout_digest: Some(large.to_wire()), ..Default::default() };
    update(&server, sha(b"action"), result).await.unwrap();
    let request = GetActionResultRequest {
        inline_stdout: true,
        inline_output_files: (0..20).map(|i| format!("f{i}")).collect(),
        ..get(sha(b"action"))
    };
    let inlined = ask(&server, request).await.unwrap();
    assert!(inlined.encoded_len() < 4 << 20);
    assert!(inlined.stdout_raw.is_empty(), "8 MiB do not fit");
    assert!(!inlined.output_files[0].contents.is_empty(), "the first does");
}

/// PROTOCOL 47: a stored result is never zero bytes, and names who made it.
#[tokio::test]
async fn a_stored_result_names_a_worker() {
    let server = TestServer::start().await;
    update(&server, sha(b"action"), ActionResult::default()).await.unwrap();
    let answer = ask(&server, get(sha(b"action"))).await.unwrap();
    assert!(answer.encoded_len() > 0);
    assert_eq!(answer.execution_metadata.unwrap().worker, "client");
    let metadata = re::ExecutedActionMetadata { worker: "mine".into(), ..Default::default() };
    let result = ActionResult { execution_metadata: Some(metadata), ..Default::default() };
    update(&server, sha(b"other"), result).await.unwrap();
    assert_eq!(ask(&server, get(sha(b"other"))).await.unwrap().execution_metadata.unwrap().worker, "mine");
}

/// PROTOCOL 46: a client may store a failure; it comes back as it is.
#[tokio::test]
async fn a_failure_may_be_stored_by_a_client() {
    let server = TestServer::start().await;
    let result = ActionResult { exit_code: 3, stderr_raw: b"no".to_vec(), ..Default::default() };
    update(&server, sha(b"action"), result).await.unwrap();
    let answer = ask(&server, get(sha(b"action"))).await.unwrap();
    assert_eq!((answer.exit_code, &answer.stderr_raw[..]), (3, &b"no"[..]));
}
