//! What a command asked for in vain is told, where somebody wants to know; else nothing is looked at.
use lre_kernel::{Plan, Ran, World, worlds};
use lre_sandbox::{How, Step, Wanted};
use std::ffi::CString;
use std::path::Path;

fn everyone() -> Vec<World> {
    worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref())
}

fn observed(world: &mut World, plan: Plan) -> Ran {
    let mut plan = plan;
    plan.sandbox.observe = true;
    let id = world.start(plan);
    world.wait(id)
}

fn wanted(ran: &Ran) -> Vec<String> {
    let text = |wanted: &Wanted| match wanted {
        Wanted::Path(path) => path.to_string_lossy().into_owned(),
        Wanted::Network(address) => format!("call {address}"),
        Wanted::Listed(path) => format!("list {}", path.to_string_lossy()),
    };
    ran.ended.wanted.iter().map(text).filter(|wanted| !wanted.starts_with("list /usr")).collect()
}

#[track_caller]
fn has(ran: &Ran, code: i32, all: &[&str]) {
    assert_eq!(ran.ended.how, How::Exited(code), "{ran:#?}");
    let wanted = wanted(ran);
    for one in all {
        assert!(wanted.iter().any(|w| w == one), "{one}: {wanted:?}");
    }
}

/// In every way to ask, of a static program too; what is made is not missed, and what cannot be read is
/// no harm.
#[test]
fn files_that_are_asked_for_in_vain_are_told() {
    for mut world in everyone() {
        let plan = world.plan(&["wants", "files"]);
        let ran = observed(&mut world, plan);
        let all = ["/no/edge", "/usr/no-at", "/usr/no-stat", "/no-access", "/no/link", "/no/program"];
        has(&ran, 3, &all);
        assert_eq!(wanted(&ran).len(), all.len(), "{ran:#?}");
    }
}

/// Threads and children, each asking for twenty files of its own.
#[test]
fn threads_and_children_are_observed() {
    for mut world in everyone() {
        let plan = world.plan(&["wants", "threads"]);
        let ran = observed(&mut world, plan);
        let mut all: Vec<_> = (0..32).flat_map(|t| (0..20).map(move |i| format!("/no/thread/{t}/{i}"))).collect();
        let mut wanted = wanted(&ran);
        all.sort();
        wanted.sort();
        assert_eq!((ran.ended.how, wanted), (How::Exited(3), all));
    }
}

#[test]
fn calls_are_told() {
    for mut world in everyone() {
        let plan = world.plan(&["wants", "calls"]);
        let ran = observed(&mut world, plan);
        let all = ["93.184.216.34:443", "93.184.216.34:53", "[2001:db8::1]:80", "/run/no.sock", "@abstract"];
        let all = all.map(|address| format!("call {address}"));
        assert_eq!((&ran.ended.how, wanted(&ran)), (&How::Exited(3), all.to_vec()), "{ran:#?}");
    }
}

/// A compiler, its children, and a header that this machine has and the sandbox does not.
#[test]
fn a_header_of_the_host_is_told() {
    for mut world in everyone() {
        let mut plan = world.plan(&["sh", "-c", "echo '#include <lre-no-such.h>' > a.c && cc -c a.c"]);
        // Some compilers are links into here.
        if Path::new("/etc/alternatives").exists() {
            let alternatives = CString::new("/etc/alternatives").expect("no NUL");
            plan.root.kept.push(Step::BindReadOnly { host: alternatives.clone(), inside: alternatives });
        }
        let ran = observed(&mut world, plan);
        has(&ran, 1, &["/usr/include/lre-no-such.h"]);
        // The files of the command itself are not outside.
        assert!(!wanted(&ran).iter().any(|path| path.starts_with("/lre/exec")), "{ran:#?}");
    }
}

/// A script, its own children, a shell's search for a program, a program whose interpreter is missing.
#[test]
fn what_scripts_want_is_told() {
    for mut world in everyone() {
        let script = "cat /etc/lre-host-file; (cd /usr && cat lib/../no-relative); no-such-program; /tools/orphan; ls /usr >/dev/null; exit 7";
        let plan = world.plan(&["sh", "-c", script]);
        let ran = observed(&mut world, plan);
        has(&ran, 7, &["/etc/lre-host-file", "/usr/no-relative", "/usr/bin/no-such-program", "/no/such/interpreter"]);
        assert!(!wanted(&ran).iter().any(|path| path.ends_with("/ls") || path.ends_with("/cat")), "{ran:#?}");
    }
}

/// A command that cannot start wanted what the kernel looked for.
#[test]
fn what_keeps_a_command_from_starting_is_told() {
    for mut world in everyone() {
        for (name, code, all) in [
            (
                "no-such-program",
                127,
                &["/tools/no-such-program", "/usr/bin/no-such-program", "/bin/no-such-program"][..],
            ),
            ("/opt/no/such", 127, &["/opt/no/such"]),
            ("/tools/orphan", 126, &["/no/such/interpreter"]),
        ] {
            let plan = world.plan(&[name]);
            let ran = observed(&mut world, plan);
            has(&ran, code, all);
            assert_eq!(wanted(&ran).len(), all.len(), "{ran:#?}");
            assert!(ran.stderr.starts_with("lre: cannot run"), "{ran:#?}");
        }
    }
}

/// An observed run is like any other: its environment, its limits, the end of it. And one that is not
/// observed has nothing of it: not the second filter, not the listener, nothing told.
#[test]
fn only_an_observed_run_is_looked_at() {
    for mut world in everyone() {
        // The shell becomes the last program: its own signals are blocked while it starts one.
        let script = "ls -l /proc/$$/fd; ulimit -a; echo $$ $PPID; cat /no/file; \
                      exec grep -E '^(Seccomp|Sig|NoNew|Cap|ShdPnd)' /proc/self/status /no/file";
        let plan = world.plan(&["sh", "-c", script]);
        let id = world.start(plan.clone());
        let plain = world.wait(id);
        let seen = observed(&mut world, plan);
        assert_eq!(plain.ended.wanted, []);
        has(&seen, 2, &["/no/file"]);
        let filters = |ran: &Ran| -> u32 {
            let line = ran.stdout.lines().find_map(|line| line.split_once("Seccomp_filters:\t"));
            line.and_then(|(_, number)| number.parse().ok()).expect("Linux 5.9 and newer count them")
        };
        assert_eq!(filters(&seen), filters(&plain) + 1);
        let rest = |ran: &Ran| -> Vec<String> {
            // A line of ls ends with what the descriptor is; the folder of each run has its own name.
            let of_run = |line: &&str| !line.contains("Seccomp_filters") && !line.contains("/run0-");
            let lines = ran.stdout.lines().filter(of_run);
            lines.map(|line| line.rsplit(" -> ").next().unwrap_or(line).to_owned()).collect()
        };
        assert_eq!(rest(&seen), rest(&plain));
        assert!(!seen.stdout.contains("seccomp"), "{seen:#?}");
    }
}

/// A command that hangs in the middle of its calls is killed in time, and so is what it has started.
#[test]
fn an_observed_run_ends_in_time() {
    for mut world in everyone() {
        let mut plan =
            world.plan(&["sh", "-c", "(while :; do test -e /no/such; done) & while :; do test -e /no/other; done"]);
        plan.sandbox.timeout = std::time::Duration::from_millis(300);
        let ran = observed(&mut world, plan);
        assert_eq!(ran.ended.how, How::TimedOut, "{ran:#?}");
        assert_eq!(world.run(&["try", "exit", "0"]).ended.how, How::Exited(0), "the next one runs");
    }
}
