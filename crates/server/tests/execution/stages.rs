//! What an operation tells on its way: stages, metadata, and the rooms before the queue.
use crate::world::*;
use lre_proto::longrunning::{CancelOperationRequest, ListOperationsRequest};
use lre_proto::re::{self, execution_stage::Value as Stage};
use lre_toolchain::Kind;
use tokio::net::TcpListener;
use tonic::Code;

/// PROTOCOL 53, 82: before the end it is told since when it waits, and, once it has a slot, where and since when it runs;
/// at the end all of it.
#[tokio::test]
async fn metadata_grow_with_the_operation() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut busy = world.ask(request(world.script("wait gate").await)).await.unwrap();
    until(&mut busy, Stage::Executing).await;
    let mut stream = world.ask(request(world.script("wait other").await)).await.unwrap();
    let queued = until(&mut stream, Stage::Queued).await.metadata;
    let waits = queued.partial_execution_metadata.expect("since when it waits");
    assert!(waits.queued_timestamp.is_some() && waits.worker.is_empty() && waits.worker_start_timestamp.is_none());
    assert_eq!(queued.digest_function, re::digest_function::Value::Sha256 as i32);
    world.executor.open("gate");
    let runs = until(&mut stream, Stage::Executing).await.metadata.partial_execution_metadata.expect("where it runs");
    assert_eq!((runs.worker.as_str(), runs.queued_timestamp), ("lre slot 0", waits.queued_timestamp));
    let since = |t: &lre_proto::protobuf::Timestamp| (t.seconds, t.nanos);
    assert!(runs.worker_start_timestamp.as_ref().map(since) >= runs.queued_timestamp.as_ref().map(since));
    world.executor.open("other");
    let messages = all(stream).await;
    let done = messages.last().unwrap();
    let result = done.response.clone().unwrap().result.unwrap();
    assert_eq!(done.metadata.partial_execution_metadata, result.execution_metadata);
}

/// A peer that takes connections and never says a word: whoever waits for a toolchain of it waits long.
async fn silent() -> (TcpListener, World) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = format!("grpc://{}", listener.local_addr().unwrap()).parse().unwrap();
    let world = World::with(Setting { toolchain_peers: vec![peer], ..Setting::default() }).await;
    (listener, world)
}

async fn wants_a_stranger(world: &World) -> lre_model::Digest {
    let platform = vec![(Kind::Rootfs.property().to_owned(), lre_model::Digest::of(F, b"stranger").to_string())];
    world.put(Spec { platform, ..world.spec("say hello") }).await
}

/// PROTOCOL 53: what takes its time before the queue is told: CACHE_CHECK, under the name by which the operation is found
/// again. What is wrong with it then stands in the response.
#[tokio::test]
async fn a_long_look_is_told_as_cache_check() {
    let (listener, world) = silent().await;
    let mut stream = world.ask(request(wants_a_stranger(&world).await)).await.unwrap();
    let first = next(&mut stream).await;
    assert_eq!(first.stage, Stage::CacheCheck);
    assert!(first.metadata.stdout_stream_name.is_empty(), "nothing runs, and maybe nothing will");
    let again = next(&mut world.wait(&first.name).await.unwrap()).await;
    assert_eq!((again.stage, again.name.as_str()), (Stage::CacheCheck, first.name.as_str()));
    let asked = ListOperationsRequest { filter: "stage = CACHE_CHECK".into(), ..Default::default() };
    let listed = world.operations.clone().list_operations(asked).await.unwrap().into_inner().operations;
    assert_eq!(listed.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), [first.name.as_str()]);
    // The peer hangs up on everybody.
    let hang_up = async {
        loop {
            drop(listener.accept().await);
        }
    };
    let messages = tokio::select! {
        messages = all(stream) => messages,
        () = hang_up => unreachable!(),
    };
    let response = response(&messages);
    assert_eq!(response.status.as_ref().unwrap().code, Code::FailedPrecondition as i32, "{response:?}");
    assert_eq!(violations(&as_status(&response.status.unwrap()))[0].0, "PLATFORM");
}

/// PROTOCOL 53, 55: it can be cancelled there, and nothing runs afterwards.
#[tokio::test]
async fn a_long_look_can_be_cancelled() {
    let (_listener, world) = silent().await;
    let mut stream = world.ask(request(wants_a_stranger(&world).await)).await.unwrap();
    let name = next(&mut stream).await.name;
    world.operations.clone().cancel_operation(CancelOperationRequest { name: name.clone() }).await.unwrap();
    assert_eq!(response(&all(stream).await).status.unwrap().code, Code::Cancelled as i32);
    assert_eq!(world.until_done(&name).await.status.unwrap().code, Code::Cancelled as i32);
    assert!(world.executor.log().started.is_empty());
}

