//! What an `Execute` answers: from the cache, from a run, from a failure.
use crate::world::*;
use lre_model::ActionDigest;
use lre_proto::re::{self, execution_stage::Value as Stage};
use lre_server::services::execution::key_with_default;
use lre_store::ActionCache;
use lre_testkit::Call;
use std::time::Duration;
use tonic::Code;

/// PROTOCOL 52, 53: stage and action digest in every message under one name, `done` with COMPLETED, then the end of the stream.
#[tokio::test]
async fn an_execution_tells_its_stages() {
    let world = World::new().await;
    let action = world.script("wait gate").await;
    let mut stream = world.ask(request(action)).await.unwrap();
    let first = until(&mut stream, Stage::Executing).await;
    world.executor.open("gate");
    let rest = all(stream).await;
    for message in rest.iter().chain([&first]) {
        assert_eq!(message.action, Some(action.to_wire()));
        assert_eq!(message.name, first.name);
    }
    assert!(first.name.starts_with("operations/"));
    let response = response(&rest);
    assert_eq!((response.status.unwrap().code, response.cached_result), (0, false));
    let result = response.result.unwrap();
    assert_eq!(world.text(result.stdout_digest.as_ref()).await, "gate");
    assert_eq!(result.execution_metadata.unwrap().worker, "scripted");
}

/// PROTOCOL 53: who waits for a slot is told so.
#[tokio::test]
async fn an_execution_without_a_slot_is_queued() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut first = world.ask(request(world.script("wait a").await)).await.unwrap();
    until(&mut first, Stage::Executing).await;
    let mut second = world.ask(request(world.script("wait b").await)).await.unwrap();
    assert_eq!(next(&mut second).await.stage, Stage::Queued);
    world.executor.open("b");
    world.executor.open("a");
    assert_eq!(response(&all(second).await).status.unwrap().code, 0);
    assert_eq!(response(&all(first).await).status.unwrap().code, 0);
}

/// PROTOCOL 48: the second Execute is a hit, and says so. HOUSE 5: one look, and nothing is read for it.
#[tokio::test]
async fn a_hit_is_one_message_and_one_look() {
    let world = World::new().await;
    let action = world.script("say hello").await;
    assert!(!world.run(request(action)).await.unwrap().cached_result);
    let calls = world.actions.take();
    assert_eq!(calls, [Call::Get(ActionDigest(action)), Call::Put(ActionDigest(action))]);
    let messages = all(world.ask(request(action)).await.unwrap()).await;
    assert_eq!(messages.len(), 1);
    assert!(!messages[0].name.is_empty());
    assert!(response(&messages).cached_result);
    assert_eq!(world.actions.take(), [Call::Get(ActionDigest(action))]);
    assert_eq!(world.executor.log().started.len(), 1);
}

/// PROTOCOL 44, 48: a result whose blobs are gone is no result: it is executed again.
#[tokio::test]
async fn a_hit_without_its_blobs_is_a_miss() {
    let world = World::new().await;
    let action = world.script("say hello").await;
    let result = world.run(request(action)).await.unwrap().result.unwrap();
    let stdout = lre_model::Digest::from_wire(F, result.stdout_digest.as_ref()).unwrap();
    world.memory.remove(stdout);
    let second = world.run(request(action)).await.unwrap();
    assert!(!second.cached_result);
    assert_eq!(world.text(second.result.unwrap().stdout_digest.as_ref()).await, "hello");
}

/// PROTOCOL 49: skip_cache_lookup runs again, and its result replaces the older one.
#[tokio::test]
async fn skip_cache_lookup_runs_again_and_overwrites() {
    let world = World::new().await;
    let action = world.script("say hello").await;
    world.run(request(action)).await.unwrap();
    world.actions.take();
    assert!(!world.run(again(action)).await.unwrap().cached_result);
    assert_eq!(world.actions.take(), [Call::Put(ActionDigest(action))], "not even a look");
    assert_eq!(world.executor.log().started.len(), 2);
    assert!(world.run(request(action)).await.unwrap().cached_result);
}

/// PROTOCOL 50: do_not_cache: not remembered.
#[tokio::test]
async fn do_not_cache_is_not_remembered() {
    let world = World::new().await;
    let action = world.put(Spec { do_not_cache: true, ..world.spec("say hello") }).await;
    for _ in 0..2 {
        assert!(!world.run(request(action)).await.unwrap().cached_result);
    }
    assert_eq!(world.executor.log().started.len(), 2);
    assert!(world.memory.get(ActionDigest(action)).await.unwrap().is_none());
}

