//! What a command finds around itself is the same everywhere.
use lre_kernel::{World, worlds};
use lre_sandbox::{How, Step};
use std::ffi::CString;
use std::time::Duration;

fn everyone() -> Vec<World> {
    worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref())
}

fn text(s: &str) -> CString {
    CString::new(s).expect("no NUL")
}

/// Host name, user, groups, umask, pids, session: not the host's.
#[test]
fn identity_is_constant() {
    for mut world in everyone() {
        let script = "uname -n; domainname 2>/dev/null || echo '(none)'; id -u; id -g; id -un; umask; echo $$ $PPID; pwd; \
                      touch f && stat -c %a f; cat /proc/self/cgroup | cut -d: -f3 | sort -u; cat /proc/self/setgroups";
        let stdout = world.shell(script).ok();
        assert_eq!(stdout, "lre\n(none)\n1000\n1000\nlre\n0022\n2 1\n/lre/exec\n644\n/\ndeny\n", "{:?}", world.who);
    }
}

/// PROTOCOL 68: the environment is what the plan says, to the byte and in its order.
#[test]
fn the_environment_is_as_given() {
    for mut world in everyone() {
        let mut plan = world.plan(&["/tools/try", "environment"]);
        plan.sandbox.exec.environment = ["Z=1", "A=two words", "EMPTY=", "A=again", "ODD"].map(text).to_vec();
        let id = world.start(plan);
        assert_eq!(world.wait(id).ok(), "Z=1\nA=two words\nEMPTY=\nA=again\nODD\n");
    }
}

/// As much as the kernel takes of arguments and environment comes through, whichever way the plan
/// takes to its sandbox.
#[test]
fn long_commands_come_through() {
    for mut world in everyone() {
        for variables in [1, 16] {
            for _again in 0..3 {
                let mut plan = world.plan(&["/tools/try", "environment"]);
                let long = format!("LONG={}", "x".repeat(100_000));
                plan.sandbox.exec.environment = (0..variables).map(|_| text(&long)).collect();
                let id = world.start(plan);
                assert_eq!(world.wait(id).ok().len(), variables * (long.len() + 1));
            }
        }
    }
}

/// Stack, heap and mappings are at the same addresses in every run.
#[test]
fn addresses_are_constant() {
    for mut world in everyone() {
        let first = world.run(&["try", "addresses"]).ok();
        assert_eq!(world.run(&["try", "addresses"]).ok(), first);
    }
}

/// Limits are constants of ours; signals are as a fresh program expects them, also when the server
/// ignores some.
#[test]
fn limits_and_signals_are_constant() {
    for mut world in everyone() {
        let stdout = world.shell("grep -E '^Sig(Blk|Ign)|^ShdPnd' /proc/self/status | cut -f2 | sort -u").ok();
        assert_eq!(stdout, "0000000000000000\n");
        let limits = world
            .shell("ulimit -c; ulimit -n; ulimit -Hn; ulimit -s; ulimit -Hs; ulimit -l; ulimit -t; ulimit -f")
            .ok();
        assert_eq!(limits, "0\n4096\n4096\n8192\n65536\n64\nunlimited\nunlimited\n", "{:?}", world.who);
    }
}

/// One sandbox has a bounded number of processes, also as the host's root, whom the resource limit
/// does not bind.
#[test]
fn processes_are_bounded() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("release");
    let mut numbers = release.split('.').map(|n| n.parse().unwrap_or(0_u32));
    // Before, a PID namespace has no limit of its own (SECURITY.md).
    let root_too = (numbers.next(), numbers.next()) >= (Some(6), Some(14));
    for mut world in everyone() {
        if world.who == lre_kernel::Who::Ordinary || root_too {
            assert_eq!(world.run(&["try", "bounded"]).ok(), "bounded\n", "{:?}", world.who);
        }
    }
}

/// PROTOCOL 61, 67, bad input: 127 when there is no such program, 126 when it cannot be executed; stderr says why.
#[test]
fn a_command_that_cannot_start_says_why() {
    for mut world in everyone() {
        let cases: [(&str, i32, &str); 8] = [
            ("no-such-program", 127, "not found in the PATH"),
            ("/no/such/program", 127, "no such file"),
            ("./plain/below", 127, "no such file"),
            ("./plain", 126, "Permission denied"),
            ("/usr", 126, "Is a directory"),
            ("/tools/orphan", 126, "its interpreter does not exist"),
            ("text", 126, "Permission denied"),
            ("", 127, "not found"),
        ];
        for (name, code, reason) in cases {
            let ran = world.run(&[name]);
            assert_eq!(ran.ended.how, How::Exited(code), "{name}: {ran:#?}");
            assert!(ran.stderr.starts_with("lre: cannot run") && ran.stderr.contains(reason), "{name}: {ran:#?}");
        }
        let ran = world.run(&[]);
        assert_eq!(ran.ended.how, How::Exited(127), "{ran:#?}");
    }
}

