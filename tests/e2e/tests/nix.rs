//! This repository's flake, module and template, with several versions of Nix.
//!
//! flake-parts and nixpkgs are stand-ins (see nix/tests/README.md), since nothing is fetched but Debian's packages; Nix, the
//! compiler and Bazel are real.
use lre_e2e::binary;
use lre_e2e::nix::{Nix, VERSIONS};
use lre_e2e::serve::said;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Our flake holds together, and the module writes what is committed in nix/tests/golden.
fn the_flake_checks_out(set: &str) {
    let nix = Nix::of(set).unwrap();
    nix.lock().unwrap();
    let flake = nix.flake("lre");
    if std::env::var_os("UPDATE").is_some() && set == VERSIONS[0].0 {
        update_golden(&nix, &flake);
    }
    nix.must(&flake, &["flake", "check", "path:."]).unwrap();

    let eval = |what: &str| nix.must(&flake, &["eval", "--raw", &format!("path:.#{what}")]).unwrap();
    assert_eq!(eval("packages.x86_64-linux.lre.meta.mainProgram"), "lre");
    let version = eval("packages.x86_64-linux.default.name");
    assert_eq!(version, format!("lre-{}", env!("CARGO_PKG_VERSION")));
    // One path, of which the whole environment is made.
    for toolchain in ["lre-cc", "lre-java", "lre-rust"] {
        let here = format!("packages.x86_64-linux.{toolchain}");
        let path = eval(&format!("{here}.outPath"));
        let env = nix.must(&flake, &["eval", "--json", &format!("path:.#{here}.meta.Env")]).unwrap();
        let env: Vec<String> = serde_json::from_str(&env).unwrap();
        assert!(env.contains(&format!("PATH={path}/bin")), "{toolchain}: {env:?}");
    }
    let built = nix.must(&flake, &["build", "--no-link", "path:.#lre"]).unwrap();
    assert_eq!(built, "");
    let said = nix.must(&flake, &["run", "path:.#lre", "--", "--version"]).unwrap();
    assert_eq!(said, format!("lre {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_flake_checks_out_with_2_8() {
    the_flake_checks_out("nix-2.8");
}

#[test]
fn the_flake_checks_out_with_2_26() {
    the_flake_checks_out("nix-2.26");
}

#[test]
fn the_flake_checks_out_with_2_34() {
    the_flake_checks_out("bazel-7");
}

fn update_golden(nix: &Nix, flake: &Path) {
    let what = "path:.#checks.x86_64-linux.module.written";
    let written = nix.must(flake, &["build", "--no-link", "--print-out-paths", what]);
    // 2.8 cannot print what it has built.
    let written = written.or_else(|_| {
        nix.must(flake, &["build", "--no-link", what])?;
        nix.must(flake, &["eval", "--raw", what])
    });
    let golden = binary::workspace().join("nix/tests/golden");
    for entry in fs::read_dir(nix.outside(&written.unwrap())).unwrap() {
        let entry = entry.unwrap();
        let text = fs::read(entry.path()).unwrap();
        fs::write(golden.join(entry.file_name()), &text).unwrap();
        fs::write(flake.join("nix/tests/golden").join(entry.file_name()), &text).unwrap();
    }
}

/// A workspace in which the hook runs as a development shell runs it, without a Nix: it is a program by itself.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What it says; on stdout it says nothing, and it never fails.
    fn hook(&self, within: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("bash");
        command.arg(binary::workspace().join("nix/hook.sh")).args(arguments).current_dir(self.path().join(within));
        // No lre: what is done with one is seen with the template.
        let output = command.env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
        assert!(output.stdout.is_empty() && output.status.success(), "{}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    fn link(&self) -> Option<String> {
        fs::read_link(self.path().join("lre.bazelrc")).ok().map(|to| to.to_string_lossy().into_owned())
    }
}

/// A generated file, as a store has it.
const FIRST: &str = "/nix/store/00000000000000000000000000000000-lre.bazelrc";
const SECOND: &str = "/nix/store/11111111111111111111111111111111-lre.bazelrc";

#[test]
fn the_hook_links_once_and_follows_what_is_generated() {
    let workspace = Workspace::new(&[("flake.nix", ""), ("a/b/file", "")]);
    let said = workspace.hook("a/b", &[FIRST]);
    assert!(said.contains(FIRST), "{said}");
    assert_eq!(workspace.link().as_deref(), Some(FIRST));
    assert_eq!(workspace.hook("", &[FIRST]), "", "nothing has changed, so nothing is said");
    workspace.hook("a", &[SECOND]);
    assert_eq!(workspace.link().as_deref(), Some(SECOND));
}

#[test]
fn the_hook_finds_the_root_of_a_checkout() {
    let workspace = Workspace::new(&[(".git/HEAD", ""), ("nix/flake", ""), ("a/file", "")]);
    workspace.hook("a", &[FIRST]);
    assert_eq!(workspace.link().as_deref(), Some(FIRST));
    let nowhere = Workspace::new(&[("a/file", "")]);
    let said = nowhere.hook("a", &[FIRST]);
    assert!(said.contains("flake.nix") && nowhere.link().is_none(), "{said}");
    assert!(!nowhere.path().join("a/lre.bazelrc").is_symlink());
}

#[test]
fn the_hook_replaces_nothing_that_somebody_wrote() {
    let workspace = Workspace::new(&[("flake.nix", ""), ("lre.bazelrc", "build --mine\n"), ("mine", "")]);
    let said = workspace.hook("", &[FIRST]);
    assert!(said.contains("rm lre.bazelrc"), "{said}");
    assert_eq!(fs::read_to_string(workspace.path().join("lre.bazelrc")).unwrap(), "build --mine\n");
    fs::remove_file(workspace.path().join("lre.bazelrc")).unwrap();
    std::os::unix::fs::symlink("mine", workspace.path().join("lre.bazelrc")).unwrap();
    let said = workspace.hook("", &[FIRST]);
    assert!(said.contains("rm lre.bazelrc"), "{said}");
    assert_eq!(workspace.link().as_deref(), Some("mine"));
}

/// Where a lock pins, the file is made from that; a second one would be a second pin.
#[test]
fn the_hook_leaves_a_workspace_with_a_lock_to_its_lock() {
    let closure = "/nix/store/22222222222222222222222222222222-lre-cc";
    let lock = format!("source: 'nix:{closure}'\n");
    let workspace = Workspace::new(&[("flake.nix", ""), ("lre.lock", &lock), ("lre.bazelrc", "build\n")]);
    let said = workspace.hook("", &[FIRST, &format!("cc={closure}")]);
    assert!(said.contains("not compared"), "{said}");
    assert!(!said.contains("another"), "{said}");
    let other = "/nix/store/33333333333333333333333333333333-lre-cc";
    let said = workspace.hook("", &[FIRST, &format!("cc={other}")]);
    assert!(said.contains(&format!("lre toolchain add cc --from nix:{other}")), "{said}");
    assert_eq!(fs::read_to_string(workspace.path().join("lre.bazelrc")).unwrap(), "build\n");
    fs::remove_file(workspace.path().join("lre.bazelrc")).unwrap();
    workspace.hook("", &[FIRST]);
    assert!(workspace.link().is_none());
}

/// Both generators write the flags of the design; the lock's adds what only it can know.
#[test]
fn flags_are_those_of_the_locks_file() {
    let read = |path: &str| fs::read_to_string(binary::workspace().join(path)).unwrap();
    let ours = read("nix/tests/golden/environment-and-prefix.bazelrc");
    let locks = read("crates/clientgen/golden/gcc/lre.bazelrc");
    let flags: Vec<&str> = ours.lines().filter(|line| line.starts_with("build:lre ")).collect();
    assert_eq!(flags.len(), 4);
    for flag in flags {
        assert!(locks.lines().any(|line| line == flag), "`lre init` does not write {flag}");
    }
    for line in ours.lines().filter(|line| line.starts_with("# ") && line.contains('=') && line.contains("/nix/store"))
    {
        assert!(line.starts_with("# PATH=") || line.starts_with("# CC="), "{line}");
    }
    assert!(
        read("nix/tests/golden/nothing.bazelrc").contains("# WARNING: No environment set. LRE will not work locally.")
    );
}
