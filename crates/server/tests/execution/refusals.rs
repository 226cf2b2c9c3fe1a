//! What is refused, and how: at once, in full, with the next step.
use crate::world::*;
use lre_model::{Digest, DigestFunction, Limits, Network, Policy, Terms};
use lre_proto::re;
use lre_testkit::TreeBuilder;
use prost::Message;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The field paths of `BadRequest`.
fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    bad.into_iter().map(|v| v.field).collect()
}

fn inputs() -> TreeBuilder {
    TreeBuilder::new(F).file("a/b/c.h", "c").file("a/d.h", "d").file("main.c", "main")
}

/// PROTOCOL 20, 21, bad input: malformed digests are the client's mistake, named by the field.
#[tokio::test]
async fn malformed_digests_are_invalid() {
    let world = World::new().await;
    let digest = Digest::of(F, b"x").to_wire();
    for bad in [
        None,
        Some(re::Digest { size_bytes: -1, ..digest.clone() }),
        Some(re::Digest { hash: digest.hash.to_uppercase(), ..digest.clone() }),
        Some(re::Digest { hash: "../../etc/passwd".into(), ..digest.clone() }),
        Some(re::Digest { hash: digest.hash[1..].into(), ..digest.clone() }),
    ] {
        let asked = re::ExecuteRequest { action_digest: bad, ..Default::default() };
        let status = world.run(asked).await.unwrap_err();
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["action_digest".to_owned()]));
    }
    let md5 = re::digest_function::Value::Md5 as i32;
    let asked = re::ExecuteRequest { digest_function: md5, ..request(Digest::of(F, b"x")) };
    assert_eq!(world.run(asked).await.unwrap_err().code(), Code::InvalidArgument);
}

