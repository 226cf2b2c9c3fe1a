//! The network, servers of this machine, and other processes.
use crate::{everyone, results, worked};
use lre_kernel::service::{Act, Running, Service};
use lre_kernel::until;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Stdio;

/// PROTOCOL 81: no server can be reached: not on the machine's loopback, v4 or v6, not by a socket in a folder (as D-Bus has one),
/// not by an abstract name, not the service itself by either of its addresses, and nothing farther away.
#[test]
fn no_server_can_be_reached() {
    for mut service in everyone(1) {
        let (v4, v6) = (TcpListener::bind("127.0.0.1:0").expect("v4"), TcpListener::bind("[::1]:0").ok());
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("v4");
        let bus = service.folder("bus").join("system_bus_socket");
        let _bus = UnixListener::bind(&bus).expect("a socket");
        std::fs::set_permissions(&bus, std::fs::Permissions::from_mode(0o777)).expect("mode");
        let name = format!("lre-bus-{}-{:?}", std::process::id(), service.who);
        let _abstract =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("name")).expect("a socket");
        let tcp = |listener: &TcpListener| listener.local_addr().expect("address").to_string().replace(['[', ']'], "");
        let own = (service.tcp().to_string(), service.socket().display().to_string());
        let here: Vec<String> = [
            ("tcp", tcp(&v4)),
            ("unix", bus.display().to_string()),
            ("abstract", name),
            ("tcp", own.0),
            ("unix", own.1),
            ("udp", datagrams.local_addr().expect("address").to_string()),
        ]
        .into_iter()
        .chain(v6.as_ref().map(|listener| ("tcp", tcp(listener))))
        .flat_map(|(kind, address)| [kind.to_owned(), address])
        .collect();
        let away = ["tcp", "192.0.2.1:80", "tcp", "8.8.8.8:53", "udp", "8.8.8.8:53", "tcp", "2001:db8::1:80"];
        let common =
            ["unix", "/run/dbus/system_bus_socket", "unix", "/run/systemd/private", "unix", "/var/run/docker.sock"];
        let all: Vec<&str> =
            ["reach"].into_iter().chain(here.iter().map(String::as_str)).chain(away).chain(common).collect();
        let reached = service.attack(&all);
        // A datagram to a loopback on which nobody listens can be sent; it must not arrive.
        let reached: Vec<_> = worked(&reached).into_iter().filter(|way| !way.starts_with("udp 127.")).collect();
        assert_eq!(reached, Vec::<&str>::new(), "{:?}", service.who);
        datagrams.set_nonblocking(true).expect("nonblocking");
        assert!(datagrams.recv(&mut [0; 8]).is_err(), "{:?}: a datagram came out", service.who);
        let words: Vec<&str> = ["reach"].into_iter().chain(here.iter().map(String::as_str)).collect();
        let control = service.on_the_host(&words);
        assert_eq!(worked(&control).len(), here.len() / 2, "{control}");
        datagrams.set_nonblocking(false).expect("blocking");
        assert_eq!(datagrams.recv(&mut [0; 8]).expect("the control's datagram"), 1);
    }
}

/// Only those kinds of sockets can be made that the namespaces hold: vsock, for one, leads to the host of a virtual
/// machine and is in no namespace.
#[test]
fn only_sockets_that_a_namespace_holds_can_be_made() {
    for mut service in everyone(1) {
        let unix_inet_inet6_netlink = ["1", "2", "10", "16"];
        let made = service.attack(&["families"]);
        let more: Vec<_> = made.split_whitespace().filter(|f| !unix_inet_inet6_netlink.contains(f)).collect();
        assert_eq!(more, Vec::<&str>::new(), "{:?}: families {made}", service.who);
        assert!(made.starts_with("1 2 "), "what programs need is there: {made}");
    }
}

/// A port that one action has used is free for the next in the same slot, though the first has left its end of a
/// connection waiting (TIME_WAIT).
#[test]
fn a_port_that_was_used_is_free_for_the_next_action() {
    for mut service in everyone(1) {
        for _ in 0..3 {
            let used = service.attack(&["use-port", "34567"]);
            assert_eq!(worked(&used), ["bind", "listen", "connect", "accept", "end"], "{:?}: {used}", service.who);
        }
    }
}

/// The control of that test: where the kernel keeps the connection, the port is taken.
#[test]
fn a_port_that_was_used_is_taken_for_a_while_elsewhere() {
    for service in everyone(1) {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port().to_string();
        assert!(!service.on_the_host(&["use-port", &port]).contains("bind=E"));
        assert!(service.on_the_host(&["use-port", &port]).contains("bind=EADDRINUSE"));
    }
}

