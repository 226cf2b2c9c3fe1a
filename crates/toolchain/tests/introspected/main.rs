//! Toolchains that we did not make, in a real sandbox that has nothing else: what is found out about them is so, and
//! what is wrong with them is named by its path (issue 3, item 3 and "Bad input").
//!
//! Not a libtest program: called with `launcher` it is the launcher, which must have one thread. An argument chooses
//! tests by a part of their name.
mod broken;
mod described;
mod facts;
#[path = "../captured/sandbox.rs"]
mod sandbox;
mod trees;

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;
use trees::Trees;

type Test = for<'t> fn(&'t Trees) -> Pin<Box<dyn Future<Output = ()> + 't>>;

macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), |trees| Box::pin($module::$name(trees)))),*]
    };
}

const TESTS: &[(&str, Test)] = tests![
    facts::gcc_with_java_and_rust,
    facts::gcc_with_gold,
    facts::clang_as_it_comes,
    facts::clang_behind_a_wrapper_with_libcxx_and_lld,
    facts::clang_where_only_libcxx_and_lld_are_there,
    facts::clang_with_libcxx_that_needs_its_abi,
    facts::clang_for_c_only,
    facts::clang_for_musl,
    facts::musl_gcc,
    facts::musl_without_its_loader_links_statically,
    facts::rust_without_a_linker,
    facts::a_java_runtime,
    broken::no_compiler_at_all,
    broken::headers_that_are_elsewhere,
    broken::a_linker_script_that_leaves_the_tree,
    broken::programs_and_libraries_that_are_not_there,
    broken::tools_that_do_not_start,
    broken::a_tree_that_wants_to_be_the_root,
    described::a_code_generator,
    described::what_is_not_so,
];

fn main() {
    let chosen = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    if chosen.as_deref() == Some("launcher") {
        lre_sandbox::launcher::main();
    }
    let missing: Vec<_> = lre_sandbox::check().into_iter().filter(|f| !f.ok).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: this machine cannot make sandboxes: {missing:#?}");
        let must_work = ["LRE_KERNEL_MUST_WORK", "CI"].into_iter().any(|v| std::env::var_os(v).is_some());
        std::process::exit(i32::from(must_work));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let trees = Trees::new();
    let named = |name: &str| chosen.as_ref().is_none_or(|part| name.contains(part));
    for (name, test) in TESTS.iter().filter(|(name, _)| named(name)) {
        println!("test {name} ...");
        let start = Instant::now();
        runtime.block_on(test(&trees));
        println!("test {name} ... ok ({:.1?})", start.elapsed());
    }
}
