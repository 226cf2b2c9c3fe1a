//! BuildBox's trexe, casupload and casdownload against `lre serve`: cold, warm, and failing, with what their users read
//! then; docs/guide/clients.md shows the same.
use lre_e2e::serve::said;
use lre_e2e::site::Site;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

/// A digest of nothing that anybody has.
const NOBODYS: &str = "0000000000000000000000000000000000000000000000000000000000000000/5";

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn worked(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    stdout(output)
}

/// What the result says of the run: whether it was known before.
fn was_known(site: &Site) -> bool {
    let text = fs::read_to_string(site.path("metadata.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    metadata["actionResultMetadata"]["cachedResult"].as_bool().unwrap()
}

/// Every file, folder and link below `top`, with what it is.
fn listing(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    list(top, top, &mut lines);
    lines.sort();
    lines
}

fn list(top: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        let kind = path.symlink_metadata().unwrap();
        if kind.is_symlink() {
            lines.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else if kind.is_dir() {
            lines.push(format!("{name}/"));
            list(top, &path, lines);
        } else {
            let executable = if kind.permissions().mode() & 0o100 == 0 { "" } else { "*" };
            lines.push(format!("{name}{executable} {}", kind.len()));
        }
    }
}

/// PROTOCOL 8, 48, 67, 69, 70, 71, 72, 77, 79, 82: trexe over both transports has its inputs, working directory and every
/// kind of output path as it asked for them, the second time the result is known, and its
/// metadata can be printed as JSON by a program that knows no type of ours.
#[test]
fn trexe_runs_an_action_once() {
    let site = Site::with_tools("").unwrap();
    site.home.write("in/a", "one\n").unwrap();
    symlink("nowhere", site.home.work().join("in/dangling")).unwrap();
    let script = "cat in/a; cat in/a in/a > two; mkdir -p dir/empty; cat in/a > dir/f; echo warned >&2";
    for (turn, remote) in [site.unix(), site.http()].iter().enumerate() {
        let got = site.path(&format!("got{turn}"));
        let (into, metadata) = (format!("--d={got}"), format!("--result-metadata-file={}", site.path("metadata.json")));
        let inputs = ["--input-path=in:w/in", "--do-not-follow-symlinks", "--working-dir=w", &into, &metadata];
        let outputs = ["two", "dir", "in/dangling", "never"].map(|path| format!("--output-path={path}"));
        let arguments: Vec<_> = inputs.into_iter().chain(outputs.iter().map(String::as_str)).collect();
        let output = site.trexe_of(remote, &arguments, &["sh", "-c", script]).unwrap();
        assert_eq!(worked(&output), "one\n");
        assert!(said(&output).contains("warned"), "{}", said(&output));
        assert_eq!(was_known(&site), turn == 1, "{remote}");
        let expected = ["dir/", "dir/empty/", "dir/f 4", "in/", "in/dangling -> nowhere", "two 8"];
        assert_eq!(listing(Path::new(&got)), expected, "{remote}");
    }
}

/// PROTOCOL 49, 50: `--skip-cache-lookup` runs again and replaces what is known; `--do-not-cache` leaves nothing behind.
#[test]
fn trexe_runs_again_where_it_is_asked_to() {
    let site = Site::with_tools("").unwrap();
    // Unlike each time, as no action should be: when it was, in nanoseconds.
    let run = |flags: &[&str]| worked(&site.trexe(flags, &["sh", "-c", "touch f; ls --full-time f"]).unwrap());
    let first = run(&[]);
    assert_eq!(run(&[]), first);
    let second = run(&["--skip-cache-lookup"]);
    assert_ne!(second, first);
    assert_eq!(run(&[]), second, "the new result has replaced the old one");
    let [one, other] = [(), ()].map(|()| run(&["--do-not-cache"]));
    assert!(one != other && one != second, "{one}{other}");
    assert_eq!(run(&[]), second);
}

/// PROTOCOL 52, 54, 55: an operation that nobody waits for is found again by its name, and ends when it is cancelled;
/// whoever waits for it, or names one that never was, reads why there is no result.
#[test]
fn trexe_finds_and_cancels_an_operation() {
    let site = Site::with_tools("").unwrap();
    let got = format!("--d={}", site.path("got"));
    let submitted = |script| worked(&site.trexe(&["--no-wait", "--output-path=o"], &["sh", "-c", script]).unwrap());
    let operation = |name: &str, further: &[&str]| {
        let named = format!("--operation={}", name.trim());
        site.client("trexe", &[&[named.as_str()], further].concat()).unwrap()
    };

    let done = submitted("echo x > o; echo said");
    assert_eq!(worked(&operation(&done, &["--wait", &got])), "said\n");
    assert_eq!(fs::read_to_string(site.path("got/o")).unwrap(), "x\n");

    let endless = submitted("while :; do :; done");
    worked(&operation(&endless, &["--cancel"]));
    let waited = operation(&endless, &["--wait", &got]);
    assert!(said(&waited).contains("cancelled: a client asked for it"), "{}", said(&waited));
    assert!(!waited.status.success());

    let nobodys = operation("operations/nobodys", &["--wait", &got]);
    assert!(!nobodys.status.success());
    let why = "5: the operation `operations/nobodys` is not known here (any more): call Execute again";
    assert!(said(&nobodys).contains(why), "{}", said(&nobodys));
}

/// PROTOCOL 58, 60, 61, 63: a command that fails gives its exit code and what it wrote, each time; one that cannot start,
/// that takes too long, or whose toolchain nobody has says so in words that trexe prints.
#[test]
fn trexe_says_why_it_failed() {
    let site = Site::with_tools("action_timeout_seconds_default: 1").unwrap();
    for _ in 0..2 {
        let failed = site.trexe(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"]).unwrap();
        assert_eq!((failed.status.code(), said(&failed)), (Some(3), "out\nerr\n".to_owned()));
    }
    let nothing = site.trexe(&[], &["/usr/bin/nothing"]).unwrap();
    assert_eq!(nothing.status.code(), Some(127));
    assert!(said(&nothing).contains("lre: cannot run `/usr/bin/nothing`"), "{}", said(&nothing));

    let late = site.trexe(&[], &["sh", "-c", "echo begun; while :; do :; done"]).unwrap();
    let why = "4: the command ran longer than 1 s and was killed";
    assert!(!late.status.success() && said(&late).contains(why), "{}", said(&late));

    let platform = format!("--platform-properties=lre-rootfs={NOBODYS}");
    let refused = site.client("trexe", &[&platform, "--", "sh"]).unwrap();
    let why = format!("9: no toolchain `{NOBODYS}` is installed");
    assert!(said(&refused).contains(&why) && said(&refused).contains("lre toolchain add"), "{}", said(&refused));

    // It looks for what it does not upload before it asks for anything to be run.
    let missing = site.trexe(&[&format!("--input-root-digest={NOBODYS}")], &["sh"]).unwrap();
    let why = format!("5: the blob {NOBODYS} is not in the store");
    assert!(!missing.status.success() && said(&missing).contains(&why), "{}", said(&missing));
}

/// PROTOCOL 27, 30, 32, 40, 77: a tree comes back as it went up, with its exec bits, links and empty folders and a file
/// that takes a stream; the second upload finds everything.
#[test]
fn casupload_and_casdownload_keep_a_tree() {
    let site = Site::with_tools("").unwrap();
    let tree = site.home.work().join("tree");
    site.home.write("tree/plain", "text\n").unwrap();
    let script = site.home.write("tree/sub/script", "#!/bin/sh\n").unwrap();
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(tree.join("sub/empty")).unwrap();
    symlink("../plain", tree.join("sub/link")).unwrap();
    symlink("/nowhere", tree.join("dangling")).unwrap();
    // More than one message carries, and not the same bytes again and again.
    let large: Vec<u8> = (0..1_600_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(tree.join("large"), &large).unwrap();

    let forms =
        [("root", "--output-digest-file", "--root-digest"), ("tree", "--output-tree-digest-file", "--tree-digest")];
    for (form, written, wanted) in forms {
        let (file, got) = (site.path(form), site.path(&format!("got-{form}")));
        let flags = [format!("--directory-format={form}"), format!("{written}={file}")];
        worked(&site.client("casupload", &[&flags[0], &flags[1], "tree"]).unwrap());
        let digest = fs::read_to_string(&file).unwrap();
        let flags = [format!("{wanted}={}", digest.trim()), format!("--destination-dir={got}")];
        worked(&site.client("casdownload", &[&flags[0], &flags[1]]).unwrap());
        assert_eq!(listing(Path::new(&got)), listing(&tree), "{form}");
        assert_eq!(fs::read(Path::new(&got).join("large")).unwrap(), large, "{form}");
    }
}

/// PROTOCOL 32, 40, bad input: whoever asks for a digest that nobody has reads which one, and gets an exit code.
#[test]
fn casdownload_names_the_digest_that_is_not_there() {
    let site = Site::with_tools("").unwrap();
    let into = format!("--destination-dir={}", site.path("got"));
    for wanted in ["--root-digest", "--file-digest", "--tree-digest"] {
        let output = site.client("casdownload", &[&format!("{wanted}={NOBODYS}"), &into]).unwrap();
        assert!(!output.status.success(), "{wanted}");
        let why = format!("5: the blob {NOBODYS} is not in the store");
        assert!(said(&output).contains(&why), "{wanted}: {}", said(&output));
    }
}
