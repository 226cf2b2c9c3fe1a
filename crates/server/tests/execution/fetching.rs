//! Toolchains that an action names by digest and this server has not got (issue, item 7: "a worker that lacks one
//! fetches it by digest"), and what a server says of those it has.
use crate::scripted::DEADLINE;
use crate::world::*;
use bytes::Bytes;
use lre_model::Digest;
use lre_proto::re;
use lre_proto::re::capabilities_client::CapabilitiesClient;
use lre_store::BlobStore;
use lre_testkit::{BuiltTree, TreeBuilder};
use lre_toolchain::{Advertised, Cas, Kind, Toolchain};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::Code;

/// A tree of hundreds of files on three levels, with one that no batch takes.
fn tree() -> BuiltTree {
    let large = Bytes::from(vec![7; 4_000_000]);
    let mut tree =
        TreeBuilder::new(F).program("usr/bin/cc", "cc").symlink("bin", "usr/bin").file("usr/lib/large", large);
    for i in 0..400 {
        tree = tree.file(&format!("usr/include/{}/{i}.h", i % 9), format!("#define H{i}\n"));
    }
    tree.build()
}

async fn upload(world: &World, tree: &BuiltTree) {
    for (digest, bytes) in &tree.blobs {
        world.blobs.write(*digest, bytes.clone().into()).await.unwrap();
    }
}

/// A server that has the tree as a toolchain.
async fn colleague(tree: &BuiltTree) -> World {
    let world = World::new().await;
    upload(&world, tree).await;
    world.registry.put(&Toolchain { digest: tree.root.0, name: "theirs".into(), ..toolchain("gcc") }).unwrap();
    world
}

fn peer(world: &World) -> Cas {
    format!("unix:{}", world.dir.path().join("s").display()).parse().unwrap()
}

async fn with_peers(toolchain_peers: Vec<Cas>) -> World {
    World::with(Setting { toolchain_peers, ..Setting::default() }).await
}

/// The digest of an action that wants this toolchain.
async fn action(world: &World, script: &str, kind: Kind, digest: Digest) -> Digest {
    let platform = vec![(kind.property().to_owned(), digest.to_string())];
    world.put(Spec { platform, ..world.spec(script) }).await
}

async fn refused(world: &World, action: Digest) -> String {
    let status = world.run(request(action)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let found = violations(&status);
    assert_eq!((found.len(), found[0].0.as_str()), (1, "PLATFORM"), "{found:?}");
    found[0].2.clone()
}

fn fetched(world: &World) -> Vec<Toolchain> {
    world.registry.all().unwrap().into_iter().filter(|t| t.name.starts_with("fetched-")).collect()
}

#[tokio::test]
async fn what_a_peer_has_is_fetched_once_and_kept() {
    let tree = tree();
    let theirs = colleague(&tree).await;
    let world = with_peers(vec![peer(&theirs)]).await;
    let mut actions = Vec::new();
    for n in 0..20 {
        actions.push(action(&world, &format!("say {n}"), Kind::Rootfs, tree.root.0).await);
    }
    // All at the same time: one of them fetches.
    let answers = futures::future::join_all(actions.into_iter().map(|action| world.run(request(action)))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().status.unwrap().code == 0));
    let kept = fetched(&world);
    let name = format!("fetched-rootfs-{}", &tree.root.0.hash_text()[..12]);
    assert_eq!(kept.iter().map(|t| (t.name.as_str(), t.digest)).collect::<Vec<_>>(), [(name.as_str(), tree.root.0)]);
    assert_eq!(kept[0].source, format!("cas:{}#{}", peer(&theirs), tree.root.0));
    // What was fetched is there without the peer.
    theirs.server.shutdown().await;
    let again = action(&world, "say later", Kind::Rootfs, tree.root.0).await;
    assert_eq!(world.run(request(again)).await.unwrap().status.unwrap().code, 0);
    // And it can be had from here.
    let third = with_peers(vec![peer(&world)]).await;
    let there = action(&third, "say third", Kind::Rootfs, tree.root.0).await;
    assert_eq!(third.run(request(there)).await.unwrap().status.unwrap().code, 0);
}

/// The kind is that of the property: one tree may be mounted in two ways.
#[tokio::test]
async fn a_tree_that_a_client_uploaded_needs_no_peer() {
    let tree = tree();
    let world = World::new().await;
    upload(&world, &tree).await;
    for kind in [Kind::Tree, Kind::Tree] {
        let action = action(&world, "say hello", kind, tree.root.0).await;
        assert_eq!(world.run(request(action)).await.unwrap().status.unwrap().code, 0);
    }
    assert_eq!(fetched(&world).iter().map(|t| t.kind).collect::<Vec<_>>(), [Kind::Tree]);
    // Now that it is here, the wrong property is a mistake as with any other toolchain.
    let wrong = action(&world, "say wrong", Kind::Rootfs, tree.root.0).await;
    assert!(refused(&world, wrong).await.contains("write `lre-toolchain` instead of `lre-rootfs`"));
}

