//! When an execution has ended, nothing of it is left; and it ends when it must.
use lre_kernel::{MARK, PATIENCE, World, living, until, worlds};
use lre_sandbox::How;
use std::time::{Duration, Instant};

fn everyone() -> Vec<World> {
    worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref())
}

/// Runs a program that starts a tree of processes and never ends, until it has said so.
fn start_tree(world: &mut World, tag: &str, timeout: Duration) -> u64 {
    let mut plan = world.plan(&["try", "tree", MARK, tag]);
    plan.sandbox.timeout = timeout;
    let id = world.start(plan);
    until("the tree runs", || world.stdout(id) == "started\n" && living(tag).len() == 8);
    id
}

/// PROTOCOL 59: a daemon (two forks, a session of its own, deaf to SIGTERM and SIGHUP, stdout open) neither
/// outlives its command nor delays its end, and is counted.
#[test]
fn a_daemon_ends_with_its_command() {
    for mut world in everyone() {
        let tag = format!("daemon-{:?}", world.who);
        let begun = Instant::now();
        let ran = world.run(&["try", "daemon", MARK, &tag]);
        assert_eq!(ran.ended.how, How::Exited(0), "{ran:#?}");
        assert_eq!(ran.ended.left_running, 1, "{ran:#?}");
        assert!(begun.elapsed() < PATIENCE / 2, "waited for the daemon");
        assert_eq!(living(&tag), Vec::<std::path::PathBuf>::new());
    }
}

/// Children that ended and were never waited for do not count as left running.
#[test]
fn zombies_do_not_count() {
    for mut world in everyone() {
        let ran = world.run(&["try", "zombies"]);
        assert_eq!((&ran.ended.how, ran.ended.left_running), (&How::Exited(0), 0), "{ran:#?}");
    }
}

/// A timeout kills the whole tree; what was written until then is kept, and the times are told.
#[test]
fn a_timeout_kills_the_tree_and_keeps_the_output() {
    for mut world in everyone() {
        let tag = format!("timeout-{:?}", world.who);
        let timeout = Duration::from_millis(700);
        let id = start_tree(&mut world, &tag, timeout);
        let ran = world.wait(id);
        assert_eq!(ran.ended.how, How::TimedOut);
        assert_eq!(ran.stdout, "started\n");
        assert!(ran.ended.wall >= timeout && ran.ended.wall < timeout + PATIENCE / 2, "{:?}", ran.ended);
        assert_eq!(living(&tag), Vec::<std::path::PathBuf>::new());
    }
}

/// The same for somebody who cancels; cancelling what is over or unknown does nothing.
#[test]
fn a_cancelled_tree_is_gone() {
    for mut world in everyone() {
        let tag = format!("cancel-{:?}", world.who);
        let id = start_tree(&mut world, &tag, PATIENCE);
        world.cancel(id);
        let ran = world.wait(id);
        assert_eq!((ran.ended.how, ran.stdout.as_str()), (How::Lost, "started\n"));
        assert_eq!(living(&tag), Vec::<std::path::PathBuf>::new());
        world.cancel(id);
        assert_eq!(world.run(&["try", "exit", "3"]).ended.how, How::Exited(3));
    }
}

/// A program that forks without end ends with the timeout. It cannot make more processes than one
/// sandbox may have, so the machine lives.
#[test]
fn a_fork_bomb_ends_with_the_timeout() {
    for mut world in everyone() {
        let tag = format!("bomb-{:?}", world.who);
        let mut plan = world.plan(&["try", "bomb", MARK, &tag]);
        plan.sandbox.timeout = Duration::from_millis(300);
        let id = world.start(plan);
        let ran = world.wait(id);
        assert_eq!((ran.ended.how, ran.stdout.as_str()), (How::TimedOut, "started\n"));
        assert_eq!(living(&tag), Vec::<std::path::PathBuf>::new());
    }
}

/// When the launcher is killed, its executions die with it.
#[test]
fn nothing_survives_the_launcher() {
    for mut world in everyone() {
        let tag = format!("kill-{:?}", world.who);
        start_tree(&mut world, &tag, PATIENCE);
        world.kill_launcher();
        until("the tree is gone", || living(&tag).is_empty());
    }
}

/// When the server hangs up, or dies, the launcher ends its executions first and then itself.
#[test]
fn nothing_survives_the_server() {
    for mut world in everyone() {
        let tag = format!("hang-up-{:?}", world.who);
        start_tree(&mut world, &tag, PATIENCE);
        world.hang_up();
        assert_eq!(living(&tag), Vec::<std::path::PathBuf>::new());
    }
}

/// Nor does a sandbox that waits for work.
#[test]
fn nothing_idle_survives_either() {
    for mut world in everyone() {
        assert_eq!(world.run(&["try", "exit", "0"]).ended.how, How::Exited(0));
        world.hang_up();
    }
    for mut world in everyone() {
        assert_eq!(world.run(&["try", "exit", "0"]).ended.how, How::Exited(0));
        world.kill_launcher();
    }
}

/// PROTOCOL 60: a program that dies by its own signal dies by that signal: it is not pid 1, which the kernel
/// protects. (Elsewhere this failure became a cached success.)
#[test]
fn a_signal_to_oneself_kills() {
    for mut world in everyone() {
        for signal in [libc_signal::TERM, libc_signal::INT, libc_signal::KILL, libc_signal::ABRT] {
            let ran = world.run(&["try", "raise", &signal.to_string()]);
            assert_eq!(ran.ended.how, How::Signaled(signal), "{ran:#?}");
        }
    }
}

/// The numbers of signals, the same on every architecture.
mod libc_signal {
    pub(super) const INT: i32 = 2;
    pub(super) const ABRT: i32 = 6;
    pub(super) const KILL: i32 = 9;
    pub(super) const TERM: i32 = 15;
}

/// Eight live at once, each with its own files, and each ends when it is told to.
#[test]
fn eight_at_once() {
    for mut world in everyone() {
        let tags: Vec<_> = (0..8).map(|n| format!("eight-{n}-{:?}", world.who)).collect();
        let ids: Vec<_> = tags
            .iter()
            .map(|tag| {
                let plan = world.plan(&["try", "tree", MARK, tag]);
                world.start(plan)
            })
            .collect();
        until("all eight run", || tags.iter().all(|tag| living(tag).len() == 8));
        for (tag, id) in tags.iter().zip(ids).rev() {
            world.cancel(id);
            assert_eq!(world.wait(id).ended.how, How::Lost);
            assert_eq!(living(tag), Vec::<std::path::PathBuf>::new());
        }
        let ids: Vec<_> = (0..8)
            .map(|n| {
                let plan = world.plan(&["sh", "-c", &format!("echo {n}; echo {n} > f; cat f; exit {n}")]);
                world.start(plan)
            })
            .collect();
        for (n, id) in ids.into_iter().enumerate() {
            let ran = world.wait(id);
            assert_eq!(
                (ran.ended.how, ran.stdout),
                (How::Exited(i32::try_from(n).expect("small")), format!("{n}\n{n}\n"))
            );
        }
    }
}

/// No mount of a sandbox is seen outside of it, while it lives or after.
#[test]
fn no_mount_is_left() {
    let ours = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        mounts.lines().filter(|line| line.contains("lre-kernel") || line.contains("/lre/exec")).count()
    };
    for mut world in everyone() {
        let tag = format!("mounts-{:?}", world.who);
        let id = start_tree(&mut world, &tag, PATIENCE);
        assert_eq!(ours(), 0);
        world.cancel(id);
        world.wait(id);
        assert_eq!(ours(), 0);
    }
}
