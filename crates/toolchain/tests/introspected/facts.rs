//! What is found out about toolchains that work.
use crate::trees::{Tree, Trees};
use lre_toolchain::{CcFacts, Facts, Family};

const LLVM: [(&str, &str); 3] = [
    ("cc", "/usr/lib/llvm-14/bin/clang"),
    ("c++", "/usr/lib/llvm-14/bin/clang++"),
    ("ar", "/usr/lib/llvm-14/bin/llvm-ar"),
];
const MUSL: [(&str, &str); 2] = [("cc", "/usr/bin/musl-gcc"), ("ar", "/usr/bin/ar")];
const JVM: &str = "/usr/lib/jvm/java-17-openjdk-amd64";

/// Everything that Debian's headers for C++ and its GNU linkers are.
const LIBSTDCXX: [&str; 4] = [
    "usr/include/c++",
    "usr/include/x86_64-linux-gnu/c++",
    "usr/lib/gcc/x86_64-linux-gnu/12/libstdc++.a",
    "usr/lib/gcc/x86_64-linux-gnu/12/libstdc++.so",
];
const GNU_LD: [&str; 8] = [
    "usr/bin/ld",
    "usr/bin/ld.bfd",
    "usr/bin/ld.gold",
    "usr/bin/gold",
    "usr/bin/x86_64-linux-gnu-ld",
    "usr/bin/x86_64-linux-gnu-ld.bfd",
    "usr/bin/x86_64-linux-gnu-ld.gold",
    "usr/bin/x86_64-linux-gnu-gold",
];

fn cc(facts: Facts) -> CcFacts {
    let cc = facts.cc.expect("it compiles C");
    println!("  {cc:?}");
    for directory in cc.c_include_directories.iter().chain(&cc.cxx_include_directories) {
        assert!(directory.starts_with('/') && !directory.contains(".."), "{directory}");
    }
    assert!(cc.compile_flags.contains(&"-ffile-prefix-map=/lre/exec=.".to_owned()));
    assert!(cc.link_flags.contains(&"-Wl,--build-id=none".to_owned()));
    cc
}

/// One tree for three languages: each is asked, at the same time, within five seconds.
pub async fn gcc_with_java_and_rust(trees: &Trees) {
    let tools = [
        ("cc", "/usr/bin/gcc"),
        ("c++", "/usr/bin/g++"),
        ("ar", "/usr/bin/ar"),
        ("java", "/usr/bin/java"),
        ("javac", "/usr/bin/javac"),
        ("rustc", "/usr/bin/rustc"),
    ];
    // As Debian's `update-alternatives` does it.
    let tree = Tree::of("toolchains-all", &tools)
        .with_symlink("etc/alternatives/java", &format!("{JVM}/bin/java"))
        .with_symlink("usr/bin/java", "/etc/alternatives/java")
        .with_symlink("usr/bin/javac", "../lib/jvm/java-1.17.0-openjdk-amd64/bin/javac");
    let facts = trees.facts(tree).await;
    let java = facts.java.clone().expect("it runs Java");
    assert_eq!((java.feature, java.home.as_str(), java.compiles), (17, JVM, true));
    assert!(java.version.starts_with("17.0.") && java.vendor == "Debian", "{java:?}");
    let rust = facts.rust.clone().expect("it compiles Rust");
    let host = "x86_64-unknown-linux-gnu";
    assert_eq!((rust.version.as_str(), rust.host.as_str(), rust.sysroot.as_str()), ("1.63.0", host, "/usr"));
    // 1.63 knows 2024 by name and refuses it.
    assert_eq!((rust.edition.as_str(), rust.targets.as_slice()), ("2021", &[host.to_owned()][..]));
    assert_eq!(rust.linker.as_deref(), Some("/usr/bin/gcc"));
    let cc = cc(facts);
    assert_eq!((cc.family, cc.triple.as_str(), cc.libc.as_str()), (Family::Gcc, "x86_64-linux-gnu", "glibc_2.36"));
    assert!(cc.linker.starts_with("GNU ld"), "{}", cc.linker);
    assert_eq!(cc.cxx_link_libraries, ["-lstdc++", "-lm"]);
    assert_eq!(cc.cxx_flags, ["-std=c++17"]);
    assert!(cc.compile_flags.contains(&"-fno-canonical-system-headers".to_owned()));
    assert!(!cc.start_end_lib && !cc.static_only);
}