/// PROTOCOL 51: the action, the command, a sub-directory, a file: each is named where it alone is missing.
#[tokio::test]
async fn each_missing_blob_is_named() {
    let world = World::new().await;
    let built = Spec { inputs: inputs(), ..world.spec("say hello") }.build();
    for (absent, _) in built.blobs.clone() {
        world.upload(&built).await;
        world.memory.remove(absent);
        let status = world.run(request(built.action)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let named: Vec<_> = violations(&status).into_iter().map(|(kind, subject, _)| (kind, subject)).collect();
        assert_eq!(named, [("MISSING".to_owned(), absent.subject())]);
    }
    assert!(world.executor.log().started.is_empty());
    world.upload(&built).await;
    assert_eq!(world.run(request(built.action)).await.unwrap().status.unwrap().code, 0);
}

/// PROTOCOL 51: all missing blobs at once, whatever their kind, each once.
#[tokio::test]
async fn all_missing_blobs_are_named_at_once() {
    let world = World::new().await;
    let built = Spec { inputs: inputs(), ..world.spec("say hello") }.build();
    world.upload(&built).await;
    let sub = inputs().build();
    let reachable =
        |content: &[u8]| sub.blobs.iter().find(|(_, bytes)| &bytes[..] == content).map(|(d, _)| *d).unwrap();
    let absent = [built.command, reachable(b"d"), reachable(b"main")];
    absent.iter().for_each(|digest| world.memory.remove(*digest));
    let status = world.run(request(built.action)).await.unwrap_err();
    let named: BTreeSet<_> = violations(&status).into_iter().map(|(_, subject, _)| subject).collect();
    assert_eq!(named, absent.iter().map(|d| d.subject()).collect());
}

/// PROTOCOL 51, 52: a thousand missing files do not fit the trailers of a call, but `ExecuteResponse.status`.
#[tokio::test]
async fn very_many_missing_blobs_are_all_named() {
    let world = World::new().await;
    let tree = (0..1_000).fold(TreeBuilder::new(F), |tree, i| tree.file(&format!("f{i}"), format!("content {i}")));
    let built = Spec { inputs: tree.clone(), ..world.spec("say hello") }.build();
    for (digest, bytes) in &built.blobs {
        if !bytes.starts_with(b"content ") {
            lre_store::BlobStore::write(&*world.blobs, *digest, bytes.clone().into()).await.unwrap();
        }
    }
    let response = world.run(request(built.action)).await.unwrap();
    let status = as_status(&response.status.unwrap());
    assert_eq!(status.code(), Code::FailedPrecondition);
    let named: BTreeSet<_> = violations(&status).into_iter().map(|(_, subject, _)| subject).collect();
    assert_eq!(named.len(), 1_000);
    assert!(response.result.is_none() && !response.cached_result);
}

/// PROTOCOL 71, 80, bad input: what can never work names its field: duplicate, unsorted, empty names and such with `/` or
/// `..`, outputs that leave the input root, garbage.
#[tokio::test]
async fn actions_that_cannot_work_are_invalid() {
    let world = World::new().await;
    let put = async |bytes: Vec<u8>| {
        let digest = Digest::of(F, &bytes);
        world.blobs.write(digest, bytes::Bytes::from(bytes).into()).await.unwrap();
        digest
    };
    let root = Digest::empty(F);
    let garbage = put(b"\xff\xff\xff".to_vec()).await;
    let command = put(re::Command { arguments: vec!["true".into()], ..Default::default() }.encode_to_vec()).await;
    let empty = put(re::Command { output_paths: vec!["x".into()], ..Default::default() }.encode_to_vec()).await;
    let escaping =
        re::Command { arguments: vec!["true".into()], output_paths: vec!["../x".into()], ..Default::default() };
    let escaping = put(escaping.encode_to_vec()).await;
    let node = |name: &str| re::FileNode { name: name.into(), digest: Some(root.to_wire()), ..Default::default() };
    let mut trees = Vec::new();
    for names in [["b", "a"], ["a", "a"], ["a/b", "c"], ["", "a"], ["..", "a"]] {
        let directory = re::Directory { files: names.map(node).to_vec(), ..Default::default() };
        trees.push(put(directory.encode_to_vec()).await);
    }
    let mut cases = vec![
        (garbage, root, "command"),
        (empty, root, "command.arguments"),
        (escaping, root, "command.output_paths[0]"),
        (command, garbage, "input_root"),
    ];
    cases.extend(trees.into_iter().map(|tree| (command, tree, "input_root")));
    for (command, root, field) in cases {
        let action = re::Action {
            command_digest: Some(command.to_wire()),
            input_root_digest: Some(root.to_wire()),
            ..Default::default()
        };
        let status = world.run(request(put(action.encode_to_vec()).await)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(fields(&status)[0].starts_with(field), "{:?}, expected {field}", fields(&status));
    }
    assert_eq!(world.run(request(garbage)).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(world.executor.log().started.is_empty());
}

/// PROTOCOL 57: longer than the maximum is refused, with the number; zero and nothing mean the default.
#[tokio::test]
async fn timeouts_have_a_maximum() {
    let world = World::new().await;
    let with = |timeout| Spec { timeout, ..world.spec("slow") };
    let action = world.put(with(Some(Duration::from_secs(61)))).await;
    let status = world.run(request(action)).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["action.timeout".to_owned()]));
    assert!(status.message().contains("60 s") && status.message().contains("hint: "), "{}", status.message());
    for (asked, given) in [(None, "30 s"), (Some(Duration::ZERO), "30 s"), (Some(Duration::from_secs(60)), "60 s")] {
        let action = world.put(with(asked)).await;
        let response = world.run(request(action)).await.unwrap();
        assert!(response.message.contains(given), "{}", response.message);
    }
}

/// PROTOCOL 63: an unknown property, value or toolchain is answered at once, never queued, with what is
/// installed and what to do.
#[tokio::test]
async fn unknown_platforms_are_refused_at_once() {
    let world = World::with(Setting { slots: 1, ..Setting::default() }).await;
    // The only slot is taken, so whatever is queued would hang here.
    let _busy = world.ask(request(world.script("wait for-ever").await)).await.unwrap();
    let stranger = Digest::of(F, b"another compiler").to_string();
    for (name, value) in [
        ("color", "green"),
        ("OSFamily", "windows"),
        ("ISA", "z80"),
        ("lre-rootfs", &stranger),
        ("lre-rootfs", "x"),
        ("lre-policy", "strict"),
        ("lre-policy", "strict-2"),
        ("lre-network", "host"),
        ("lre-warm", "A team"),
        ("lre-mutates-inputs", "no"),
        ("lre-memory-bytes-max", "1G"),
        ("lre-polcy", "strict-1"),
    ] {
        let mut spec = world.spec("say hello");
        spec.platform.retain(|(n, _)| n != name);
        spec.platform.push((name.into(), value.into()));
        let status = world.run(request(world.put(spec).await)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{name}={value}: {status:?}");
        let found = violations(&status);
        assert_eq!((found[0].0.as_str(), found[0].1.as_str()), ("PLATFORM", name));
        assert!(found[0].2.len() > 20, "says what is there instead: {}", found[0].2);
    }
    assert_eq!(world.executor.log().started, ["for-ever"]);
}

/// PROTOCOL 63: no toolchain named and no default: refused with the hint; accepted
/// properties and those that are known are no obstacle.
#[tokio::test]
async fn no_toolchain_and_no_default_is_refused() {
    let world = World::new().await;
    let action = world.put(Spec { platform: vec![], ..world.spec("say hello") }).await;
    let status = world.run(request(action)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("lre "), "names the command that fixes it: {}", status.message());
    let mut spec = world.spec("say hello");
    spec.platform.extend([("OSFamily", "linux"), ("container-image", "x")].map(|(n, v)| (n.into(), v.into())));
    assert_eq!(world.run(request(world.put(spec).await)).await.unwrap().status.unwrap().code, 0);
}

/// What an action asks of its sandbox comes to whoever makes the sandbox.
#[tokio::test]
async fn the_terms_of_an_action_reach_the_executor() {
    let world = World::new().await;
    let asked = [("lre-policy", "standard-1"), ("lre-network", "host"), ("lre-processes-max", "7")];
    let expected = Terms {
        policy: Policy::Standard1,
        network: Network::Host,
        limits: Limits { processes_max: Some(7), ..Limits::default() },
        ..Terms::default()
    };
    for (asked, expected) in [(&asked[..], expected), (&[], Terms::default())] {
        let mut spec = world.spec("terms");
        spec.platform.extend(asked.iter().map(|(n, v)| ((*n).into(), (*v).into())));
        let result = world.run(request(world.put(spec).await)).await.unwrap().result.unwrap();
        assert_eq!(world.text(result.stdout_digest.as_ref()).await, format!("{expected:?}"));
    }
}

/// PROTOCOL 64: the platform of the command counts where the action has none.
#[tokio::test]
#[expect(deprecated, reason = "REAPI before 2.2 has the platform in the command")]
async fn the_platform_of_the_command_counts_too() {
    let world = World::new().await;
    let (name, value) = world.toolchain.property();
    let platform = lre_model::Platform::new([(&*name, &*value), ("lre-policy", "compat-1")]).to_wire();
    let arguments = vec!["terms".to_owned()];
    let command = re::Command { arguments, platform: Some(platform), ..Default::default() }.encode_to_vec();
    let command_digest = Digest::of(F, &command);
    let action = re::Action {
        command_digest: Some(command_digest.to_wire()),
        input_root_digest: Some(Digest::empty(DigestFunction::Sha256).to_wire()),
        ..Default::default()
    };
    let action = action.encode_to_vec();
    let digest = Digest::of(F, &action);
    for (digest, bytes) in [(command_digest, command), (digest, action)] {
        world.blobs.write(digest, bytes::Bytes::from(bytes).into()).await.unwrap();
    }
    let response = world.run(request(digest)).await.unwrap();
    assert_eq!(response.status.unwrap().code, 0);
    let terms = Terms { policy: Policy::Compat1, ..Terms::default() };
    assert_eq!(world.text(response.result.unwrap().stdout_digest.as_ref()).await, format!("{terms:?}"));
}

/// HOUSE 6: too much in the queue is RESOURCE_EXHAUSTED, at once.
#[tokio::test]
async fn a_full_queue_refuses() {
    let world = World::with(Setting { slots: 1, waiting_max: 1, ..Setting::default() }).await;
    let _running = world.ask(request(world.script("wait a").await)).await.unwrap();
    let _waiting = world.ask(request(world.script("wait b").await)).await.unwrap();
    let status = world.run(request(world.script("wait c").await)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(!status.get_details_quota_failure().unwrap().violations.is_empty());
}
