//! Clients that hang up, and clients that come back.
use crate::world::*;
use lre_proto::re::execution_stage::Value as Stage;
use std::time::Duration;
use tonic::Code;

/// No client comes back within this.
fn long() -> Setting {
    Setting { grace: Duration::from_secs(3600), ..Setting::default() }
}

/// PROTOCOL 55: a client that goes away cancels what only it wanted.
#[tokio::test]
async fn hanging_up_cancels_what_only_this_client_wanted() {
    let world = World::new().await;
    let mut stream = world.ask(request(world.script("wait mine").await)).await.unwrap();
    until(&mut stream, Stage::Executing).await;
    drop(stream);
    world.executor.until("the cancellation", |log| log.cancelled == ["mine"]).await;
}

/// The same for what has not started: it never does.
#[tokio::test]
async fn hanging_up_takes_what_waits_out_of_the_queue() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut running = world.ask(request(world.script("wait gate").await)).await.unwrap();
    until(&mut running, Stage::Executing).await;
    let mut waiting = world.ask(request(world.script("say never").await)).await.unwrap();
    let name = next(&mut waiting).await.name;
    drop(waiting);
    let dropped = world.until_done(&name).await;
    assert_eq!(dropped.status.unwrap().code, Code::Cancelled as i32);
    world.executor.open("gate");
    all(running).await;
    assert_eq!(world.executor.log().started, ["gate"]);
}

/// PROTOCOL 56: what somebody else wants goes on when one client hangs up.
#[tokio::test]
async fn hanging_up_leaves_what_others_want() {
    let world = World::new().await;
    let action = world.script("wait ours").await;
    let mut mine = world.ask(request(action)).await.unwrap();
    let theirs = world.ask(request(action)).await.unwrap();
    let name = until(&mut mine, Stage::Executing).await.name;
    drop(mine);
    let dropped = world.until_done(&name).await;
    assert_eq!(dropped.status.unwrap().code, Code::Cancelled as i32);
    world.executor.open("ours");
    assert_eq!(response(&all(theirs).await).status.unwrap().code, 0);
    assert!(world.executor.log().cancelled.is_empty());
}

/// A whole connection that breaks is every stream of it that hangs up.
#[tokio::test]
async fn a_broken_connection_hangs_up_all_its_streams() {
    let world = World::new().await;
    let channel = connect(world.dir.path().join("s")).await;
    let mut execution = lre_proto::re::execution_client::ExecutionClient::new(channel);
    let mut streams = Vec::new();
    for gate in ["a", "b"] {
        let action = world.script(&format!("wait {gate}")).await;
        let mut stream = execution.execute(request(action)).await.unwrap().into_inner();
        until(&mut stream, Stage::Executing).await;
        streams.push(stream);
    }
    drop((streams, execution));
    world.executor.until("both cancellations", |log| log.cancelled.len() == 2).await;
}

/// PROTOCOL 54: a lost connection is not the end: the operation goes on, and its name finds it again.
#[tokio::test]
async fn wait_execution_goes_on_after_a_lost_connection() {
    let world = World::with(long()).await;
    let mut stream = world.ask(request(world.script("wait gate").await)).await.unwrap();
    let name = until(&mut stream, Stage::Executing).await.name;
    drop(stream);
    let mut again = world.wait(&name).await.unwrap();
    let first = next(&mut again).await;
    assert_eq!((first.stage, first.name.as_str()), (Stage::Executing, name.as_str()), "the first answer at once");
    world.executor.open("gate");
    assert_eq!(response(&all(again).await).status.unwrap().code, 0);
    assert!(world.executor.log().cancelled.is_empty());
}

/// PROTOCOL 54: whoever comes back after the end is told the end; a second time too.
#[tokio::test]
async fn finished_operations_can_be_waited_for() {
    let world = World::with(long()).await;
    let mut stream = world.ask(request(world.script("wait gate").await)).await.unwrap();
    let name = until(&mut stream, Stage::Executing).await.name;
    drop(stream);
    world.executor.open("gate");
    world.until_done(&name).await;
    for _ in 0..2 {
        let messages = all(world.wait(&name).await.unwrap()).await;
        assert_eq!(messages.len(), 1);
        assert_eq!(response(&messages).result.unwrap().exit_code, 0);
    }
}

/// PROTOCOL 54, bad input: unknown is NOT_FOUND, so that the client calls Execute again.
#[tokio::test]
async fn unknown_operations_are_not_found() {
    let world = World::new().await;
    for name in ["", "operations/", "operations/4711", "main/operations/x", "blobs/x"] {
        assert_eq!(world.wait(name).await.unwrap_err().code(), Code::NotFound, "{name}");
    }
}
