//! What a C and C++ toolchain is like: asked inside the sandbox, with only the tree mounted
//! (TOOLCHAINS 5). What is generated for clients is made of these facts, never of the machine's.
use crate::types::Family;
use crate::{CcFacts, Toolchain, ToolchainError};
use async_trait::async_trait;
use std::io;

/// What a command in the sandbox did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probed {
    /// Its exit code.
    pub exit_code: i32,
    /// All it wrote to stdout.
    pub stdout: Vec<u8>,
    /// All it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl Probed {
    fn ok(&self) -> bool {
        self.exit_code == 0
    }

    /// stdout, then stderr.
    fn text(&self) -> String {
        [String::from_utf8_lossy(&self.stdout), String::from_utf8_lossy(&self.stderr)].concat()
    }
}

/// Runs commands with the toolchain mounted and nothing else of the host.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Runs `arguments` in a directory that holds the files `inputs` (name and content), with the
    /// toolchain's environment. A command that fails is no error.
    async fn probe(&self, arguments: &[String], inputs: &[(&str, &str)]) -> io::Result<Probed>;
}

/// `-fno-canonical-system-headers` and `-no-canonical-prefixes`: no real paths where symlinks were
/// written. `-ffile-prefix-map`: the exec root is the same everywhere, but a local rebuild has another.
const COMPILE_FLAGS: [&str; 8] = [
    "-no-canonical-prefixes",
    "-fno-canonical-system-headers",
    "-Wall",
    "-fstack-protector",
    "-fno-omit-frame-pointer",
    "-Wno-builtin-macro-redefined",
    "-ffile-prefix-map=/lre/exec=.",
    "-gno-record-gcc-switches",
];
const CXX_FLAGS: [&str; 1] = ["-std=c++17"];
/// No build id: it is a hash over the output, which is named by its digest anyway.
const LINK_FLAGS: [&str; 4] =
    ["-no-canonical-prefixes", "-Wl,-z,relro,-z,now", "-Wl,--build-id=none", "-Wl,--hash-style=gnu"];
const START_END_LIB: [&str; 1] = ["-Wl,--start-lib,--end-lib"];

const C: (&str, &str) = ("probe.c", "int main(void) { return 0; }\n");
const CXX: (&str, &str) = ("probe.cc", "#include <iostream>\nint main() { std::cout << 1; }\n");
const LIBC: (&str, &str) = ("libc.c", "#include <limits.h>\n");

/// Asks a toolchain what it is like. About fifteen commands.
///
/// # Errors
/// It has no C compiler, the compiler is neither gcc nor clang or does not work, or the sandbox failed.
pub async fn introspect(prober: &dyn Prober, toolchain: &Toolchain) -> Result<CcFacts, ToolchainError> {
    let cc = toolchain.tools.get("cc").ok_or_else(|| ToolchainError::NotFound {
        what: format!("a C compiler in the toolchain `{}`", toolchain.name),
        hint: format!("add one that has it: lre toolchain add {} --from capture:/usr/bin/cc", toolchain.name),
    })?;
    let ask = Ask { prober, cc, cxx: toolchain.tools.get("c++") };
    let said = ask.cc(&["--version"], &[]).await?;
    let version = first_line(&said);
    let family = Family::of_version(&said).ok_or_else(|| ask.failed("it is neither gcc nor clang", &said))?;
    let triple = ask.cc(&["-dumpmachine"], &[]).await?.trim().to_owned();
    let macros = ask.cc(&["-dM", "-E", LIBC.0], &[LIBC]).await?;
    let linker = ask.run(cc, &["-Wl,--version"], &[]).await?.text();
    // A compiler that cannot build this would have every flag refused for the wrong reason.
    let plain = ask.builds(cc, C, &[]).await?;
    if let Err(said) = plain {
        return Err(ask.failed("it cannot build a small C program", &said));
    }
    let cxx_include_directories = match ask.cxx {
        Some(cxx) => ask.include_directories(cxx, "c++", CXX).await?,
        None => Vec::new(),
    };
    let standard_library =
        if cxx_include_directories.iter().any(|d| d.ends_with("c++/v1")) { "-lc++" } else { "-lstdc++" };
    let libraries = [standard_library.to_owned(), "-lm".to_owned()];
    Ok(CcFacts {
        family,
        version,
        libc: libc(&macros, &triple),
        triple,
        linker: linker.lines().find(|l| l.contains("ld") || l.contains("LLD")).unwrap_or_default().trim().to_owned(),
        c_include_directories: ask.include_directories(cc, "c", C).await?,
        compile_flags: ask.accepted(cc, C, &COMPILE_FLAGS, &["-c"]).await?,
        cxx_flags: match ask.cxx {
            Some(cxx) => ask.accepted(cxx, CXX, &CXX_FLAGS, &["-c"]).await?,
            None => Vec::new(),
        },
        link_flags: ask.accepted(cc, C, &LINK_FLAGS, &[]).await?,
        cxx_link_libraries: if ask.cxx.is_some() { libraries.into() } else { Vec::new() },
        start_end_lib: !ask.accepted(cc, C, &START_END_LIB, &[]).await?.is_empty(),
        cxx_include_directories,
    })
}

