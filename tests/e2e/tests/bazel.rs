//! Two C++ projects, built and tested with a real Bazel through a real `lre`: the whole promise, on real input.
//!
//! Bazel runs in a jail that holds no compiler, so whatever compiles, compiles in `lre`'s sandbox.
use lre_e2e::bazel::{Bazel, Build, write_stubs};
use lre_e2e::jail::{Root, is_root};
use lre_e2e::packages::Packages;
use lre_e2e::projects;
use lre_e2e::serve::{Home, Serve, said};
use std::fs;
use std::path::{Path, PathBuf};

/// An ordinary user other than root.
const SOMEBODY_ELSE: u32 = 65534;

/// What `lre init` writes for everybody. The addresses, in lre.local.bazelrc, are for one machine.
const COMMITTED: &[&str] = &["lre.lock", "lre.bazelrc", "local-remote-execution"];

#[test]
fn the_example() {
    let root = Packages::of_this_checkout("bazel-4").ready().unwrap();
    // 26 compiles, the library linked in two ways, seven programs, six tests.
    whole_story(&root, 40, projects::inkwell);
}

#[test]
fn googletest() {
    let root = Packages::of_this_checkout("bazel-4").ready().unwrap();
    whole_story(&root, 60, |into| projects::googletest(&root, into));
}

#[test]
fn another_cold_server_builds_the_same_bits() {
    let root = Packages::of_this_checkout("bazel-4").ready().unwrap();
    let (one, other) = (World::new(&root, projects::inkwell), World::new(&root, projects::inkwell));
    let lock = |world: &World| fs::read_to_string(world.workspace.join("lre.lock")).unwrap();
    assert_eq!(lock(&one), lock(&other), "a compiler that is captured twice is one toolchain");
    // The second time many more at once than there are slots, so in another order.
    let outputs = [(one, "--jobs=2"), (other, "--jobs=64")].map(|(world, jobs)| {
        let me = world.first_person();
        let cold = me.test(&["--config=lre", jobs]).unwrap();
        assert!(cold.other_than("remote").is_empty(), "nothing was known before: {:?}", cold.processes);
        me.outputs().unwrap()
    });
    assert!(outputs[0].len() > 40, "{:?}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

/// A machine with a server, and one project on it.
struct World {
    root: Root,
    // Ends before its home goes.
    server: Serve,
    home: Home,
    workspace: PathBuf,
}

/// Cold, warm, somebody else, and without the executor. `at_least` is a number of actions that the project surely has.
fn whole_story(root: &Root, at_least: usize, project: impl Fn(&Path) -> anyhow::Result<()>) {
    let world = World::new(root, project);
    let me = world.first_person();

    let cold = me.test(&["--config=lre"]).unwrap();
    assert!(cold.count("remote") >= at_least, "{:?}\n{}", cold.processes, cold.output);
    assert!(cold.other_than("remote").is_empty(), "all is executed remotely: {:?}", cold.processes);
    assert_eq!(cold.digests().len(), cold.count("remote"), "every action is known by its digest");

    me.clean().unwrap();
    let warm = me.test(&["--config=lre"]).unwrap();
    all_hits("warm", &warm, &cold);

    somebody_else_hits(&world, &cold);

    // The executor flag removed and the cache kept: a local build that finds all it would have to run.
    me.clean().unwrap();
    let local = me.test(&["--config=lre", "--remote_executor="]).unwrap();
    all_hits("without the executor", &local, &cold);
    assert!(!local.actions.contains_key("Execute"), "nobody was asked to execute: {:?}", local.actions);

    a_missing_toolchain_is_said_at_once(&world, &me);
}

/// What somebody sees in Bazel's output who has the lock file but not the toolchain: what is missing, and the command
/// that brings it. A queue that waits for a platform for ever would be the other way.
fn a_missing_toolchain_is_said_at_once(world: &World, me: &Bazel) {
    world.lre(&["toolchain", "remove", "cc"]);
    me.clean().unwrap();
    let refused = me.test(&["--config=lre", "--noremote_accept_cached"]).unwrap_err().to_string();
    assert!(refused.contains("lre toolchain add"), "{refused}");
}

/// Another home, another workspace path and output base, another environment; and where the test may do that
/// (as root), another user, whom the server lets in by the token and not without.
fn somebody_else_hits(world: &World, cold: &Build) {
    let place = tempfile::Builder::new().prefix("lre-e2e-somebody-else-").tempdir_in("/tmp").unwrap();
    let them = world.second_person(place.path());
    let executor = format!("--remote_executor=grpc://{}", world.server.tcp());
    let cache = format!("--remote_cache=grpc://{}", world.server.tcp());
    let token = format!("--remote_header=authorization=Bearer {}", world.token());
    if them.user.is_some() {
        let refused = them.test(&["--config=lre", &executor, &cache]).unwrap_err().to_string();
        assert!(refused.contains("UNAUTHENTICATED") || refused.contains("PERMISSION_DENIED"), "{refused}");
    }
    let build = them.test(&["--config=lre", &executor, &cache, &token]).unwrap();
    all_hits("somebody else", &build, cold);
}

fn all_hits(what: &str, build: &Build, cold: &Build) {
    assert!(
        build.other_than("remote cache hit").is_empty(),
        "{what}: all are hits: {:?}\n{}",
        build.processes,
        build.output
    );
    assert_eq!(build.count("remote cache hit"), cold.count("remote"), "{what}: the same number of actions");
    assert_eq!(build.digests(), cold.digests(), "{what}: the same actions");
}

impl World {
    fn new(root: &Root, project: impl Fn(&Path) -> anyhow::Result<()>) -> Self {
        let home = Home::new().unwrap();
        let server = home.serve().unwrap();
        home.must(&["toolchain", "add", "cc", "--from", "capture:/usr/bin/c++"]).unwrap();
        let workspace = home.work().join("project");
        project(&workspace).unwrap();
        let world = Self { root: root.clone(), server, home, workspace };
        world.lre(&["init", "--client", "bazel", "--yes"]);
        world.lre(&["init", "--check"]);
        world
    }

    /// `lre` in the workspace; it must succeed.
    fn lre(&self, arguments: &[&str]) {
        let output = self.home.lre(arguments).current_dir(&self.workspace).output().unwrap();
        assert!(output.status.success(), "lre {}: {}", arguments.join(" "), said(&output));
    }

    fn token(&self) -> String {
        let file = self.home.path().join("home/.local/state/lre/token");
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim().to_owned()
    }

    fn first_person(&self) -> Bazel {
        let home = self.home.path().join("bazel-home");
        fs::create_dir(&home).unwrap();
        write_stubs(&home).unwrap();
        let environment = vec![("LANG".to_owned(), "C.UTF-8".to_owned())];
        Bazel { root: self.root.clone(), user: None, home, workspace: self.workspace.clone(), environment }
    }

    /// Somebody who has checked out the project with what was committed.
    fn second_person(&self, place: &Path) -> Bazel {
        let (home, workspace) = (place.join("their/home"), place.join("another/place/for/it"));
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(&workspace).unwrap();
        write_stubs(&home).unwrap();
        projects::copy_checkout(&self.workspace, &workspace, COMMITTED).unwrap();
        let user = is_root().then_some(SOMEBODY_ELSE);
        if let Some(user) = user {
            projects::give_to(user, place).unwrap();
        }
        let environment = [("LANG", "de_DE.UTF-8"), ("TZ", "Asia/Tokyo"), ("EDITOR", "ed"), ("CC", "/opt/bin/cc")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Bazel { root: self.root.clone(), user, home, workspace, environment }
    }
}
