//! Every generated file, compared with what is kept under `golden/`. `UPDATE=1` rewrites.
use lre_clientgen::Unsuitable;
use lre_clientgen::bazel::{Address, Options, files, local_rc};
use lre_model::{Digest, DigestFunction};
use lre_toolchain::{CcFacts, Facts, Family, Kind, LockFile, Locked, Toolchain};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn gcc() -> Locked {
    let toolchain = Toolchain {
        name: "cc".to_owned(),
        kind: Kind::Rootfs,
        digest: Digest::of(DigestFunction::Sha256, b"gcc"),
        environment: pairs(&[("PATH", "/usr/bin:/bin")]),
        tools: pairs(&[
            ("ar", "/usr/bin/ar"),
            ("bash", "/bin/bash"),
            ("c++", "/usr/bin/c++"),
            ("cc", "/usr/bin/cc"),
            ("cpp", "/usr/bin/cpp"),
            ("dwp", "/usr/bin/dwp"),
            ("gcov", "/usr/bin/gcov"),
            ("ld", "/usr/bin/ld"),
            ("nm", "/usr/bin/nm"),
            ("objcopy", "/usr/bin/objcopy"),
            ("objdump", "/usr/bin/objdump"),
            ("sh", "/bin/sh"),
            ("strip", "/usr/bin/strip"),
        ]),
        source: "capture:/usr/bin/cc".to_owned(),
        recipe: Vec::new(),
    };
    let facts = CcFacts {
        family: Family::Gcc,
        version: "cc (Debian 12.2.0-14) 12.2.0".to_owned(),
        triple: "x86_64-linux-gnu".to_owned(),
        libc: "glibc_2.36".to_owned(),
        linker: "GNU ld (GNU Binutils for Debian) 2.40".to_owned(),
        c_include_directories: owned(&["/usr/lib/gcc/x86_64-linux-gnu/12/include", "/usr/include"]),
        cxx_include_directories: owned(&[
            "/usr/include/c++/12",
            "/usr/lib/gcc/x86_64-linux-gnu/12/include",
            "/usr/include",
        ]),
        compile_flags: owned(&["-no-canonical-prefixes", "-fno-canonical-system-headers", "-Wall"]),
        cxx_flags: owned(&["-std=c++17"]),
        link_flags: owned(&["-Wl,-z,relro,-z,now", "-Wl,--build-id=none"]),
        cxx_link_libraries: owned(&["-lstdc++", "-lm"]),
        start_end_lib: false,
    };
    Locked::new(&toolchain, Facts { cc: Some(facts), ..Facts::default() })
}

fn clang_tree() -> Locked {
    let mut toolchain = gcc().toolchain();
    toolchain.name = "clang".to_owned();
    toolchain.kind = Kind::Tree;
    toolchain.digest = Digest::of(DigestFunction::Blake3, b"clang");
    let bin = format!("{}/bin", toolchain.mount());
    toolchain.environment = pairs(&[("PATH", &bin)]);
    toolchain.tools = ["ar", "bash", "cc", "c++", "ld"].map(|t| (t.to_owned(), format!("{bin}/{t}"))).into();
    let facts = CcFacts {
        family: Family::Clang,
        version: "clang version 18.1.3".to_owned(),
        triple: "aarch64-linux-musl".to_owned(),
        libc: "musl".to_owned(),
        linker: "LLD 18.1.3".to_owned(),
        c_include_directories: vec![format!("{}/include", toolchain.mount())],
        cxx_include_directories: vec![format!("{}/include/c++/v1", toolchain.mount())],
        compile_flags: owned(&["-Wall"]),
        cxx_flags: Vec::new(),
        link_flags: Vec::new(),
        cxx_link_libraries: owned(&["-lc++", "-lm"]),
        start_end_lib: true,
    };
    Locked::new(&toolchain, Facts { cc: Some(facts), ..Facts::default() })
}

fn lock(locked: impl IntoIterator<Item = Locked>) -> LockFile {
    let mut lock = LockFile::default();
    locked.into_iter().for_each(|l| lock.put(l));
    lock
}

