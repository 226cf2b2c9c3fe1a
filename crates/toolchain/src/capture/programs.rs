//! Names of the programs that a captured toolchain has, where this machine has them.
use std::path::{Path, PathBuf};

/// Where programs are looked for, besides the compiler's own directory. Not the user's `PATH`: two
/// users of one machine must capture the same toolchain.
const DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// What compilers call and builds call beside them.
pub(crate) const BINUTILS: &[&str] = &[
    "addr2line",
    "ar",
    "as",
    "c++filt",
    "dwp",
    "elfedit",
    "gold",
    "ld",
    "ld.bfd",
    "ld.gold",
    "nm",
    "objcopy",
    "objdump",
    "ranlib",
    "readelf",
    "size",
    "strings",
    "strip",
];

/// The programs of the compiler itself that it is asked for (`-print-prog-name`).
pub(crate) const COMPILER_PROGRAMS: &[&str] = &["cc1", "cc1plus", "collect2", "lto1", "lto-wrapper"];

/// Without these no build action runs.
pub(crate) const REQUIRED: &[&str] = &["sh", "env", "cat", "cp", "mkdir", "rm"];

/// What build actions and test runners call. Nothing here brings an interpreter beside the shells.
pub(crate) const TOOLS: &[&str] = &[
    // Shells.
    "sh",
    "bash",
    "dash",
    // coreutils.
    "[",
    "arch",
    "b2sum",
    "base32",
    "base64",
    "basename",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cksum",
    "comm",
    "cp",
    "csplit",
    "cut",
    "date",
    "dd",
    "df",
    "dir",
    "dirname",
    "du",
    "echo",
    "env",
    "expand",
    "expr",
    "factor",
    "false",
    "fmt",
    "fold",
    "groups",
    "head",
    "hostid",
    "id",
    "install",
    "join",
    "link",
    "ln",
    "logname",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nl",
    "nohup",
    "nproc",
    "numfmt",
    "od",
    "paste",
    "pathchk",
    "pr",
    "printenv",
    "printf",
    "ptx",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "seq",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shred",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "stdbuf",
    "stty",
    "sum",
    "sync",
    "tac",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "tty",
    "uname",
    "unexpand",
    "uniq",
    "unlink",
    "users",
    "vdir",
    "wc",
    "whoami",
    "yes",
    // The rest of what POSIX makes people expect, and archives.
    "awk",
    "bzip2",
    "bunzip2",
    "cmp",
    "diff",
    "diff3",
    "egrep",
    "fgrep",
    "find",
    "gawk",
    "getconf",
    "grep",
    "gunzip",
    "gzip",
    "hostname",
    "make",
    "mawk",
    "patch",
    "sdiff",
    "sed",
    "tar",
    "unxz",
    "which",
    "xargs",
    "xz",
    "zcat",
];

/// The first place where a program of this name is: beside the compiler, then where systems keep them.
pub(crate) fn find(name: &str, beside: Option<&Path>) -> Option<PathBuf> {
    let directories = beside.into_iter().chain(DIRECTORIES.iter().map(Path::new));
    directories.map(|d| d.join(name)).find(|p| p.is_file())
}

/// The names under which the other programs of a compiler go, from the name of one of its drivers:
/// `x86_64-linux-gnu-gcc-12` has `x86_64-linux-gnu-g++-12`, `clang-14` has `clang++-14`.
pub(crate) fn siblings(driver: &str) -> Vec<String> {
    const FAMILIES: [(&str, &[&str]); 2] = [
        (
            "clang",
            &[
                "clang",
                "clang++",
                "clang-cpp",
                "llvm-ar",
                "llvm-nm",
                "llvm-ranlib",
                "llvm-objcopy",
                "llvm-strip",
                "llvm-cov",
                "llvm-profdata",
                "llvm-dwp",
                "lld",
                "ld.lld",
            ],
        ),
        ("gcc", &["gcc", "g++", "cpp", "gcov", "gcc-ar", "gcc-nm", "gcc-ranlib", "gcov-tool", "gcov-dump"]),
    ];
    let generic = ["cc", "c++", "cpp"].map(str::to_owned);
    for (family, names) in FAMILIES {
        // The C++ driver may have been given.
        let plus = names[1];
        let found = driver.rfind(plus).map(|at| (at, plus)).or_else(|| driver.rfind(family).map(|at| (at, family)));
        if let Some((at, own)) = found {
            let (prefix, suffix) = (&driver[..at], &driver[at + own.len()..]);
            return names.iter().map(|name| format!("{prefix}{name}{suffix}")).chain(generic).collect();
        }
    }
    generic.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_keep_prefix_and_version() {
        for (driver, other) in [
            ("gcc", "g++"),
            ("x86_64-linux-gnu-gcc-12", "x86_64-linux-gnu-g++-12"),
            ("g++-12", "gcc-12"),
            ("clang-14", "clang++-14"),
            ("clang++", "clang"),
            ("cc", "c++"),
        ] {
            assert!(siblings(driver).contains(&other.to_owned()), "{driver}: {:?}", siblings(driver));
        }
    }

    #[test]
    fn programs_are_found_beside_the_compiler_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sh"), "").unwrap();
        assert_eq!(find("sh", Some(dir.path())), Some(dir.path().join("sh")));
        assert!(find("sh", None).is_some_and(|p| p.is_absolute()));
        assert_eq!(find("no-such-program", None), None);
    }
}
