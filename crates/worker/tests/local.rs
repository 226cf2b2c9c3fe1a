//! The worker with the real launcher and the real kernel: what is laid out, what is collected.
#[allow(dead_code, reason = "shared by several tests, not all of it by each")]
mod world;

use lre_model::{Digest, Node, decode_tree, wire};
use lre_store::BlobStore;
use lre_toolchain::Toolchain;
use lre_worker::Failure;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use world::{F, In, World, command, result};

/// PROTOCOL 70, 71, 72, 76, 77: parents of outputs exist, each kind of output is found, what is missing
/// is left out, a dangling symlink is an output like another.
#[tokio::test]
async fn outputs_of_all_kinds_are_collected() {
    let world = World::new().await;
    let arguments = [
        "act",
        "write",
        "new/deep/a.txt",
        "text",
        "write",
        "tool",
        "#!",
        "chmod",
        "755",
        "tool",
        "symlink",
        "nowhere",
        "dangling",
        "mkdir",
        "d",
        "write",
        "d/x",
        "1",
        "mkdir",
        "d/e",
        "write",
        "d/e/y",
        "2",
        "symlink",
        "../tool",
        "d/l",
        "write",
        "secret",
        "s",
        "chmod",
        "0",
        "secret",
        "print",
        "hello",
    ];
    let outputs = ["new/deep/a.txt", "tool", "dangling", "d", "secret", "missing"];
    let outcome = world.run(&[], command(&arguments, &outputs)).await;
    let result = result(&outcome);
    assert_eq!(result.exit_code, 0);
    let files: Vec<_> = result.output_files.iter().map(|f| (f.path.as_str(), f.is_executable)).collect();
    assert_eq!(files, [("new/deep/a.txt", false), ("tool", true), ("secret", false)]);
    assert_eq!(world.text(result.output_files[0].digest.as_ref()).await, "text");
    assert_eq!(world.text(result.output_files[2].digest.as_ref()).await, "s");
    assert_eq!(
        (result.output_symlinks[0].path.as_str(), result.output_symlinks[0].target.as_str()),
        ("dangling", "nowhere")
    );
    assert_eq!(world.text(result.stdout_digest.as_ref()).await, "hello\n");
    assert!(result.stderr_digest.is_none());
    let tree = Digest::from_wire(F, result.output_directories[0].tree_digest.as_ref()).unwrap();
    let tree = world.store.read(tree).await.unwrap().into_bytes(1 << 20).await.unwrap();
    let (root, children) = decode_tree(F, &tree).unwrap();
    let names: Vec<_> = root.children().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names.as_slice(), children.len()), (&["e", "l", "x"][..], 1));
    assert!(result.execution_metadata.as_ref().unwrap().worker.starts_with("lre"));
}

