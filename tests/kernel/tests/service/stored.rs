//! Nobody can change what is stored: blobs, inputs, toolchains. (The service compares all of them, byte by byte, with
//! mode, time, owner and attributes, after every action of a test that has said `remember`.)
use crate::{everyone, results, worked};
use lre_kernel::service::Act;
use std::fs;

/// Every attempt of `tamper`, each with a file of its own.
const ATTEMPTS: [&str; 39] = [
    "append",
    "overwrite",
    "truncating-open",
    "truncate",
    "ftruncate",
    "reopen",
    "reopen-path",
    "map",
    "map-forced",
    "fallocate",
    "punch",
    "copy-range",
    "sendfile",
    "clone-range",
    "splice",
    "chmod",
    "fchmod",
    "chmod-path",
    "fchmodat2",
    "chown",
    "utime",
    "futime",
    "xattr-user",
    "xattr-fd",
    "xattr-overlay",
    "xattr-trusted",
    "capability",
    "flags-nodump",
    "flags-immutable",
    "flags-append",
    "project",
    "verity",
    "link",
    "link-unnamed",
    "exchange",
    "whiteout",
    "replace",
    "rename",
    "unlink",
];

fn with_victims(act: Act) -> Act {
    // Two and two are equal: what is shown by two paths must not be one file that both can be reached by.
    ATTEMPTS.iter().enumerate().fold(act, |act, (n, name)| {
        let content = format!("victim {}\n", n / 2).repeat(400);
        act.input(&format!("in/{name}"), content).input("in/kept", "kept\n")
    })
}

/// PROTOCOL 79: an action may do with its inputs what it likes: it has copies. Neither the blobs nor the inputs of the next
/// action change by any of the ways there are to change a file.
#[test]
fn no_input_is_changed_by_what_an_action_does_to_it() {
    for mut service in everyone(1) {
        let look = with_victims(Act::new(&["sh", "-c", "cat in/*; ls -ln --time-style=+%s in"]));
        let before = service.run(&look);
        service.remember();
        // With and without a mode that forbids writing in the way.
        for script in ["attack tamper in/%s", "chmod 666 in/*; attack tamper in/%s"] {
            let act = with_victims(Act::new(&["sh", "-c", script])).output("in");
            let ran = service.run(&act);
            assert_eq!(results(&ran.stdout).len(), ATTEMPTS.len(), "{ran:#?}");
            assert!(results(&ran.stdout)["rename"] == "ok", "the inputs can be changed: {}", ran.stdout);
            let after = service.run(&look);
            assert_eq!((after.stdout, after.exit), (before.stdout.clone(), 0), "{:?}", service.who);
        }
        // The control: the same program changes files that it may change.
        let folder = service.folder("files");
        for name in ATTEMPTS {
            fs::write(folder.join(name), "victim\n").expect("a file of the host");
            service.give(&folder.join(name));
        }
        let control = service.on_the_host(&["tamper", &format!("{}/%s", folder.display())]);
        assert!(worked(&control).len() > 20, "{control}");
    }
}

/// A toolchain cannot be changed by any of these ways, not even for the one action that tries.
#[test]
fn no_file_of_a_toolchain_is_changed() {
    for mut service in everyone(1) {
        service.works();
        service.remember();
        for path in ["/usr/bin/attack", "/bin/sh"] {
            let ran = service.run(&Act::attack(&["tamper", path]));
            assert_eq!(worked(&ran.stdout), Vec::<&str>::new(), "{:?}: {path}", service.who);
        }
        service.works();
    }
}

/// PROTOCOL 78: what an action leaves as an output is stored as it was when the action ended: no other name of the file, no
/// mode and no mapping changes it afterwards.
#[test]
fn no_output_can_be_changed_once_it_is_stored() {
    for mut service in everyone(1) {
        let ran = service.run(&Act::attack(&["odd", "linked"]).output("out/file"));
        assert_eq!(ran.result.wire().output_files.len(), 1, "{ran:#?}");
        service.remember();
        let ran = service.run(&Act::attack(&["odd", "set-user-id"]).output("out/file"));
        assert_eq!(ran.result.wire().output_files.len(), 1, "{ran:#?}");
        service.works();
        // What has no mode that lets anybody read it can be an output all the same.
        let ran = service.run(&Act::attack(&["odd", "closed"]).output("out/file"));
        assert_eq!(ran.result.wire().output_files.len(), 1, "{ran:#?}");
        service.works();
        service.nothing_lies_about();
    }
}