/// Compares `files` with the folder `golden/name`, or rewrites it.
#[track_caller]
fn check(name: &str, files: &BTreeMap<String, String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        let _ = fs::remove_dir_all(&folder);
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    let (kept, made) = (in_folder(&folder), files.keys().map(|path| folder.join(path)).collect::<BTreeSet<_>>());
    assert_eq!(kept, made, "UPDATE=1 rewrites {}", folder.display());
    for (path, content) in files {
        let kept = fs::read_to_string(folder.join(path)).unwrap();
        let diff = similar::TextDiff::from_lines(kept.as_str(), content.as_str());
        assert!(kept == *content, "{name}/{path} differs; UPDATE=1 rewrites it:\n{}", diff.unified_diff());
    }
}

fn in_folder(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { in_folder(&p) } else { BTreeSet::from([p]) }).collect()
}

#[test]
fn a_captured_gcc_behind_a_config() {
    let options = Options { prefix: Some("lre".to_owned()), ..Options::default() };
    check("gcc", &files(&lock([gcc()]), &options).unwrap());
}

#[test]
fn a_clang_tree_always_on() {
    check("clang", &files(&lock([clang_tree()]), &Options::default()).unwrap());
}

#[test]
fn addresses_are_in_a_file_of_their_own() {
    let own = Address { endpoint: "127.0.0.1:50051".to_owned(), token: None };
    let other = Address { endpoint: "127.0.0.1:50051".to_owned(), token: Some("secret".to_owned()) };
    let made = [("own.bazelrc", local_rc(&own, Some("lre"))), ("token.bazelrc", local_rc(&other, None))];
    check("local", &made.map(|(name, text)| (name.to_owned(), text)).into());
}

#[test]
fn what_cannot_be_generated_says_what_to_do() {
    let both = lock([gcc(), clang_tree()]);
    assert_eq!(files(&both, &Options::default()), Err(Unsuitable::Several(owned(&["cc", "clang"]))));
    let named = |name: &str| Options { toolchain: Some(name.to_owned()), ..Options::default() };
    assert!(files(&both, &named("clang")).is_ok());
    assert_eq!(files(&both, &named("gcc")), Err(Unsuitable::NoSuch("gcc".to_owned())));
    let mut unknown = gcc();
    unknown.facts.cc = None;
    assert_eq!(files(&lock([unknown]), &Options::default()), Err(Unsuitable::NoCompiler));
    let odd = Options { prefix: Some("a b".to_owned()), ..Options::default() };
    assert_eq!(files(&lock([gcc()]), &odd), Err(Unsuitable::Prefix("a b".to_owned())));
}

/// Two machines: another home, user, working directory and locale. They share the lock file and
/// nothing else, and no file may show where it was made.
#[test]
fn nothing_of_this_machine_is_in_any_file() {
    let made = files(&lock([gcc()]), &Options::default()).unwrap();
    let here = std::env::current_dir().unwrap().display().to_string();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let own = ["HOME", "USER", "LOGNAME", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    for text in own.chain([here, host.trim().to_owned()]).filter(|t| t.len() > 3) {
        for (path, content) in &made {
            assert!(!content.contains(&text), "{path} contains `{text}`");
        }
    }
}

proptest! {
    /// The order in which toolchains were added, and a trip through the file, change nothing.
    #[test]
    fn one_lock_file_gives_equal_files(names in prop::collection::btree_set("[a-z]{1,8}", 1..5), turn in any::<prop::sample::Index>()) {
        let named = |name: &String| Locked { name: name.clone(), ..gcc() };
        let mut order: Vec<_> = names.iter().collect();
        let at = turn.index(order.len());
        order.rotate_left(at);
        let (first, second) = (lock(names.iter().map(named)), lock(order.iter().map(|n| named(n))));
        let second = LockFile::parse(&second.to_text(), "lre.lock").unwrap();
        let options = Options { toolchain: names.first().cloned(), prefix: None };
        prop_assert_eq!(files(&first, &options), files(&second, &options));
    }
}