/// A process of the host, started by the same user: it cannot be signalled, traced, read or even noticed.
#[test]
fn no_process_of_the_host_can_be_touched() {
    for mut service in everyone(1) {
        let mut victim = service.command_on_the_host(&["victim"]);
        let mut victim = victim.stdout(Stdio::piped()).spawn().expect("the victim");
        let mut line = String::new();
        BufReader::new(victim.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
        let (pid, address) = line.trim().split_once(' ').expect("pid and address");
        let server = service.pid().to_string();
        for pid in [pid, &server] {
            let touched = service.attack(&["others", pid, address]);
            assert_eq!(worked(&touched), Vec::<&str>::new(), "{:?}", service.who);
        }
        let control = service.on_the_host(&["others", pid, address]);
        for way in ["exists", "signal", "signal-thread", "pidfd", "environ", "root", "limits"] {
            assert_eq!(results(&control)[way], "ok", "{control}");
        }
        victim.kill().expect("it lived");
        victim.wait().expect("ours");
    }
}

/// Pid 1 of the sandbox belongs to the service. Its memory, files, environment and descriptors are closed to the
/// action; it cannot be killed, stopped or traced.
#[test]
fn pid_1_cannot_be_touched() {
    for mut service in everyone(1) {
        let touched = service.attack(&["others", "1", "0"]);
        // The kernel takes a signal for pid 1 and does not deliver it. The numbers of its descriptors, its limits and
        // its priority can be had: whoever spoils them spoils the rest of his own action.
        let harmless =
            ["exists", "signal", "signal-thread", "pidfd", "fd", "map-files", "limits", "affinity", "priority"];
        let more: Vec<_> = worked(&touched).into_iter().filter(|way| !harmless.contains(way)).collect();
        assert_eq!(more, Vec::<&str>::new(), "{:?}: {touched}", service.who);
        let killed = service.attack(&["kill-all"]);
        assert_eq!(results(&killed)["child"], "ok", "the control: its own child it can kill: {killed}");
        assert_eq!(results(&killed)["init-lives"], "ok");
        let seen = service.attack(&["everybody"]);
        let names: Vec<_> = seen.lines().collect();
        assert_eq!(names.len(), 2, "{:?}: pid 1 and itself: {seen}", service.who);
        assert!(!seen.contains('/'), "{:?}: pid 1 shows a path of the host: {seen}", service.who);
        service.works();
    }
}

/// An action that holds something of everything, until it is told to end.
fn holder(service: &Service, tag: &str) -> Running {
    let running = service.start(&Act::attack(&["leave", tag, "stay", lre_kernel::MARK]).environment(tag, "here"));
    until("it has left everything", || lre_kernel::living(tag).len() == 1 && !running.is_over());
    running
}

/// Two actions at the same time, in two slots: neither sees, signals or reads the other, its files, its /tmp and
/// /dev/shm, its shared memory, queues, sockets or environment.
#[test]
fn actions_at_the_same_time_do_not_see_each_other() {
    for mut service in everyone(2) {
        let tag = format!("at-once-{:?}", service.who);
        let running = holder(&service, &tag);
        for _ in 0..3 {
            // More than once: it has not left all of it when its process is there.
            assert_eq!(service.attack(&["find", &tag]), "", "{:?}", service.who);
        }
        let seen = service.attack(&["everybody"]);
        assert_eq!(seen.lines().count(), 2, "{seen}");
        assert!(!running.is_over());
        running.hang_up();
    }
}

/// PROTOCOL 81: one action after the other in the same slot: nothing of the first is there for the second, though it has left a
/// process that holds all of it.
#[test]
fn nothing_is_left_for_the_next_action_of_a_slot() {
    for mut service in everyone(1) {
        let tag = format!("next-{:?}", service.who);
        let script =
            "ls -ldn --time-style=+ / /[!p]* /dev/* /dev/shm; ls -ln --time-style=+ /proc/self/net/; attack families";
        let look = Act::new(&["sh", "-c", script]);
        let before = service.run(&look).stdout;
        for _ in 0..2 {
            let left = service.run(&Act::attack(&["leave", &tag]).environment(&tag, "here").input("in/a", "a"));
            // The control: it could leave every kind of thing.
            assert_eq!(worked(&left.stdout).len(), 11, "{left:#?}");
            assert!(left.message.starts_with("1 process was still running"), "{left:#?}");
            let ran = service.run(&Act::attack(&["find", &tag]).input("in/a", "a"));
            assert_eq!(ran.stdout, "", "{:?}", service.who);
            // Modes of what a slot may keep.
            let _any =
                service.run(&Act::new(&["sh", "-c", "chmod 777 /proc /proc/self/net/* /dev /dev/* /tmp /; true"]));
            let after = service.run(&look).stdout;
            assert_eq!(after, before, "{:?}", service.who);
        }
    }
}

/// The control of both: within one action, all that was left is found.
#[test]
fn what_is_left_is_found_within_one_action() {
    for mut service in everyone(1) {
        let ran = service.shell("attack leave tag; tag=x attack find tag");
        for what in [
            "/tmp/tag",
            "shared memory",
            "messages",
            "semaphores",
            "queue",
            "posix memory",
            "abstract socket",
            "a process",
            "environment",
        ] {
            let found =
                ran.stdout.contains(what) && (ran.stdout.contains(&format!("found {what}\n")) || what.starts_with('/'));
            assert!(found, "{what}: {ran:#?}");
        }
    }
}
