//! What is killed, filled, damaged and set back from outside. Nothing stays behind, no answer is wrong, and the next
//! action is right.
use crate::{everyone, with};
use lre_kernel::service::{Act, Answer, Code, Process, Running, Service, Setting, below, living_process};
use lre_kernel::{MARK, living, until};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};

/// Where an execution is when something is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing is executed.
    Idle,
    /// The inputs are being laid out.
    Staging,
    /// The command runs.
    Running,
    /// The command has ended, its outputs are being read.
    Collecting,
}

const MOMENTS: [Moment; 4] = [Moment::Idle, Moment::Staging, Moment::Running, Moment::Collecting];

/// Inputs that take a while to be laid out, different ones each time.
fn long_to_stage(round: usize) -> Act {
    (0..500).fold(Act::new(&["sh", "-c", "cat in/7; ls in > /dev/null"]), |act, n| {
        act.input(&format!("in/{n}"), format!("{round} {n}\n"))
    })
}

/// A command that leaves something that takes a while to be read.
fn long_to_collect(tag: &str) -> Act {
    let script = "i=0; while [ $i -lt 40 ]; do cat /usr/bin/attack > out/$i; i=$((i+1)); done; echo done";
    Act::new(&["sh", "-c", script, MARK, tag]).output("out/x").output("out")
}

/// Begins an execution and returns at that moment, with the answer that must not be wrong.
fn begin(service: &Service, moment: Moment, round: usize) -> Option<(Running, String)> {
    let tag = format!("fault-{moment:?}-{round}-{:?}", service.who);
    match moment {
        Moment::Idle => None,
        Moment::Staging => {
            let running = service.start(&long_to_stage(round));
            until("inputs are laid out", || running.is_over() || staged(&service.store(), round));
            Some((running, format!("{round} 7\n")))
        }
        Moment::Running => {
            let running = service.start(&Act::attack(&["stay", MARK, &tag]));
            until("it runs", || living(&tag).len() == 3);
            Some((running, String::new()))
        }
        Moment::Collecting => {
            let running = service.start(&long_to_collect(&tag));
            until("it runs", || running.is_over() || !living(&tag).is_empty());
            until("it has ended", || running.is_over() || living(&tag).is_empty());
            Some((running, "done\n".to_owned()))
        }
    }
}

/// Whether a first input of this round lies in a slot's tree.
fn staged(store: &Path, round: usize) -> bool {
    let first = format!("{round} 0\n");
    trees(store).iter().any(|tree| fs::read_to_string(tree.join("in/0")).is_ok_and(|text| text == first))
}

/// The input trees that there are.
fn trees(store: &Path) -> Vec<PathBuf> {
    let entries =
        |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let rooms = entries(&store.join("slots")).into_iter().flat_map(|slot| entries(&slot));
    rooms.map(|room| room.join("tree")).filter(|tree| tree.is_dir()).collect()
}

/// An answer is a failure that says so, or it is right.
fn is_not_wrong(answer: Answer, expected: &str) {
    if let Ok(ran) = answer.ran() {
        assert_eq!((ran.exit, ran.stdout.as_str()), (0, expected), "{ran:#?}");
    }
}

fn kill(process: &Process) {
    let pid = Pid::from_raw(process.pid.cast_signed()).expect("a pid");
    // It may have ended of its own.
    let _gone = kill_process(pid, Signal::KILL);
}

/// Every process below the server is killed, one at a time, whatever it is (the launcher, the root of a slot, pid 1 of a
/// sandbox, one that waits, a command), while nothing is executed, while inputs are laid out, while the
/// command runs, while outputs are collected.
#[test]
fn any_process_may_be_killed_at_any_moment() {
    for mut service in everyone(1) {
        service.works();
        service.works();
        let before = service.census();
        let mut round = 0;
        for moment in MOMENTS {
            for place in 0.. {
                round += 1;
                let begun = begin(&service, moment, round);
                let victims = below(service.pid());
                let Some(victim) = victims.get(place) else {
                    end(begun, &service);
                    break;
                };
                kill(victim);
                until("it is gone", || !living_process(victim));
                end(begun, &service);
                service.works();
                service.is_no_more_than(&before);
                service.nothing_lies_about();
            }
        }
    }
}

/// The answer of an execution that something was done to. A command that was not hit is ended too, and one that is run
/// again because its root was.
fn end(begun: Option<(Running, String)>, service: &Service) {
    let Some((running, expected)) = begun else { return };
    if expected.is_empty() {
        until("it ends", || {
            below(service.pid()).iter().filter(|process| process.command.contains("attack stay")).for_each(kill);
            running.is_over()
        });
    }
    let answer = running.wait();
    if expected.is_empty() {
        assert!(answer.ran.as_ref().is_none_or(|ran| ran.exit != 0), "it was killed: {answer:#?}");
        return;
    }
    is_not_wrong(answer, &expected);
}

/// The server itself is killed at each of these moments. With it everything goes, and a new one on the same store has
/// nothing of it, and is right.
#[test]
fn the_server_may_be_killed_at_any_moment() {
    for mut service in everyone(2) {
        service.works();
        for (round, moment) in MOMENTS.into_iter().enumerate() {
            let begun = begin(&service, moment, round);
            service.remember();
            service.kill();
            service.nothing_lives();
            // Its client looks for the server a while longer.
            drop(begun);
            service.up();
            service.works();
            service.nothing_lies_about();
            service.nothing_has_changed();
        }
    }
}

