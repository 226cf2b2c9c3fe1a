//! When an action has been answered, nothing of it lives, and what it has left on disk is gone.
use crate::everyone;
use lre_kernel::service::{Act, of_ours};
use lre_kernel::{MARK, living, until};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// PROTOCOL 59: daemons, stopped and traced processes, subreapers, processes in a vfork, processes that fork faster than anybody
/// can kill them, all deaf to every signal: none is there when the answer is, and none delays it.
#[test]
fn nothing_outlives_its_action() {
    for mut service in everyone(1) {
        service.works();
        let before = service.census();
        for kind in ["daemon", "stopped", "reaper", "traced", "runner", "busy", "vforked", "writer", "all"] {
            let tag = format!("linger-{kind}-{:?}", service.who);
            let begun = Instant::now();
            let answer = service.start(&Act::attack(&["linger", kind, MARK, &tag])).wait();
            // At this very moment, not some time later.
            let left = living(&tag);
            let ran = answer.ran().expect("it ends with 0, whatever it leaves");
            assert_eq!(left, Vec::<PathBuf>::new(), "{:?}: {kind}", service.who);
            // The control: there was something to be killed.
            assert!(ran.exit == 0 && ran.message.contains("still running"), "{kind}: {ran:#?}");
            assert!(begun.elapsed() < lre_kernel::PATIENCE / 2, "{kind}: waited for what it left");
        }
        service.is_no_more_than(&before);
        service.nothing_lies_about();
    }
}

/// PROTOCOL 55, 58, 59: nothing is left of an action that is too slow, and of one that nobody waits for any more.
#[test]
fn nothing_outlives_a_timeout_or_a_client() {
    for mut service in everyone(1) {
        service.works();
        let before = service.census();
        let tag = format!("slow-{:?}", service.who);
        let act = Act::attack(&["stay", MARK, &tag]).timeout(Duration::from_millis(500));
        let answer = service.start(&act).wait();
        assert_eq!(living(&tag), Vec::<PathBuf>::new(), "{:?}", service.who);
        assert_eq!(answer.ran.map(|ran| ran.stdout), Some("stays\n".to_owned()), "the output so far is kept");

        let running = service.start(&Act::attack(&["stay", MARK, &tag]));
        until("it runs", || living(&tag).len() == 3);
        running.hang_up();
        // Somebody may come back for it within five seconds.
        until("it is gone", || living(&tag).is_empty());
        service.works();
        service.is_no_more_than(&before);
        service.nothing_lies_about();
    }
}

/// PROTOCOL 71, bad input: folders deeper than any path is long, as a leftover and as an output: the service lives, says what it thinks of it,
/// and removes them.
#[test]
fn a_tree_that_is_too_deep_brings_nobody_down() {
    for mut service in everyone(1) {
        service.works();
        let before = service.census();
        let ran = service.run(&Act::attack(&["deep", "1500"]));
        assert_eq!(ran.exit, 0, "{:?}: {ran:#?}", service.who);
        let answer = service.attempt(&Act::attack(&["deep", "1500"]).output("d"));
        assert!(answer.failure.as_ref().is_some_and(|(_, why)| why.contains("deep")), "{answer:#?}");
        service.works();
        service.nothing_lies_about();
        service.is_no_more_than(&before);
    }
}

/// PROTOCOL 71, bad input: outputs that no client asks for: pipes, sockets, files of terabytes that are not there, files and folders that
/// nobody may read. Each ends as an answer within a time, and the next action is right.
#[test]
fn odd_outputs_are_answered() {
    for mut service in everyone(1) {
        for what in ["pipe", "socket", "huge", "closed", "linked", "set-user-id"] {
            let begun = Instant::now();
            let answer = service.attempt(&Act::attack(&["odd", what]).output("out"));
            assert!(answer.ran.is_some() || answer.failure.is_some());
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}: {what}: {:?}", service.who, begun.elapsed());
            service.works();
        }
        service.nothing_lies_about();
    }
}

/// A server that is told to end, and one that is killed, take everything with them, idle or at work.
#[test]
fn nothing_outlives_the_server() {
    for mut service in everyone(2) {
        for at_work in [false, true] {
            for killed in [false, true] {
                service.works();
                let tag = format!("end-{at_work}-{killed}-{:?}", service.who);
                let running = at_work.then(|| service.start(&Act::attack(&["stay", MARK, &tag])));
                until("it runs", || !at_work || living(&tag).len() == 3);
                assert!(!of_ours(service.path()).is_empty(), "there is something to be killed");
                if killed {
                    service.kill()
                } else {
                    service.down()
                }
                service.nothing_lives();
                assert_eq!(living(&tag), Vec::<PathBuf>::new());
                drop(running);
                service.up();
                service.nothing_lies_about();
            }
        }
        service.works();
    }
}

/// PROTOCOL 81: the folders that executions write to are used again. Nothing of what one did to them is seen by a later one: not what
/// it wrote, not the mode, the time or an attribute of its exec root, not what it said.
#[test]
fn folders_are_used_again_and_nothing_is_in_them() {
    for mut service in everyone(1) {
        let look = |n: usize| {
            Act::new(&["sh", "-c", &format!("ls -A; ls -ld --time-style=+%s . | cut -d' ' -f1,6; echo look {n}")])
        };
        let first = service.run(&look(0)).stdout;
        for n in 1..5 {
            let spoil = [
                "echo x > f; mkdir -p d/e; echo said; echo too >&2",
                "chmod 700 .",
                "touch -d @77 .",
                "chmod 0 /dev/stdout; rm -rf .",
            ][n - 1];
            service.run(&Act::new(&["sh", "-c", &format!("{spoil}; : {n}; true")]).output("f").output("d"));
            for m in 0..3 {
                let number = n * 10 + m;
                let seen = service.run(&look(number)).stdout;
                assert_eq!(
                    seen,
                    first.replace("look 0", &format!("look {number}")),
                    "{:?}: after `{spoil}`",
                    service.who
                );
            }
        }
        service.nothing_lies_about();
    }
}
