//! The commands as a script sees them: exit codes, `--json`, hints.

use crate::home::Home;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(text: impl AsRef<[u8]>) -> Value {
    let value: Value = serde_json::from_slice(text.as_ref()).unwrap();
    assert_eq!(value["schema_version"], 1);
    value
}

/// A server in the background that ends with the test.
struct Up<'a>(&'a Home);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.run(&["down"]);
    }
}

#[test]
fn up_is_idempotent_and_notices_another_version() {
    let home = Home::new();
    assert_eq!(json(home.must(&["status", "--json"]))["answers"], false);
    let first = json(home.must(&["up", "--json"]));
    let _up = Up(&home);
    let again = json(home.must(&["up", "--json"]));
    assert_eq!((&first["started"], &again["started"]), (&true.into(), &false.into()));
    assert_eq!(first["server"]["pid"], again["server"]["pid"]);
    let status = json(home.must(&["status", "--json"]));
    assert_eq!((&status["answers"], &status["toolchains"][0]["name"]), (&true.into(), &"sh".into()));

    let file = home.store().join("server.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(env!("CARGO_PKG_VERSION"), "0.0.0")).unwrap();
    let other = home.run(&["up"]);
    assert_eq!(code(&other), 21, "{}", said(&other));
    assert!(said(&other).contains("hint: lre down && lre up"), "{}", said(&other));

    assert_eq!(json(home.must(&["down", "--json"]))["stopped"], true);
    assert_eq!(json(home.must(&["down", "--json"]))["stopped"], false);
    assert!(!file.exists());
    home.must(&["logs"]);
}

#[test]
fn a_server_that_cannot_start_says_why_and_passes_its_code_on() {
    let home = Home::new();
    let refused = home.run(&["up", "--default-toolchain", "hs"]);
    assert_eq!(code(&refused), 1);
    assert!(said(&refused).contains("the default toolchain `hs` is not installed"), "{}", said(&refused));
    let exposed = home.run(&["up", "--listen", "0.0.0.0:0"]);
    assert_eq!(code(&exposed), 2, "{}", said(&exposed));
}

#[test]
fn without_a_server_the_exit_code_says_so() {
    let home = Home::new();
    let output = home.run(&["run", "--no-in", "--", "true"]);
    assert_eq!(code(&output), 20);
    assert!(said(&output).contains("hint: lre up"), "{}", said(&output));
}

#[test]
fn toolchains_are_listed_shown_checked_and_removed() {
    let home = Home::new();
    let list = json(home.must(&["toolchain", "list", "--json"]));
    let digest = list["toolchains"][0]["digest"].as_str().unwrap().to_owned();
    assert!(home.must(&["toolchain", "show", "sh"]).contains(&format!("lre-rootfs={digest}")));
    assert_eq!(json(home.must(&["toolchain", "verify", "--json"]))["toolchains"][0]["bad"], Value::Array(Vec::new()));

    // Somebody writes to the disk behind our back.
    let shell = fs::read(home.path().join("tree/bin/sh")).unwrap();
    let shell = lre_model::Digest::of(lre_model::DigestFunction::Sha256, &shell).hash_text();
    let blob = find(&home.store().join("blobs"), &shell).unwrap();
    fs::remove_file(blob).unwrap();
    let verify = home.run(&["toolchain", "verify", "--json"]);
    assert_eq!(code(&verify), 10, "{}", said(&verify));
    assert!(json(&verify.stdout)["toolchains"][0]["bad"][0]["digest"].as_str().unwrap().starts_with(&shell));
    let doctor = home.run(&["doctor", "--json"]);
    assert_eq!(code(&doctor), 10);
    let findings = json(&doctor.stdout)["findings"].clone();
    let bad = findings.as_array().unwrap().iter().find(|f| f["what"] == "toolchain sh").unwrap().clone();
    assert!(bad["fix"].as_str().unwrap().starts_with("lre toolchain add sh --from dir:"), "{bad}");

    let unknown = home.run(&["toolchain", "show", "shh"]);
    assert_eq!(code(&unknown), 31);
    assert!(said(&unknown).contains("did you mean `sh`?"), "{}", said(&unknown));
    home.must(&["toolchain", "remove", "sh"]);
    assert_eq!(home.must(&["toolchain", "list"]), "");
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => find(&path, name),
            false => path.file_name().is_some_and(|n| n == name).then_some(path),
        }
    })
}

