//! A workspace and its server, without a build client: `lre up`, `down`, `status`, `init` and its check.
use lre_e2e::serve::{Home, said};
use std::fs;
use std::path::Path;

/// What `lre init` writes for everybody, from `folder`, as one text.
fn committed(folder: &Path) -> String {
    let mut files = vec!["lre.lock".into(), "lre.bazelrc".into()];
    files.extend(below(&folder.join("local-remote-execution")));
    files.sort();
    let text = |name: &std::path::PathBuf| fs::read_to_string(folder.join(name)).unwrap();
    files
        .iter()
        .map(|name| format!("== {}\n{}", folder.join(name).strip_prefix(folder).unwrap().display(), text(name)))
        .collect()
}

fn below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
}

#[test]
fn up_is_up_until_down() {
    Home::every().iter().for_each(up_is_up_until_down_in);
}

fn up_is_up_until_down_in(home: &Home) {
    let status = |text: &str| home.must(&["status"]).unwrap().contains(text);
    assert!(status("down"));
    home.must(&["up", "--listen", "127.0.0.1:0"]).unwrap();
    let up = Up(home);
    assert!(status(" up "));
    home.must(&["up", "--listen", "127.0.0.1:0"]).unwrap();
    home.must(&["down"]).unwrap();
    std::mem::forget(up);
    assert!(status("down"));
    assert!(!home.socket().exists());
}

/// A server in the background outlives the process that started it, so a test that fails must end it.
struct Up<'a>(&'a Home);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.0.lre(&["down"]).output();
    }
}

/// The real compiler of this machine, captured, and a header that lies on the machine and is no input.
fn a_header_that_is_no_input_is_told(home: &Home) {
    let header = home.path().join("include/sub/outside.h");
    fs::create_dir_all(header.parent().unwrap()).unwrap();
    fs::write(&header, "").unwrap();
    home.write("a.cc", "#include <sub/outside.h>\n").unwrap();
    let include = format!("-I{}", home.path().join("include").display());
    let mut compile = home.lre(&["run", "--in", "a.cc", "--", "c++", &include, "-c", "a.cc", "-o", "a.o"]);
    let output = compile.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let expected = format!("wanted {}, which is on this machine but not an input", header.display());
    assert!(
        said(&output).contains("outside.h: No such file") && said(&output).contains(&expected),
        "{}",
        said(&output)
    );
    fs::remove_file(home.work().join("a.cc")).unwrap();
}

#[test]
fn what_init_writes_is_the_same_for_everybody_and_checked() {
    let home = Home::new().unwrap();
    let _server = home.serve().unwrap();
    home.must(&["toolchain", "add", "cc", "--from", "capture:/usr/bin/c++"]).unwrap();
    home.must(&["init", "--client", "bazel", "--yes"]).unwrap();
    home.must(&["init", "--check"]).unwrap();
    a_header_that_is_no_input_is_told(&home);

    // Somebody who has only the lock file generates the same.
    let elsewhere = home.write("another/checkout/of/it/WORKSPACE", "").unwrap();
    let elsewhere = elsewhere.parent().unwrap();
    fs::copy(home.work().join("lre.lock"), elsewhere.join("lre.lock")).unwrap();
    let mut again = home.lre(&["init", "--client", "bazel", "--yes"]);
    let again = again.current_dir(elsewhere).env("USER", "somebody").env("LC_ALL", "tr_TR.UTF-8").output().unwrap();
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(committed(elsewhere), committed(&home.work()));

    // The policy is pinned beside the toolchain: it is in every platform, and stays until another one is asked for.
    assert!(committed(&home.work()).contains("\"lre-policy\": \"strict-1\""));
    home.must(&["init", "--policy", "standard-1", "--yes"]).unwrap();
    let standard = committed(&home.work());
    assert!(standard.contains("\"policy\": \"standard-1\"") && standard.contains("\"lre-policy\": \"standard-1\""));
    assert!(!standard.contains("strict-1"), "{standard}");
    home.must(&["init", "--yes"]).unwrap();
    home.must(&["toolchain", "generate"]).unwrap();
    home.must(&["init", "--check"]).unwrap();
    assert_eq!(committed(&home.work()), standard);
    let lock = home.work().join("lre.lock");
    fs::write(&lock, fs::read_to_string(&lock).unwrap().replace("  \"policy\": \"standard-1\",\n", "")).unwrap();
    let drifted = home.lre(&["init", "--check"]).output().unwrap();
    assert_eq!(drifted.status.code(), Some(10), "{}", said(&drifted));
    home.must(&["init", "--yes"]).unwrap();
    assert_eq!(committed(elsewhere), committed(&home.work()), "without one it is strict-1");

    let rc = home.work().join("lre.bazelrc");
    fs::write(&rc, fs::read_to_string(&rc).unwrap() + "build:lre --jobs=1\n").unwrap();
    let drifted = home.lre(&["init", "--check"]).output().unwrap();
    assert_eq!(drifted.status.code(), Some(10), "{}", said(&drifted));
    assert!(said(&drifted).contains("lre.bazelrc"), "the file is named: {}", said(&drifted));
}
