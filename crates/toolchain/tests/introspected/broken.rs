//! Toolchains that cannot be used: what they want is named by its path, and so is what to do.
use crate::trees::{Tree, Trees};
use lre_toolchain::Kind;

const CC: [(&str, &str); 2] = [("cc", "/usr/bin/gcc"), ("ar", "/usr/bin/ar")];
const INCLUDE: &str = "usr/include";

/// Debian's gcc and its C library.
fn gcc(tools: &[(&str, &str)]) -> Tree {
    let others = [
        "usr/bin/rustc",
        "usr/include/c++",
        "usr/lib/gcc/x86_64-linux-gnu/12/cc1plus",
        "usr/lib/jvm",
        "usr/lib/rustlib",
        "usr/lib/x86_64-linux-gnu/libLLVM-14.so.1",
        "usr/lib/x86_64-linux-gnu/libicudata.so.72.1",
        "usr/lib/x86_64-linux-gnu/libz3.so.4",
        "usr/lib/x86_64-linux-gnu/librustc_driver-4c3beb7552356b6f.so",
    ];
    Tree::of("toolchains-all", tools).without(&others)
}

pub async fn no_compiler_at_all(trees: &Trees) {
    let unfit = trees.refusal(Tree::empty().with("usr/bin/make", "#!/bin/sh\n").tool("sh", "/bin/sh")).await;
    for text in ["cc, gcc, clang", "javac", "rustc", "only sh"] {
        assert!(unfit.problem.contains(text), "{text}: {unfit}");
    }
    assert!(unfit.hint.contains("usr/bin") && unfit.hint.contains("manifest"), "{}", unfit.hint);
}

/// Hard-coded in a wrapper, and included by a header that is there.
pub async fn headers_that_are_elsewhere(trees: &Trees) {
    let tree = gcc(&CC).with(&format!("{INCLUDE}/stdlib.h"), "#include </opt/other/include/stdlib.h>\n");
    let unfit = trees.refusal(tree).await;
    assert_eq!(unfit.wants.as_deref(), Some("/opt/other/include/stdlib.h"), "{unfit}");
    assert!(unfit.problem.contains("`/usr/bin/gcc`") && unfit.hint.contains("lre toolchain add t --from dir:/opt/t"));
    // A compiler that was moved: where it looks, there is nothing.
    let wrapper = "#!/bin/sh\nexec /usr/bin/gcc -nostdinc -isystem /opt/other/include \"$@\"\n";
    let tree = gcc(&[]).with("opt/cc", wrapper).tool("cc", "/opt/cc");
    let unfit = trees.refusal(tree).await;
    assert!(unfit.problem.contains("`/opt/other/include`"), "{unfit}");
    // All headers of the C library.
    let unfit = trees.refusal(gcc(&CC).without(&[&format!("{INCLUDE}/stdlib.h")])).await;
    assert_eq!(unfit.wants.as_deref(), Some("stdlib.h"), "{unfit}");
}

pub async fn a_linker_script_that_leaves_the_tree(trees: &Trees) {
    let script =
        "OUTPUT_FORMAT(elf64-x86-64)\nGROUP ( /lib/x86_64-linux-gnu/libc.so.6 /opt/other/lib/libc_nonshared.a )\n";
    let tree = || gcc(&CC).without(&["usr/lib/x86_64-linux-gnu/libc.a"]);
    let unfit = trees.refusal(tree().with("usr/lib/x86_64-linux-gnu/libc.so", script)).await;
    assert_eq!(unfit.wants.as_deref(), Some("/opt/other/lib/libc_nonshared.a"), "{unfit}");
    // The name is there and leads out of the tree.
    let unfit = trees
        .refusal(
            tree()
                .without(&["usr/lib/x86_64-linux-gnu/libc_nonshared.a"])
                .with_symlink("usr/lib/x86_64-linux-gnu/libc_nonshared.a", "/opt/other/lib/libc_nonshared.a"),
        )
        .await;
    assert_eq!(unfit.wants.as_deref(), Some("/opt/other/lib/libc_nonshared.a"), "{unfit}");
    assert!(unfit.problem.contains("by way of `/usr/lib/x86_64-linux-gnu/libc_nonshared.a`"), "{unfit}");
}

pub async fn programs_and_libraries_that_are_not_there(trees: &Trees) {
    let proper = "usr/lib/gcc/x86_64-linux-gnu/12";
    for (gone, wants) in [
        (format!("{proper}/cc1"), "cc1"),
        ("usr/lib/x86_64-linux-gnu/crt1.o".to_owned(), "crt1.o"),
        (format!("{proper}/libgcc.a"), "-lgcc"),
        ("usr/lib/x86_64-linux-gnu/libmpfr.so.6".to_owned(), "libmpfr.so.6"),
        ("usr/bin/x86_64-linux-gnu-ar".to_owned(), "/usr/bin/x86_64-linux-gnu-ar"),
        ("usr/bin/x86_64-linux-gnu-gcc-12".to_owned(), "/usr/bin/x86_64-linux-gnu-gcc-12"),
    ] {
        let mut tree = gcc(&CC).without(&[&gone]);
        if gone.ends_with("crt1.o") {
            // Position-independent programs begin with another.
            tree = tree.without(&["usr/lib/x86_64-linux-gnu/Scrt1.o"]);
        }
        let unfit = trees.refusal(tree).await;
        let wanted = unfit.wants.as_deref().unwrap_or_default();
        assert!(wanted.ends_with(wants), "{gone}: {wanted}: {unfit}");
        assert!(unfit.said.is_some() || wants.starts_with('/'), "what the tool says is passed on: {unfit}");
    }
}

pub async fn tools_that_do_not_start(trees: &Trees) {
    let wrapped = || gcc(&[("cc", "/usr/bin/cc")]);
    let wrapper = "#!/opt/shell/bin/sh\nexec /usr/bin/gcc \"$@\"\n";
    let unfit = trees.refusal(wrapped().with("usr/bin/cc", wrapper)).await;
    assert_eq!(unfit.wants.as_deref(), Some("/opt/shell/bin/sh"), "{unfit}");
    let wrapper = "#!/bin/sh\nexec /opt/other/bin/gcc \"$@\"\n";
    let unfit = trees.refusal(wrapped().with("usr/bin/cc", wrapper)).await;
    assert_eq!(unfit.wants.as_deref(), Some("/opt/other/bin/gcc"), "{unfit}");
    let unfit = trees.refusal(wrapped().with_symlink("usr/bin/cc", "/etc/alternatives/cc")).await;
    assert_eq!(unfit.wants.as_deref(), Some("/etc/alternatives/cc"), "{unfit}");
    let unfit = trees.refusal(wrapped().with("usr/bin/cc", "exec gcc\n")).await;
    assert!(unfit.problem.contains("`/usr/bin/cc` is not executable") && unfit.hint.contains("chmod"), "{unfit}");
}

/// The loader of its programs is `/lib64/ld-linux-x86-64.so.2`, and a tree is at another place.
pub async fn a_tree_that_wants_to_be_the_root(trees: &Trees) {
    let unfit = trees.refusal(gcc(&[("cc", "/usr/bin/gcc")]).kind(Kind::Tree)).await;
    assert_eq!(unfit.wants.as_deref(), Some("/lib64/ld-linux-x86-64.so.2"), "{unfit}");
    assert!(unfit.hint.contains("--kind rootfs"), "{}", unfit.hint);
}
