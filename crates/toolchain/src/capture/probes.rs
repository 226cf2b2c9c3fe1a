//! Compiles small programs and watches what is opened: headers (`-H`), inputs of the linker
//! (`--trace`), programs called (`-v`), libraries and plugins loaded (`LD_DEBUG`).
use super::compiler::Compiler;
use crate::error::{ToolchainError, io_at};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// One probe: a program in C or C++ and how it is built.
struct Probe {
    source: &'static str,
    arguments: &'static [&'static str],
    /// Whether a failure matters: static libraries and LTO need not be there.
    required: bool,
}

const C: &str = "hello.c";
const CXX: &str = "hello.cc";
const PROBES: [Probe; 9] = [
    Probe { source: C, arguments: &[], required: true },
    Probe { source: C, arguments: &["-static"], required: false },
    Probe { source: C, arguments: &["-O2", "-g", "-fPIC", "-shared"], required: true },
    Probe { source: C, arguments: &["-flto"], required: false },
    Probe { source: C, arguments: &["-fopenmp"], required: false },
    Probe { source: CXX, arguments: &[], required: true },
    Probe { source: CXX, arguments: &["-static"], required: false },
    Probe {
        source: CXX,
        arguments: &["-std=c++17", "-O2", "-pthread", "-static-libstdc++", "-static-libgcc"],
        required: false,
    },
    Probe { source: CXX, arguments: &["--coverage"], required: false },
];

const C_PROGRAM: &str = "#include <math.h>\n#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n\
    int main(int argc, char **argv) { (void)argv; printf(\"%f\\n\", sqrt(argc)); return 0; }\n";
const CXX_PROGRAM: &str = "#include <algorithm>\n#include <iostream>\n#include <map>\n#include <string>\n#include <thread>\n\
    int main() { std::map<std::string, int> m{{\"a\", 1}}; std::thread t([&] { std::cout << m.size() << \"\\n\"; }); t.join(); }\n";

/// Every file of this machine that was opened.
pub(crate) fn opened(compiler: &Compiler) -> Result<BTreeSet<PathBuf>, ToolchainError> {
    let directory = tempfile::tempdir().map_err(io_at("make a temporary directory", &std::env::temp_dir()))?;
    let at = directory.path();
    for (name, text) in [(C, C_PROGRAM), (CXX, CXX_PROGRAM)] {
        fs::write(at.join(name), text).map_err(io_at("write the file", &at.join(name)))?;
    }
    let mut opened = BTreeSet::new();
    for probe in &PROBES {
        let driver = match (probe.source, &compiler.cxx) {
            (C, _) => &compiler.cc,
            (_, Some(cxx)) => cxx,
            (_, None) => continue,
        };
        let mut arguments = vec!["-v", "-H", "-Wl,--trace", probe.source, "-o", "out"];
        arguments.extend(probe.arguments);
        if probe.source == C {
            arguments.push("-lm");
        }
        let loads = at.join("loads").to_string_lossy().into_owned();
        let environment = [("LD_DEBUG", "files".to_owned()), ("LD_DEBUG_OUTPUT", loads)];
        let ran = compiler.run(driver, &arguments, at, &environment)?;
        if !ran.ok && probe.required {
            let last: Vec<_> = ran.text.lines().rev().take(5).collect();
            return Err(ToolchainError::Compiler {
                compiler: driver.display().to_string(),
                problem: format!(
                    "it cannot build a small program ({} {}): {}",
                    probe.source,
                    probe.arguments.join(" "),
                    last.into_iter().rev().collect::<Vec<_>>().join(" | ")
                ),
            });
        }
        if ran.ok {
            opened.extend(paths_in(&ran.text));
        }
    }
    for entry in fs::read_dir(at).map_err(io_at("list the directory", at))? {
        let path = entry.map_err(io_at("list the directory", at))?.path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("loads.")) {
            let text = fs::read(&path).map_err(io_at("read the file", &path))?;
            opened.extend(loaded_in(&String::from_utf8_lossy(&text)));
        }
    }
    opened.retain(|path| !path.starts_with(at) && path.is_file());
    Ok(opened)
}

/// The absolute paths that stand at the beginning of a word, where a line is no more than a listing.
/// An archive's member, `/usr/lib/libc.a(printf.o)`, is the archive.
fn paths_in(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().filter_map(|line| {
        // `-H` puts dots before a header, one for each level.
        let word = line.trim_start_matches('.').split_whitespace().next()?;
        let word = word.trim_start_matches('(').split(['(', ')']).next()?;
        word.starts_with('/').then(|| PathBuf::from(word))
    })
}

/// Lines such as `4711: calling init: /lib/x86_64-linux-gnu/libz.so.1`.
fn loaded_in(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once("calling init: "))
        .map(|(_, path)| PathBuf::from(path.trim()))
        // The linker and `ar` try every plugin that lies there, whomever it belongs to.
        .filter(|path| path.is_absolute() && !path.to_string_lossy().contains("bfd-plugins"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_read() {
        let text = "Using built-in specs.\n /usr/lib/gcc/cc1 -v hello.c\n. /usr/include/stdio.h\n.. /usr/include/bits/a.h\n\
            /usr/bin/ld: mode elf_x86_64\n/usr/lib/libc.a(printf.o)\n(/usr/lib/libm.a)s_sin.o\nas -v --64\n";
        let found: Vec<_> = paths_in(text).collect();
        let expected = [
            "/usr/lib/gcc/cc1",
            "/usr/include/stdio.h",
            "/usr/include/bits/a.h",
            "/usr/bin/ld:",
            "/usr/lib/libc.a",
            "/usr/lib/libm.a",
        ];
        assert_eq!(found, expected.map(PathBuf::from), "what is no file is dropped by the caller");
        let text = "  7:\tfile=libz.so.1 [0];  needed by cc1 [0]\n  7:\tcalling init: /lib/libz.so.1\n 7:\tcalling init: /usr/lib/bfd-plugins/x.so\n";
        assert_eq!(loaded_in(text).collect::<Vec<_>>(), [PathBuf::from("/lib/libz.so.1")]);
    }
}
