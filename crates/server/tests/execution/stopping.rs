//! An orderly end (issue, item 2: SIGTERM finishes or cancels cleanly).
use crate::world::*;
use lre_proto::re::execution_stage::Value as Stage;
use std::time::Duration;
use tonic::Code;

/// What runs and ends in time is answered; who waits is told to try again; nobody new comes in.
#[tokio::test]
async fn what_runs_may_end_and_who_waits_is_told() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    let mut running = world.ask(request(world.script("wait gate").await)).await.unwrap();
    until(&mut running, Stage::Executing).await;
    let mut waiting = world.ask(request(world.script("say never").await)).await.unwrap();
    assert_eq!(next(&mut waiting).await.stage, Stage::Queued);
    let World { server, executor, dir, .. } = world;
    let stop = tokio::spawn(server.shutdown());
    let told = response(&all(waiting).await);
    assert_eq!(told.status.unwrap().code, Code::Unavailable as i32);
    executor.open("gate");
    assert_eq!(response(&all(running).await).status.unwrap().code, 0);
    stop.await.unwrap();
    assert_eq!(executor.log().started, ["gate"]);
    assert!(!dir.path().join("s").exists(), "the socket is gone");
}

/// What does not end in time is killed, and its client is told to try again: with CANCELLED, which
/// it never asked for, a build would fail.
#[tokio::test]
async fn what_does_not_end_in_time_is_cancelled() {
    let world = World::with(Setting { finish_time: Duration::from_millis(20), ..Setting::default() }).await;
    let mut running = world.ask(request(world.script("wait for-ever").await)).await.unwrap();
    until(&mut running, Stage::Executing).await;
    let World { server, executor, .. } = world;
    let stop = tokio::spawn(server.shutdown());
    assert_eq!(response(&all(running).await).status.unwrap().code, Code::Unavailable as i32);
    stop.await.unwrap();
    assert_eq!(executor.log().cancelled, ["for-ever"]);
}
