//! What is collected of a command, in all the forms in which it can be asked for.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_model::{Digest, Directory, Node, decode_tree, wire};
use lre_store::BlobStore;
use lre_worker::{Failure, Outcome};
use prost::Message;
use prost_types::value::Kind;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use world::{F, In, World, command, result};

impl World {
    async fn blob(&self, digest: Option<&wire::Digest>) -> Vec<u8> {
        let digest = Digest::from_wire(F, digest).expect("a digest");
        self.store.read(digest).await.unwrap().into_bytes(64 << 20).await.unwrap().to_vec()
    }
}

fn problem(outcome: &Outcome) -> (&str, &str) {
    match &outcome.failure {
        Some(Failure::Output { path, problem }) => (path, problem),
        other => panic!("{other:?}"),
    }
}

/// PROTOCOL 75: an output directory is a Tree, a hierarchy of Directories, or both, as was asked; all of it is in the
/// store, and both forms say the same. An unknown format is a Tree.
#[tokio::test]
async fn directories_come_in_the_form_that_was_asked_for() {
    let world = World::new().await;
    let arguments = ["act", "mkdir", "d", "mkdir", "d/e", "write", "d/e/f", "text", "symlink", "e", "d/l"];
    for (format, tree, root) in [(0, true, false), (1, false, true), (2, true, true), (9, true, false)] {
        let asked = wire::Command { output_directory_format: format, ..command(&arguments, &["d"]) };
        let outcome = world.run(&[], asked).await;
        let found = &result(&outcome).output_directories[0];
        assert_eq!((found.tree_digest.is_some(), found.root_directory_digest.is_some()), (tree, root), "{format}");
        let mut roots = Vec::new();
        if tree {
            assert!(found.is_topologically_sorted);
            let (root, children) = decode_tree(F, &world.blob(found.tree_digest.as_ref()).await).unwrap();
            assert_eq!(children.len(), 1);
            roots.push(root);
        }
        if root {
            let root = Directory::decode(F, &world.blob(found.root_directory_digest.as_ref()).await).unwrap();
            let below = root.subdirectories().next().expect("e").to_wire();
            let below = Directory::decode(F, &world.blob(Some(&below)).await).unwrap();
            assert!(matches!(below.get("f"), Some(Node::File { .. })));
            roots.push(root);
        }
        assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

/// PROTOCOL 76: modification time and mode of files, symlinks and directories, where asked: of what the command wrote
/// and of inputs, which are as they were laid out. Nothing where nobody asks.
#[tokio::test]
async fn node_properties_are_told_where_asked() {
    let world = World::new().await;
    let arguments = [
        "act", "write", "f", "x", "chmod", "640", "f", "times", "1234", "f", "symlink", "f", "l", "times", "77", "l",
        "mkdir", "d", "write", "d/x", "y", "chmod", "4711", "d/x", "times", "99", "d/x", "times", "55", "d",
    ];
    let outputs = ["f", "l", "d", "in"];
    let asked = |names: &[&str]| wire::Command {
        output_node_properties: names.iter().map(ToString::to_string).collect(),
        ..command(&arguments, &outputs)
    };
    let outcome = world.run(&[("in", In::Program("#!"))], asked(&["mtime", "unix_mode"])).await;
    let told = |properties: &Option<wire::NodeProperties>| {
        let properties = properties.as_ref().expect("properties");
        (properties.mtime.as_ref().unwrap().seconds, properties.unix_mode.as_ref().unwrap().value)
    };
    let found = result(&outcome);
    let files: Vec<_> = found.output_files.iter().map(|f| (f.path.as_str(), told(&f.node_properties))).collect();
    assert_eq!(files, [("f", (1234, 0o640)), ("in", (315_532_800, 0o555))]);
    assert_eq!(told(&found.output_symlinks[0].node_properties), (77, 0o777));
    let tree = world.blob(found.output_directories[0].tree_digest.as_ref()).await;
    let root = wire::Tree::decode(&tree[..]).unwrap().root.unwrap();
    assert_eq!(told(&root.node_properties), (55, 0o755));
    assert_eq!(told(&root.files[0].node_properties), (99, 0o4711));

    let outcome = world.run(&[], asked(&["mtime"])).await;
    let only = result(&outcome).output_files[0].node_properties.as_ref().unwrap();
    assert!(only.mtime.is_some() && only.unix_mode.is_none());
    let outcome = world.run(&[], asked(&[])).await;
    assert!(result(&outcome).output_files[0].node_properties.is_none());
}

/// PROTOCOL 72: a symlink is itself the output, in the field that belongs to how it was asked for, wherever it points:
/// to a file, to a directory, nowhere, out of the sandbox.
#[tokio::test]
#[expect(deprecated, reason = "clients of REAPI 2.0 look for symlinks in the two older fields")]
async fn symlinks_are_outputs_in_all_forms() {
    let world = World::new().await;
    let make = [
        "act",
        "write",
        "f",
        "x",
        "mkdir",
        "d",
        "symlink",
        "f",
        "to-file",
        "symlink",
        "d",
        "to-directory",
        "symlink",
        "nowhere",
        "dangling",
        "symlink",
        "/etc/passwd",
        "absolute",
    ];
    let all = ["absolute", "dangling", "to-directory", "to-file"];
    let targets = |links: &[wire::OutputSymlink]| {
        links.iter().map(|link| format!("{} -> {}", link.path, link.target)).collect::<Vec<_>>()
    };
    let outcome = world.run(&[], command(&make, &all)).await;
    let expected = ["absolute -> /etc/passwd", "dangling -> nowhere", "to-directory -> d", "to-file -> f"];
    assert_eq!(targets(&result(&outcome).output_symlinks), expected);
    let typed = |files: &[&str], directories: &[&str]| wire::Command {
        output_files: files.iter().map(ToString::to_string).collect(),
        output_directories: directories.iter().map(ToString::to_string).collect(),
        ..command(&make, &[])
    };
    let outcome = world.run(&[], typed(&["absolute", "dangling", "to-file"], &["to-directory"])).await;
    let found = result(&outcome);
    assert_eq!(targets(&found.output_file_symlinks), [expected[0], expected[1], expected[3]]);
    assert_eq!(targets(&found.output_directory_symlinks), [expected[2]]);
    assert!(found.output_symlinks.is_empty() && found.output_files.is_empty() && found.output_directories.is_empty());
}

/// PROTOCOL 72, 73, bad input: a symlink that is certainly to something else than what was promised, directly or through
/// another one.
#[tokio::test]
#[expect(deprecated, reason = "the two older fields promise a type")]
async fn symlinks_to_something_else_are_told() {
    let world = World::new().await;
    let make = [
        "act", "write", "f", "x", "mkdir", "d", "symlink", "d", "a", "symlink", "a", "b", "symlink", "f", "c",
        "symlink", "l", "l",
    ];
    for (files, directories, words) in
        [(&["a"][..], &[][..], "directory `d`"), (&["b"], &[], "directory `a`"), (&[], &["c"], "promised a directory")]
    {
        let asked = wire::Command {
            output_files: files.iter().map(ToString::to_string).collect(),
            output_directories: directories.iter().map(ToString::to_string).collect(),
            ..command(&make, &[])
        };
        let outcome = world.run(&[], asked).await;
        assert!(problem(&outcome).1.contains(words), "{outcome:?}");
    }
    let around = wire::Command { output_files: vec!["l".into()], ..command(&make, &[]) };
    assert_eq!(result(&world.run(&[], around).await).output_file_symlinks[0].target, "l", "leads nowhere at all");
}

/// PROTOCOL 70: what leads to an output is there, the output itself is not, whichever field names it.
#[tokio::test]
#[expect(deprecated, reason = "the two older fields promise a type")]
async fn parents_are_made_and_outputs_are_not() {
    let world = World::new().await;
    let arguments = ["act", "mkdir", "p/q/r", "write", "p/q/r/x", "1", "write", "s/t", "2"];
    let typed = wire::Command {
        output_files: vec!["s/t".into()],
        output_directories: vec!["p/q/r".into()],
        ..command(&arguments, &[])
    };
    for asked in [typed, command(&arguments, &["p/q/r", "s/t"])] {
        let outcome = world.run(&[], asked).await;
        let found = result(&outcome);
        assert_eq!((found.exit_code, found.output_files.len(), found.output_directories.len()), (0, 1, 1));
    }
}

/// PROTOCOL 71, 74: outputs may hold each other; the whole working directory is one; a thousand levels, as many as an
/// input tree may have, are collected.
#[tokio::test]
async fn outputs_may_be_large_and_hold_each_other() {
    let world = World::new().await;
    let arguments = ["act", "write", "d/f", "x"];
    let outcome = world.run(&[("in", In::File("i"))], command(&arguments, &["", "d", "d/f"])).await;
    let found = result(&outcome);
    let directories: Vec<_> = found.output_directories.iter().map(|d| d.path.as_str()).collect();
    assert_eq!((directories, found.output_files[0].path.as_str()), (vec!["", "d"], "d/f"));
    let (root, _) = decode_tree(F, &world.blob(found.output_directories[0].tree_digest.as_ref()).await).unwrap();
    let names: Vec<_> = root.children().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["d", "in"], "inputs too");

    let outcome = world.run(&[], command(&["act", "deep", "1000", "write", "f", "x"], &["d"])).await;
    let (_, children) =
        decode_tree(F, &world.blob(result(&outcome).output_directories[0].tree_digest.as_ref()).await).unwrap();
    assert_eq!(children.len(), 999);
}

/// PROTOCOL 71, bad input: deeper than any input tree may be; ten thousand outputs that are not there.
#[tokio::test]
async fn outputs_have_a_measure() {
    let world = World::new().await;
    let outcome = world.run(&[], command(&["act", "deep", "1001"], &["d"])).await;
    assert!(problem(&outcome).1.contains("more than 1000 directories deep"), "{outcome:?}");
    let outputs: Vec<_> = (0..10_000).map(|n| format!("out/{n}/f")).collect();
    let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
    let begun = Instant::now();
    let outcome = world.run(&[], command(&["act", "write", "out/7/f", "x"], &outputs)).await;
    assert_eq!(result(&outcome).output_files.len(), 1, "what is not there is left out");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// PROTOCOL 71, bad input: pipes and sockets are no outputs, as such and in a directory: the error says which and where.
#[tokio::test]
async fn special_files_are_told() {
    let world = World::new().await;
    for (make, kind) in [("fifo", "named pipe"), ("socket", "socket")] {
        let outcome = world.run(&[], command(&["act", make, "s"], &["s"])).await;
        assert_eq!(problem(&outcome).0, "s");
        assert!(problem(&outcome).1.contains(&format!("is a {kind}")), "{outcome:?}");
        let arguments = ["act", "mkdir", "d", "mkdir", "d/e", make, "d/e/s"];
        let outcome = world.run(&[], command(&arguments, &["d"])).await;
        assert_eq!(problem(&outcome), ("d", format!("holds `e/s`, a {kind}").as_str()));
        let stdout = outcome.result.expect("what it said is kept").wire().exit_code;
        assert_eq!(stdout, 0);
    }
}

/// PROTOCOL 77: no output, no digest; more than any message takes is a blob like others.
#[tokio::test]
async fn stdout_of_any_length_is_kept() {
    let world = World::new().await;
    let silent = world.run(&[], command(&["act"], &[])).await;
    assert!(result(&silent).stdout_digest.is_none() && result(&silent).stderr_digest.is_none());
    let outcome = world.run(&[], command(&["act", "flood", "5242880"], &[])).await;
    assert_eq!(world.blob(result(&outcome).stdout_digest.as_ref()).await.len(), 5 << 20);
}

/// PROTOCOL 67: the program is an absolute path, one relative to the working directory, or a name looked up in the
/// command's PATH.
#[tokio::test]
async fn programs_are_found_in_each_way() {
    let world = World::new().await;
    let script = In::Program("#!/bin/act stop\n");
    let inputs = [("work/here", script), ("tools/there", In::Program("#!/bin/act stop\n"))];
    let path = |value: &str| wire::command::EnvironmentVariable { name: "PATH".into(), value: value.into() };
    for (program, variables) in [
        ("/bin/act", vec![]),
        ("act", vec![]),
        ("./here", vec![]),
        ("../tools/there", vec![]),
        ("there", vec![path("/nowhere:/lre/exec/tools:/bin")]),
    ] {
        let asked = wire::Command {
            working_directory: "work".into(),
            environment_variables: variables,
            ..command(&[program, "stop"], &[])
        };
        let outcome = world.run(&inputs, asked).await;
        let said = world.text(result(&outcome).stderr_digest.as_ref()).await;
        assert_eq!((result(&outcome).exit_code, said.as_str()), (0, ""), "{program}");
    }
}

/// PROTOCOL 61, 67, bad input: a program that is not there is 127, one that cannot be run is 126, and stderr says why;
/// the status is OK, so that nobody takes it for a lost operation.
#[tokio::test]
async fn programs_that_cannot_start_are_told() {
    let world = World::new().await;
    let inputs =
        [("here", In::File("text")), ("empty", In::Program("")), ("no-such-interpreter", In::Program("#!/no/such\n"))];
    let path = wire::command::EnvironmentVariable { name: "PATH".into(), value: "/nowhere".into() };
    for (program, variables, code) in [
        ("/bin/nothing", vec![], 127),
        ("nothing", vec![], 127),
        // Relative to the working directory only where there is a slash.
        ("here", vec![], 127),
        ("act", vec![path], 127),
        ("./here", vec![], 126),
        ("/bin", vec![], 126),
        ("./no-such-interpreter", vec![], 126),
    ] {
        let asked = wire::Command { environment_variables: variables, ..command(&[program], &[]) };
        let outcome = world.run(&inputs, asked).await;
        let said = world.text(result(&outcome).stderr_digest.as_ref()).await;
        assert_eq!(result(&outcome).exit_code, code, "{program}: {said}");
        assert!(said.contains(program), "{program}: {said}");
    }
}

/// PROTOCOL 60: a command that dies of a signal has exited with 128 and its number.
#[tokio::test]
async fn signals_are_exit_codes() {
    let world = World::new().await;
    for signal in [1, 2, 6, 9, 11, 15, 34] {
        let outcome = world.run(&[], command(&["act", "raise", &signal.to_string()], &[])).await;
        assert_eq!(result(&outcome).exit_code, 128 + signal);
        let usage = usage(result(&outcome));
        let signal = usage["termination_signal"].kind.clone();
        assert!(matches!(&signal, Some(Kind::StringValue(name)) if !name.is_empty()), "{usage:?}");
    }
}

/// PROTOCOL 81: stdin is empty, TMPDIR and the working directory are as if nobody had been there before.
#[tokio::test]
async fn every_command_begins_anew() {
    let world = World::new().await;
    let arguments = ["act", "stdin", "list", ".", "list", "/tmp", "write", "left", "x", "write", "/tmp/left", "x"];
    for _ in 0..2 {
        let outcome = world.run(&[("a", In::File("a"))], command(&arguments, &[])).await;
        assert_eq!(world.text(result(&outcome).stdout_digest.as_ref()).await, "stdin 0\na\n\n");
    }
}

/// As a program reads it that knows the well-known types and nothing of ours.
fn usage(result: &wire::ActionResult) -> BTreeMap<String, prost_types::Value> {
    let metadata = result.execution_metadata.as_ref().expect("metadata");
    let [any] = &metadata.auxiliary_metadata[..] else { panic!("{metadata:?}") };
    assert_eq!(any.type_url, "type.googleapis.com/google.protobuf.Struct");
    prost_types::Struct::decode(&any.value[..]).unwrap().fields
}

/// PROTOCOL 82: every moment is there and no earlier than the one before; the duration is that of the timeout's clock;
/// resource usage is told
/// in a message that every client knows.
#[tokio::test]
async fn metadata_tell_when_and_how_much() {
    let world = World::new().await;
    let outcome = world.run(&[], command(&["act", "flood", "1048576"], &[])).await;
    let metadata = result(&outcome).execution_metadata.clone().unwrap();
    let moments = [
        metadata.queued_timestamp,
        metadata.worker_start_timestamp,
        metadata.input_fetch_start_timestamp,
        metadata.input_fetch_completed_timestamp,
        metadata.execution_start_timestamp,
        metadata.execution_completed_timestamp,
        metadata.output_upload_start_timestamp,
        metadata.output_upload_completed_timestamp,
        metadata.worker_completed_timestamp,
    ];
    let moments: Vec<_> = moments.iter().map(|m| m.as_ref().map(|m| (m.seconds, m.nanos)).expect("a moment")).collect();
    assert!(moments.is_sorted(), "{moments:?}");
    let ran = metadata.virtual_execution_duration.as_ref().expect("a duration");
    assert!(ran.seconds < 60 && (ran.seconds, ran.nanos) > (0, 0), "{ran:?}");
    let usage = usage(result(&outcome));
    let number = |name: &str| match usage[name].kind {
        Some(Kind::NumberValue(number)) => number,
        _ => panic!("{name}: {usage:?}"),
    };
    assert!(number("maximum_resident_set_bytes") > 4096.0 && number("page_reclaims") > 0.0, "{usage:?}");
    assert!(number("user_seconds") >= 0.0 && number("system_seconds") >= 0.0, "{usage:?}");
    assert!(!usage.contains_key("termination_signal"), "{usage:?}");
}

/// PROTOCOL 58, 82: one that was too slow has run as long as it was allowed, by the same clock, and has its usage too.
#[tokio::test]
async fn a_timeout_and_the_duration_go_by_one_clock() {
    let world = World::new().await;
    let timeout = Duration::from_millis(300);
    let outcome = world.run_with(&[], command(&["act", "hang"], &[]), timeout, CancellationToken::new()).await;
    assert!(matches!(outcome.failure, Some(Failure::DeadlineExceeded(t)) if t == timeout));
    let metadata = outcome.result.unwrap().wire().execution_metadata.clone().unwrap();
    let ran = metadata.virtual_execution_duration.unwrap();
    let ran = Duration::new(ran.seconds.cast_unsigned(), ran.nanos.cast_unsigned());
    assert!(ran >= timeout && ran < timeout * 10, "{ran:?}");
}
