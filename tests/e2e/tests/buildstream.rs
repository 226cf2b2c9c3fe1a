//! BuildStream shares what it has built: artifacts by name through Remote Asset, their content through the store, both of a
//! real `lre serve`. Its own buildbox-casd makes the calls.
//!
//! An element that only imports files needs no sandbox of a distribution, and says as much about the API as one that
//! compiles.
use lre_e2e::jail::Root;
use lre_e2e::lost::lose;
use lre_e2e::packages::Packages;
use lre_e2e::serve::{Home, Serve, said};
use lre_e2e::wheels;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const DEEP: &str = "in a folder of a folder\n";

/// A server, a project, and people who build it, each with a cache of their own.
struct Machine {
    // Ends before its home goes.
    server: Serve,
    home: Home,
    root: Root,
    /// BuildStream, and the Python packages that it needs.
    python: Vec<PathBuf>,
}

impl Machine {
    fn new() -> Self {
        let root = Packages::of_this_checkout("buildstream").ready().unwrap();
        let home = Home::new().unwrap();
        home.write("project/project.conf", "name: shared\nmin-version: 2.0\nelement-path: elements\n").unwrap();
        let element = "kind: import\nsources:\n- kind: local\n  path: files\n";
        home.write("project/elements/hello.bst", element).unwrap();
        home.write("project/files/hello.txt", "hello\n").unwrap();
        home.write("project/files/one/two/deep.txt", DEEP).unwrap();
        Self { server: home.serve().unwrap(), home, root, python: wheels::buildstream().unwrap() }
    }

    fn output_of(&self, person: &str, arguments: &[&str]) -> Output {
        let folder = self.home.work().join(person);
        fs::create_dir_all(&folder).unwrap();
        let here = folder.display();
        let url = format!("http://{}", self.server.tcp());
        let config = format!(
            "cachedir: {here}/cache\nlogdir: {here}/logs\nworkspacedir: {here}/workspaces\n\
             artifacts:\n  override-project-caches: true\n  servers:\n  - url: {url}\n    push: true\n    \
             connection-config:\n      retry-limit: 1\n      retry-delay: 10\n"
        );
        fs::write(folder.join("buildstream.conf"), config).unwrap();
        let visible: Vec<&Path> =
            std::iter::once(self.home.path()).chain(self.python.iter().map(PathBuf::as_path)).collect();
        let mut command = self.root.command("/usr/bin/python3", None, &self.home.work().join("project"), &visible);
        let python: Vec<_> = self.python.iter().map(|folder| folder.display().to_string()).collect();
        command.env("PYTHONPATH", python.join(":")).env("PYTHONPYCACHEPREFIX", self.home.path().join("pycache"));
        command.env("HOME", &folder).env("LANG", "C.UTF-8");
        command.args(["-c", "from buildstream._frontend import cli; cli()", "--no-interactive", "--no-colors"]);
        command.arg("--config").arg(folder.join("buildstream.conf")).args(arguments).output().unwrap()
    }

    /// `bst ARGUMENTS`, which must succeed.
    fn bst(&self, person: &str, arguments: &[&str]) -> String {
        let output = self.output_of(person, arguments);
        let said = said(&output);
        assert!(output.status.success(), "bst {arguments:?} ended with {}:\n{said}", output.status);
        said
    }
}

/// PROTOCOL 86: one builds and pushes, another with an empty cache pulls and has the same files. An artifact of which a part
/// has gone is not offered, and is whole again when somebody pushes it again.
#[test]
fn artifacts_are_shared() {
    let mut machine = Machine::new();
    let built = machine.bst("one", &["build", "hello.bst"]);
    assert!(built.contains("does not have artifact") && built.contains("Pushed artifact"), "{built}");
    let again = machine.bst("one", &["artifact", "push", "hello.bst"]);
    assert!(again.contains("already has artifact"), "{again}");

    let pulled = machine.bst("two", &["artifact", "pull", "hello.bst"]);
    assert!(pulled.contains("Pulled artifact"), "{pulled}");
    let out = machine.home.work().join("out");
    machine.bst("two", &["artifact", "checkout", "hello.bst", "--directory", out.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(out.join("one/two/deep.txt")).unwrap(), DEEP);

    let hash: String = Sha256::digest(DEEP).iter().map(|byte| format!("{byte:02x}")).collect();
    lose(&machine.home.store(), machine.server.tcp(), &hash).unwrap();
    let incomplete = machine.bst("three", &["artifact", "pull", "hello.bst"]);
    assert!(incomplete.contains("does not have artifact"), "{incomplete}");
    let pushed = machine.bst("one", &["artifact", "push", "hello.bst"]);
    assert!(pushed.contains("Pushed"), "{pushed}");
    let whole = machine.bst("three", &["artifact", "pull", "hello.bst"]);
    assert!(whole.contains("Pulled artifact"), "{whole}");

    machine.server.kill().unwrap();
    let alone = machine.output_of("four", &["artifact", "pull", "hello.bst"]);
    let said = said(&alone);
    assert!(!alone.status.success() && said.contains("No artifact caches available for pulling artifacts"), "{said}");
    assert!(said.contains("WARNING Failed to initialize remote") && said.contains("UNAVAILABLE"), "{said}");
}
