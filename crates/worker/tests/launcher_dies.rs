//! The launcher is killed in the middle. Alone in its file, because it kills all children of its process.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_model::Terms;
use lre_worker::{Executor, Failure, Stream};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use world::{Asked, World, command, result};

/// HOUSE 4: should the launcher die, its execution is made once more with another one, unseen by anybody; where that
/// one dies too it is lost, with an error. The next one runs.
#[tokio::test]
async fn a_killed_launcher_is_started_again() {
    let world = World::new().await;
    assert_eq!(result(&world.run(&[], command(&["act"], &[])).await).exit_code, 0);

    let asked = Asked { slot: 0, terms: Terms::default(), timeout: Duration::from_secs(2) };
    let work = world.work(asked, &[], command(&["act", "print", "started", "hang"], &[])).await;
    let mut said = work.live.follow(Stream::Stdout, 0);
    let kill_once = async {
        assert_eq!(said.next().await.expect("it says something"), "started\n");
        kill_the_launcher();
    };
    let (outcome, ()) = tokio::join!(world.executor.execute(work, CancellationToken::new()), kill_once);
    assert!(matches!(outcome.failure, Some(Failure::DeadlineExceeded(_))), "it ran again: {outcome:?}");
    let stdout = outcome.result.expect("with its output").wire().stdout_digest.clone();
    assert_eq!(world.text(stdout.as_ref()).await, "started\n", "that of the second run alone");

    let hang = command(&["act", "hang"], &[]);
    let outcome = tokio::select! {
        outcome = world.run_with(&[], hang, Duration::from_secs(20), CancellationToken::new()) => outcome,
        () = kill_all() => unreachable!(),
    };
    assert!(matches!(outcome.failure, Some(Failure::Sandbox(_))), "{outcome:?}");
    assert_eq!(result(&world.run(&[], command(&["act"], &[])).await).exit_code, 0);
}

fn kill_the_launcher() {
    for pid in children_of_this_process() {
        // It may have gone of its own.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Every launcher that is started, as long as somebody looks for it.
async fn kill_all() {
    loop {
        kill_the_launcher();
        tokio::task::yield_now().await;
    }
}

fn children_of_this_process() -> Vec<rustix::process::Pid> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)));
    }
    children
}
