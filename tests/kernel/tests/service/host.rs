//! The files of the host, and what the machine is called.
use crate::{everyone, results, worked};
use lre_kernel::service::Act;
use std::fs;

/// PROTOCOL 81: not a file of the host can be opened, listed or even noticed: not the server's own store and socket, not system
/// files, not what any user may read.
#[test]
fn no_file_of_the_host_can_be_seen() {
    for mut service in everyone(1) {
        let secret = service.path().join("secret");
        fs::write(&secret, "secret").expect("a file of the host");
        service.give(&secret);
        let socket = service.socket();
        let token = service.path().join("state/lre/token");
        let store = service.store();
        let own: Vec<_> = [&secret, &socket, &token, &store].map(|path| path.to_str().expect("plain")).into();
        let system =
            ["/etc/shadow", "/etc/hostname", "/root", "/home", "/var", "/sys", "/boot", "/run", "/opt", "/mnt"];
        let kernel =
            ["/proc/sys", "/proc/kcore", "/proc/kallsyms", "/proc/config.gz", "/proc/sched_debug", "/proc/keys"];
        let words: Vec<_> = ["see"].into_iter().chain(own).chain(system).chain(kernel).collect();
        service.works();
        service.remember();
        let seen = service.attack(&words);
        assert_eq!(worked(&seen), Vec::<&str>::new(), "{:?}", service.who);
        assert_eq!(results(&seen).len(), (words.len() - 1) * 7, "each was tried in each way");
        // The control: the same program sees them where it may.
        let control = service.on_the_host(&["see", secret.to_str().expect("plain"), "/etc"]);
        assert!(control.contains("open /") && control.contains("list /etc=ok"), "{control}");
        assert_eq!(results(&control)[format!("open {}", secret.display()).as_str()], "ok");
    }
}

/// Nothing leads out of the root: not `..`, not the links of /proc, not a symlink, not a file handle.
#[test]
fn no_way_leads_out_of_the_root() {
    for mut service in everyone(1) {
        let folder = service.folder("outside");
        let secret = folder.join("secret");
        fs::write(&secret, "secret").expect("a file of the host");
        service.give(&secret);
        let (secret, folder) = (secret.to_str().expect("plain"), folder.to_str().expect("plain"));
        let climbed = service.attack(&["climb", secret]);
        // A handle has a name; to open it is what is refused.
        let ways: Vec<_> = worked(&climbed).into_iter().filter(|way| *way != "name handle").collect();
        assert_eq!(ways, Vec::<&str>::new(), "{climbed}");
        let control = service.on_the_host(&["climb", secret, folder]);
        for way in ["open dots", "open symlink", "open /proc/self/root"] {
            assert_eq!(results(&control)[way], "ok", "{control}");
        }
    }
}

/// PROTOCOL 79, 80, bad input: symlinks among the inputs, absolute ones and those that climb, lead into the sandbox: neither the command nor
/// the service that lays out inputs and collects outputs comes to the host through them.
#[test]
fn no_symlink_leads_the_service_out() {
    use lre::client::Entry;
    for mut service in everyone(1) {
        let folder = service.folder("outside");
        let secret = folder.join("secret");
        fs::write(&secret, "secret\n").expect("a file of the host");
        service.give(&secret);
        let (folder, secret) = (folder.to_str().expect("plain"), secret.to_str().expect("plain"));
        let climbing = format!("../../../../../../../../../..{folder}");
        for target in [folder, &climbing] {
            // As an input, with an output behind it, which the service itself would have to make room for.
            let act = Act::new(&["sh", "-c", "cat way/secret; echo x > way/new"]);
            let act = act.entry("way", Entry::Symlink(target.to_owned())).output("way/new").output("way/secret");
            let answer = service.attempt(&act);
            let ran = answer.ran.as_ref();
            assert!(ran.is_none_or(|ran| ran.stdout.is_empty() && ran.exit != 0), "{answer:#?}");
            assert!(ran.is_none_or(|ran| ran.result.wire().output_files.is_empty()), "{answer:#?}");
            // As an output, with a promised file behind it.
            let act = Act::attack(&["odd", "symlinked-parent", target]).output("out/secret");
            let answer = service.attempt(&act);
            let files = answer.ran.as_ref().map_or(0, |ran| ran.result.wire().output_files.len());
            assert_eq!(files, 0, "{answer:#?}");
        }
        // As an output it is a symlink, and what it points to is not looked at.
        let ran = service.run(&Act::attack(&["odd", "symlink", secret]).output("out/link"));
        assert_eq!(ran.result.wire().output_symlinks.len(), 1, "{ran:#?}");
        assert_eq!(fs::read_dir(folder).expect("outside").count(), 1, "something was written there");
        service.works();
    }
}

