//! A ready root serves one execution after another, and nothing goes from one to the next.
use lre_kernel::{INPUTS, Plan, Ran, Who, World, worlds};
use lre_sandbox::{How, Inputs, Network, Step, TREE};
use std::fs;
use std::path::PathBuf;

fn everyone() -> Vec<World> {
    worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref())
}

fn run(world: &mut World, plan: Plan) -> Ran {
    let id = world.start(plan);
    world.wait(id)
}

/// The same plan in a slot of its own with no inputs; and where they lie.
fn empty_slot(world: &World, plan: Plan, name: &str) -> (Plan, PathBuf) {
    let lower = world.folder(name);
    let plan = world.over(plan, &lower);
    let slot = PathBuf::from(plan.root.slot.to_str().expect("a plain path"));
    (plan, slot.join(TREE))
}

/// One root for all; a mount, PID and IPC namespace for each; the rest is shared.
#[test]
fn each_execution_has_namespaces_of_its_own() {
    for mut world in everyone() {
        for _ in 0..3 {
            let plan =
                world.plan(&["sh", "-c", "for n in user net uts mnt pid ipc; do readlink /proc/self/ns/$n; done"]);
            let id = world.start(plan);
            let root = world.root_of(id);
            let seen = world.wait(id).ok();
            for line in seen.lines() {
                let name = line.split(':').next().expect("a name");
                let roots = fs::read_link(format!("/proc/{root}/ns/{name}")).expect("the root lives");
                let shared = roots.to_str() == Some(line);
                assert_eq!(shared, ["user", "net", "uts"].contains(&name), "{:?}: {line}", world.who);
            }
        }
        assert_eq!(world.roots(), 1, "{:?}", world.who);
    }
}

/// The overlay is mounted before its execution is known, so the inputs are laid out below a mounted
/// overlay, into which nobody has looked. What is then seen is what was laid out: files and directories
/// that came, went, changed their kind. (docs/decisions/0008)
#[test]
fn inputs_that_are_laid_out_under_a_waiting_overlay_are_seen() {
    for mut world in everyone() {
        let plan = world.plan(&[
            "sh",
            "-c",
            "find . -mindepth 1 | sort | tr '\\n' ' '; cat $(find . -type f | sort) /dev/null",
        ]);
        let (plan, tree) = empty_slot(&world, plan, "late");
        let see = |world: &mut World| run(world, plan.clone()).ok();
        assert_eq!(see(&mut world), "");
        fs::create_dir_all(tree.join("d/e")).expect("directory");
        fs::write(tree.join("d/e/f"), "1").expect("file");
        assert_eq!(see(&mut world), "./d ./d/e ./d/e/f 1");
        fs::remove_file(tree.join("d/e/f")).expect("there");
        fs::write(tree.join("d/e/f"), "2").expect("file");
        fs::write(tree.join("g"), "3").expect("file");
        assert_eq!(see(&mut world), "./d ./d/e ./d/e/f ./g 23");
        fs::remove_dir_all(tree.join("d")).expect("there");
        fs::write(tree.join("d"), "4").expect("a file where a directory was");
        fs::remove_file(tree.join("g")).expect("there");
        fs::create_dir(tree.join("g")).expect("a directory where a file was");
        assert_eq!(see(&mut world), "./d ./g 4");
        fs::remove_file(tree.join("d")).expect("there");
        fs::remove_dir(tree.join("g")).expect("there");
        std::os::unix::fs::symlink("nowhere", tree.join("g")).expect("a link where a directory was");
        assert_eq!(see(&mut world), "./g ");
        assert_eq!(world.roots(), 1, "{:?}: all of it in one root", world.who);
    }
}

/// What docs/decisions and `launcher/warm.rs` say is cleaned: files, shared memory, queues, processes.
#[test]
fn a_warm_root_cleans_up() {
    const LEAVE: &str = "echo x > /tmp/left; mkdir -p /tmp/d/e; echo x > /dev/shm/left; chmod 700 /tmp; touch -d @1 /tmp; \
        echo x > left; rm plain; mkdir made; ipcmk -M 100 -S 1 -Q >/dev/null; cd /tmp; (sleep 1000 &) ; ipcs | grep -c 0x";
    const LOOK: &str = "ls -A /tmp /dev/shm; ls | wc -l; cat plain; ipcs | grep -c 0x; stat -c %a /tmp; set -- /proc/[0-9]*; echo $#; pwd";
    for mut world in everyone() {
        let warm = |world: &mut World, domain: &str, script: &str| {
            let mut plan = world.plan(&["sh", "-c", script]);
            plan.root.warm = Some(domain.to_owned());
            run(world, plan)
        };
        let ids = "readlink /proc/self/ns/mnt /proc/self/ns/pid";
        let first = warm(&mut world, "us", ids).ok();
        for _ in 0..3 {
            let left = warm(&mut world, "us", LEAVE);
            assert_eq!((left.ended.left_running, left.ok().as_str()), (1, "3\n"), "the tools work");
            let seen = warm(&mut world, "us", LOOK).stdout;
            // Of processes: pid 1 and the shell. (`ipcs` finds none, so `grep -c` says 0.)
            let expected = format!("/dev/shm:\n\n/tmp:\n{}\nas it was\n0\n1777\n2\n/lre/exec\n", INPUTS.len());
            assert_eq!(seen, expected, "{:?}", world.who);
            assert_eq!(warm(&mut world, "us", ids).ok(), first, "the same sandbox");
        }
        assert_eq!(world.roots(), 1);
        assert_ne!(warm(&mut world, "them", ids).ok(), first, "another trust domain has another");
        assert_eq!(world.roots(), 2);
    }
}

