//! The promise: two machines that have nothing in common but the digest of a toolchain come to the same actions and to
//! the same bits, in C++, Java and Rust; and what one has built, the other finds.
use lre_e2e::bazel::{Bazel, Build, Version};
use lre_e2e::projects;
use lre_e2e::world::{World, all_hits, install_everything};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

const VERSION: Version = Version::V7;
/// Files that a compiler, archiver, linker or one of the programs wrote, at the least.
const OUTPUTS: usize = 15;

#[test]
fn two_machines_come_to_the_same_bits_and_share_what_they_have_built() {
    // One gets the toolchain as packages from the distribution...
    let one = World::with(VERSION, projects::trilogue, install_everything).unwrap();
    let file = one.home().work().join("all.tar.zst");
    one.lre(&["toolchain", "export", "all", file.to_str().unwrap()]).unwrap();
    // ... the other has a file that somebody brought, a store of its own, and the project as it was committed.
    let other =
        World::bare(VERSION, |home| home.must(&["toolchain", "import", file.to_str().unwrap()]).map(drop)).unwrap();
    std::fs::remove_file(&file).unwrap();

    let me = one.first_person().unwrap();
    let place = tempfile::Builder::new().prefix("lre-e2e-other-").tempdir_in("/tmp").unwrap();
    // Another home, path, user, locale, time zone and umask.
    let they = one.second_person(place.path()).unwrap();

    let (mine, my_outputs) = cold(&me, &one, 2);
    // Many more at once than there are slots, so in another order.
    let (theirs, their_outputs) = cold(&they, &other, 64);
    assert!(my_outputs.len() > OUTPUTS, "{my_outputs:?}");
    // The outputs first: where they differ, so do the actions that take them.
    the_same("bits", my_outputs.iter(), their_outputs.iter());
    the_same("actions", mine.digests().iter(), theirs.digests().iter());
    languages(&my_outputs);

    // And crosswise.
    me.clean().unwrap();
    all_hits("mine, there", &test(&me, &other, 64), &mine);
    they.clean().unwrap();
    all_hits("theirs, here", &test(&they, &one, 2), &mine);
}

/// Names what differs, not all that there is.
fn the_same<T: Ord + Debug>(what: &str, mine: impl Iterator<Item = T>, theirs: impl Iterator<Item = T>) {
    let (mine, theirs): (BTreeSet<T>, BTreeSet<T>) = (mine.collect(), theirs.collect());
    let (only_mine, only_theirs): (Vec<_>, Vec<_>) =
        (mine.difference(&theirs).collect(), theirs.difference(&mine).collect());
    assert!(mine == theirs, "not the same {what}: {only_mine:#?} here, {only_theirs:#?} there");
}

fn cold(bazel: &Bazel, world: &World, jobs: usize) -> (Build, BTreeMap<PathBuf, String>) {
    let build = test(bazel, world, jobs);
    assert!(build.count("remote") > 30, "{:?}\n{}", build.processes, build.output);
    assert!(build.other_than("remote").is_empty(), "nothing was known before: {:?}", build.processes);
    (build, bazel.outputs().unwrap())
}

fn test(bazel: &Bazel, world: &World, jobs: usize) -> Build {
    let address = world.address().unwrap();
    let jobs = format!("--jobs={jobs}");
    // Everything is compared, also what Bazel 7 would leave in the cache. By default Bazel makes a test's XML in an action
    // of its own, whose command line has the seconds that the test took: another digest on a slower machine.
    let mut arguments =
        vec!["--config=lre", "--remote_download_outputs=all", "--noexperimental_split_xml_generation", &jobs];
    arguments.extend(address.iter().map(String::as_str));
    bazel.test(&arguments).unwrap()
}

/// All three are among what was compared: objects and programs, jars, crates; and what each program printed.
fn languages(outputs: &BTreeMap<PathBuf, String>) {
    let has = |name: &str| outputs.keys().any(|path| path.ends_with(Path::new(name)));
    for name in ["cpp/tally", "java/tally.jar", "java/libwords.jar", "rust/tally", "cpp.txt", "java.txt", "rust.txt"] {
        assert!(has(name), "{name} is not among {:?}", outputs.keys());
    }
    assert!(outputs.keys().any(|path| path.extension().is_some_and(|extension| extension == "rlib")));
}
