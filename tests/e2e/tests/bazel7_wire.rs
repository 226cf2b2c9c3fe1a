//! What only Bazel 7.7.1 uses of the protocol, as its own log of calls has it: zstd in streams, BLAKE3, builds without the
//! bytes, waiting for an execution after a cut; and what its user reads when an action fails, takes too long, or has lost
//! an input. tests/bazel.rs has the whole story of both Bazels.
use lre_e2e::bazel::{Bazel, Build, Version};
use lre_e2e::cut::Cut;
use lre_e2e::world::{World, all_hits};
use std::fs;
use std::path::Path;

const BUILD: &str = r#"
genrule(name = "small", srcs = ["input.txt"], outs = ["small.txt"], cmd = "cat $< > $@")
genrule(name = "large", srcs = ["input.txt"], outs = ["large.txt"], cmd = "for i in {1..200000}; do echo $$i; done > $@; cat $< >> $@")
genrule(name = "sum", srcs = [":large", ":small", "other.txt"], outs = ["sum.txt"], cmd = "cksum $(SRCS) > $@")
genrule(name = "slow", outs = ["slow.txt"], cmd = "sleep 2; date +%s%N > $@", tags = ["manual"])
genrule(name = "fails", outs = ["never.txt"], cmd = "echo what went wrong >&2; exit 3", tags = ["manual"])
cc_test(name = "endless", srcs = ["endless.c"], tags = ["manual"])
"#;

const FILES: [(&str, &str); 6] = [
    ("MODULE.bazel", "module(name = \"wire\")\n\nbazel_dep(name = \"rules_cc\", version = \"0.1.1\")\n"),
    // Else it looks for repositories of the age before modules, too.
    ("WORKSPACE.bzlmod", ""),
    ("BUILD", BUILD),
    ("input.txt", "one\n"),
    ("other.txt", "two\n"),
    (
        "endless.c",
        "#include <stdio.h>\nint main(void) { puts(\"begun\"); fflush(stdout); for (volatile int i = 0;; i++) {} }\n",
    ),
];

fn project(into: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(into)?;
    FILES.iter().try_for_each(|(name, text)| fs::write(into.join(name), text).map_err(Into::into))
}

/// One server for all, and one Bazel that stays: starting either takes longer than any of these.
#[test]
fn the_wire_of_bazel_7() {
    let world = World::new(Version::V7, project).unwrap();
    let mut me = world.first_person().unwrap();
    me.resident = true;
    let cold = zstd_in_streams(&me);
    without_the_bytes(&me, &cold);
    an_input_that_is_lost_is_made_again(&world, &me);
    a_cut_connection_costs_no_second_run(&world, &me);
    what_went_wrong_is_said(&me);
    me.shutdown().unwrap();
    me.startup = vec!["--digest_function=blake3".to_owned()];
    blake3(&me);
    me.shutdown().unwrap();
}

fn build(me: &Bazel, further: &[&str]) -> Build {
    me.logged("build", "//...", &[&["--config=lre"], further].concat()).unwrap()
}

/// PROTOCOL 5, 9, 14, 34, 35, 37, 41: every blob goes up and comes down compressed, small ones too, and no batch call is
/// made.
fn zstd_in_streams(me: &Bazel) -> Build {
    let cold = build(me, &["--remote_cache_compression"]);
    assert_eq!(cold.count("remote"), 3, "{:?}", cold.processes);
    let methods: Vec<_> = cold.calls.keys().map(String::as_str).collect();
    assert_eq!(methods, ["Execute", "FindMissingBlobs", "GetActionResult", "GetCapabilities", "Read", "Write"]);
    assert!(cold.resources.iter().all(|name| name.contains("compressed-blobs/zstd/")), "{:?}", cold.resources);
    assert!(me.workspace.join("bazel-bin/large.txt").metadata().unwrap().len() > 1_000_000);
    cold
}