/// Somebody deletes, changes, replaces or adds files in the tree of a slot that is idle. The next action is right or
/// fails and says so; the one after it is right.
#[test]
fn a_damaged_slot_tree_does_no_harm() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("deleted", |tree| fs::remove_file(tree.join("in/a")).expect("deleted")),
        ("changed", |tree| {
            // By another file of the same name: the old one is a name of a blob.
            fs::write(tree.join("in/new"), "wrong\n").expect("written");
            fs::rename(tree.join("in/new"), tree.join("in/a")).expect("renamed");
        }),
        ("added", |tree| fs::write(tree.join("in/foreign"), "foreign\n").expect("written")),
        ("added at the top", |tree| fs::write(tree.join("foreign"), "foreign\n").expect("written")),
        ("deep", |tree| fs::write(tree.join("deep/er/est/foreign"), "foreign\n").expect("written")),
        ("all of it", |tree| fs::remove_dir_all(tree.join("in")).expect("removed")),
        ("itself", |tree| fs::remove_dir_all(tree).expect("removed")),
    ];
    let act = |last: &str| {
        Act::new(&["sh", "-c", "cat in/*; ls . in deep/er/est"])
            .input("in/a", "one\n")
            .input("in/b", last.to_owned())
            .input("deep/er/est/x", "")
    };
    let right = |last: &str| format!("one\n{last}.:\ndeep\nin\n\ndeep/er/est:\nx\n\nin:\na\nb\n");
    for mut service in everyone(1) {
        service.works();
        let before = service.census();
        for (what, damage) in damages {
            // The next action differs in one file, or in none.
            for next in ["two\n", "three\n"] {
                assert_eq!(service.run(&act("two\n")).stdout, right("two\n"));
                let trees = trees(&service.store());
                let tree = trees.iter().find(|tree| tree.join("in/a").exists()).expect("a tree with these inputs");
                damage(tree);
                match service.start(&act(next)).wait().ran() {
                    Ok(ran) => assert_eq!(ran.stdout, right(next), "{:?}: {what}: {ran:#?}", service.who),
                    Err(answer) => assert!(answer.failure.is_some(), "{:?}: {what}: {answer:#?}", service.who),
                }
                assert_eq!(service.run(&act(next)).stdout, right(next), "{:?}: {what}, the one after", service.who);
            }
        }
        service.is_no_more_than(&before);
        service.nothing_lies_about();
    }
}

/// The clock of the machine goes back by a day while actions run, and forward again. Timeouts are kept, times of one
/// execution do not lie, what was uploaded is held, and results are found.
#[test]
fn the_clock_may_be_set_back() {
    for mut service in with(&Setting { clock: true, ..Setting::default() }) {
        service.works();
        let cached = Act::new(&["sh", "-c", "echo once"]).cacheable();
        assert_eq!(service.run(&cached).stdout, "once\n");
        for offset in [-86_400, 0, 86_400 * 400, -86_400] {
            let tag = format!("clock-{offset}-{:?}", service.who);
            let slow = Act::attack(&["stay", MARK, &tag]).timeout(std::time::Duration::from_millis(700));
            let begun = std::time::Instant::now();
            let running = service.start(&slow);
            until("it runs", || !living(&tag).is_empty() || running.is_over());
            service.set_clock(offset);
            let answer = running.wait();
            assert_eq!(answer.code(), Code::DeadlineExceeded, "{:?}: {answer:#?}", service.who);
            let took = begun.elapsed();
            assert!(took.as_millis() >= 700 && took < lre_kernel::PATIENCE / 2, "{took:?}");
            assert!(living(&tag).is_empty());
            let ran = service.run(&Act::new(&["sh", "-c", "cat in/a"]).input("in/a", format!("{offset}\n")));
            assert_eq!(ran.stdout, format!("{offset}\n"));
            times_do_not_lie(&ran);
            assert_eq!(service.run(&cached).stdout, "once\n");
            service.works();
        }
        service.nothing_lies_about();
    }
}

/// The durations of a result are of this world, whatever the clock did.
fn times_do_not_lie(ran: &lre_kernel::service::Ran) {
    let metadata = ran.result.wire().execution_metadata.clone().expect("metadata");
    let wall = metadata.virtual_execution_duration.expect("a duration");
    assert!((0..60).contains(&wall.seconds), "{wall:?}");
    let (from, to) = (metadata.execution_start_timestamp, metadata.execution_completed_timestamp);
    let (from, to) = (from.expect("a start").seconds, to.expect("an end").seconds);
    assert!((0..60).contains(&(to - from)), "from {from} to {to}");
}

/// The disk becomes full while inputs are laid out: the action fails and says what there is too little of, and when there
/// is room again the next one is right, with nothing left of the first.
#[test]
fn a_full_disk_ends_one_action_only() {
    for mut service in with(&Setting { small_disk: true, ..Setting::default() }) {
        service.works();
        let before = service.census();
        for round in 0..2 {
            // One blob of a page, which many inputs show: each is a file of its own.
            let page = format!("{round}").repeat(4096);
            let act = (0..400).fold(Act::new(&["sh", "-c", "cat in/399 > /dev/null"]), |act, n| {
                act.input(&format!("in/{n}"), page.clone())
            });
            let ballast = service.store().join("ballast");
            fill(&service.store(), &ballast, 512 * 1024);
            let answer = service.start(&act).wait();
            assert_eq!(answer.code(), Code::ResourceExhausted, "{:?}: {answer:#?}", service.who);
            fs::remove_file(&ballast).expect("removed");
            assert_eq!(service.run(&act).exit, 0);
            service.works();
            service.is_no_more_than(&before);
            service.nothing_lies_about();
        }
    }
}

/// Writes until there are only so many bytes left.
fn fill(disk: &Path, ballast: &Path, left: u64) {
    let stat = rustix::fs::statvfs(disk).expect("a file system");
    let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
    let content = vec![1; usize::try_from(bytes).expect("a small disk")];
    fs::write(ballast, content).expect("there is room");
}
