//! With files of this machine: a folder of the test is what toolchains are missed from.
use super::*;
use lre_model::{Digest, DigestFunction};
use lre_sandbox::Usage;
use lre_toolchain::{Kind, Toolchain};
use std::collections::BTreeMap;
use std::ffi::CString;

fn ended(how: How, wall: Duration) -> Ended {
    Ended { how, setup: Duration::ZERO, wall, usage: Usage::default(), left_running: 0, wanted: Vec::new() }
}

/// Who does not fail pays nothing: not even what it wrote is read.
#[test]
fn only_what_failed_as_if_something_were_missing_is_run_again() {
    let second = Duration::from_secs(1);
    let unread = || -> Said { panic!("nobody has a reason to read it") };
    let host = Terms { network: Network::Host, ..Terms::default() };
    let strict = Terms::default();
    for (how, wall, terms) in [
        (How::Exited(0), second, &strict),
        (How::Exited(1), second * 11, &strict),
        (How::Exited(1), second, &host),
        (How::Signaled(11), second, &strict),
        (How::TimedOut, second, &strict),
        (How::Lost, second, &strict),
    ] {
        assert!(look_again(&ended(how.clone(), wall), terms, false, unread).is_none(), "{how:?}");
    }
    let says = |text: &'static str| move || Said::new(text.to_owned());
    let failed = ended(How::Exited(1), second);
    assert!(look_again(&failed, &strict, false, says("expected ';'")).is_none());
    assert!(look_again(&failed, &strict, false, says("x.h: No such file or directory")).is_some());
    assert!(look_again(&ended(How::Exited(127), second), &strict, false, says("")).is_some());
    assert!(look_again(&ended(How::Exited(0), second * 11), &host, true, says("")).is_some(), "somebody asks");
    assert!(look_again(&ended(How::Lost, second), &strict, true, unread).is_none());
}

#[test]
fn the_second_run_has_an_end() {
    let first = ended(How::Exited(1), Duration::from_secs(4));
    assert_eq!(patience(&first, Duration::from_secs(60)), Duration::from_secs(14));
    assert_eq!(patience(&first, Duration::from_secs(5)), Duration::from_secs(5));
}

fn tree() -> Toolchain {
    Toolchain {
        name: "cc".to_owned(),
        kind: Kind::Tree,
        digest: Digest::of(DigestFunction::Sha256, b"cc"),
        environment: BTreeMap::new(),
        tools: BTreeMap::new(),
        source: "dir:x".to_owned(),
        recipe: Vec::new(),
    }
}

/// A folder with these files, and what is said of `wanted`; `@` stands for the folder.
fn explained(files: &[&str], wanted: &[&str], said: &str, asked: bool) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().to_str().unwrap();
    for file in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !file.ends_with('/') {
            std::fs::write(path, file).unwrap();
        }
    }
    let closure = Closure { toolchains: vec![tree()] };
    let own = dir.path().join("store");
    let view = View { closure: &closure, own: &[&own], network: Network::Loopback, asked };
    let wanted: Vec<_> = wanted
        .iter()
        .map(|text| text.replace('@', here))
        .map(|text| match text.split_once(' ') {
            Some(("call", address)) => Wanted::Network(address.to_owned()),
            Some((_list, path)) => Wanted::Listed(CString::new(path).unwrap()),
            None => Wanted::Path(CString::new(text).unwrap()),
        })
        .collect();
    let message = message(&wanted, &Said::new(said.replace('@', here)), &view);
    message.lines().map(|line| line.replace(here, "@")).collect()
}

const TAIL: &str = ", which is on this machine but not an input";

fn is(lines: &[String], expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|path| format!("wanted {path}{TAIL}")).collect();
    assert_eq!(lines, expected);
}

/// gcc's search for a header, and all that it looks for beside it.
#[test]
fn a_header_that_the_machine_has_is_named() {
    let said = "a.c:1:10: fatal error: zlib.h: No such file or directory\ncompilation terminated.";
    let wanted = ["@/lib/gcc/specs", "/no/such/zlib.h", "@/local/zlib.h", "@/include/zlib.h", "/lre/exec/zlib.h"];
    is(&explained(&["include/zlib.h", "lib/gcc/specs"], &wanted, said, false), &["@/include/zlib.h"]);
    // More names count more.
    let said = "fatal error: openssl/ssl.h: No such file or directory";
    let both = ["@/a/ssl.h", "@/b/openssl/ssl.h"];
    is(&explained(&["a/ssl.h", "b/openssl/ssl.h"], &both, said, false), &["@/b/openssl/ssl.h", "@/a/ssl.h"]);
}