/// Nothing can be made, and no mode or time changed, but in the inputs, /tmp and /dev/shm; and of that the host sees
/// nothing.
#[test]
fn nothing_outside_of_the_action_can_be_written() {
    for mut service in everyone(1) {
        let outside = service.folder("outside");
        let outside = outside.to_str().expect("plain");
        service.works();
        service.remember();
        let words = ["/", "/etc", "/usr", "/usr/bin", "/bin", "/lib", "/dev", "/lre", "/proc", "/proc/self", outside];
        let made = service.attack(&["create"].into_iter().chain(words).collect::<Vec<_>>());
        // This /proc is the action's own and ends with it.
        let made: Vec<_> = worked(&made).into_iter().filter(|w| !["mode /proc", "time /proc"].contains(w)).collect();
        assert_eq!(made, Vec::<&str>::new(), "{:?}", service.who);
        let allowed = service.attack(&["create", ".", "/tmp", "/dev/shm"]);
        for place in [".", "/tmp", "/dev/shm"] {
            assert_eq!(results(&allowed)[format!("file {place}").as_str()], "ok", "{allowed}");
        }
        let control = service.on_the_host(&["create", outside]);
        assert_eq!(worked(&control).len(), 6, "{control}");
        for path in ["/tmp/lre-was-here", "/dev/shm/lre-was-here", "/usr/lre-was-here"] {
            assert!(!fs::exists(path).expect("looked"), "{path}");
        }
    }
}

/// The name of the machine and of its users, its id, its boot and its kernel's command line cannot be found in
/// anything that can be read.
#[test]
fn the_machine_and_its_users_have_no_name() {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let host = file("/proc/sys/kernel/hostname");
    for mut service in everyone(1) {
        let learned = service.attack(&["learn"]);
        let line = |name: &str| learned.lines().find_map(|line| line.strip_prefix(name)).expect("told").to_owned();
        assert_eq!((line("uname="), line("host="), line("domain=")), ("lre".into(), "lre".into(), "(none)".into()));
        assert_eq!(line("login="), "");
        let home = service.path().display().to_string();
        let own_user = std::env::var("USER").unwrap_or_default();
        let mut secrets = vec![
            ("command line", file("/proc/cmdline")),
            ("machine id", file("/etc/machine-id")),
            ("boot id", file("/proc/sys/kernel/random/boot_id")),
            ("home", home),
        ];
        // Short and common words stand in any text: "vm", "root".
        secrets.extend([("host name", host.clone()), ("user", own_user)].into_iter().filter(|(_, s)| s.len() > 6));
        for (what, secret) in secrets {
            assert!(secret.is_empty() || !learned.contains(&secret), "{:?}: the {what}: {secret}", service.who);
        }
        for user in file("/etc/passwd").lines().filter_map(|line| line.split(':').next()) {
            let known = ["root", "nobody", "lre"].contains(&user);
            assert!(known || !learned.contains(&format!("\n{user}:x:")), "{:?}: the user {user}", service.who);
        }
        // The control: it finds them where they are.
        let control = service.on_the_host(&["learn"]);
        assert!(control.contains(&file("/proc/cmdline")) && control.contains(&format!("host={host}\n")));
    }
}

/// PROTOCOL 81: a command has three descriptors, none of them of the host, whatever the server and the tests have open.
#[test]
fn no_descriptor_of_the_host_is_inherited() {
    for mut service in everyone(2) {
        let stays = service.start(&Act::attack(&["stay"]));
        let open = service.attack(&["descriptors"]);
        assert_eq!(open, "0 /dev/null\n1 a file\n2 a file\n", "{:?}", service.who);
        stays.hang_up();
    }
}
