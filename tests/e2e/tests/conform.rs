//! `lre conform` against `lre serve`, which passes, and against a server that we did not write, as a second opinion: what
//! that one does otherwise is explained in docs/reference/conformance.md, check by check.
use lre_e2e::buildbox::static_casd;
use lre_e2e::serve::{Home, PATIENCE, said};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a run says: its exit code, and its report.
fn conform(home: &Home, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = home.lre(&[&["conform", "--json"], arguments].concat()).output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {}", said(&output)));
    (output.status.code(), report)
}

/// `clause level name` of all checks with one of these outcomes.
fn checks(report: &Value, outcomes: &[&str]) -> BTreeSet<String> {
    let all = report["checks"].as_array().unwrap().iter();
    let chosen = all.filter(|check| outcomes.contains(&check["outcome"].as_str().unwrap()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    chosen.map(|check| format!("{} {} {}", check["clause"], text(&check["level"]), text(&check["name"]))).collect()
}

/// PROTOCOL 1, 9, 10, 14, 19, 33, 53, 57, 64, 69, 78, 80, 81, 82, 84: every check of our own conformance run passes, what the
/// API only asks for and what it allows as well.
///
/// The toolchain is one file that no program can do anything with: what is executed brings all that it needs.
#[test]
fn lre_passes_everything() {
    let home = Home::new().unwrap();
    let bare = home.path().join("bare");
    fs::create_dir(&bare).unwrap();
    fs::write(bare.join("nothing"), "to run").unwrap();
    home.must(&["toolchain", "add", "bare", "--from", &format!("dir:{}", bare.display())]).unwrap();
    let shown: Value = serde_json::from_str(&home.must(&["toolchain", "show", "bare", "--json"]).unwrap()).unwrap();
    let (property, digest) = (&shown["property"], &shown["toolchain"]["digest"]);
    let platform = format!("{}={}", property.as_str().unwrap(), digest.as_str().unwrap());
    let serve = home.serve().unwrap();
    let (tcp, http) = (format!("grpc://{}", serve.tcp()), format!("http://{}", serve.tcp()));
    let (code, report) = conform(&home, &[&tcp, "--http", &http, "--platform", &platform]);
    let reasons: Vec<_> =
        report["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] != "pass").collect();
    assert_eq!(checks(&report, &["fail", "note"]), BTreeSet::new(), "{reasons:#?}");
    let skipped =
        ["17 O a blob above the told size is refused", "85 O SplitBlob is UNIMPLEMENTED where it is not told"];
    assert_eq!(checks(&report, &["skipped"]), skipped.map(str::to_owned).into(), "{reasons:#?}");
    assert_eq!(code, Some(0));
}

/// A buildbox-casd by itself. Dropping it kills it.
struct Casd(Child);

impl Drop for Casd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Casd {
    fn start(folder: &Path, socket: &Path) -> Self {
        let mut command = Command::new(static_casd().unwrap());
        command.arg(format!("--bind=unix:{}", socket.display())).arg("--reserved=1M").arg(folder.join("cache"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut casd = Self(child);
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(socket).is_err() {
            assert_eq!(casd.0.try_wait().unwrap(), None, "buildbox-casd has ended");
            assert!(Instant::now() < deadline, "buildbox-casd does not listen");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        casd
    }
}

/// The rows of the table about casd in docs/reference/conformance.md: `clause level name`.
fn explained() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/conformance.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("\n## buildbox-casd\n").expect("a section about casd");
    let rows =
        section.lines().skip_while(|line| !line.starts_with("|--")).skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 4 && !cells[3].is_empty(), "a row without a reason: {row}");
        format!("{} {} {}", cells[0], cells[1], cells[2])
    })
    .collect()
}

/// The second opinion: another server is asked the same, and each difference has its reason in the docs.
#[test]
fn casd_differs_as_the_docs_say() {
    let home = Home::new().unwrap();
    let socket = home.path().join("casd.sock");
    let _casd = Casd::start(home.path(), &socket);
    let (code, report) = conform(&home, &[&format!("unix:{}", socket.display())]);
    let (seen, explained) = (checks(&report, &["fail", "note"]), explained());
    let new: Vec<_> = seen.difference(&explained).collect();
    let gone: Vec<_> = explained.difference(&seen).collect();
    assert!(new.is_empty() && gone.is_empty(), "not in docs/reference/conformance.md: {new:#?}\nonly there: {gone:#?}");
    assert_eq!(code, Some(10), "what the API demands and is not so makes the run fail");
}

/// A run ends whatever it talks to: nobody, somebody who says nothing, and somebody who goes away in the middle.
#[test]
fn a_server_that_is_none_is_told_so() {
    let home = Home::new().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = home.lre(&["conform", &address, "--timeout", "1"]).output().unwrap();
    assert_eq!(silent.status.code(), Some(20), "{}", said(&silent));
    drop(listener);
    let nobody = home.lre(&["conform", &address]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(20), "{}", said(&nobody));
    assert!(said(&nobody).contains("does not answer"), "{}", said(&nobody));

    let socket = home.path().join("casd.sock");
    let mut casd = Casd::start(home.path(), &socket);
    let mut run = home.lre(&["conform", &format!("unix:{}", socket.display()), "--timeout", "5"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(run.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().starts_with("pass"), "the first check has been asked");
    casd.0.kill().unwrap();
    let last = lines.map_while(Result::ok).last().unwrap_or_default();
    assert!(last.contains(" checks: "), "the run goes on to its end: {last}");
    assert_eq!(run.wait().unwrap().code(), Some(10));
}

/// What can be asked for on the command line.
#[test]
fn checks_are_listed_and_chosen() {
    let home = Home::new().unwrap();
    let all = home.must(&["conform", "--list"]).unwrap();
    assert!(all.lines().count() >= 100);
    let some = home.must(&["conform", "--list", "--only", "e", "--only", "43"]).unwrap();
    assert!(some.lines().all(|line| (34..=43).contains(&line[..3].trim().parse::<u8>().unwrap())), "{some}");
    for wrong in [&["--only", "Z"][..], &["ftp://x:1"], &["a:1", "--platform", "x"], &["a:1", "--http", "https://x"]] {
        let output = home.lre(&[&["conform"], wrong].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", said(&output));
    }
}