/// Where a toolchain is mounted elsewhere its own paths are of no use to anybody.
#[test]
fn what_is_missed_below_a_toolchain_is_looked_for_without() {
    let said = "fatal error: zlib.h: No such file or directory";
    let wanted = format!("{}@/include/zlib.h", tree().mount());
    is(&explained(&["include/zlib.h"], &[&wanted], said, false), &["@/include/zlib.h"]);
}

/// A compiler does not look into a directory that is not there.
#[test]
fn what_lies_in_a_missed_directory_is_found_by_its_name() {
    let said = "fatal error: sys/zlib.h: No such file or directory";
    is(&explained(&["include/sys/zlib.h"], &["@/include"], said, false), &["@/include/sys/zlib.h"]);
    let said = "ModuleNotFoundError: No module named 'yaml'";
    is(&explained(&["site/yaml/x.py"], &["@/site"], said, false), &["@/site/yaml"]);
    is(&explained(&["site/yaml.py"], &["@/site"], said, false), &["@/site/yaml.py"]);
    is(&explained(&["site/yaml.py"], &["list @/site"], said, false), &["@/site/yaml.py"]);
    let said = "x.yaml: No such file or directory";
    assert!(explained(&["site/x.yaml"], &["list @/site"], said, false).is_empty(), "it would have found it");
}

#[test]
fn libraries_and_packages_have_other_names() {
    let files = ["lib/libz.so", "lib/libz.a", "lib/libx.so"];
    let wanted = ["@/lib/libx.so", "@/lib/libz.so", "@/lib/libz.a"];
    is(&explained(&files, &wanted, "ld: cannot find -lz", false), &["@/lib/libz.so", "@/lib/libz.a"]);
    let said = "Package zlib was not found in the pkg-config search path";
    is(&explained(&["p/zlib.pc", "x"], &["@/x", "@/p/zlib.pc"], said, false), &["@/p/zlib.pc"]);
}

#[test]
fn noise_is_left_out() {
    let wanted =
        ["/etc/ld.so.cache", "/proc/self/maps", "/dev/null", "/usr/share/zoneinfo", "/sys", "@/store/x", "@/d"];
    assert!(explained(&["store/x", "d/"], &wanted, "not found", false).is_empty());
    assert_eq!(explained(&["store/x"], &wanted, "not found", true), [NOTHING]);
    // What is told goes to a terminal.
    assert!(explained(&["a\u{1b}[2J"], &["@/a\u{1b}[2J"], "", true) == [NOTHING]);
}

/// Where nothing is mentioned each may be the cause; where something is, the others hide it.
#[test]
fn what_is_mentioned_comes_first_and_the_rest_is_cut() {
    let files: Vec<_> = (0..40).map(|n| format!("f{n:02}")).collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    let wanted: Vec<_> = files.iter().map(|f| format!("@/{f}")).collect();
    let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
    let lines = explained(&files, &wanted, "not found", false);
    assert_eq!((lines.len(), lines[5].as_str()), (6, "and 35 more"));
    is(&explained(&files, &wanted, "open @/f30: not found, nor f20", false), &["@/f30", "@/f20"]);
    let lines = explained(&files, &wanted, "open @/f30: not found", true);
    assert_eq!((lines.len(), lines[0].as_str()), (26, &*format!("wanted @/f30{TAIL}")));
}

#[test]
fn calls_are_told() {
    let none = |wanted: &[&str], said: &str| explained(&["s"], wanted, said, false);
    let expected = "wanted 93.184.216.34:443: an action has no network (see lre-network)";
    assert_eq!(none(&["call 93.184.216.34:443"], "Network is unreachable"), [expected]);
    let own = "an action has a loopback of its own (see lre-network)";
    let loopback = ["call 127.0.0.1:5432", "call [::1]:5432"];
    let expected = [format!("wanted 127.0.0.1:5432: {own}"), format!("wanted [::1]:5432: {own}")];
    assert_eq!(none(&loopback, "Connection refused"), expected);
    assert!(none(&loopback, "x: not found").is_empty(), "its own processes may have talked");
    let expected = "wanted the socket @/s, which is on this machine but not in the sandbox";
    assert_eq!(none(&["call @/s", "call @/none"], "cannot connect"), [expected]);
    let expected = "wanted the address of a host by its name: an action has no network (see lre-network)";
    assert_eq!(none(&["/etc/resolv.conf", "call 127.0.0.1:53"], "Could not resolve host: x"), [expected]);
}