/// Of the linkers of GNU, the one that takes objects as if they were in an archive.
pub async fn gcc_with_gold(trees: &Trees) {
    let wrapper = "#!/bin/sh\nexec /usr/bin/gcc -fuse-ld=gold \"$@\"\n";
    let tree = Tree::of("toolchains-all", &[]).without(&["usr/lib/jvm", "usr/lib/rustlib"]);
    let tree = tree.with("usr/bin/cc", wrapper).tool("cc", "/usr/bin/cc").tool("c++", "/usr/bin/g++");
    let cc = cc(trees.facts(tree).await);
    assert!(cc.linker.starts_with("GNU gold") && cc.start_end_lib, "{}", cc.linker);
}

pub async fn clang_as_it_comes(trees: &Trees) {
    let cc = cc(trees.facts(Tree::of("llvm", &LLVM)).await);
    assert_eq!((cc.family, cc.triple.as_str()), (Family::Clang, "x86_64-pc-linux-gnu"));
    assert!(cc.version.contains("clang version 14.0.6") && cc.linker.starts_with("GNU ld"), "{}", cc.linker);
    assert_eq!((cc.libc.as_str(), &cc.cxx_link_libraries[0]), ("glibc_2.36", &"-lstdc++".to_owned()));
    assert!(cc.c_include_directories[0].ends_with("/clang/14.0.6/include"), "its resource directory comes first");
    assert!(!cc.compile_flags.contains(&"-fno-canonical-system-headers".to_owned()), "only gcc takes this");
}

pub async fn clang_behind_a_wrapper_with_libcxx_and_lld(trees: &Trees) {
    let wrapper = |driver: &str| {
        format!("#!/bin/sh\nexec /usr/lib/llvm-14/bin/{driver} -stdlib=libc++ -fuse-ld=lld -Qunused-arguments \"$@\"\n")
    };
    let tree = Tree::of("llvm", &[])
        .with("usr/bin/cc", &wrapper("clang"))
        .with("usr/bin/c++", &wrapper("clang++"))
        .tool("cc", "/usr/bin/cc")
        .tool("c++", "/usr/bin/c++");
    let cc = cc(trees.facts(tree).await);
    assert_eq!(cc.family, Family::Clang);
    assert!(cc.linker.contains("LLD 14") && cc.start_end_lib, "{}", cc.linker);
    assert_eq!(cc.cxx_link_libraries[0], "-lc++");
    assert!(cc.cxx_include_directories[0].ends_with("/include/c++/v1"), "{:?}", cc.cxx_include_directories);
    assert_eq!(cc.cxx_flags, ["-std=c++17"], "the wrapper says the rest");
}

/// The flags without which nothing works are found, and are among the facts.
pub async fn clang_where_only_libcxx_and_lld_are_there(trees: &Trees) {
    let tree = Tree::of("llvm", &LLVM).without(&LIBSTDCXX).without(&GNU_LD);
    let cc = cc(trees.facts(tree).await);
    assert_eq!(cc.cxx_flags, ["-stdlib=libc++", "-std=c++17"]);
    assert_eq!(cc.link_flags[0], "-fuse-ld=lld");
    assert!(cc.linker.contains("LLD 14") && cc.start_end_lib);
    assert_eq!(cc.cxx_link_libraries[0], "-lc++");
    assert!(!cc.static_only);
}

