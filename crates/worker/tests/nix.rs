//! Nix closures in the real sandbox: alone, with each other, with a rootfs.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_model::{Action, ActionDigest, Command, Digest, Subtree, Terms};
use lre_store::Hold;
use lre_toolchain::{Closure, Kind, Toolchain};
use lre_worker::{Executor, Failure, Loaded, Outcome, Work};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;
use world::{F, World, command, result};

const A: &str = "0s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-a";
const B: &str = "1s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-b";
const C: &str = "2s8qlnzdyikmk4i9lkjgsvnkd3lp6csh-c";

/// A toolchain of what `fill` puts into a folder.
async fn toolchain(world: &World, kind: Kind, name: &str, fill: impl FnOnce(&Path)) -> Toolchain {
    let tree = world.directory.path().join(name);
    fs::create_dir(&tree).unwrap();
    fill(&tree);
    let imported = lre_toolchain::import_directory(world.store.as_ref(), F, &tree, &()).await.unwrap();
    Toolchain { name: name.to_owned(), kind, digest: imported.digest, ..world.toolchain.clone() }
}

/// A store path with a program, that of the world's own rootfs.
fn program(world: &World, store: &Path, base: &str) {
    fs::create_dir_all(store.join(base).join("bin")).unwrap();
    fs::copy(world.directory.path().join("rootfs-act/bin/act"), store.join(base).join("bin/act")).unwrap();
}

async fn run(world: &World, toolchains: &[&Toolchain], arguments: &[&str]) -> Outcome {
    let bytes = prost::Message::encode_to_vec(&command(arguments, &[]));
    let inputs = Subtree::empty(F);
    let action = Action {
        digest: ActionDigest(Digest::of(F, b"the action")),
        command: Digest::of(F, &bytes),
        input_root: inputs.root(),
        timeout: None,
        do_not_cache: false,
        platform: None,
    };
    let loaded = Loaded { action, command: Command::decode(&bytes).unwrap(), inputs };
    let work = Work {
        loaded: Arc::new(loaded),
        closure: Closure { toolchains: toolchains.iter().map(|t| (*t).clone()).collect() },
        terms: Terms::default(),
        hold: Arc::new(Hold::default()),
        slot: 0,
        timeout: Duration::from_secs(60),
        queued: SystemTime::now(),
        explain: false,
        live: Arc::default(),
    };
    world.executor.execute(work, CancellationToken::new()).await
}

async fn said(world: &World, toolchains: &[&Toolchain], arguments: &[&str]) -> String {
    let outcome = run(world, toolchains, arguments).await;
    let result = result(&outcome);
    let stderr = world.text(result.stderr_digest.as_ref()).await;
    assert_eq!(result.exit_code, 0, "{stderr}");
    world.text(result.stdout_digest.as_ref()).await
}

/// TOOLCHAINS 2: closures are mounted below /nix/store, several compose, and a path that two of them have is one.
#[tokio::test]
async fn closures_are_mounted_alone_together_and_with_a_rootfs() {
    let world = World::new().await;
    let first = toolchain(&world, Kind::Nix, "first", |store| {
        program(&world, store, A);
        fs::write(store.join(B), "shared").unwrap();
    });
    let first = first.await;
    let second = toolchain(&world, Kind::Nix, "second", |store| {
        fs::write(store.join(B), "shared").unwrap();
        symlink(format!("/nix/store/{A}/bin"), store.join(C)).unwrap();
    });
    let second = second.await;
    let act = format!("/nix/store/{A}/bin/act");
    let all = ["list", "/", "list", "/nix", "list", "/nix/store"];
    let [alone, both] = [&[&first][..], &[&first, &second]];
    let command: Vec<&str> = [&act[..]].into_iter().chain(all).collect();
    assert_eq!(said(&world, alone, &command).await, listed(&[TOP, "store", &format!("{A} {B}")]));
    assert_eq!(said(&world, both, &command).await, listed(&[TOP, "store", &format!("{A} {B} {C}")]));
    assert_eq!(
        said(&world, both, &[&format!("/nix/store/{C}/act"), "print", "through a link"]).await,
        "through a link\n"
    );

    let rooted = [&world.toolchain, &first, &second];
    let with_bin = format!("bin {TOP}");
    assert_eq!(
        said(&world, &rooted, &[&["/bin/act"][..], &all].concat()).await,
        listed(&[&with_bin, "store", &format!("{A} {B} {C}")])
    );

    // What is not there is said with what brings it.
    let outcome = run(&world, both, &["/bin/sh", "-c", "true"]).await;
    assert_eq!(result(&outcome).exit_code, 127);
    let complaint = world.text(result(&outcome).stderr_digest.as_ref()).await;
    assert!(complaint.contains("kind rootfs"), "{complaint}");

    // The store is nobody's to change.
    let outcome = run(&world, both, &[&act, "write", &format!("/nix/store/{B}"), "x"]).await;
    assert_ne!(result(&outcome).exit_code, 0);
    let outcome = run(&world, both, &[&act, "mkdir", "/nix/store/new"]).await;
    assert_ne!(result(&outcome).exit_code, 0);
}

const TOP: &str = "dev etc lre nix proc tmp";

fn listed(lists: &[&str]) -> String {
    lists.iter().map(|list| format!("{list}\n")).collect()
}

/// An image that Nix has made is a rootfs with store paths of its own. They stay, next to those of closures.
#[tokio::test]
async fn a_rootfs_may_have_store_paths_of_its_own() {
    let world = World::new().await;
    let closure = toolchain(&world, Kind::Nix, "closure", |store| program(&world, store, A)).await;
    let image = toolchain(&world, Kind::Rootfs, "image", |root| {
        let store = root.join("nix/store");
        program(&world, &store, B);
        fs::create_dir_all(root.join("nix/var")).unwrap();
        symlink(format!("/nix/store/{B}/bin"), root.join("bin")).unwrap();
    });
    let image = image.await;
    let all = ["/bin/act", "list", "/nix", "list", "/nix/store"];
    assert_eq!(said(&world, &[&image], &all).await, listed(&["store var", B]));
    assert_eq!(said(&world, &[&image, &closure], &all).await, listed(&["store var", &format!("{A} {B}")]));
}

#[tokio::test]
async fn one_path_with_two_contents_is_refused_with_both_names() {
    let world = World::new().await;
    let one = toolchain(&world, Kind::Nix, "one", |store| fs::write(store.join(A), "1").unwrap()).await;
    let two = toolchain(&world, Kind::Nix, "two", |store| fs::write(store.join(A), "2").unwrap()).await;
    let outcome = run(&world, &[&world.toolchain, &one, &two], &["/bin/act", "print", "x"]).await;
    let Some(Failure::Platform { property, problem }) = outcome.failure else { panic!("{:?}", outcome.failure) };
    assert_eq!(property, "lre-nix");
    assert!(problem.contains("`one`") && problem.contains("`two`") && problem.contains(A), "{problem}");
    // Each of them alone is as good as ever.
    assert_eq!(said(&world, &[&world.toolchain, &one], &["/bin/act", "print", "x"]).await, "x\n");
}