/// PROTOCOL 67: a name without a slash is looked up in the command's PATH, relative entries and a relative
/// program start at the working directory (REAPI 2.3, `Command.arguments`).
#[test]
fn programs_are_found_as_the_api_says() {
    for mut world in everyone() {
        let prepared =
            "mkdir -p sub/tools && cp /tools/try sub/tools/mine && cp /tools/try sub/here && cd sub && PATH=";
        for (path, name) in
            [("/nowhere:/tools", "try"), ("tools", "mine"), ("", "here"), ("/none", "./here"), ("/x", "tools/mine")]
        {
            // A shell looks it up first: what it finds is what we must find.
            let ran = world.shell(&format!("{prepared}{path} {name} exit 5"));
            assert_eq!(ran.ended.how, How::Exited(5), "shell: {path} {name}: {ran:#?}");
            let plan = world.plan(&[name, "exit", "6"]);
            let mut plan = world.over(plan, &ran.upper);
            plan.sandbox.exec.environment = vec![text(&format!("PATH={path}"))];
            plan.sandbox.exec.directory = text("/lre/exec/sub");
            let id = world.start(plan);
            let ran = world.wait(id);
            assert_eq!(ran.ended.how, How::Exited(6), "{path} {name}: {ran:#?}");
        }
    }
}

/// A step that fails is named, with what the kernel said, and the next plan works.
#[test]
fn a_failed_step_is_named() {
    for mut world in everyone() {
        let mut plan = world.plan(&["try", "exit", "0"]);
        plan.root.kept.push(Step::BindReadOnly { host: text("/no/such/tree"), inside: text("/x") });
        let id = world.start(plan);
        let ran = world.wait(id);
        assert_eq!(ran.ended.how, How::SetupFailed { step: "ro /no/such/tree -> /x".to_owned(), errno: 2 });
        let mut plan = world.plan(&["try", "exit", "0"]);
        plan.sandbox.exec.directory = text("/lre/exec/none");
        let id = world.start(plan);
        let ran = world.wait(id);
        assert_eq!(ran.ended.how, How::SetupFailed { step: "working directory /lre/exec/none".to_owned(), errno: 2 });
        for inside in ["relative", "/a/../b", "/"] {
            let mut plan = world.plan(&["try", "exit", "0"]);
            plan.root.kept.push(Step::Tmpfs { inside: text(inside), mode: 0o755, bytes_max: 1 << 20 });
            let id = world.start(plan);
            let ran = world.wait(id);
            assert!(matches!(ran.ended.how, How::SetupFailed { .. }), "{inside}: {ran:#?}");
        }
        assert_eq!(world.run(&["try", "exit", "0"]).ended.how, How::Exited(0));
    }
}

/// stdout and stderr are new files that only the server's user can read; processes that share one
/// do not overwrite each other.
#[test]
fn output_files_are_new_and_private() {
    use std::os::unix::fs::MetadataExt;
    for mut world in everyone() {
        let plan = world.plan(&["sh", "-c", "echo out; echo err >&2; (echo one) & (echo two) & wait"]);
        let id = world.start(plan);
        let ran = world.wait(id);
        let mut lines: Vec<_> = ran.stdout.lines().collect();
        lines.sort_unstable();
        assert_eq!((lines, ran.stderr.as_str()), (vec!["one", "out", "two"], "err\n"));
        for name in [lre_sandbox::STDOUT, lre_sandbox::STDERR] {
            let file = world.folder_of(id).join(name);
            assert_eq!(std::fs::metadata(&file).expect("a file").mode() & 0o777, 0o600);
        }
    }
}

/// PROTOCOL 82: the times and what was used are told, of the command and the children it waited for.
#[test]
fn usage_is_told() {
    for mut world in everyone() {
        let ran = world.shell("i=0; (while [ $i -lt 200000 ]; do i=$((i+1)); done); true");
        let ended = &ran.ended;
        assert!(ended.usage.user > Duration::ZERO && ended.usage.resident_bytes_max > 100_000, "{ended:?}");
        assert!(ended.wall >= ended.usage.user / 2 && !ended.setup.is_zero(), "{ended:?}");
    }
}

/// The files a plan writes have a constant time: results must not depend on when they were made.
#[test]
fn written_files_have_a_constant_time() {
    for mut world in everyone() {
        assert_eq!(world.shell("stat -c '%Y %a %U' /etc/passwd").ok(), "315532800 444 lre\n");
    }
}

/// /dev holds what programs need and nothing else.
#[test]
fn devices_work() {
    for mut world in everyone() {
        let script = "ls /dev | tr '\\n' ' '; echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c && \
                      (echo x > /dev/full) 2>/dev/null; echo $?; echo y >> /dev/stdout; echo z | cat /dev/fd/0; df -P /dev/shm | wc -l";
        let stdout = world.shell(script).ok();
        assert_eq!(stdout, "fd full null random shm stderr stdin stdout urandom zero 3\n4\n1\ny\nz\n2\n");
    }
}
