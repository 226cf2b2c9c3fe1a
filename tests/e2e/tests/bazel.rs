//! Two C++ projects, built and tested with real Bazels through a real `lre`: the whole promise, on real input.
//!
//! Bazel runs in a jail that holds no compiler, so whatever compiles, compiles in `lre`'s sandbox.
use lre_e2e::bazel::{Bazel, Build, Version};
use lre_e2e::projects;
use lre_e2e::world::{World, all_hits};
use std::fs;

// 26 compiles, the library linked in two ways, seven programs, six tests.
const INKWELL: usize = 40;

#[test]
fn the_example() {
    whole_story(&World::new(Version::V4, projects::inkwell).unwrap(), INKWELL);
}

#[test]
fn the_example_with_modules() {
    whole_story(&World::new(Version::V7, projects::inkwell).unwrap(), INKWELL);
}

#[test]
fn googletest() {
    let root = Version::V4.packages().ready().unwrap();
    whole_story(&World::new(Version::V4, |into| projects::googletest(&root, into)).unwrap(), 60);
}

#[test]
fn another_cold_server_builds_the_same_bits() {
    let [one, other] = [(), ()].map(|()| World::new(Version::V4, projects::inkwell).unwrap());
    let lock = |world: &World| fs::read_to_string(world.workspace.join("lre.lock")).unwrap();
    assert_eq!(lock(&one), lock(&other), "a compiler that is captured twice is one toolchain");
    // The second time many more at once than there are slots, so in another order.
    let outputs = [(one, "--jobs=2"), (other, "--jobs=64")].map(|(world, jobs)| {
        let me = world.first_person().unwrap();
        let cold = me.test(&["--config=lre", jobs]).unwrap();
        assert!(cold.other_than("remote").is_empty(), "nothing was known before: {:?}", cold.processes);
        me.outputs().unwrap()
    });
    assert!(outputs[0].len() > 40, "{:?}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

/// Cold, warm, somebody else, and without the executor. `at_least` is a number of actions that the project surely has.
fn whole_story(world: &World, at_least: usize) {
    let me = world.first_person().unwrap();

    let cold = me.test(&["--config=lre"]).unwrap();
    assert!(cold.count("remote") >= at_least, "{:?}\n{}", cold.processes, cold.output);
    assert!(cold.other_than("remote").is_empty(), "all is executed remotely: {:?}", cold.processes);
    assert_eq!(cold.digests().len(), cold.count("remote"), "every action is known by its digest");

    me.clean().unwrap();
    let warm = me.test(&["--config=lre"]).unwrap();
    all_hits("warm", &warm, &cold);

    somebody_else_hits(world, &cold);

    // The executor flag removed and the cache kept: a local build that finds all it would have to run.
    me.clean().unwrap();
    let local = me.test(&["--config=lre", "--remote_executor="]).unwrap();
    all_hits("without the executor", &local, &cold);
    assert!(!local.actions.contains_key("Execute"), "nobody was asked to execute: {:?}", local.actions);

    a_missing_toolchain_is_said_at_once(world, &me);
}

/// What somebody sees in Bazel's output whose files name a toolchain that nobody here has: what is missing, and the command
/// that brings it. A queue that waits for a platform for ever would be the other way.
fn a_missing_toolchain_is_said_at_once(world: &World, me: &Bazel) {
    let lock = fs::read_to_string(me.workspace.join("lre.lock")).unwrap();
    let digest = lock.split('"').find(|word| word.len() > 64 && word.as_bytes()[64] == b'/').unwrap();
    let nobodys = format!("{}{}", "0".repeat(64), &digest[64..]);
    fs::write(me.workspace.join("lre.lock"), lock.replace(digest, &nobodys)).unwrap();
    world.lre(&["toolchain", "generate"]).unwrap();
    me.clean().unwrap();
    let refused = me.test(&["--config=lre", "--noremote_accept_cached"]).unwrap_err().to_string();
    assert!(refused.contains("lre toolchain add"), "{refused}");
}

/// Another home, another workspace path and output base, another environment; and where the test may do that
/// (as root), another user, whom the server lets in by the token and not without.
fn somebody_else_hits(world: &World, cold: &Build) {
    let place = tempfile::Builder::new().prefix("lre-e2e-somebody-else-").tempdir_in("/tmp").unwrap();
    let them = world.second_person(place.path()).unwrap();
    let address = world.address().unwrap();
    let mut arguments = vec!["--config=lre"];
    arguments.extend(address.iter().map(String::as_str));
    if them.user.is_some() {
        let refused = them.test(&arguments[..arguments.len() - 1]).unwrap_err().to_string();
        assert!(refused.contains("UNAUTHENTICATED") || refused.contains("PERMISSION_DENIED"), "{refused}");
    }
    let build = them.test(&arguments).unwrap();
    all_hits("somebody else", &build, cold);
}
