//! Two C++ projects, built and tested with a real Bazel through a real `lre`.
use lre_e2e::bazel::{Bazel, write_stubs};
use lre_e2e::jail::is_root;
use lre_e2e::packages::Packages;
use lre_e2e::projects;

#[test]
fn probe() {
    let root = Packages::of_this_checkout().ready().unwrap();
    for user in [None, Some(65534)] {
        let place = tempfile::tempdir().unwrap();
        let (home, workspace) = (place.path().join("home"), place.path().join("ws"));
        std::fs::create_dir(&home).unwrap();
        projects::googletest(&root, &workspace).unwrap();
        write_stubs(&home).unwrap();
        if user.is_some() {
            if !is_root() {
                continue;
            }
            projects::give_to(65534, place.path()).unwrap();
        }
        let bazel = Bazel { root: root.clone(), user, home, workspace, environment: vec![] };
        let build = bazel.test(&["--nobuild"]);
        println!("{build:?}");
    }
}