/// PROTOCOL 43, 44, 48: a build without the bytes reads none of them; asked for the top level, it reads just that.
fn without_the_bytes(me: &Bazel, cold: &Build) {
    me.clean().unwrap();
    let minimal = build(me, &["--remote_download_outputs=minimal"]);
    all_hits("without the bytes", &minimal, cold);
    assert_eq!(minimal.calls.keys().collect::<Vec<_>>(), ["GetActionResult", "GetCapabilities"]);
    assert!(!me.workspace.join("bazel-bin/large.txt").exists());
    let top = me.logged("build", "//:sum", &["--config=lre", "--remote_download_outputs=toplevel"]).unwrap();
    assert!(me.workspace.join("bazel-bin/sum.txt").exists() && !me.workspace.join("bazel-bin/large.txt").exists());
    assert_eq!(top.calls.get("Read"), Some(&1), "{:?}", top.calls);
}

/// PROTOCOL 27, 44: a blob that somebody deletes behind the server's back is missing from then on, whatever was said of it
/// before: Bazel, which has not read it and needs it, names it and stops; the next build makes it again.
fn an_input_that_is_lost_is_made_again(world: &World, me: &Bazel) {
    let large: u64 = (1..=200_000).map(|n: u64| n.to_string().len() as u64 + 1).sum::<u64>() + 4;
    let folders = fs::read_dir(world.home().store().join("blobs/sha256")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    let found: Vec<_> =
        files.map(|file| file.unwrap().path()).filter(|path| path.metadata().unwrap().len() == large).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    fs::remove_file(&found[0]).unwrap();
    fs::write(me.workspace.join("other.txt"), "three\n").unwrap();

    let flags = ["--config=lre", "--remote_download_outputs=minimal"];
    let stopped = me.logged("build", "//...", &flags).unwrap_err().to_string();
    let digest = format!("{}/{large}", found[0].file_name().unwrap().display());
    assert!(stopped.contains(&format!("Missing digest: {digest} for ")), "{stopped}");
    assert!(stopped.contains("exit status: 39"), "Bazel's code for what a remote cache has lost: {stopped}");
    let again = me.logged("build", "//...", &flags).unwrap();
    assert_eq!((again.count("remote"), again.count("remote cache hit")), (2, 1), "{:?}", again.processes);
}

/// PROTOCOL 7, 53, 54: when the connection breaks while an action runs, Bazel waits for the operation on another one, and
/// the action has run once.
fn a_cut_connection_costs_no_second_run(world: &World, me: &Bazel) {
    let cut = Cut::when_said(world.server().tcp(), b"operations/").unwrap();
    let ways = ["executor", "cache"].map(|what| format!("--remote_{what}=grpc://{}", cut.address));
    let slow = me.logged("build", "//:slow", &["--config=lre", &ways[0], &ways[1]]).unwrap();
    assert_eq!(cut.times(), 1);
    let calls = ["Execute", "WaitExecution"].map(|method| slow.calls.get(method).copied());
    assert_eq!(calls, [Some(1), Some(1)], "{:?}", slow.calls);
    let log = world.server().log();
    let runs = log.lines().filter(|line| line.contains("executed action") && line.contains("//:slow")).count();
    assert_eq!(runs, 1, "{log}");
}

/// PROTOCOL 58, 60, 65: an action that fails, and a test that never ends.
fn what_went_wrong_is_said(me: &Bazel) {
    let failed = me.logged("build", "//:fails", &["--config=lre"]).unwrap_err().to_string();
    assert!(failed.contains("failed: (Exit 3)") && failed.contains("\nwhat went wrong\n"), "{failed}");
    let late = me.logged("test", "//:endless", &["--config=lre", "--test_timeout=1", "--test_output=errors"]);
    let late = late.unwrap_err().to_string();
    assert!(late.contains("exit status: 3") && late.contains("TIMEOUT: //:endless"), "{late}");
    let log = fs::read_to_string(me.workspace.join("bazel-testlogs/endless/test.log")).unwrap();
    assert!(
        log.contains("\nbegun\nthe command ran longer than 1 s and was killed\nhint: give the action more time"),
        "{log}"
    );
}

/// PROTOCOL 22, 23, 84: the whole build in the other digest function, cold and warm, beside the first.
fn blake3(me: &Bazel) {
    let cold = build(me, &[]);
    assert_eq!(cold.count("remote"), 3, "{:?}\n{}", cold.processes, cold.output);
    assert!(cold.resources.iter().all(|name| name.contains("blobs/blake3/")), "{:?}", cold.resources);
    me.clean().unwrap();
    all_hits("in BLAKE3", &build(me, &[]), &cold);
}