/// Where libc++ comes without the linker script that names its run-time part.
pub async fn clang_with_libcxx_that_needs_its_abi(trees: &Trees) {
    let tree = Tree::of("llvm", &LLVM).without(&LIBSTDCXX);
    let script = "usr/lib/llvm-14/lib/libc++.so";
    let cc = cc(trees.facts(tree.without(&[script]).with_symlink(script, "libc++.so.1")).await);
    assert_eq!(cc.cxx_link_libraries, ["-lc++", "-lc++abi", "-lm"]);
}

/// Clang takes what it compiles for from its arguments; Debian has no C++ library for musl.
pub async fn clang_for_musl(trees: &Trees) {
    let wrapper = "#!/bin/sh\nexec /usr/lib/llvm-14/bin/clang --target=x86_64-linux-musl -nostdlibinc \
        -isystem /usr/include/x86_64-linux-musl -B/usr/lib/x86_64-linux-musl -L/usr/lib/x86_64-linux-musl -static \
        -fuse-ld=lld -Qunused-arguments \"$@\"\n";
    let tree = Tree::of("llvm", &[]).and("musl", &["usr/include/x86_64-linux-musl", "usr/lib/x86_64-linux-musl"]);
    let cc = cc(trees.facts(tree.with("opt/cc", wrapper).tool("cc", "/opt/cc")).await);
    assert_eq!((cc.family, cc.libc.as_str(), cc.triple.as_str()), (Family::Clang, "musl", "x86_64-unknown-linux-musl"));
    assert!(cc.c_include_directories.contains(&"/usr/include/x86_64-linux-musl".to_owned()));
    assert!(cc.static_only, "the wrapper says -static, and so nothing is shared");
}

pub async fn clang_for_c_only(trees: &Trees) {
    let tree = Tree::of("llvm", &LLVM).without(&LIBSTDCXX).without(&["usr/lib/llvm-14/include/c++"]);
    let cc = cc(trees.facts(tree).await);
    assert!(cc.cxx_include_directories.is_empty() && cc.cxx_flags.is_empty() && cc.cxx_link_libraries.is_empty());
}

pub async fn musl_gcc(trees: &Trees) {
    let cc = cc(trees.facts(Tree::of("musl", &MUSL)).await);
    // The wrapper leaves the compiler's own triple; what comes out is for musl.
    assert_eq!((cc.family, cc.libc.as_str(), cc.triple.as_str()), (Family::Gcc, "musl", "x86_64-linux-musl"));
    assert_eq!(cc.c_include_directories[0], "/usr/include/x86_64-linux-musl");
    assert!(!cc.static_only && cc.cxx_include_directories.is_empty());
}

pub async fn musl_without_its_loader_links_statically(trees: &Trees) {
    let tree = Tree::of("musl", &MUSL).without(&["lib/ld-musl-x86_64.so.1", "usr/lib/ld-musl-x86_64.so.1"]);
    let cc = cc(trees.facts(tree).await);
    assert!(cc.static_only && cc.link_flags[0] == "-static");
    assert_eq!(cc.libc, "musl");
}

/// It compiles; another toolchain of the platform has to link.
pub async fn rust_without_a_linker(trees: &Trees) {
    let facts = trees
        .facts(Tree::of("toolchains-all", &[("rustc", "/usr/bin/rustc")]).without(&["usr/bin/x86_64-linux-gnu-gcc-12"]))
        .await;
    let rust = facts.rust.expect("it compiles Rust");
    assert_eq!((rust.linker, rust.edition.as_str()), (None, "2021"));
    assert_eq!(facts.cc, None);
}

pub async fn a_java_runtime(trees: &Trees) {
    let tree = Tree::of("toolchains-all", &[]).without(&[&format!("{JVM}/bin/javac")[1..]]);
    let facts = trees.facts(tree.tool("java", &format!("{JVM}/bin/java"))).await;
    let java = facts.java.expect("it runs Java");
    assert_eq!((java.feature, java.compiles, java.home.as_str()), (17, false, JVM));
}
