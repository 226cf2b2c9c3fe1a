//! Every generated file, compared with what is kept under `golden/`. `UPDATE=1` rewrites.
mod kept;
mod toolchains;

use kept::check;
use lre_clientgen::Unsuitable;
use lre_clientgen::bazel::{Address, Options, files, local_rc};
use lre_model::Policy;
use lre_toolchain::{LockFile, Locked};
use proptest::prelude::*;
use std::fs;
use toolchains::{clang_tree, codegen, everything, gcc, jdk_rootfs, jdk_tree, nix_clang, rust_tree};

fn lock(locked: impl IntoIterator<Item = Locked>) -> LockFile {
    let mut lock = LockFile::default();
    locked.into_iter().for_each(|l| lock.put(l));
    lock
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
fn one_root_file_system_with_three_languages() {
    let options = Options { prefix: Some("lre".to_owned()), ..Options::default() };
    check("everything", &files(&lock([everything()]), &options).unwrap());
}

#[test]
fn trees_compose_with_a_root_file_system() {
    let options = Options { prefix: Some("lre".to_owned()), ..Options::default() };
    check("composed", &files(&lock([gcc(), jdk_tree(), rust_tree(), codegen()]), &options).unwrap());
}

#[test]
fn two_root_file_systems_are_apart() {
    let options = Options { prefix: Some("lre".to_owned()), ..Options::default() };
    check("apart", &files(&lock([gcc(), jdk_rootfs(), codegen()]), &options).unwrap());
}

#[test]
fn a_closure_of_nix() {
    check("nix", &files(&lock([nix_clang()]), &Options::default()).unwrap());
}

#[test]
fn java_alone() {
    let mut runtime = jdk_tree();
    runtime.facts.java.as_mut().unwrap().compiles = false;
    check("java", &files(&lock([runtime]), &Options::default()).unwrap());
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
    let refused = |lock: &LockFile, options: &Options| files(lock, options).unwrap_err();
    let (mut one, mut other) = (gcc(), clang_tree());
    (one.name, other.name) = ("gcc".to_owned(), "clang".to_owned());
    let both = lock([one, other]);
    let names = vec!["clang".to_owned(), "gcc".to_owned()];
    assert_eq!(refused(&both, &Options::default()), Unsuitable::Several { language: "cc", names });
    let named = |name: &str| Options { toolchain: Some(name.to_owned()), ..Options::default() };
    assert!(files(&both, &named("clang")).is_ok());
    let none = Unsuitable::NoSuch { name: "icc".to_owned(), language: "any language" };
    assert_eq!(refused(&both, &named("icc")), none);
    let mut unknown = gcc();
    unknown.facts.cc = None;
    assert_eq!(refused(&lock([unknown]), &Options::default()), Unsuitable::NoCompiler);
    let odd = Options { prefix: Some("a b".to_owned()), ..Options::default() };
    assert_eq!(refused(&lock([gcc()]), &odd), Unsuitable::Prefix("a b".to_owned()));
    assert_eq!(refused(&lock([rust_tree()]), &Options::default()), Unsuitable::NoLinker("rust".to_owned()));
    let (mut tools, mut clash) = (codegen(), codegen());
    (tools.name, clash.name) = ("java".to_owned(), "java-tools".to_owned());
    let clash = lock([tools, clash]);
    assert_eq!(refused(&clash, &Options::default()), Unsuitable::Clash("generated-java-tools".to_owned()));
}

/// The rules at the head of `choice.rs`, seen from outside.
#[test]
fn which_toolchain_is_for_which_language() {
    let module = |lock: &LockFile, options: &Options, path: &str| {
        let files = files(lock, options).unwrap();
        files.get(&format!("local-remote-execution/{path}")).cloned().unwrap_or_default()
    };
    let (java, cc) = ("generated-java/java/BUILD", "generated-cc/cc/BUILD");
    let home = |locked: &Locked| locked.facts.java.as_ref().unwrap().home.clone();

    let mut debian = everything();
    debian.name = "debian".to_owned();
    let (mut a, mut b) = (jdk_tree(), jdk_rootfs());
    (a.name, b.name) = ("a".to_owned(), "b".to_owned());
    let plain = Options::default();
    let three = lock([debian.clone(), a.clone(), b.clone()]);
    assert!(module(&three, &plain, java).contains(&home(&debian)), "what compiles C compiles Java too");
    let named = Options { java: Some("b".to_owned()), ..Options::default() };
    assert!(module(&three, &named, java).contains(&home(&b)), "whoever is named wins");
    let named = Options { toolchain: Some("b".to_owned()), ..Options::default() };
    assert!(module(&three, &named, java).contains(&home(&b)), "for whatever it is able to do");
    assert!(module(&three, &named, cc).contains("lre-debian"), "and another for what it is not");
    let named = Options { java: Some("icc".to_owned()), ..Options::default() };
    let none = Unsuitable::NoSuch { name: "icc".to_owned(), language: "java" };
    assert_eq!(files(&three, &named), Err(none));
    a.name = "java".to_owned();
    let called = lock([debian, a.clone(), b]);
    assert!(module(&called, &plain, java).contains(&home(&a)), "one that is called like the language");
    let two = lock([gcc(), clang_tree()]);
    assert!(module(&two, &plain, cc).contains("lre-cc"), "one that is called like the language");
    assert_eq!(module(&lock([gcc()]), &plain, java), "", "a language that nobody has is left out");
}

/// Two machines must not differ in silence: whoever pins a policy has it in every platform.
#[test]
fn the_policy_of_the_lock_file_is_that_of_every_platform() {
    let mut lock = lock([gcc(), jdk_rootfs(), rust_tree(), codegen()]);
    for policy in Policy::ALL {
        lock.set_policy(policy);
        let made = files(&lock, &Options::default()).unwrap();
        let platforms: Vec<_> = made.values().filter(|text| text.contains("exec_properties = {")).collect();
        assert_eq!(platforms.len(), 4, "one for each language, and the tools");
        let said = format!("        \"lre-policy\": \"{policy}\",\n");
        assert!(platforms.iter().all(|text| text.contains(&said)), "{said}");
    }
}

#[test]
fn every_tool_of_the_order_of_the_platform_is_in_its_path() {
    let made = files(&lock([gcc(), jdk_tree(), codegen()]), &Options::default()).unwrap();
    let path = made["lre.bazelrc"].lines().find_map(|line| line.strip_prefix("build --action_env=PATH=")).unwrap();
    let folders: Vec<_> = path.split(':').collect();
    assert_eq!(folders[folders.len() - 2..], ["/usr/bin", "/bin"], "the root file system is last: {path}");
    for tree in [jdk_tree(), codegen()] {
        let mount = tree.toolchain().mount();
        assert!(folders.contains(&format!("{mount}/bin").as_str()), "{mount}: {path}");
    }
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
            // A name may be part of a word of ours, as `root` is of `rootfs`.
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let alone = |(at, found): (usize, &str)| {
                !content[..at].ends_with(word) && !content[at + found.len()..].starts_with(word)
            };
            assert!(!content.match_indices(&text).any(alone), "{path} contains `{text}`");
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
        let options = Options { toolchain: names.first().cloned(), ..Options::default() };
        prop_assert_eq!(files(&first, &options), files(&second, &options));
    }

    /// Any set of toolchains gives files or an error that says what to do, and the same for the same set.
    #[test]
    fn any_toolchains_in_any_order(picked in prop::collection::vec(0..8_usize, 0..6)) {
        let all = [gcc(), clang_tree(), everything(), jdk_tree(), jdk_rootfs(), rust_tree(), codegen(), nix_clang()];
        let named = |i: &usize| Locked { name: format!("t{i}"), ..all[*i].clone() };
        let (first, second) = (lock(picked.iter().map(named)), lock(picked.iter().rev().map(named)));
        let made = files(&first, &Options::default());
        prop_assert_eq!(&made, &files(&second, &Options::default()));
        let Ok(made) = made else { return Ok(()) };
        for (path, text) in &made {
            prop_assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{} ends oddly", path);
            // An action sees one root file system at most; trees may be several.
            for line in text.lines().filter(|line| line.contains("\"lre-rootfs\": ")) {
                prop_assert!(!line.trim_end_matches(',').contains(','), "{}: {}", path, line);
            }
        }
        // Every label of the flags is a target of the module.
        let flags = made["lre.bazelrc"].lines().filter(|line| !line.starts_with('#'));
        for label in flags.flat_map(|line| line.split("@local-remote-execution//").skip(1)) {
            let label = label.trim_end_matches(',');
            let (package, target) = label.split_once(':').unwrap();
            let build = &made[&format!("local-remote-execution/{package}/BUILD")];
            prop_assert!(build.contains(&format!("name = \"{target}\",")), "{}", label);
        }
    }
}
