//! How zig compiles and links, as it says itself (`ZIG_VERBOSE_CC`, `ZIG_VERBOSE_LINK`): one line for each command.
//! Nothing of it is known here beforehand, so a newer zig with other directories or macros freezes as well.

/// What zig did to make a program of one C and one C++ file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) c: Compile,
    pub(super) cxx: Compile,
    /// Start file and libraries, in the order in which they were linked; paths as zig wrote them.
    pub(super) libraries: Vec<String>,
}

/// How one language is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compile {
    /// Below the release, in the order in which they are searched.
    pub(super) include: Vec<String>,
    /// `NAME` or `NAME=VALUE`.
    pub(super) define: Vec<String>,
}

/// Of the release's own: code of a user is not compiled without assertions.
const NOT_KEPT: [&str; 1] = ["NDEBUG"];

/// What the compiler inside of zig is told in any case.
///
/// A fixed processor, no directories of the machine, nothing in the output that names the compiler or the build.
const ALWAYS: [&str; 10] = [
    "--target=x86_64-linux-musl",
    "-march=x86-64",
    "-nostdinc",
    "-nostdlib",
    "-fno-ident",
    "-no-canonical-prefixes",
    "-Wno-unused-command-line-argument",
    "-fuse-ld=lld",
    "-Wl,--build-id=none",
    "-Wl,-z,relro,-z,now",
];

impl Commands {
    pub(super) fn parse(said: &str) -> Result<Self, String> {
        let compile = |source: &str| {
            let line = said.lines().find(|line| line.contains(&format!("zig clang {source} ")));
            let line = line.ok_or_else(|| format!("zig did not say how it compiles {source}"))?;
            let compile = Compile::parse(line);
            if compile.include.is_empty() {
                Err(format!("zig names no headers for {source}: {line:.200}"))
            } else {
                Ok(compile)
            }
        };
        let link = said.lines().rev().find(|line| line.starts_with("ld.lld ") && line.contains("libc.a"));
        let link = link.ok_or("zig did not say how it links a program")?;
        let is_library = |word: &&str| word.ends_with(".a") || word.ends_with("/crt1.o");
        let libraries: Vec<String> = link.split(' ').filter(is_library).map(str::to_owned).collect();
        Ok(Self { c: compile("driver.c")?, cxx: compile("anchor.cc")?, libraries })
    }

    /// What is added where a program is linked; `$` puts it behind what the user has.
    pub(super) fn program_configuration(&self, directory: &str) -> String {
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let (start, libraries): (Vec<_>, Vec<_>) = self.libraries.iter().map(name).partition(|n| n.ends_with(".o"));
        let mut lines = vec!["-static".to_owned(), "$-Wl,-z,stack-size=8388608".to_owned()];
        lines.extend(start.iter().map(|name| format!("$<CFGDIR>/../{directory}/{name}")));
        lines.push("$-Wl,--start-group".to_owned());
        lines.extend(libraries.iter().map(|name| format!("$<CFGDIR>/../{directory}/{name}")));
        lines.push("$-Wl,--end-group".to_owned());
        lines.join("\n") + "\n"
    }
}

impl Compile {
    fn parse(line: &str) -> Self {
        let mut compile = Self { include: Vec::new(), define: Vec::new() };
        let mut words = line.split(' ');
        while let Some(word) = words.next() {
            if word == "-isystem" {
                // `/lre/toolchains/<hash>/lib/libcxx/include`: what is below the release begins with `lib/`.
                let below = words.next().and_then(|path| path.find("/lib/").map(|at| path[at + 1..].to_owned()));
                compile.include.extend(below);
            } else if let Some(define) = word.strip_prefix("-D").filter(|d| !NOT_KEPT.contains(d)) {
                compile.define.push(define.to_owned());
            }
        }
        compile
    }

    /// A configuration file of clang, for `bin`.
    pub(super) fn configuration(&self) -> String {
        let mut lines: Vec<String> = ALWAYS.iter().map(|flag| (*flag).to_owned()).collect();
        lines.extend(self.define.iter().map(|define| format!("-D{define}")));
        lines.extend(self.include.iter().map(|directory| format!("-isystem <CFGDIR>/../{directory}")));
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of zig 0.17.1, shortened.
    const SAID: &str = "/t/zig clang /t/lib/libcxx/src/new.cpp --no-default-config -O2\n\
        ar rcs out/cache/o/1/libc++.a out/cache/o/2/new.o\n\
        ld.lld -r -o out/cache/o/3/crt1.o out/cache/o/4/crt1.o\n\
        /t/zig clang driver.c --no-default-config -target x -nostdinc -DNDEBUG -isystem /t/lib/include -isystem /t/lib/libc/include/generic-musl -O2\n\
        /t/zig clang anchor.cc -nostdinc -isystem /t/lib/libcxx/include -D_LIBCPP_ABI_VERSION=1 -D_LIBCPP_HAS_LOCALIZATION -isystem /t/lib/include -O2\n\
        ld.lld --gc-sections -o out/driver out/cache/o/3/crt1.o out/cache/o/5/driver.o -L/ out/cache/o/1/libc++.a out/cache/o/6/libc.a\n";

    #[test]
    fn what_zig_says_becomes_configuration() {
        let commands = Commands::parse(SAID).unwrap();
        assert_eq!(commands.c.include, ["lib/include", "lib/libc/include/generic-musl"]);
        assert_eq!(commands.c.define, Vec::<String>::new());
        assert_eq!(commands.cxx.include, ["lib/libcxx/include", "lib/include"]);
        assert_eq!(commands.libraries, ["out/cache/o/3/crt1.o", "out/cache/o/1/libc++.a", "out/cache/o/6/libc.a"]);
        let text = commands.cxx.configuration();
        assert!(text.contains(
            "-D_LIBCPP_ABI_VERSION=1\n-D_LIBCPP_HAS_LOCALIZATION\n-isystem <CFGDIR>/../lib/libcxx/include\n"
        ));
        let text = commands.program_configuration("lib/frozen");
        assert!(
            text.contains("$<CFGDIR>/../lib/frozen/crt1.o\n$-Wl,--start-group\n$<CFGDIR>/../lib/frozen/libc++.a\n"),
            "{text}"
        );
    }

    #[test]
    fn a_zig_that_says_something_else_is_an_error() {
        for (without, says) in
            [("driver.c", "driver.c"), ("anchor.cc", "anchor.cc"), ("libc.a", "links"), ("-isystem", "headers")]
        {
            let refused = Commands::parse(&SAID.replace(without, "?")).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