/// PROTOCOL 55: operations are found by what they are.
#[tokio::test]
async fn operations_are_filtered() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut done = world.ask(request(world.script("say done").await)).await.unwrap();
    let done = until(&mut done, Stage::Completed).await.name;
    let action = world.script("wait running").await;
    let mut running = world.ask(request(action)).await.unwrap();
    let running_name = until(&mut running, Stage::Executing).await.name;
    let mut queued = world.ask(request(world.script("wait queued").await)).await.unwrap();
    let queued_name = until(&mut queued, Stage::Queued).await.name;
    let by_name = format!("name = \"{queued_name}\"");
    let by_action = format!("action_digest={}/{}", action.hash_text(), action.size_bytes());
    for (filter, expected) in [
        ("", vec![&done, &running_name, &queued_name]),
        ("stage = EXECUTING", vec![&running_name]),
        ("stage=queued", vec![&queued_name]),
        ("done = true", vec![&done]),
        ("done != true AND stage != QUEUED", vec![&running_name]),
        (&by_name, vec![&queued_name]),
        (&by_action, vec![&running_name]),
        ("done=true & stage=QUEUED", vec![]),
    ] {
        let asked = ListOperationsRequest { filter: filter.to_owned(), ..Default::default() };
        let listed = world.operations.clone().list_operations(asked).await.unwrap().into_inner().operations;
        assert_eq!(listed.iter().map(|o| &o.name).collect::<Vec<_>>(), expected, "{filter}");
    }
}

/// PROTOCOL 55, bad input: a filter that cannot be followed is refused with what can be, not answered with everything.
#[tokio::test]
async fn filters_that_cannot_be_followed_are_refused() {
    let world = World::new().await;
    for filter in ["colour = red", "stage", "done = perhaps", "stage = 7"] {
        let asked = ListOperationsRequest { filter: filter.to_owned(), ..Default::default() };
        let refused = world.operations.clone().list_operations(asked).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("action_digest"), "{}", refused.message());
    }
}

/// PROTOCOL 62: every priority in the advertised range is taken, the outermost ones too, for execution and for results.
#[tokio::test]
async fn all_advertised_priorities_are_taken() {
    use lre_server::services::capabilities::advertised;
    let world = World::new().await;
    let execution = advertised().execution_capabilities.unwrap().execution_priority_capabilities.unwrap();
    let cache = advertised().cache_capabilities.unwrap().cache_priority_capabilities.unwrap();
    let (executions, results) = (&execution.priorities[0], &cache.priorities[0]);
    for (n, (priority, of_results)) in
        [(executions.min_priority, results.min_priority), (executions.max_priority, results.max_priority), (0, 0)]
            .into_iter()
            .enumerate()
    {
        let asked = re::ExecuteRequest {
            execution_policy: Some(re::ExecutionPolicy { priority }),
            results_cache_policy: Some(re::ResultsCachePolicy { priority: of_results }),
            ..request(world.script(&format!("say {n}")).await)
        };
        assert_eq!(world.run(asked).await.unwrap().status.unwrap().code, 0);
    }
}