/// Pid 1 of a warm root lives on. Who changes what the next command would inherit of it ends the root.
#[test]
fn a_changed_pid_1_ends_a_warm_root() {
    for mut world in everyone() {
        let warm = |world: &mut World, script: &str| {
            let mut plan = world.plan(&["sh", "-c", script]);
            plan.root.warm = Some("us".to_owned());
            run(world, plan)
        };
        assert_eq!(warm(&mut world, "prlimit --pid 1 --nofile=64:64 && echo changed").ok(), "changed\n");
        let next = warm(&mut world, "ulimit -n");
        assert!(next.stdout == "4096\n" || matches!(next.ended.how, How::SetupFailed { .. } | How::Lost), "{next:#?}");
        assert_eq!(warm(&mut world, "ulimit -n").ok(), "4096\n", "a new root");
        assert_eq!(world.roots(), 2);
    }
}

/// Read-only inputs: nothing of them can be written; only the directories of the plan can.
#[test]
fn read_only_inputs_cannot_be_written() {
    for mut world in everyone() {
        let script = "for f in append new out/../new2; do (echo x > $f) 2>/dev/null && echo wrote $f; done; \
                      echo 1 > out/o && mkdir out/d && echo 2 > out/d/e && cat out/in out/o && rm out/in && ls out";
        let plan = world.plan(&["sh", "-c", script]);
        let (mut plan, tree) = empty_slot(&world, plan, "read-only");
        fs::create_dir(tree.join("out")).expect("directory");
        fs::write(tree.join("append"), "x").expect("file");
        fs::write(tree.join("out/in"), "0\n").expect("file");
        plan.root.inputs = Inputs::ReadOnly;
        plan.sandbox.directories = vec![c"out".to_owned()];
        for _ in 0..2 {
            let ran = run(&mut world, plan.clone());
            let upper = ran.upper.clone();
            assert_eq!(ran.ok(), "0\n1\nd\no\n", "{:?}", world.who);
            assert_eq!(fs::read_to_string(upper.join("out/d/e")).expect("an output"), "2\n");
            assert_eq!(fs::read_to_string(tree.join("out/in")).expect("an input"), "0\n");
        }
        if world.who == Who::Ordinary {
            // The inputs are the test's here, not his.
            continue;
        }
        let mut everywhere = plan.clone();
        everywhere.sandbox.directories = vec![c".".to_owned()];
        assert_eq!(run(&mut world, everywhere).ok(), "wrote append\nwrote new\nwrote out/../new2\n0\n1\nd\no\n");
        assert_eq!(world.roots(), 1);
    }
}

/// A whole /proc is one that tells more, and cannot be written: for the kernel the host's root is root
/// there, capabilities or not.
#[test]
fn a_whole_proc_is_read_only() {
    for mut world in everyone() {
        let script = "grep -c processor /proc/cpuinfo >/dev/null && echo whole; \
            for f in sys/kernel/core_pattern sysrq-trigger sys/kernel/hostname self/oom_score_adj; do (echo x > /proc/$f) 2>/dev/null && echo wrote $f; done; \
            chmod 777 /proc/cpuinfo 2>/dev/null && echo chmod; chmod 0 /proc/self/net/tcp 2>/dev/null && echo chmod; true";
        let mut plan = world.plan(&["sh", "-c", script]);
        for step in &mut plan.root.fresh {
            if let Step::Proc { whole } = step {
                *whole = true;
            }
        }
        assert_eq!(run(&mut world, plan).ok(), "whole\n", "{:?}", world.who);
    }
}

/// Who asks for the host's network has it, and no other privilege.
#[test]
fn the_hosts_network_can_be_had() {
    for mut world in everyone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a server of the host");
        let port = listener.local_addr().expect("address").port();
        let mut plan = world.plan(&["bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected")]);
        let apart = run(&mut world, plan.clone());
        assert_eq!(apart.stdout, "", "not by default");
        plan.root.network = Network::Host;
        assert_eq!(run(&mut world, plan).ok(), "connected\n", "{:?}", world.who);
    }
}

/// No file grows over the limit, and no other is touched by that.
#[test]
fn files_are_bounded() {
    for mut world in everyone() {
        let mut plan = world.plan(&[
            "sh",
            "-c",
            "head -c 1000 /dev/zero > a && head -c 100000 /dev/zero > b; echo $?; ulimit -Hf",
        ]);
        plan.sandbox.file_bytes_max = Some(4096);
        let ran = run(&mut world, plan);
        assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), ["153", "8"], "{ran:#?}");
        assert_eq!(fs::metadata(ran.upper.join("b")).expect("an output").len(), 4096);
    }
}