/// PROTOCOL 71, 79: an output directory that already holds inputs shows both, without what was removed.
#[tokio::test]
async fn outputs_and_inputs_are_merged() {
    let world = World::new().await;
    let inputs = [
        ("d/kept", In::File("kept")),
        ("d/gone", In::File("gone")),
        ("d/changed", In::File("before")),
        ("d/sub/inner", In::Program("inner")),
        ("d/replaced/old", In::File("old")),
        ("d/link", In::Link("kept")),
        ("d/empty", In::Empty),
    ];
    let arguments = [
        "act",
        "rm",
        "d/gone",
        // Inputs are read-only by the agreement of 2019 (PROTOCOL 79), but the owner may change that.
        "chmod",
        "644",
        "d/changed",
        "append",
        "d/changed",
        " and after",
        "rm",
        "d/replaced/old",
        "rmdir",
        "d/replaced",
        "mkdir",
        "d/replaced",
        "write",
        "d/replaced/new",
        "new",
        "write",
        "d/added",
        "added",
    ];
    let outcome = world.run(&inputs, command(&arguments, &["d", "d/kept"])).await;
    let result = result(&outcome);
    assert_eq!((result.exit_code, world.text(result.stderr_digest.as_ref()).await), (0, String::new()));
    let tree = Digest::from_wire(F, result.output_directories[0].tree_digest.as_ref()).unwrap();
    let tree = world.store.read(tree).await.unwrap().into_bytes(1 << 20).await.unwrap();
    let (root, children) = decode_tree(F, &tree).unwrap();
    let names: Vec<_> = root.children().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["added", "changed", "empty", "kept", "link", "replaced", "sub"]);
    let Some(Node::Directory { digest }) = root.get("replaced") else { panic!("replaced") };
    let replaced: Vec<_> = children[digest].children().map(|(name, _)| name.to_string()).collect();
    assert_eq!(replaced, ["new"], "the old directory does not shine through");
    let Some(Node::File { digest, .. }) = root.get("changed") else { panic!("changed") };
    assert_eq!(world.text(Some(&digest.to_wire())).await, "before and after");
    let Some(Node::Directory { digest }) = root.get("sub") else { panic!("sub") };
    assert!(matches!(children[digest].get("inner"), Some(Node::File { executable: true, .. })));
    assert_eq!(result.output_files[0].path, "d/kept", "an input may be an output");
    // And the next action sees the inputs as they were.
    let outcome = world.run(&inputs, command(&["act", "rm", "d/gone"], &["d/changed"])).await;
    let changed = self::result(&outcome).output_files[0].digest.clone();
    assert_eq!(world.text(changed.as_ref()).await, "before");
}

/// PROTOCOL 68, 69, 71: the environment is what was sent and the policy's names; the command starts in
/// its working directory, and outputs are seen from there.
#[tokio::test]
async fn commands_start_where_and_as_they_should() {
    let world = World::new().await;
    let variable = wire::command::EnvironmentVariable { name: "TZ".into(), value: "Asia/Tokyo".into() };
    let started = wire::Command {
        working_directory: "work/here".into(),
        environment_variables: vec![variable],
        ..command(&["act", "env", "cwd", "write", "../out", "x"], &["../out"])
    };
    let outcome = world.run(&[("work/here/a", In::File("a"))], started).await;
    let result = result(&outcome);
    assert_eq!(
        world.text(result.stdout_digest.as_ref()).await,
        "HOME=/nonexistent\nLC_ALL=C\nPATH=/usr/bin:/bin\nSOURCE_DATE_EPOCH=315532800\nTMPDIR=/tmp\nTZ=Asia/Tokyo\n/lre/exec/work/here\n"
    );
    assert_eq!(result.output_files[0].path, "../out");
    let nowhere = wire::Command { working_directory: "nowhere".into(), ..command(&["act"], &[]) };
    let outcome = world.run(&[], nowhere).await;
    assert!(matches!(outcome.failure, Some(Failure::Invalid(i)) if i.field == "command.working_directory"));
}

/// PROTOCOL 58, 59, 60, 61: how commands end badly, and what is left of them.
#[tokio::test]
async fn commands_that_end_badly_leave_their_evidence() {
    let world = World::new().await;
    let outcome = world.run(&[], command(&["act", "write", "o", "x", "print", "out", "exit", "7"], &["o"])).await;
    assert_eq!((result(&outcome).exit_code, result(&outcome).output_files.len()), (7, 1));
    let outcome = world.run(&[], command(&["act", "raise", "15"], &[])).await;
    assert_eq!(result(&outcome).exit_code, 128 + 15);
    let outcome = world.run(&[], command(&["no-such-program"], &[])).await;
    assert_eq!(result(&outcome).exit_code, 127);
    assert!(world.text(result(&outcome).stderr_digest.as_ref()).await.contains("no-such-program"));
    let outcome = world.run(&[], command(&["act", "daemon", "print", "done"], &[])).await;
    assert_eq!(result(&outcome).exit_code, 0);
    assert!(outcome.message.contains("1 process was still running"), "{}", outcome.message);

    let hang = command(&["act", "daemon", "print", "so far", "hang"], &[]);
    let outcome = world.run_with(&[], hang.clone(), Duration::from_millis(300), CancellationToken::new()).await;
    assert!(matches!(outcome.failure, Some(Failure::DeadlineExceeded(_))));
    let stdout = outcome.result.as_ref().unwrap().wire().stdout_digest.clone();
    assert_eq!(world.text(stdout.as_ref()).await, "so far\n");

    let cancel = CancellationToken::new();
    let (outcome, ()) = tokio::join!(world.run_with(&[], hang, Duration::from_secs(60), cancel.clone()), async {
        cancel.cancel();
    });
    assert!(matches!(outcome.failure, Some(Failure::Cancelled)));
}

