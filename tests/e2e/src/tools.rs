//! A toolchain of a shell and a few tools: what a test needs that compiles nothing.
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The programs, by their names in `/bin` of this machine.
const PROGRAMS: &[&str] = &["sh", "cat", "env", "ls", "mkdir", "rm", "sleep", "touch"];

/// Copies the programs and the shared libraries that they load into `root`, ready for `--from dir:`.
pub fn few(root: &Path) -> Result<()> {
    let bin = root.join("bin");
    fs::create_dir_all(&bin)?;
    for name in PROGRAMS {
        let program = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let program = program.iter().find(|path| path.exists()).with_context(|| format!("no program {name}"))?;
        fs::copy(program, bin.join(name))?;
        for library in libraries(program)? {
            let to = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().context("a library is in a folder")?)?;
            fs::copy(&library, to)?;
        }
    }
    Ok(())
}

/// What `ldd` finds: `libc.so.6 => /lib/libc.so.6 (0x...)`, and the loader, `/lib64/ld-linux.so (0x...)`.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output().context("ldd is needed")?;
    let text = String::from_utf8(output.stdout)?;
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(str::to_owned).collect())
}
