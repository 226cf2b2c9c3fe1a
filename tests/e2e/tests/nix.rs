//! This repository's flake, module and template, with several versions of Nix.
//!
//! flake-parts and nixpkgs are stand-ins (see nix/tests/README.md), since nothing is fetched but Debian's packages; Nix, the
//! compiler and Bazel are real.
use lre_e2e::nix::{Nix, VERSIONS};
use lre_e2e::serve::{Home, said};
use lre_e2e::{bazel, binary, projects};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    let written = build(nix, flake, "path:.#checks.x86_64-linux.module.written");
    let golden = binary::workspace().join("nix/tests/golden");
    for entry in fs::read_dir(nix.outside(&written)).unwrap() {
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

/// `nix build`, and the path that came out; 2.8 does not print it.
fn build(nix: &Nix, flake: &Path, what: &str) -> String {
    nix.must(flake, &["build", "--no-link", what]).unwrap();
    nix.must(flake, &["eval", "--raw", &format!("{what}.outPath")]).unwrap()
}

/// Nix builds a compiler's closure; we import it; then there is no Nix any more, and it compiles.
#[test]
fn a_closure_compiles_without_nix() {
    let nix = Nix::of("nix-2.26").unwrap().with_compiler().unwrap();
    nix.lock().unwrap();
    let flake = nix.flake("lre");
    let closure = build(&nix, &flake, "path:.#lre-cc");
    let home = Home::new().unwrap();
    let add = ["toolchain", "add", "cc", "--from", &format!("nix:{closure}")];
    let added = nix.lre(&home, &flake, &add).output().unwrap();
    assert!(added.status.success(), "{}", said(&added));
    // The same, said by its name in the flake.
    let installable =
        nix.lre(&home, &flake, &["toolchain", "add", "cc", "--from", "nix:path:.#lre-cc"]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&installable.stdout),
        String::from_utf8_lossy(&added.stdout),
        "{}",
        said(&installable)
    );
    drop(nix);

    let _server = home.serve().unwrap();
    home.write("hello.c", "#include <stdio.h>\nint main(void) { puts(\"hello from C\"); }\n").unwrap();
    home.write("hello.cc", "#include <iostream>\nint main() { std::cout << \"hello from C++\\n\"; }\n").unwrap();
    for (compiler, source, greeting) in [("cc", "hello.c", "hello from C\n"), ("c++", "hello.cc", "hello from C++\n")] {
        home.must(&["run", "--in", source, "--out", "hello", "--", compiler, source, "-o", "hello"]).unwrap();
        assert_eq!(home.must(&["run", "--in", "hello", "--", "./hello"]).unwrap(), greeting);
    }
    // Nothing but the closure is there.
    let seen = home.must(&["run", "--no-in", "--", "ls", "/", "/nix/store"]).unwrap();
    assert!(!seen.contains("usr\n") && seen.contains("lre-cc"), "{seen}");
}

/// A project as the template leaves it, and what its shell is for.
struct Project {
    nix: Nix,
    port: u16,
}

impl Project {
    fn new() -> Self {
        let nix = Nix::of("bazel-7").unwrap().with_compiler().unwrap();
        nix.lock().unwrap();
        let flake = nix.flake("lre");
        let from = format!("path:{}", flake.display());
        fs::create_dir(nix.path().join("project")).unwrap();
        let project = Self { nix, port: free_port() };
        let nix = |arguments: &[&str]| project.nix.must(&project.path("project"), arguments).unwrap();
        nix(&["flake", "init", "-t", &format!("{from}#lre")]);
        // As the template's welcome says.
        nix(&["flake", "lock", "--override-input", "lre", &from]);
        project.lay_out_bazel();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.nix.path().join(name)
    }

    /// Bazel as Debian has it: without network, and gone when its command ends.
    fn lay_out_bazel(&self) {
        let home = self.path("home");
        bazel::write_stubs(&home).unwrap();
        let mut rc = format!("startup --batch --output_user_root={}\n", home.join("bazel").display());
        rc += "startup --server_javabase=/usr/lib/jvm/java-25-openjdk-amd64\n";
        // Without it Bazel 7 looks for repositories of the age before modules, too.
        rc += "common --noenable_workspace\n";
        for stub in fs::read_dir(home.join("stubs/modules")).unwrap() {
            let path = stub.unwrap().path();
            rc += &format!("common --override_module={}={}\n", path.file_name().unwrap().display(), path.display());
        }
        fs::write(home.join(".bazelrc"), rc).unwrap();
    }

    /// `nix develop -c bash -ec SCRIPT`, with a server's place in `store`: what was said.
    fn develop(&self, checkout: &str, store: &str, script: &str) -> Output {
        let arguments = ["develop", "path:.", "-c", "bash", "-ec", script];
        let mut command = self.nix.command(&self.path(checkout), "nix", &arguments);
        command.env("LRE_STORE", self.path(store)).env("LRE_SOCKET", self.path(&format!("{store}.sock")));
        command.env("LRE_LISTEN", format!("127.0.0.1:{}", self.port)).env("USER", "somebody");
        command.output().unwrap()
    }
}

/// A port that nobody had a moment ago: the project's files name it before the server has it.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What the template's welcome promises, word for word.
const BUILD: &str = "trap 'lre down' EXIT; lre up; bazel build --config=lre //...; bazel-bin/hello";

/// The same toolchain, without the time that Bazel takes.
const COMPILE: &str = "trap 'lre down' EXIT; lre up; lre run --in hello.cc --out hello.o -- c++ -c hello.cc -o hello.o";

#[test]
fn a_project_from_the_template_builds_in_its_shell() {
    let project = Project::new();
    let first = project.develop("project", "store", BUILD);
    assert!(first.status.success(), "{}", said(&first));
    let said_first = said(&first);
    assert!(said_first.contains("pinning `cc` in lre.lock"), "{said_first}");
    assert!(said_first.contains("built in a sandbox, with a pinned compiler"), "{said_first}");
    assert!(said_first.contains(" remote"), "{said_first}");

    // Somebody else's checkout: what is committed, and a store with nothing in it.
    projects::copy_checkout(&project.path("project"), &project.path("other"), &["lre.lock", "lre.bazelrc"]).unwrap();
    let lock = fs::read(project.path("project/lre.lock")).unwrap();
    let other = project.develop("other", "other-store", COMPILE);
    assert!(other.status.success(), "{}", said(&other));
    assert!(!said(&other).contains("pinning"), "{}", said(&other));
    assert!(project.path("other/lre.local.bazelrc").exists(), "{}", said(&other));
    assert_eq!(fs::read(project.path("other/lre.lock")).unwrap(), lock);

    // Nothing has come apart, so nothing is said.
    let quiet = project.develop("other", "other-store", "true");
    assert_eq!(said(&quiet), "", "the second time");
    let rc = project.path("other/lre.bazelrc");
    fs::write(&rc, fs::read_to_string(&rc).unwrap() + "build:lre --copt=-O3\n").unwrap();
    let drifted = said(&project.develop("other", "other-store", "true"));
    assert!(drifted.contains("drifted") && drifted.contains("--copt=-O3") && drifted.contains("lre init"), "{drifted}");
}