/// PROTOCOL 60: a non-zero exit is an answer with status OK and all of its output, and is not remembered.
#[tokio::test]
async fn a_failing_command_is_answered_and_not_remembered() {
    let world = World::new().await;
    let action = world.script("exit 3").await;
    for _ in 0..2 {
        let response = world.run(request(action)).await.unwrap();
        assert_eq!((response.status.unwrap().code, response.cached_result), (0, false));
        let result = response.result.unwrap();
        assert_eq!(result.exit_code, 3);
        assert_eq!(world.text(result.stderr_digest.as_ref()).await, "failed\n");
    }
    assert_eq!(world.executor.log().started.len(), 2);
}

/// PROTOCOL 58, 65: too slow is DEADLINE_EXCEEDED with what there is of a result, a reason and a hint.
#[tokio::test]
async fn a_slow_command_comes_back_with_its_output_so_far() {
    let world = World::new().await;
    let action = world.put(Spec { timeout: Some(Duration::from_secs(7)), ..world.spec("slow") }).await;
    let response = world.run(request(action)).await.unwrap();
    assert_eq!(response.status.unwrap().code, Code::DeadlineExceeded as i32);
    assert_eq!(world.text(response.result.unwrap().stdout_digest.as_ref()).await, "so far\n");
    assert!(
        response.message.contains("longer than 7 s") && response.message.contains("hint: "),
        "{}",
        response.message
    );
    assert!(world.memory.get(ActionDigest(action)).await.unwrap().is_none());
}

/// Too much of something: RESOURCE_EXHAUSTED, a violation that names the property, what there is of a result, and
/// nothing to remember.
#[tokio::test]
async fn a_greedy_command_comes_back_with_its_limit() {
    let world = World::new().await;
    let action = world.script("greedy").await;
    let response = world.run(request(action)).await.unwrap();
    let status = response.status.unwrap();
    assert_eq!(status.code, Code::ResourceExhausted as i32);
    assert!(status.details[0].type_url.ends_with("google.rpc.QuotaFailure"), "{status:?}");
    assert!(String::from_utf8_lossy(&status.details[0].value).contains("lre-memory-bytes-max"), "{status:?}");
    assert_eq!(world.text(response.result.unwrap().stdout_digest.as_ref()).await, "so far\n");
    let said = response.message;
    assert!(said.contains("more than 512 MiB of memory (lre-memory-bytes-max)") && said.contains("hint: "), "{said}");
    assert!(world.memory.get(ActionDigest(action)).await.unwrap().is_none());
}

/// PROTOCOL 65: whoever sees a command fail is told how to have the same again; of what succeeds, and to `lre` itself,
/// nothing is said.
#[tokio::test]
async fn failures_say_how_they_are_reproduced() {
    use prost::Message;
    let world = World::new().await;
    for script in ["exit 3", "slow", "greedy", "bad-output"] {
        let action = world.script(script).await;
        let message = world.run(request(action)).await.unwrap().message;
        let last = message.lines().last().unwrap_or_default();
        assert_eq!(last, format!("reproduce: lre run --action {action}"), "{script}: {message}");
    }
    for script in ["say hello", "panic"] {
        let message = world.run(request(world.script(script).await)).await.unwrap().message;
        assert!(!message.contains("reproduce"), "{script}: {message}");
    }
    let tool = re::ToolDetails { tool_name: "lre".into(), ..Default::default() };
    let caller = re::RequestMetadata { tool_details: Some(tool), ..Default::default() };
    let mut asked = tonic::Request::new(request(world.script("exit 4").await));
    let header = tonic::metadata::MetadataValue::from_bytes(&caller.encode_to_vec());
    asked.metadata_mut().insert_bin("build.bazel.remote.execution.v2.requestmetadata-bin", header);
    let stream = world.execution.clone().execute(asked).await.unwrap().into_inner();
    assert_eq!(response(&all(stream).await).message, "");
}

/// PROTOCOL 73: an output of the wrong kind is a FAILED_PRECONDITION that names it.
#[tokio::test]
async fn a_wrong_output_is_a_failed_precondition() {
    let world = World::new().await;
    let action = world.script("bad-output").await;
    let response = world.run(request(action)).await.unwrap();
    assert_eq!(response.status.unwrap().code, Code::FailedPrecondition as i32);
    assert!(response.message.contains("`out` is a file"), "{}", response.message);
    assert!(world.memory.get(ActionDigest(action)).await.unwrap().is_none());
}

