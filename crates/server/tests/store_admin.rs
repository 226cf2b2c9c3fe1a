//! `lre.v1.Store`: one long work at a time, which ends when nobody waits for it and when the server stops.
mod common;

use common::{PATIENCE, connect_tcp, until};
use futures::StreamExt;
use lre_model::{Digest, DigestFunction};
use lre_proto::admin::store_server::{Store, StoreServer};
use lre_proto::admin::{
    CollectEvent, CollectRequest, UsageRequest, VerifyEvent, VerifyRequest, VerifyResponse, store_client::StoreClient,
};
use lre_server::auth::Porch;
use lre_server::listen::Listeners;
use lre_server::services::store::StoreAdmin;
use lre_store::{BlobStore, DiskStore};
use lre_toolchain::Registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::{Code, Request};

/// More than wait for a client that reads nothing.
const FOREIGN: usize = 100;

struct World {
    disk: Arc<DiskStore>,
    registry: Arc<Registry>,
    _directory: tempfile::TempDir,
}

impl World {
    /// A store with a blob, and with files that are nobody's.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(DiskStore::open(&directory.path().join("store")).unwrap());
        // What the look after the start comes upon is told as well; this is to be found by verify.
        disk.sweep().unwrap();
        for n in 0..FOREIGN {
            std::fs::write(disk.directory().join(format!("blobs/foreign-{n}")), "x").unwrap();
        }
        let blob = vec![7; 50_000];
        disk.write(Digest::of(DigestFunction::Sha256, &blob), bytes::Bytes::from(blob).into()).await.unwrap();
        let registry = Arc::new(Registry::open(disk.directory().join("toolchains/registry")).unwrap());
        Self { disk, registry, _directory: directory }
    }

    fn admin(&self) -> StoreAdmin {
        StoreAdmin::new(Arc::clone(&self.disk), Arc::clone(&self.registry))
    }
}

fn problems(events: &[VerifyResponse]) -> usize {
    events.iter().filter(|told| matches!(told.event, Some(VerifyEvent::Problem(_)))).count()
}

fn interrupted(events: &[VerifyResponse]) -> bool {
    match events.last().and_then(|told| told.event.clone()) {
        Some(VerifyEvent::Done(done)) => done.interrupted,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_at_a_time_and_it_ends_with_its_client() {
    let world = World::new().await;
    let admin = world.admin();
    let first = admin.verify(Request::new(VerifyRequest {})).await.unwrap();
    // It cannot end: nobody reads what it tells.
    let refused = admin.verify(Request::new(VerifyRequest {})).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let refused = admin.collect(Request::new(CollectRequest::default())).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    drop(first);
    until("the first has ended", async || admin.collect(Request::new(CollectRequest::default())).await.is_ok()).await;
}

#[tokio::test]
async fn it_ends_when_the_server_stops() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let admin = world.admin().until(stop.clone());
    let telling = admin.verify(Request::new(VerifyRequest {})).await.unwrap().into_inner();
    stop.cancel();
    let told = tokio::time::timeout(PATIENCE, telling.collect::<Vec<_>>()).await.expect("it ends");
    let told: Vec<_> = told.into_iter().map(Result::unwrap).collect();
    assert!(interrupted(&told));
}

#[tokio::test]
async fn over_the_wire_everything_is_told() {
    let world = World::new().await;
    let mut routes = RoutesBuilder::default();
    routes.add_service(StoreServer::new(world.admin()));
    let listeners = Listeners::bind(Some(([127, 0, 0, 1], 0).into()), None).unwrap();
    let (address, stop) = (listeners.tcp_address().unwrap(), CancellationToken::new());
    let served = tokio::spawn(listeners.serve(routes.routes(), Porch::new(None), stop.clone()));
    let mut client = StoreClient::new(connect_tcp(address).await);

    let told =
        client.verify(VerifyRequest {}).await.unwrap().into_inner().map(Result::unwrap).collect::<Vec<_>>().await;
    assert_eq!((problems(&told), interrupted(&told)), (FOREIGN, false));
    let usage = client.usage(UsageRequest {}).await.unwrap().into_inner();
    assert_eq!(usage.kinds.iter().map(|part| part.bytes).sum::<u64>(), usage.total_bytes);
    assert!(usage.held_bytes >= 50_000, "{usage:?}");

    world.disk.pass_time(std::time::Duration::from_secs(4 * 3600));
    for (dry_run, left) in [(true, true), (false, false)] {
        let request = CollectRequest { to_bytes: Some(0), dry_run };
        let told = client.collect(request).await.unwrap().into_inner().map(Result::unwrap).collect::<Vec<_>>().await;
        let Some(CollectEvent::Done(done)) = told.last().and_then(|told| told.event.clone()) else {
            panic!("{told:?}")
        };
        let blobs = done.freed.iter().find(|part| part.name == "blobs").unwrap();
        assert_eq!(blobs.count, 1, "{done:?}");
        let digest = Digest::of(DigestFunction::Sha256, &[7; 50_000]);
        let (_hold, missing) = world.disk.hold(&[digest]).await.unwrap();
        assert_eq!(missing.is_empty(), left, "dry run: {dry_run}");
        // The look was a use.
        world.disk.pass_time(std::time::Duration::from_secs(4 * 3600));
    }
    stop.cancel();
    served.await.unwrap().unwrap();
}