#[test]
fn a_workspace_pins_its_toolchain() {
    let home = Home::new();
    let workspace = home.path().join("w");
    fs::create_dir_all(workspace.join("deep")).unwrap();
    fs::write(workspace.join("WORKSPACE"), "").unwrap();
    let lre = |arguments: &[&str], at: &Path| home.lre(arguments).current_dir(at).output().unwrap();

    let check = lre(&["init", "--check"], &workspace);
    assert_eq!(code(&check), 10);
    assert!(said(&check).contains("hint: lre init"), "{}", said(&check));

    let tree = format!("dir:{}", home.path().join("tree").display());
    let add = lre(&["toolchain", "add", "sh", "--from", &tree, "--lock", "--json"], &workspace.join("deep"));
    assert_eq!(json(&add.stdout)["pinned_in"], workspace.join("lre.lock").to_str().unwrap());

    // It has no compiler, so there is nothing to write for Bazel; and nothing is written.
    let init = lre(&["init", "--yes"], &workspace);
    assert_eq!(code(&init), 31, "{}", said(&init));
    assert!(said(&init).contains("`sh` has no compiler") && said(&init).contains("manifest"), "{}", said(&init));
    assert!(!workspace.join("lre.bazelrc").exists());

    // A lock that somebody else wrote: the source is here, and gives something else.
    let lock = workspace.join("lre.lock");
    let text = fs::read_to_string(&lock).unwrap();
    let digest = json(&add.stdout)["toolchain"]["digest"].as_str().unwrap().to_owned();
    fs::write(&lock, text.replace(&digest, &format!("{}/1", "ab".repeat(32)))).unwrap();
    let init = lre(&["init", "--yes"], &workspace);
    assert_eq!(code(&init), 31, "{}", said(&init));
    assert!(said(&init).contains(&digest) && said(&init).contains(&"ab".repeat(32)), "{}", said(&init));
}

#[test]
fn configuration_is_refused_with_its_place() {
    let home = Home::new();
    let workspace = home.path().join("w");
    fs::create_dir(&workspace).unwrap();
    fs::write(workspace.join("lre.json5"), "{\n  // mine\n  slot: 3,\n}\n").unwrap();
    let lre = |arguments: &[&str]| home.lre(arguments).current_dir(&workspace).output().unwrap();
    let wrong = lre(&["status"]);
    assert_eq!(code(&wrong), 2);
    assert!(said(&wrong).contains("w/lre.json5:3:3: unknown key `slot`"), "{}", said(&wrong));
    assert!(said(&wrong).contains("hint: write `slots`"), "{}", said(&wrong));

    fs::write(workspace.join("lre.json5"), "{ slots: 3 }").unwrap();
    let shown = json(lre(&["config", "show", "--json"]).stdout);
    let slots = &shown["values"]["slots"];
    assert_eq!(slots["value"], 3);
    assert!(slots["origin"].as_str().unwrap().ends_with("w/lre.json5"), "{slots}");
    let shown = json(
        home.lre(&["config", "show", "--json"]).env("LRE_SLOTS", "4").current_dir(&workspace).output().unwrap().stdout,
    );
    assert_eq!(shown["values"]["slots"], serde_json::json!({ "value": 4, "origin": "LRE_SLOTS" }));
}

/// `lre config reference | head -1`: no panic, no error.
#[test]
fn a_reader_may_go_away() {
    let home = Home::new();
    let mut child = home.lre(&["config", "reference"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert!(status.success() && words.is_empty(), "{status}: {words}");
}