/// PROTOCOL 73, bad input: outputs of the wrong kind are told, with their path.
#[tokio::test]
#[expect(deprecated, reason = "the two older fields promise a type")]
async fn outputs_of_the_wrong_kind_are_told() {
    let world = World::new().await;
    let typed = |files: &[&str], directories: &[&str]| wire::Command {
        output_files: files.iter().map(ToString::to_string).collect(),
        output_directories: directories.iter().map(ToString::to_string).collect(),
        ..command(&["act", "mkdir", "d", "write", "f", "x", "symlink", "d", "ld", "symlink", "f", "lf"], &[])
    };
    let outcome = world.run(&[], typed(&["f", "lf"], &["d", "ld"])).await;
    let found = result(&outcome);
    assert_eq!((found.output_files.len(), found.output_directories.len()), (1, 1));
    assert_eq!(found.output_file_symlinks[0].path, "lf");
    assert_eq!(found.output_directory_symlinks[0].path, "ld");
    for (files, directories, path) in [(&["d"][..], &[][..], "d"), (&[], &["f"], "f")] {
        let outcome = world.run(&[], typed(files, directories)).await;
        assert!(matches!(&outcome.failure, Some(Failure::Output { path: p, .. }) if p == path), "{outcome:?}");
    }
    let outcome = world.run(&[], command(&["act", "fifo", "p"], &["p"])).await;
    assert!(matches!(&outcome.failure, Some(Failure::Output { path, .. }) if path == "p"));
    let outcome = world.run(&[("a", In::File("x"))], command(&["act"], &["a/b"])).await;
    assert!(matches!(&outcome.failure, Some(Failure::Output { path, .. }) if path == "a/b"), "{outcome:?}");
}

/// PROTOCOL 71, bad input: a file name that is not UTF-8 cannot be said in the API: an error that names it, not a lost file.
#[tokio::test]
async fn names_that_are_not_text_are_told() {
    use std::ffi::CString;
    let world = World::new().await;
    // The command cannot be told such a name over the API either, so the name comes from a locale-blind
    // rename of bytes that are valid: C programs may write any byte, and this one is told in octal.
    let script = CString::new(b"d/\xff\xfe".to_vec()).unwrap();
    let program = format!(
        "#include <fcntl.h>\n#include <sys/stat.h>\nint main(){{mkdir(\"d\",0755);return open(\"d/\\377\\376\",O_CREAT|O_WRONLY,0644)<0;}} /* {} */",
        script.to_string_lossy()
    );
    let rootfs = world.directory.path().join("odd");
    std::fs::create_dir_all(rootfs.join("bin")).unwrap();
    let source = world.directory.path().join("odd.c");
    std::fs::write(&source, program).unwrap();
    let cc =
        std::process::Command::new("cc").arg("-static").arg(&source).arg("-o").arg(rootfs.join("bin/odd")).status();
    assert!(cc.unwrap().success());
    let imported = lre_toolchain::import_directory(world.store.as_ref(), F, &rootfs, &()).await.unwrap();
    let world = World { toolchain: Toolchain { digest: imported.digest, ..world.toolchain.clone() }, ..world };
    let outcome = world.run(&[], command(&["odd"], &["d"])).await;
    let Some(Failure::Output { path, problem }) = &outcome.failure else { panic!("{outcome:?}") };
    assert!(path == "d" && problem.contains(r"`\xff\xfe`, whose name is not UTF-8"), "{problem}");
}
