//! Who shares a run with whom, and who goes first.
use crate::world::*;
use lre_proto::re::{self, execution_stage::Value as Stage};

/// PROTOCOL 56: four requests for one action, one run, four answers.
#[tokio::test]
async fn equal_actions_run_once() {
    let world = World::new().await;
    let action = world.script("wait gate").await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = world.ask(request(action)).await.unwrap();
        until(&mut stream, Stage::Executing).await;
        streams.push(stream);
    }
    world.executor.open("gate");
    let mut names = std::collections::HashSet::new();
    for stream in streams {
        let messages = all(stream).await;
        assert_eq!(response(&messages).result.unwrap().exit_code, 0);
        names.insert(messages[0].name.clone());
    }
    assert_eq!(names.len(), 4, "four operations wait for one execution");
    assert_eq!(world.executor.log().started.len(), 1);
}

/// PROTOCOL 50, 56: do_not_cache is never merged.
#[tokio::test]
async fn do_not_cache_is_never_merged() {
    let world = World::with(Setting { slots: 3, ..Setting::default() }).await;
    let action = world.put(Spec { do_not_cache: true, ..world.spec("wait gate") }).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(world.ask(request(action)).await.unwrap());
    }
    world.executor.until_started(3).await;
    world.executor.open("gate");
    for stream in streams {
        assert_eq!(response(&all(stream).await).status.unwrap().code, 0);
    }
}

/// PROTOCOL 49, 56: skip_cache_lookup may join only a run that was started after it asked.
#[tokio::test]
async fn skip_cache_lookup_does_not_join_a_run_that_is_older() {
    let world = World::new().await;
    let action = world.script("wait gate").await;
    let mut old = world.ask(request(action)).await.unwrap();
    until(&mut old, Stage::Executing).await;
    let mut first = world.ask(again(action)).await.unwrap();
    let mut second = world.ask(again(action)).await.unwrap();
    assert_eq!(next(&mut first).await.stage, Stage::Queued);
    assert_eq!(next(&mut second).await.stage, Stage::Queued);
    world.executor.open("gate");
    for stream in [old, first, second] {
        assert_eq!(response(&all(stream).await).status.unwrap().code, 0);
    }
    assert_eq!(world.executor.log().started.len(), 2, "the old one, and one for both who asked later");
}

/// PROTOCOL 62: lower numbers first, and of equal ones who came first.
#[tokio::test]
async fn priorities_are_honoured() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut running = world.ask(request(world.script("wait gate").await)).await.unwrap();
    until(&mut running, Stage::Executing).await;
    let mut streams = vec![running];
    for (priority, name) in [(0, "c"), (7, "e"), (-1, "b"), (0, "d"), (-5, "a")] {
        let asked = re::ExecuteRequest {
            execution_policy: Some(re::ExecutionPolicy { priority }),
            ..request(world.script(&format!("say {name}")).await)
        };
        let mut stream = world.ask(asked).await.unwrap();
        assert_eq!(next(&mut stream).await.stage, Stage::Queued);
        streams.push(stream);
    }
    world.executor.open("gate");
    for stream in streams {
        all(stream).await;
    }
    assert_eq!(world.executor.log().started, ["gate", "a", "b", "c", "d", "e"]);
}

/// HOUSE 3: never more than slots. The executor asserts that no slot is granted twice.
#[tokio::test]
async fn never_more_than_slots() {
    let world = World::with(Setting { slots: 3, ..Setting::default() }).await;
    let mut streams = Vec::new();
    for i in 0..40 {
        let spec = Spec { salt: i, ..world.spec(&format!("say {i}")) };
        streams.push(world.ask(request(world.put(spec).await)).await.unwrap());
    }
    for stream in streams {
        assert_eq!(response(&all(stream).await).status.unwrap().code, 0);
    }
    let log = world.executor.log();
    assert_eq!((log.started.len(), log.ended), (40, 40));
    assert_eq!(world.server.driver().load(), (0, 0));
}

/// PROTOCOL 7: a client may have a thousand open `Execute` streams on one connection, and still be heard on it.
/// Where the streams of a connection have a limit (200 is a common one), a build with more jobs stands still.
#[tokio::test]
async fn a_thousand_streams_on_one_connection() {
    let world = World::with(Setting { waiting_max: 2_000, ..Setting::default() }).await;
    let mut streams = Vec::new();
    for i in 0..1_000 {
        let mut stream = world.ask(request(world.script(&format!("wait {i}")).await)).await.unwrap();
        streams.push((next(&mut stream).await.name, stream));
    }
    assert_eq!(world.server.driver().load(), (2, 998));
    let request = lre_proto::longrunning::GetOperationRequest { name: streams[999].0.clone() };
    world.operations.clone().get_operation(request).await.unwrap();
    drop(streams);
    world.until_idle().await;
}

/// An explanation is asked for beside the action and not in it: the same action, run anew though its
/// result is known, with nobody who did not ask; and what it gives is remembered as ever.
#[tokio::test]
async fn an_explanation_is_a_run_of_its_own() {
    let world = World::with(Setting { slots: 2, ..Setting::default() }).await;
    let action = world.script("explained").await;
    let plain = world.run(request(action)).await.unwrap();
    assert_eq!((plain.message.as_str(), plain.cached_result), ("explained: false", false));
    let mut asked = tonic::Request::new(request(action));
    asked.metadata_mut().insert(lre_server::metadata::EXPLAIN_HEADER, "1".parse().unwrap());
    let stream = world.execution.clone().execute(asked).await.unwrap().into_inner();
    let explained = response(&all(stream).await);
    assert_eq!((explained.message.as_str(), explained.cached_result), ("explained: true", false));
    assert!(world.run(request(action)).await.unwrap().cached_result);
}
