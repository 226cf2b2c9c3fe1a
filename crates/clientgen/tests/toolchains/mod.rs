//! Lock entries as introspection writes them.
use lre_model::{Digest, DigestFunction};
use lre_toolchain::{CcFacts, CustomFacts, Facts, Family, JavaFacts, Kind, Locked, RustFacts, Toolchain};
use std::collections::BTreeMap;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn toolchain(name: &str, kind: Kind, source: &str, tools: &[(&str, &str)]) -> Toolchain {
    let digest = Digest::of(DigestFunction::Sha256, source.as_bytes());
    let environment = BTreeMap::new();
    let (name, source) = (name.to_owned(), source.to_owned());
    Toolchain { name, kind, digest, environment, tools: pairs(tools), source, recipe: Vec::new() }
}

const GCC_TOOLS: [(&str, &str); 13] = [
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
];

fn gcc_facts() -> CcFacts {
    CcFacts {
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
        static_only: false,
    }
}

fn jdk_facts(home: String) -> JavaFacts {
    JavaFacts { feature: 17, version: "17.0.11".to_owned(), vendor: "Debian".to_owned(), home, compiles: true }
}

fn rust_facts(sysroot: String, linker: Option<&str>) -> RustFacts {
    RustFacts {
        version: "1.63.0".to_owned(),
        host: "x86_64-unknown-linux-gnu".to_owned(),
        targets: owned(&["wasm32-unknown-unknown", "x86_64-unknown-linux-gnu"]),
        sysroot,
        edition: "2021".to_owned(),
        linker: linker.map(str::to_owned),
    }
}

/// What capture makes of a Debian machine.
pub fn gcc() -> Locked {
    let toolchain = toolchain("cc", Kind::Rootfs, "capture:/usr/bin/cc", &GCC_TOOLS);
    Locked::new(&toolchain, Facts { cc: Some(gcc_facts()), ..Facts::default() })
}

pub fn clang_tree() -> Locked {
    let mut toolchain = toolchain("clang", Kind::Tree, "dir:/opt/clang", &[]);
    toolchain.digest = Digest::of(DigestFunction::Blake3, b"clang");
    let bin = format!("{}/bin", toolchain.mount());
    toolchain.environment = pairs(&[("PATH", &bin)]);
    toolchain.tools = ["ar", "bash", "cc", "c++", "ld"].map(|t| (t.to_owned(), format!("{bin}/{t}"))).into();
    let facts = clang_facts(&toolchain.mount(), "aarch64-linux-musl");
    Locked::new(&toolchain, Facts { cc: Some(facts), ..Facts::default() })
}

fn clang_facts(root: &str, triple: &str) -> CcFacts {
    CcFacts {
        family: Family::Clang,
        version: "clang version 18.1.3".to_owned(),
        triple: triple.to_owned(),
        libc: "musl".to_owned(),
        linker: "LLD 18.1.3".to_owned(),
        c_include_directories: vec![format!("{root}/include")],
        cxx_include_directories: vec![format!("{root}/include/c++/v1")],
        compile_flags: owned(&["-Wall"]),
        cxx_flags: Vec::new(),
        link_flags: Vec::new(),
        cxx_link_libraries: owned(&["-lc++", "-lm"]),
        start_end_lib: true,
        static_only: triple.contains("musl"),
    }
}

/// One Debian root file system with a compiler for C, a JDK and rustc.
pub fn everything() -> Locked {
    let java = "/usr/lib/jvm/java-17-openjdk-amd64";
    let mut toolchain = toolchain("debian", Kind::Rootfs, "deb:g++,openjdk-17-jdk-headless,rustc", &GCC_TOOLS);
    toolchain.tools.extend(pairs(&[
        ("java", "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"),
        ("javac", "/usr/lib/jvm/java-17-openjdk-amd64/bin/javac"),
        ("rustc", "/usr/bin/rustc"),
    ]));
    let facts = Facts {
        cc: Some(gcc_facts()),
        java: Some(jdk_facts(java.to_owned())),
        rust: Some(rust_facts("/usr".to_owned(), Some("/usr/bin/cc"))),
        custom: None,
    };
    Locked::new(&toolchain, facts)
}

pub fn jdk_tree() -> Locked {
    let mut toolchain = toolchain("java", Kind::Tree, "archive:jdk-17.tar.gz", &[]);
    let mount = toolchain.mount();
    toolchain.tools = pairs(&[("java", &format!("{mount}/bin/java")), ("javac", &format!("{mount}/bin/javac"))]);
    Locked::new(&toolchain, Facts { java: Some(jdk_facts(mount)), ..Facts::default() })
}

/// An OCI image with a JDK, which says what its programs want to have as environment.
pub fn jdk_rootfs() -> Locked {
    let home = "/opt/java/openjdk";
    let tools = [("bash", "/bin/bash"), ("java", "/opt/java/openjdk/bin/java"), ("sh", "/bin/sh")];
    let mut toolchain = toolchain("java", Kind::Rootfs, "oci:registry.example/jdk@sha256:00", &tools);
    toolchain.environment = pairs(&[("JAVA_HOME", home), ("PATH", "/opt/java/openjdk/bin:/usr/bin:/bin")]);
    Locked::new(&toolchain, Facts { java: Some(jdk_facts(home.to_owned())), ..Facts::default() })
}

/// Without a linker of its own.
pub fn rust_tree() -> Locked {
    let mut toolchain = toolchain("rust", Kind::Tree, "archive:rust-1.63.0.tar.xz", &[]);
    let mount = toolchain.mount();
    toolchain.tools = pairs(&[("rustc", &format!("{mount}/bin/rustc"))]);
    Locked::new(&toolchain, Facts { rust: Some(rust_facts(mount, None)), ..Facts::default() })
}

/// A code generator that a manifest describes.
pub fn codegen() -> Locked {
    let mut toolchain = toolchain("codegen", Kind::Tree, "dir:/opt/codegen", &[]);
    let mount = toolchain.mount();
    let facts = CustomFacts {
        version: "codegen 1.4".to_owned(),
        tools: pairs(&[("gen", &format!("{mount}/bin/gen")), ("lint", &format!("{mount}/bin/lint"))]),
        environment: pairs(&[("CODEGEN_HOME", &mount)]),
    };
    toolchain.tools = facts.tools.clone();
    Locked::new(&toolchain, Facts { custom: Some(facts), ..Facts::default() })
}

pub fn nix_clang() -> Locked {
    let mut toolchain = toolchain("nix", Kind::Nix, "nix:/nix/store/abc-lre-cc", &[]);
    let bin = "/nix/store/abc-clang/bin";
    toolchain.environment = pairs(&[("PATH", &format!("{bin}:/nix/store/def-coreutils/bin"))]);
    toolchain.tools = pairs(&[("ar", "/nix/store/ghi-binutils/bin/ar"), ("cc", &format!("{bin}/cc"))]);
    let facts = clang_facts("/nix/store/abc-clang", "x86_64-unknown-linux-gnu");
    Locked::new(&toolchain, Facts { cc: Some(facts), ..Facts::default() })
}
