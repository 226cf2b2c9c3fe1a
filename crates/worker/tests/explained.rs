//! What a failed command wanted and did not get, with the real launcher and the real kernel.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_model::{Network, Policy, Terms, wire};
use lre_worker::{Executor, Outcome, Work};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use world::{Asked, In, World, command, result};

/// A file of this machine that no sandbox has.
fn host_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("on-the-host.h");
    std::fs::write(&path, "#define ON_THE_HOST\n").unwrap();
    (dir, path)
}

async fn work(world: &World, command: wire::Command) -> Work {
    let asked = Asked { slot: 0, terms: Terms::default(), timeout: Duration::from_secs(60) };
    world.work(asked, &[("a", In::File("a"))], command).await
}

async fn run(world: &World, work: Work) -> Outcome {
    world.executor.execute(work, CancellationToken::new()).await
}

/// The outcome is that of the first run, all of it; the message says what was wanted.
#[tokio::test]
async fn a_file_of_the_host_is_named() {
    let world = World::new().await;
    let (_dir, path) = host_file();
    let path = path.to_str().unwrap();
    let arguments = ["act", "append", "a-log", "once", "write", "out/o", "x", "print", "hello", "read", path];
    let outcome = run(&world, work(&world, command(&arguments, &["out/o", "a-log"])).await).await;
    assert_eq!(outcome.message, format!("wanted {path}, which is on this machine but not an input"));
    let result = result(&outcome);
    assert_eq!((result.exit_code, result.output_files.len()), (90, 2));
    assert_eq!(world.text(result.output_files[1].digest.as_ref()).await, "once");
    assert_eq!(world.text(result.stdout_digest.as_ref()).await, "hello\n");
    let stderr = world.text(result.stderr_digest.as_ref()).await;
    assert_eq!(stderr, format!("{path}: No such file or directory\n"), "of one run, not of two");
}

/// What is missing on the machine too is no news, and neither is what an action finds.
#[tokio::test]
async fn what_nobody_has_is_not_told() {
    let world = World::new().await;
    for arguments in [&["act", "read", "/no/such/file"][..], &["act", "read", "b"], &["act", "exit", "3"], &["no-such"]]
    {
        let outcome = run(&world, work(&world, command(arguments, &[])).await).await;
        assert_eq!(outcome.message, "", "{arguments:?}");
        assert_ne!(result(&outcome).exit_code, 0);
    }
}

/// A program of the machine that no toolchain has.
#[tokio::test]
async fn a_program_of_the_host_is_named() {
    let world = World::new().await;
    let outcome = run(&world, work(&world, command(&["/usr/bin/cc", "-v"], &[])).await).await;
    assert_eq!(result(&outcome).exit_code, 127);
    assert_eq!(outcome.message, "wanted /usr/bin/cc, which is on this machine but not an input");
}

#[tokio::test]
async fn a_call_is_named() {
    let world = World::new().await;
    let connect = command(&["act", "connect", "93.184.216.34", "443"], &[]);
    let outcome = run(&world, work(&world, connect).await).await;
    assert_eq!(outcome.message, "wanted 93.184.216.34:443: an action has no network (see lre-network)");
    let connect = command(&["act", "connect", "127.0.0.1", "5432"], &[]);
    let outcome = run(&world, work(&world, connect).await).await;
    assert_eq!(outcome.message, "wanted 127.0.0.1:5432: an action has a loopback of its own (see lre-network)");
}

/// Somebody who asks is told of a command that succeeds too, and that there is nothing.
#[tokio::test]
async fn who_asks_is_told() {
    let world = World::new().await;
    let (_dir, path) = host_file();
    let path = path.to_str().unwrap();
    let looks = command(&["act", "list", ".", "maybe", path], &[]);
    let outcome = run(&world, work(&world, looks.clone()).await).await;
    assert_eq!((outcome.message.as_str(), result(&outcome).exit_code), ("", 0));
    let asked = Work { explain: true, ..work(&world, looks).await };
    let outcome = run(&world, asked).await;
    assert_eq!(outcome.message, format!("wanted {path}, which is on this machine but not an input"));
    assert_eq!(
        (result(&outcome).exit_code, world.text(result(&outcome).stdout_digest.as_ref()).await),
        (0, "a\n".into())
    );
    let asked = Work { explain: true, ..work(&world, command(&["act"], &[])).await };
    assert_eq!(run(&world, asked).await.message, "nothing that this machine has was wanted in vain");
}

/// An action that reaches the world outside is not run twice unless somebody asks: what it does there would
/// be done twice.
#[tokio::test]
async fn what_reaches_the_world_is_not_run_again() {
    let world = World::new().await;
    let (_dir, path) = host_file();
    let path = path.to_str().unwrap();
    let read = || work(&world, command(&["act", "read", path], &[]));
    let mut online = read().await;
    online.terms.policy = Policy::Compat1;
    online.terms.network = Network::Host;
    assert_eq!(run(&world, online).await.message, "");
    assert!(run(&world, read().await).await.message.contains(path));
}

/// In every kind of sandbox: a warm one goes on afterwards, one with read-only inputs has its directories
/// for outputs the second time too.
#[tokio::test]
async fn every_kind_of_sandbox_is_observed() {
    let world = World::new().await;
    let (_dir, path) = host_file();
    let path = path.to_str().unwrap();
    let warm = Terms { warm: Some("us".to_owned()), ..Terms::default() };
    let standard = Terms { policy: Policy::Standard1, ..Terms::default() };
    let compat = Terms { policy: Policy::Compat1, ..Terms::default() };
    let read_only = Terms { mutates_inputs: false, ..Terms::default() };
    for terms in [warm, standard, compat, read_only] {
        for _again in 0..2 {
            let fails = command(&["act", "write", "out/o", "x", "read", path], &["out/o"]);
            let outcome = run(&world, Work { terms: terms.clone(), ..work(&world, fails).await }).await;
            let expected = format!("wanted {path}, which is on this machine but not an input");
            assert_eq!((&outcome.message, result(&outcome).output_files.len()), (&expected, 1), "{terms:?}");
            let works = command(&["act", "write", "out/o", "x", "list", "."], &["out/o"]);
            let outcome = run(&world, Work { terms: terms.clone(), ..work(&world, works).await }).await;
            assert_eq!((outcome.message.as_str(), result(&outcome).exit_code), ("", 0), "{terms:?}");
            assert_eq!(world.text(result(&outcome).stdout_digest.as_ref()).await, "a out\n", "{terms:?}");
        }
    }
}
