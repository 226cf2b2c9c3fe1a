//! The program under test.
use std::env;
use std::path::{Path, PathBuf};

/// The `lre` of `$LRE_BIN`, else the one that `cargo build -p lre` left in this workspace.
///
/// # Panics
/// There is none. `cargo xtask e2e` builds it first.
pub fn lre() -> PathBuf {
    if let Some(chosen) = env::var_os("LRE_BIN") {
        let chosen = PathBuf::from(chosen);
        assert!(chosen.is_file(), "LRE_BIN={} is not a file", chosen.display());
        return chosen;
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let built = target.join("debug/lre");
    assert!(
        built.is_file(),
        "{} is not there: run `cargo xtask e2e`, or `cargo build -p lre` first, or set LRE_BIN",
        built.display()
    );
    built
}

/// The root of this checkout.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/e2e is two below the root").to_path_buf()
}
