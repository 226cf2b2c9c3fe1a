//! No action changes what the next one reads.
use lre_kernel::{INPUT, INPUTS, World, worlds};
use std::os::unix::fs::MetadataExt;

fn everyone() -> Vec<World> {
    worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref())
}

/// Whatever an action does to its inputs happens to its own copies. (The world looks at the real
/// ones after every run.) What is not its tree it cannot change at all, not even as the owner.
#[test]
fn tampering_reaches_copies_only() {
    let null = std::fs::metadata("/dev/null").expect("/dev/null").mode();
    for mut world in everyone() {
        let ran = world.run(&["try", "tamper"]);
        let upper = ran.upper.clone();
        let stdout = ran.ok();
        let (own, rest) = stdout.split_once("tool-write").expect("both parts");
        assert_eq!(
            own,
            "append=ok\nchmod=ok\ntruncate=ok\nutime=ok\nlink=ok\nlink-write=ok\nrename=ok\nunlink=ok\n\
             reopen=EACCES\nmap=EACCES\n"
        );
        for line in rest.lines().filter(|line| !line.starts_with("tool-link") && !line.starts_with("proc-sys")) {
            let result = line.split_once('=').expect("name and result").1;
            assert!(["EROFS", "EBUSY", "EACCES", "EPERM"].contains(&result), "{:?}: {line}", world.who);
        }
        assert!(rest.contains("tool-link=EXDEV") && rest.contains("proc-sys=ENOENT"), "{rest}");
        // The changes are there, as outputs.
        assert_eq!(std::fs::read_to_string(upper.join("append")).expect("copied up"), format!("{INPUT}x"));
        assert_eq!(std::fs::metadata("/dev/null").expect("/dev/null").mode(), null);
    }
}

/// PROTOCOL 79: the next action finds all inputs, as they were, and nothing else.
#[test]
fn the_next_action_sees_a_clean_tree() {
    for mut world in everyone() {
        let _ = world.run(&["try", "tamper"]).ok();
        let _ =
            world.shell("rm -rf ./* && mkdir -p a/b && echo x > a/b/c && echo x > /tmp/x && echo x > /dev/shm/x").ok();
        let seen = world.shell("ls -A . /tmp /dev/shm; cat * | sort -u; stat -c '%a %Y %n' *").ok();
        let mut names = INPUTS;
        names.sort_unstable();
        let listing = format!(".:\n{}\n\n/dev/shm:\n\n/tmp:\n", names.join("\n"));
        let stats: String = names.iter().map(|name| format!("444 315532800 {name}\n")).collect();
        assert_eq!(seen, format!("{listing}{INPUT}{stats}"));
    }
}

/// Directories of the tree can be written, new files get mode and owner as anywhere, and all of it is
/// found in the upper directory.
#[test]
fn outputs_are_in_the_upper_directory() {
    for mut world in everyone() {
        let ran =
            world.shell("mkdir d && echo 1 > d/f && ln -s f d/l && cp /tools/try d/x && stat -c '%u %g %a' d/f d");
        let upper = ran.upper.clone();
        assert_eq!(ran.ok(), "1000 1000 644\n1000 1000 755\n");
        assert_eq!(std::fs::read_to_string(upper.join("d/f")).expect("output"), "1\n");
        assert_eq!(std::fs::read_link(upper.join("d/l")).expect("output").as_os_str(), "f");
        assert_eq!(std::fs::metadata(upper.join("d/x")).expect("output").mode() & 0o777, 0o755);
    }
}

/// An absolute symlink in somebody's inputs leads into the sandbox, also while it is made: no step
/// writes through it to the host.
#[test]
fn a_symlink_in_the_inputs_does_not_lead_out() {
    for mut world in everyone() {
        let outside = world.folder("outside");
        let lower = world.folder("lower");
        std::os::unix::fs::symlink(&outside, lower.join("way")).expect("symlink");
        let plan = world.plan(&["sh", "-c", "ls /lre/exec/way"]);
        let mut plan = world.over(plan, &lower);
        plan.sandbox.directories.push(c"way/in".to_owned());
        let id = world.start(plan);
        let ran = world.wait(id);
        assert!(matches!(ran.ended.how, lre_sandbox::How::SetupFailed { .. }), "{ran:#?}");
        assert_eq!(std::fs::read_dir(&outside).expect("outside").count(), 0, "{ran:#?}");
    }
}
