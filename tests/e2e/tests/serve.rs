//! `lre serve` as a process: what it holds, what it refuses, how it ends and what it leaves.
use lre_e2e::serve::{Home, PATIENCE, said};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

/// Starts a server that must refuse to start, and returns what it said.
fn refused(home: &Home, arguments: &[&str]) -> String {
    let mut all = vec!["serve"];
    all.extend(arguments);
    let output: Output = home.lre(&all).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("hint:"), "an error names the next step: {said}");
    said
}

/// Waits until `done` holds. Only a failing test waits long.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether any process of this machine has `marker` among its arguments.
fn runs(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.windows(marker.len()).any(|part| part == marker.as_bytes()))
}

/// A server with a shell for a toolchain.
fn with_tools(home: &Home) {
    let tools = home.path().join("tools");
    lre_e2e::tools::few(&tools).unwrap();
    home.must(&["toolchain", "add", "tools", "--from", &format!("dir:{}", tools.display())]).unwrap();
}

#[test]
fn a_store_has_one_server_and_the_second_names_the_first() {
    Home::every().iter().for_each(a_store_has_one_server_and_the_second_names_the_first_in);
}

fn a_store_has_one_server_and_the_second_names_the_first_in(home: &Home) {
    let first = home.serve().unwrap();
    let said = refused(home, &["--listen", "127.0.0.1:0", "--socket", "none"]);
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    // The refused one has touched nothing of the first.
    home.must(&["status"]).unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let home = Home::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused(&home, &["--listen", &address]);
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
    assert!(!home.socket().exists(), "a server that does not start leaves no socket");
}

#[test]
fn an_address_of_other_machines_is_refused() {
    let home = Home::new().unwrap();
    let output = home.lre(&["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).contains("0.0.0.0:0"), "{}", said(&output));
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let home = Home::new().unwrap();
    drop(UnixListener::bind(home.socket()).unwrap());
    assert!(home.socket().exists(), "a socket outlives its listener");
    let _server = home.serve().unwrap();
    home.must(&["status"]).unwrap();
}

#[test]
fn a_socket_that_somebody_listens_on_is_left_alone() {
    let home = Home::new().unwrap();
    let _other = UnixListener::bind(home.socket()).unwrap();
    let said = refused(&home, &["--listen", "127.0.0.1:0"]);
    assert!(said.contains(home.socket().to_str().unwrap()), "{said}");
    assert!(home.socket().exists());
}

#[test]
fn sigterm_ends_it_cleanly() {
    Home::every().iter().for_each(sigterm_ends_it_cleanly_in);
}

fn sigterm_ends_it_cleanly_in(home: &Home) {
    let server = home.serve().unwrap();
    assert!(home.socket().exists());
    let status = server.terminate().unwrap();
    assert!(status.success(), "{status}");
    assert!(!home.socket().exists(), "the socket is gone");
    let unreachable = home.lre(&["run", "--", "true"]).output().unwrap();
    assert_eq!(unreachable.status.code(), Some(20), "{}", said(&unreachable));
    // The store is free again.
    home.serve().unwrap().terminate().unwrap();
}

#[test]
fn sigterm_takes_along_what_runs() {
    Home::every().iter().for_each(sigterm_takes_along_what_runs_in);
}

fn sigterm_takes_along_what_runs_in(home: &Home) {
    let server = home.serve().unwrap();
    with_tools(home);
    let marker = format!("sigterm-{}", home.path().display());
    let mut client = home.lre(&["run", "--", "sh", "-c", &format!(": {marker}; sleep 1000; :")]);
    let mut client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The shell in the sandbox, not only the client that asked for it.
    eventually("the action runs", || sleeping_shell(&marker));
    assert!(server.terminate().unwrap().success());
    eventually("the action is gone", || !sleeping_shell(&marker));
    assert!(!client.wait().unwrap().success(), "the client hears that its action did not end well");
}

/// Whether the shell with this marker runs: its arguments begin with `sh`, the client's do not.
fn sleeping_shell(marker: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.starts_with(b"sh\0") && line.windows(marker.len()).any(|part| part == marker.as_bytes()))
}

#[test]
fn what_was_stored_survives_kill_9() {
    Home::every().iter().for_each(what_was_stored_survives_kill_9_in);
}

fn what_was_stored_survives_kill_9_in(home: &Home) {
    let mut server = home.serve().unwrap();
    with_tools(home);
    let command = ["run", "--json", "--no-in", "--out", "left", "--", "sh", "-c", "echo stored >left"];
    assert!(home.must(&command).unwrap().contains("\"cached\":false"));

    let marker = format!("kill-{}", home.path().display());
    let mut busy = home.lre(&["run", "--no-in", "--", "sh", "-c", &format!(": {marker}; sleep 1000; :")]);
    let mut busy = busy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("an action runs", || sleeping_shell(&marker));
    server.kill().unwrap();
    assert!(!busy.wait().unwrap().success());
    eventually("no process outlives its server", || !runs(&marker));
    assert!(home.socket().exists(), "nobody was there to remove it");

    std::fs::remove_file(home.work().join("left")).unwrap();
    let _again = home.serve().unwrap();
    let said = home.must(&command).unwrap();
    assert!(said.contains("\"cached\":true"), "{said}");
    assert_eq!(std::fs::read_to_string(home.work().join("left")).unwrap(), "stored\n");
}
