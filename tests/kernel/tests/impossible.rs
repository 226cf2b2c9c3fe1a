//! What no action can do, whoever runs the server.
use lre_kernel::{World, worlds};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

fn everyone() -> Vec<World> {
    worlds(env!("CARGO_BIN_EXE_lre-kernel-launcher").as_ref())
}

/// Lines `name=result`, those with the result `ok` first.
fn results(stdout: &str) -> BTreeMap<String, Vec<String>> {
    let mut by_result: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, result) in stdout.lines().filter_map(|line| line.split_once('=')) {
        by_result.entry(result.to_owned()).or_default().push(name.to_owned());
    }
    by_result
}

/// The root holds what the plan names. Nothing else of the host can be read or listed.
#[test]
fn the_host_cannot_be_seen() {
    for mut world in everyone() {
        let secret = world.directory.path().join("secret");
        std::fs::write(&secret, "secret").expect("a file of the host");
        let listed = world.shell("ls -A / | tr '\\n' ' '").ok();
        let bound: Vec<_> = ["lib64"].into_iter().filter(|d| std::path::Path::new("/").join(d).exists()).collect();
        assert_eq!(
            listed,
            format!(
                "bin dev etc lib {}lre proc tmp tools usr ",
                bound.concat() + if bound.is_empty() { "" } else { " " }
            )
        );
        let script = format!(
            "for f in {} /etc/shadow /etc/hostname /root /home /var /sys /proc/sys /proc/cpuinfo /proc/kcore \
             /proc/1/root/etc /lre/exec/../../../../root; do cat $f && echo \"read $f\"; ls $f && echo \"listed $f\"; done; true",
            secret.display()
        );
        let ran = world.shell(&script);
        assert_eq!(ran.stdout, "", "{ran:#?}");
    }
}

/// Nothing outside of the tree, /tmp and /dev/shm can be written, and the host sees nothing of it.
#[test]
fn the_host_cannot_be_written() {
    for mut world in everyone() {
        let script = "for d in / /etc /usr /bin /lib /dev /lre /tools /proc; do (echo x > $d/lre-was-here) && echo wrote $d; done; \
                      echo x > /tmp/f && echo x > /dev/shm/f && echo x > /lre/exec/f && echo done";
        let ran = world.shell(script);
        assert_eq!(ran.stdout, "done\n", "{ran:#?}");
        for path in ["/tmp/f", "/dev/shm/f", "/usr/lre-was-here"] {
            let there = std::fs::symlink_metadata(path).map_err(|e| e.kind());
            assert_eq!(there.err(), Some(ErrorKind::NotFound), "{path}");
        }
        assert_eq!(std::fs::read_to_string(ran.upper.join("f")).expect("an output"), "x\n");
    }
}

/// Loopback is up and empty; the host's servers, on loopback and on abstract sockets, and everything
/// farther away cannot be reached.
#[test]
fn the_network_cannot_be_reached() {
    for mut world in everyone() {
        let server = TcpListener::bind("127.0.0.1:0").expect("a server of the host");
        let port = server.local_addr().expect("address").port().to_string();
        let name = format!("lre-kernel-{}-{:?}", std::process::id(), world.who);
        let address = SocketAddr::from_abstract_name(&name).expect("name");
        let _server = UnixListener::bind_addr(&address).expect("a server of the host");
        let stdout = world.run(&["try", "network", &port, &name]).ok();
        assert_eq!(
            stdout,
            "outside=ENETUNREACH\ndns=ENETUNREACH\nhost-loopback=ECONNREFUSED\nhost-abstract=ECONNREFUSED\n\
             own-listen=ok\nown-loopback=ok\ninterface=lo\n"
        );
    }
}

/// An action sees its own processes and pid 1, whose memory, files and environment are closed to
/// it, and which it cannot kill.
#[test]
fn other_processes_cannot_be_seen_or_signalled() {
    for mut world in everyone() {
        // For the host's root the first thing in the way is that /proc is read-only.
        let stdout = world.run(&["try", "others"]).ok().replace("init-memory=EROFS", "init-memory=EACCES");
        assert_eq!(
            stdout,
            "ptrace-init=EPERM\nread-init=EPERM\ninit-environment=EACCES\ninit-memory=EACCES\ninit-root=EACCES\n\
             init-files=EACCES\ninit-program=EACCES\nkill-init=ok\ninit-lives=ok\n"
        );
        let pids = world.shell("cd /proc && echo [0-9]* && echo $$ && tr '\\0' ' ' < /proc/1/cmdline").ok();
        // Pid 1 shows no path of the host.
        assert_eq!(pids, "1 2\n2\nlre ");
    }
}

/// No capability, namespace, mount, device or identity can be had.
#[test]
fn no_privilege_can_be_gained() {
    for mut world in everyone() {
        let stdout = world.run(&["try", "privileges"]).ok();
        let mut results = results(&stdout);
        let mut take = |result: &str| results.remove(result).unwrap_or_default();
        assert_eq!(take("ENOSPC"), ["unshare-user", "clone3-user", "clone3-user-mount"], "{stdout}");
        assert_eq!(take("EINVAL"), ["setuid", "setgid", "setresuid-nobody", "no-new-privs-off"], "{stdout}");
        assert_eq!(take("EACCES"), ["nice", "low-port"], "{stdout}");
        take("EPERM");
        assert!(results.is_empty(), "{:?}: {results:?}", world.who);
        let status = world.shell("grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status").ok();
        let none = "0000000000000000";
        let expected = format!(
            "Groups:\t \nCapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\nCapAmb:\t{none}\n\
             NoNewPrivs:\t1\nSeccomp:\t2\n"
        );
        assert_eq!(status, expected, "{:?}", world.who);
    }
}

/// A set-user-ID program gives nothing: not the host's, not one made inside.
#[test]
fn set_user_id_gives_nothing() {
    for mut world in everyone() {
        let script = "cp /tools/try /lre/exec/s && chmod 4755 /lre/exec/s && /lre/exec/s exit 7; echo $?; \
                      grep -c nosuid /proc/self/mountinfo; grep -vc nosuid /proc/self/mountinfo";
        let ran = world.shell(script);
        let lines: Vec<_> = ran.stdout.lines().collect();
        assert_eq!((lines[0], lines[2]), ("7", "0"), "{ran:#?}");
    }
}

/// The system calls on the list, and those of other architectures, are refused.
#[test]
fn refused_system_calls_are_refused() {
    for mut world in everyone() {
        let stdout = world.run(&["try", "refused"]).ok();
        let results = results(&stdout);
        assert_eq!(results.keys().collect::<Vec<_>>(), ["EPERM"], "{stdout}");
    }
}

/// A command has descriptors 0, 1 and 2, whatever the server had open.
#[test]
fn no_descriptor_is_inherited() {
    for mut world in everyone() {
        // Others run meanwhile: theirs must not be seen either.
        let plan = world.plan(&["try", "tree"]);
        let other = world.start(plan);
        assert_eq!(world.run(&["try", "descriptors"]).ok(), "0 1 2 \n");
        let files = world.shell("readlink /proc/self/fd/0; cat; echo $?").ok();
        assert_eq!(files, "/dev/null\n0\n");
        world.cancel(other);
        world.wait(other);
    }
}