struct Ask<'a> {
    prober: &'a dyn Prober,
    cc: &'a String,
    cxx: Option<&'a String>,
}

impl Ask<'_> {
    async fn run(&self, program: &str, arguments: &[&str], inputs: &[(&str, &str)]) -> Result<Probed, ToolchainError> {
        let arguments: Vec<_> = [program].into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect();
        let probed = self.prober.probe(&arguments, inputs).await;
        probed.map_err(|e| self.failed("the sandbox failed", &e.to_string()))
    }

    /// What the C driver says; an error where it fails.
    async fn cc(&self, arguments: &[&str], inputs: &[(&str, &str)]) -> Result<String, ToolchainError> {
        let probed = self.run(self.cc, arguments, inputs).await?;
        if probed.ok() { Ok(probed.text()) } else { Err(self.failed(&arguments.join(" "), &probed.text())) }
    }

    async fn include_directories(
        &self,
        driver: &str,
        language: &str,
        source: (&str, &str),
    ) -> Result<Vec<String>, ToolchainError> {
        // The output of the preprocessor goes to /dev/null, as the list is on stderr.
        let arguments = ["-E", "-v", "-x", language, source.0, "-o", "/dev/null"];
        let probed = self.run(driver, &arguments, &[source]).await?;
        let found = include_directories(&probed.text());
        if found.is_empty() { Err(self.failed("it lists no include directories", &probed.text())) } else { Ok(found) }
    }

    /// Builds `source`; what the compiler said where it fails.
    async fn builds(
        &self,
        driver: &str,
        source: (&str, &str),
        flags: &[&str],
    ) -> Result<Result<(), String>, ToolchainError> {
        let arguments: Vec<_> =
            ["-Werror", source.0, "-o", "/tmp/probe"].into_iter().chain(flags.iter().copied()).collect();
        let probed = self.run(driver, &arguments, &[source]).await?;
        Ok(if probed.ok() { Ok(()) } else { Err(probed.text()) })
    }

    /// Those of `flags` that the compiler takes: all together, as is the rule, or one by one.
    async fn accepted(
        &self,
        driver: &str,
        source: (&str, &str),
        flags: &[&str],
        with: &[&str],
    ) -> Result<Vec<String>, ToolchainError> {
        if self.builds(driver, source, &[with, flags].concat()).await?.is_ok() {
            return Ok(flags.iter().map(|f| (*f).to_owned()).collect());
        }
        let mut accepted = Vec::new();
        for flag in flags {
            if self.builds(driver, source, &[with, &[*flag]].concat()).await?.is_ok() {
                accepted.push((*flag).to_owned());
            }
        }
        Ok(accepted)
    }

    fn failed(&self, problem: &str, said: &str) -> ToolchainError {
        let said: Vec<_> = said.trim().lines().take(5).collect();
        ToolchainError::Compiler { compiler: self.cc.clone(), problem: format!("{problem}: {}", said.join(" | ")) }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// From the macros that a header of the C library leaves.
fn libc(macros: &str, triple: &str) -> String {
    let value = |name: &str| {
        macros
            .lines()
            .find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name)?.strip_prefix(' '))
            .map(str::trim)
    };
    match (value("__GLIBC__"), value("__GLIBC_MINOR__")) {
        (Some(major), Some(minor)) => format!("glibc_{major}.{minor}"),
        _ if triple.ends_with("musl") => "musl".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// The include directories that `-E -v` lists, normalised, in order, each once.
pub(crate) fn include_directories(said: &str) -> Vec<String> {
    let after = said.split_once("#include <...> search starts here:").map_or("", |(_, after)| after);
    let listed = after.split_once("End of search list").map_or(after, |(listed, _)| listed);
    let mut directories = Vec::new();
    for line in listed.lines() {
        // clang on some systems adds ` (framework directory)`.
        let line = line.trim().split(" (").next().unwrap_or_default();
        let directory = normalise(line);
        if directory.starts_with('/') && !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// Resolves `.` and `..` in the text alone.
fn normalise(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    if path.starts_with('/') { format!("/{}", segments.join("/")) } else { segments.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn include_directories_are_normalised_and_unique() {
        let said = "ignoring duplicate\n#include \"...\" search starts here:\n#include <...> search starts here:\n \
            /usr/bin/../lib/gcc/x/12/../../../../include/c++/12\n /usr/include/c++/12\n /usr/include (framework directory)\n\
            End of search list.\n /not/this\n";
        assert_eq!(include_directories(said), ["/usr/include/c++/12", "/usr/include"]);
        assert_eq!(include_directories("nothing"), Vec::<String>::new());
    }

    #[test]
    fn the_c_library_is_known_by_its_macros() {
        let glibc = "#define __GLIBC__ 2\n#define __GLIBC_MINOR__ 36\n";
        for (macros, triple, expected) in [
            (glibc, "x86_64-linux-gnu", "glibc_2.36"),
            ("", "x86_64-linux-musl", "musl"),
            ("", "x86_64-none", "unknown"),
        ] {
            assert_eq!(libc(macros, triple), expected);
        }
    }
}