/// PROTOCOL 63, bad input: at once, never queued, with what was tried. A peer that is down costs one look in a while.
#[tokio::test]
async fn a_peer_that_is_down_is_named_and_not_asked_again() {
    let tree = tree();
    let nobody: Cas = "unix:/nonexistent/lre.sock".parse().unwrap();
    let other = World::new().await;
    let world = with_peers(vec![nobody.clone(), peer(&other)]).await;
    let first = action(&world, "say first", Kind::Rootfs, tree.root.0).await;
    let said = refused(&world, first).await;
    let none = format!("the peer {}: it does not have it", peer(&other));
    for text in
        ["the peer unix:/nonexistent/lre.sock: cannot connect", &none, "the store of this server does not have it"]
    {
        assert!(said.contains(text), "`{text}` is not in: {said}");
    }
    assert!(said.contains("lre toolchain add"), "the command that helps is still there: {said}");
    assert!(refused(&world, first).await.contains("(asked a moment ago)"));
    // With the other peer it works as soon as that has it.
    upload(&other, &tree).await;
    assert_eq!(world.run(request(first)).await.unwrap().status.unwrap().code, 0);
    assert_eq!(world.executor.log().started, ["first"]);
}

#[tokio::test]
async fn without_peers_the_answer_is_as_it_was() {
    let world = World::new().await;
    let stranger = action(&world, "say x", Kind::Rootfs, tree().root.0).await;
    let said = refused(&world, stranger).await;
    assert!(said.contains("is installed") && said.contains("gcc") && !said.contains("the peer"), "{said}");
}

/// What is wrong besides is said before anything is fetched.
#[tokio::test]
async fn a_platform_that_cannot_be_had_fetches_nothing() {
    let tree = tree();
    let theirs = colleague(&tree).await;
    let world = with_peers(vec![peer(&theirs)]).await;
    let mut spec = world.spec("say x");
    spec.platform = vec![("lre-rootfs".into(), tree.root.0.to_string()), ("color".into(), "green".into())];
    let action = world.put(spec).await;
    assert!(refused(&world, action).await.contains("`color` is not known"));
    assert!(fetched(&world).is_empty());
}

#[tokio::test]
async fn a_peer_that_sends_other_bytes_is_refused() {
    let tree = tree();
    for (path, wrong) in [("cc", &b"CC"[..]), ("#define H7\n", b"#define H8\n"), ("root", b"")] {
        let theirs = colleague(&tree).await;
        let digest = if path == "root" { tree.root.0 } else { Digest::of(F, path.as_bytes()) };
        let mut bytes = wrong.to_vec();
        bytes.resize(usize::try_from(digest.size_bytes()).unwrap(), b'?');
        // Their store believes it: the disk has rotten.
        theirs.memory.write(digest, Bytes::from(bytes).into()).await.unwrap();
        let world = with_peers(vec![peer(&theirs)]).await;
        let action = action(&world, "say x", Kind::Rootfs, tree.root.0).await;
        let said = refused(&world, action).await;
        assert!(said.contains(&format!("the blob {digest} arrived as")), "{said}");
        assert!(said.contains(&peer(&theirs).to_string()) && fetched(&world).is_empty(), "{said}");
        assert!(!world.blobs.hold(&[digest]).await.unwrap().1.is_empty(), "nothing of it is kept");
        // Put right there, it is had from there.
        upload(&theirs, &tree).await;
        assert_eq!(world.run(request(action)).await.unwrap().status.unwrap().code, 0);
    }
}

#[tokio::test]
async fn half_a_tree_is_no_toolchain() {
    let tree = tree();
    let theirs = colleague(&tree).await;
    let absent = Digest::of(F, b"#define H7\n");
    theirs.memory.remove(absent);
    let world = with_peers(vec![peer(&theirs)]).await;
    let action = action(&world, "say x", Kind::Rootfs, tree.root.0).await;
    let said = refused(&world, action).await;
    assert!(said.contains("does not have all of the tree") && said.contains(&absent.to_string()), "{said}");
    assert!(fetched(&world).is_empty());
}

/// A peer that takes the connection and says nothing holds nobody up: not for ever, and not the end of the server.
#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_a_peer() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = with_peers(vec![silent.local_addr().unwrap().to_string().parse().unwrap()]).await;
    let action = action(&world, "say x", Kind::Rootfs, tree().root.0).await;
    let began = Instant::now();
    let client = world.execution.clone();
    let asked = tokio::spawn(async move { client.clone().execute(request(action)).await.map(drop) });
    let _connection = tokio::time::timeout(DEADLINE, silent.accept()).await.unwrap().unwrap();
    world.server.shutdown().await;
    let status = asked.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// Issue, item 7: "`serve` advertises which toolchains it can run".
#[tokio::test]
async fn a_server_says_which_toolchains_it_has() {
    let world = World::new().await;
    let ask = || async {
        let channel = connect(world.dir.path().join("s")).await;
        let answer = CapabilitiesClient::new(channel).get_capabilities(re::GetCapabilitiesRequest::default()).await;
        let metadata = answer.unwrap().metadata().clone();
        Advertised::parse(|name| metadata.get(name).and_then(|value| value.to_str().ok())).expect("it says")
    };
    let digest = world.toolchain.digest;
    assert_eq!(ask().await, Advertised { toolchains: vec![(Kind::Rootfs, digest)], count: 1 });
    // As of now, not as of the start; and no more than clients can take.
    for n in 0..300 {
        world.registry.put(&toolchain(&format!("t{n}"))).unwrap();
    }
    let said = ask().await;
    assert_eq!((said.count, said.has(Kind::Rootfs, digest)), (301, Some(true)));
    assert!(said.toolchains.len() < 100, "{}", said.toolchains.len());
}
