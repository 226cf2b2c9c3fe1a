//! Which programs of a tree play which role.
use crate::layout::{Entry, Layout};
use lre_model::RelPath;
use std::collections::BTreeMap;

/// Where programs are looked for in a tree.
pub(crate) const SEARCHED: [&str; 2] = ["bin", "usr/bin"];

/// Roles of tools, and the names that programs with this role have.
const ROLES: [(&str, &[&str]); 22] = [
    ("cc", &["cc", "gcc", "clang", "musl-gcc"]),
    ("c++", &["c++", "g++", "clang++"]),
    ("cpp", &["cpp", "clang-cpp"]),
    ("ar", &["ar", "llvm-ar"]),
    ("as", &["as"]),
    ("ld", &["ld", "ld.lld", "ld.gold"]),
    ("nm", &["nm", "llvm-nm"]),
    ("objcopy", &["objcopy", "llvm-objcopy"]),
    ("objdump", &["objdump", "llvm-objdump"]),
    ("ranlib", &["ranlib", "llvm-ranlib"]),
    ("strip", &["strip", "llvm-strip"]),
    ("dwp", &["dwp", "llvm-dwp"]),
    ("gcov", &["gcov"]),
    ("llvm-cov", &["llvm-cov"]),
    ("llvm-profdata", &["llvm-profdata"]),
    ("sh", &["sh"]),
    ("bash", &["bash"]),
    ("java", &["java"]),
    ("javac", &["javac"]),
    ("jar", &["jar"]),
    ("rustc", &["rustc"]),
    ("cargo", &["cargo"]),
];

/// The tools of a tree, with paths from its top, `/bin/cc`. `directories` are searched in order; the
/// name decides before the directory: `usr/bin/cc` is preferred to `bin/clang`.
pub(crate) fn tools_in(layout: &Layout, directories: &[&str]) -> BTreeMap<String, String> {
    let mut tools = BTreeMap::new();
    for (role, names) in ROLES {
        let paths = names.iter().flat_map(|name| directories.iter().map(move |d| format!("{d}/{name}")));
        if let Some(path) = paths.into_iter().find(|path| is_program(layout, path)) {
            tools.insert(role.to_owned(), format!("/{path}"));
        }
    }
    tools
}

/// A symlink is taken on trust: the program that it points to may be in another tree of the platform.
fn is_program(layout: &Layout, path: &str) -> bool {
    RelPath::parse(path).is_ok_and(|p| layout.get(&p).is_some_and(|e| *e != Entry::Directory))
}