/// PROTOCOL 45, 65: hints are followed, also for a hit.
#[tokio::test]
async fn stdout_is_inlined_where_it_is_asked_for() {
    let world = World::new().await;
    let action = world.script("say hello").await;
    for cached in [false, true] {
        let asked = re::ExecuteRequest { inline_stdout: true, ..request(action) };
        let response = world.run(asked).await.unwrap();
        assert_eq!(response.cached_result, cached);
        assert_eq!(response.result.unwrap().stdout_raw, b"hello");
    }
    assert_eq!(world.run(request(action)).await.unwrap().result.unwrap().stdout_raw, b"");
}

/// PROTOCOL 52, bad input: a bug of ours stands in the response; it costs one action and not a slot, and not the server.
#[tokio::test]
async fn a_broken_executor_gives_its_slot_back() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let action = world.script("panic").await;
    for _ in 0..3 {
        let response = world.run(request(action)).await.unwrap();
        assert_eq!(response.status.unwrap().code, Code::Internal as i32);
    }
    let fine = world.script("say fine").await;
    assert_eq!(world.run(request(fine)).await.unwrap().status.unwrap().code, 0);
}

/// Issue, item 6: with a default toolchain an action that names none runs, its result is keyed by
/// that toolchain as well, so that another default never hits it, and never stands under the
/// plain digest.
#[tokio::test]
async fn the_default_toolchain_keys_the_result() {
    let setting = Setting { default_toolchain: Some("gcc".into()), ..Setting::default() };
    let world = World::with(setting).await;
    let action = world.put(Spec { platform: vec![], ..world.spec("say hello") }).await;
    assert!(!world.run(request(action)).await.unwrap().cached_result);
    assert!(world.run(request(action)).await.unwrap().cached_result);
    assert!(world.memory.get(ActionDigest(action)).await.unwrap().is_none(), "never shared");
    let key = key_with_default(ActionDigest(action), world.toolchain.digest);
    assert!(world.memory.get(key).await.unwrap().is_some());

    let other = lre_toolchain::Toolchain { name: "gcc".into(), ..toolchain("another tree") };
    world.registry.put(&other).unwrap();
    assert!(!world.run(request(action)).await.unwrap().cached_result, "the default is another now");
    let named = world.put(Spec { platform: vec![other.property()], ..world.spec("say hello") }).await;
    assert!(!world.run(request(named)).await.unwrap().cached_result);
    assert!(world.memory.get(ActionDigest(named)).await.unwrap().is_some(), "a named toolchain is in the digest");
}

/// PROTOCOL 84: an action, its command, its inputs and what it leaves are named by BLAKE3, hit and stream included.
#[tokio::test]
async fn blake3_is_spoken_end_to_end() {
    use lre_model::{Digest, DigestFunction::Blake3};
    let world = World::new().await;
    let inputs = lre_testkit::TreeBuilder::new(Blake3).file("a/b", "c");
    let action = world.put(Spec { function: Blake3, inputs, ..world.spec("say hello") }).await;
    let blake3 = re::digest_function::Value::Blake3 as i32;
    for cached in [false, true] {
        let asked = re::ExecuteRequest { digest_function: blake3, inline_stdout: true, ..request(action) };
        let messages = all(world.ask(asked).await.unwrap()).await;
        assert!(messages.iter().all(|message| message.metadata.digest_function == blake3));
        let response = response(&messages);
        assert_eq!((response.cached_result, response.status.unwrap().code), (cached, 0));
        let result = response.result.unwrap();
        assert_eq!(result.stdout_digest, Some(Digest::of(Blake3, b"hello").to_wire()));
        assert_eq!(result.stdout_raw, b"hello");
    }
    // By the same hash under another function nobody knows it.
    let status = world.run(request(action)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
}

/// PROTOCOL 84, bad input: what is missing of it is named with its function.
#[tokio::test]
async fn what_blake3_misses_is_named_so() {
    let world = World::new().await;
    let missing = lre_model::Digest::of(lre_model::DigestFunction::Blake3, b"nothing");
    let asked = re::ExecuteRequest { digest_function: re::digest_function::Value::Blake3 as i32, ..request(missing) };
    let status = world.run(asked).await.unwrap_err();
    assert_eq!(violations(&status)[0].1, format!("blobs/blake3/{}/{}", missing.hash_text(), missing.size_bytes()));
}
