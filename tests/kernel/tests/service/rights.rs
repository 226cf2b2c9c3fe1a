//! Capabilities, namespaces, mounts, devices, identities.
use crate::{everyone, worked};
use lre_kernel::service::Act;

/// No namespace can be made or entered; nothing mounted, remounted, moved or taken away; no device made; no identity
/// or capability gained; no setting of the machine changed.
#[test]
fn no_right_can_be_gained() {
    for mut service in everyone(1) {
        service.works();
        service.remember();
        let tried = service.attack(&["privileges"]);
        assert_eq!(worked(&tried), Vec::<&str>::new(), "{:?}", service.who);
        assert!(tried.lines().count() > 150, "{tried}");
        service.works();
    }
}

/// The control: the same program makes a namespace where it may.
#[test]
fn a_namespace_can_be_made_elsewhere() {
    for service in everyone(1) {
        let tried = service.on_the_host(&["namespaces"]);
        for way in ["unshare-user", "clone-user", "clone3-user"] {
            assert!(worked(&tried).contains(&way), "{:?}: {tried}", service.who);
        }
    }
}

/// A program with the set-user-ID bit gives nothing, be it an output of an earlier action or made by this one.
#[test]
fn set_user_id_gives_nothing() {
    for mut service in everyone(1) {
        let script = "cat /usr/bin/attack > own; chmod 6755 own; ./own who; attack who";
        let ran = service.shell(script);
        assert_eq!(ran.stdout, "1000 1000 1000 1000\n1000 1000 1000 1000\n", "{:?}: {ran:#?}", service.who);
        let status = service.shell("cat /proc/self/status").stdout;
        for none in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{none}:\t0000000000000000\n")), "{:?}: {status}", service.who);
        }
        assert!(status.contains("NoNewPrivs:\t1\n") && status.contains("Seccomp:\t2\n"), "{status}");
    }
}

/// An action that kills all that it can, and spoils what it can of pid 1, spoils its own run and no other.
#[test]
fn spoiling_pid_1_spoils_ones_own_action() {
    for mut service in everyone(1) {
        service.works();
        let before = service.census();
        for what in ["limits", "stop", "processes", "files"] {
            let answer = service.attempt(&Act::attack(&["spoil", what]).timeout(std::time::Duration::from_secs(2)));
            assert!(answer.failure.is_some() || answer.ran.is_some(), "it was answered");
            service.works();
        }
        service.is_no_more_than(&before);
        service.nothing_lies_about();
    }
}

/// The policy that shows all of /proc shows it read-only: to the kernel an action of a server of root is root there,
/// with or without capabilities, and the settings of the machine are files.
#[test]
fn the_whole_of_proc_cannot_be_written() {
    for mut service in everyone(1) {
        // Opened, not written: where this fails no harm is done.
        let script = "for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger \
                      /proc/sys/vm/drop_caches /proc/self/oom_score_adj /proc/irq/default_smp_affinity; do \
                      [ -e $f ] && echo seen; (: >> $f) 2>/dev/null && echo $f; done; \
                      chmod 777 /proc/meminfo /proc/cpuinfo 2>/dev/null && echo modes; cat /proc/meminfo > /dev/null";
        let ran = service.run(&Act::new(&["sh", "-c", script]).property("lre-policy", "compat-1"));
        let seen = ran.stdout.lines().filter(|line| *line == "seen").count();
        assert!(seen >= 4 && ran.exit == 0, "{:?}: the whole of it is there: {ran:#?}", service.who);
        assert_eq!(ran.stdout.lines().count(), seen, "{:?}: {ran:#?}", service.who);
    }
}

/// In a warm slot too, where pid 1 goes on: the next action of the trust domain is right, with the limits and the
/// priority that every action has.
#[test]
fn spoiling_pid_1_of_a_warm_slot_spoils_nothing_for_the_next() {
    for mut service in everyone(1) {
        let warm = |act: Act| act.property("lre-warm", "domain").timeout(std::time::Duration::from_secs(2));
        // Priority and nice are the fields 18 and 19 (proc_pid_stat(5)).
        let look = warm(Act::new(&[
            "sh",
            "-c",
            "ulimit -a; cat /proc/self/limits; set -- $(cat /proc/self/stat); echo ${18} ${19}",
        ]));
        let before = service.run(&look).stdout;
        for what in ["limits", "stop", "processes"] {
            let answer = service.attempt(&warm(Act::attack(&["spoil", what])));
            assert!(answer.failure.is_some() || answer.ran.is_some(), "it was answered");
            let after = service.attempt(&look).ran();
            assert_eq!(after.expect("the next is not spoilt").stdout, before, "{:?}: {what}", service.who);
        }
        service.nothing_lies_about();
    }
}
