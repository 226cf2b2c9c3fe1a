//! The launcher is killed in the middle. Alone in its file, because it kills all children of its process.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_worker::Failure;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use world::{World, command, result};

/// HOUSE 4: should the launcher die, its execution is lost with an error, and the next one runs.
#[tokio::test]
async fn a_killed_launcher_is_started_again() {
    let world = World::new().await;
    assert_eq!(result(&world.run(&[], command(&["act"], &[])).await).exit_code, 0);
    let launcher = children_of_this_process();
    let kill = async {
        for pid in launcher {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    };
    let hang = command(&["act", "hang"], &[]);
    let run = world.run_with(&[], hang, Duration::from_secs(20), CancellationToken::new());
    let (outcome, ()) = tokio::join!(run, kill);
    assert!(matches!(outcome.failure, Some(Failure::Sandbox(_))), "{outcome:?}");
    assert_eq!(result(&world.run(&[], command(&["act"], &[])).await).exit_code, 0);
}

fn children_of_this_process() -> Vec<rustix::process::Pid> {
    let mut children = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let text = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(text.split_whitespace().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)));
    }
    children
}