/// PROTOCOL 83: the salt splits the cache, and changes nothing else.
#[tokio::test]
async fn the_salt_makes_another_action() {
    let world = World::new().await;
    let mut results = Vec::new();
    for salt in [1, 2, 1] {
        let action = world.put(Spec { salt, ..world.spec("say hello") }).await;
        results.push(world.run(request(action)).await.unwrap());
    }
    assert_eq!(results.iter().map(|r| r.cached_result).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(results[0].result, results[1].result);
}

/// PROTOCOL 78: what a result names is in the store when `done` is sent.
#[tokio::test]
async fn results_are_complete_when_they_are_told() {
    let world = World::new().await;
    let result = world.run(request(world.script("say hello").await)).await.unwrap().result.unwrap();
    for digest in [&result.stdout_digest, &result.stderr_digest] {
        let digest = lre_model::Digest::from_wire(F, digest.as_ref()).unwrap();
        assert!(world.blobs.hold(&[digest]).await.unwrap().1.is_empty());
    }
}

/// PROTOCOL 43, 48: GetActionResult finds what Execute would answer, of an action that names no toolchain too; with
/// another default it finds nothing.
#[tokio::test]
async fn results_of_the_default_toolchain_are_found() {
    use lre_proto::re::action_cache_client::ActionCacheClient;
    let world = World::with(Setting { default_toolchain: Some("gcc".into()), ..Setting::default() }).await;
    let mut cache = ActionCacheClient::new(connect(world.dir.path().join("s")).await);
    let action = world.put(Spec { platform: vec![], ..world.spec("say hello") }).await;
    let asked = re::GetActionResultRequest { action_digest: Some(action.to_wire()), ..Default::default() };
    assert_eq!(cache.get_action_result(asked.clone()).await.unwrap_err().code(), Code::NotFound);
    let result = world.run(request(action)).await.unwrap().result.unwrap();
    assert_eq!(cache.get_action_result(asked.clone()).await.unwrap().into_inner(), result);
    let other = lre_toolchain::Toolchain { name: "gcc".into(), ..toolchain("another tree") };
    world.registry.put(&other).unwrap();
    assert_eq!(cache.get_action_result(asked).await.unwrap_err().code(), Code::NotFound);
}

/// PROTOCOL 43, 48, bad input: a digest under which there is no action, or something else, is just not found.
#[tokio::test]
async fn a_default_toolchain_finds_nothing_where_nothing_is() {
    use lre_proto::re::action_cache_client::ActionCacheClient;
    let world = World::with(Setting { default_toolchain: Some("gcc".into()), ..Setting::default() }).await;
    let mut cache = ActionCacheClient::new(connect(world.dir.path().join("s")).await);
    let garbage = lre_model::Digest::of(F, b"\xff\xff");
    world.blobs.write(garbage, bytes::Bytes::from_static(b"\xff\xff").into()).await.unwrap();
    for digest in [garbage, lre_model::Digest::of(F, b"nobody"), lre_model::Digest::empty(F)] {
        let asked = re::GetActionResultRequest { action_digest: Some(digest.to_wire()), ..Default::default() };
        assert_eq!(cache.get_action_result(asked).await.unwrap_err().code(), Code::NotFound);
    }
}

/// PROTOCOL 69, 75, 76, bad input: what a command asks of its outputs and cannot have is refused before anything runs, by
/// the name of its field; what the API lets a server forgive is forgiven.
#[tokio::test]
#[expect(deprecated, reason = "the two older fields can contradict each other")]
async fn commands_that_ask_for_the_impossible_are_refused() {
    use prost::Message;
    let world = World::new().await;
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let plain = || re::Command { arguments: words(&["say", "hello"]), ..Default::default() };
    for (command, field) in [
        (
            re::Command { output_node_properties: words(&["mtime", "colour"]), ..plain() },
            Some("command.output_node_properties"),
        ),
        (re::Command { output_files: words(&["a", "a/b"]), ..plain() }, Some("command.output_files")),
        (
            re::Command { output_files: words(&["a"]), output_directories: words(&["a"]), ..plain() },
            Some("command.output_files"),
        ),
        (re::Command { output_paths: words(&["/tmp/a"]), ..plain() }, Some("command.output_paths[0]")),
        (re::Command { working_directory: "../x".into(), ..plain() }, Some("command.working_directory")),
        (re::Command { working_directory: "/x".into(), ..plain() }, Some("command.working_directory")),
        (re::Command { output_paths: words(&["b", "a", "a", "b/c"]), output_directory_format: 7, ..plain() }, None),
        (re::Command { output_paths: (0..10_000).map(|n| format!("o/{n}")).collect(), ..plain() }, None),
    ] {
        let put = async |bytes: Vec<u8>| {
            let digest = lre_model::Digest::of(F, &bytes);
            world.blobs.write(digest, bytes::Bytes::from(bytes).into()).await.unwrap();
            digest
        };
        let action = re::Action {
            command_digest: Some(put(command.encode_to_vec()).await.to_wire()),
            input_root_digest: Some(lre_model::Digest::empty(F).to_wire()),
            platform: Some(lre_model::Platform::new([world.toolchain.property()]).to_wire()),
            ..Default::default()
        };
        let answer = world.run(request(put(action.encode_to_vec()).await)).await;
        match field {
            None => assert_eq!(answer.unwrap().status.unwrap().code, 0),
            Some(field) => {
                use tonic_types::StatusExt;
                let refused = answer.unwrap_err();
                let named = refused.get_details_bad_request().expect("a field").field_violations;
                assert_eq!((refused.code(), named[0].field.as_str()), (Code::InvalidArgument, field), "{refused:?}");
            }
        }
    }
}
