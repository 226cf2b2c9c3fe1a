//! Which C library a compiler compiles for.

/// From the macros that the headers leave, where a program that it linked wants its loader, and the triple.
///
/// musl says nothing of itself on purpose. Its headers mark each type that they define by a macro of their
/// own (`__DEFINED_size_t`), its loader has its name, and so have the triple and, where a wrapper makes a
/// compiler for glibc one for musl, the header directory.
pub(super) fn libc(macros: &str, triple: &str, loader: Option<&str>, include_directories: &[String]) -> String {
    let value = |name: &str| {
        macros
            .lines()
            .find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name)?.strip_prefix(' '))
            .map(str::trim)
    };
    // uClibc says that it is glibc too.
    for (name, libc) in [("__UCLIBC__", "uclibc"), ("__BIONIC__", "bionic"), ("_NEWLIB_VERSION", "newlib")] {
        if value(name).is_some() {
            return libc.to_owned();
        }
    }
    if let (Some(major), Some(minor)) = (value("__GLIBC__"), value("__GLIBC_MINOR__")) {
        return format!("glibc_{major}.{minor}");
    }
    let musl = macros.contains("#define __DEFINED_size_t")
        || triple.contains("musl")
        || loader.is_some_and(|l| l.contains("ld-musl"))
        || include_directories.iter().any(|d| d.contains("musl"));
    if musl { "musl" } else { "unknown" }.to_owned()
}

/// The triple of what comes out: a wrapper such as `musl-gcc` leaves the compiler's own, `-gnu`.
pub(super) fn triple(said: &str, libc: &str) -> String {
    // The last part is `gnu`, or `gnueabihf` and the like.
    match said.rsplit_once("-gnu") {
        Some((start, abi)) if libc == "musl" && !abi.contains('-') => format!("{start}-musl{abi}"),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_known_by_what_it_leaves() {
        let glibc = "#define __GLIBC__ 2\n#define __GLIBC_MINOR__ 36\n";
        let uclibc = "#define __GLIBC__ 2\n#define __GLIBC_MINOR__ 2\n#define __UCLIBC__ 1\n";
        let musl = "#define _FEATURES_H \n#define __DEFINED_size_t \n";
        let directory = ["/usr/include/x86_64-linux-musl".to_owned()];
        for (macros, triple, loader, directories, expected) in [
            (glibc, "x86_64-linux-gnu", Some("/lib64/ld-linux-x86-64.so.2"), &[][..], "glibc_2.36"),
            (uclibc, "x86_64-linux-uclibc", None, &[], "uclibc"),
            (musl, "x86_64-linux-gnu", None, &[], "musl"),
            ("", "x86_64-alpine-linux-musl", None, &[], "musl"),
            ("", "x86_64-linux-gnu", Some("/lib/ld-musl-x86_64.so.1"), &[], "musl"),
            ("", "x86_64-linux-gnu", None, &directory, "musl"),
            ("", "x86_64-none-elf", None, &[], "unknown"),
        ] {
            assert_eq!(libc(macros, triple, loader, directories), expected);
        }
        assert_eq!(triple("x86_64-linux-gnu", "musl"), "x86_64-linux-musl");
        assert_eq!(triple("x86_64-linux-gnu", "glibc_2.36"), "x86_64-linux-gnu");
        assert_eq!(triple("armv7-linux-gnueabihf", "musl"), "armv7-linux-musleabihf");
        assert_eq!(triple("armv7-linux-gnueabihf", "glibc_2.36"), "armv7-linux-gnueabihf");
    }
}
