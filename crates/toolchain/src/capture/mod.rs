//! Freezes the compilers of this machine into a rootfs tree: "captured, not rebuilt" (TOOLCHAINS 4).
//!
//! What belongs to a compiler is found by asking it, by watching what it opens when it builds small
//! programs, and by reading what programs and libraries say they load. Everything stands in the tree
//! where it stands on this machine. Works without network and without root; two captures of one
//! machine have one digest.
mod compiler;
mod elf;
mod gather;
mod loader;
mod probes;
pub(crate) mod programs;

use crate::error::ToolchainError;
use crate::import::Warning;
use crate::layout::{Entry, Layout};
use crate::progress::{Progress, Stage};
use crate::types::Family;
use compiler::Compiler;
use gather::{Contents, Gather, Led};
use loader::Loader;
use lre_model::RelPath;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Object files that the linker puts at the beginning and the end of programs.
const START_FILES: [&str; 8] = ["crt1.o", "Scrt1.o", "rcrt1.o", "gcrt1.o", "grcrt1.o", "Mcrt1.o", "crti.o", "crtn.o"];
/// Libraries of the C library and the compiler that programs link with.
const LIBRARIES: [&str; 25] = [
    "BrokenLocale",
    "anl",
    "atomic",
    "c",
    "c++",
    "c++abi",
    "c_nonshared",
    "crypt",
    "dl",
    "g",
    "gcc_s",
    "gomp",
    "m",
    "mcheck",
    "mvec",
    "nsl",
    "pthread",
    "pthread_nonshared",
    "quadmath",
    "resolv",
    "rt",
    "stdc++",
    "thread_db",
    "unwind",
    "util",
];
/// Loaded at run time by name, so that nothing says they are needed.
const LOADED_BY_NAME: [&str; 4] = ["libgcc_s.so.1", "libstdc++.so.6", "libnss_files.so.2", "libc++.so.1"];
/// Symlinks of a merged `/usr`; scripts and programs name things through them.
const MERGED: [&str; 6] = ["/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin"];
/// Most bytes of a linker script that are read. `libc.so` has 300; archives and libraries are larger.
const LINKER_SCRIPT_BYTES_MAX: u64 = 4096;

/// A toolchain of this machine, as a layout that can be imported.
#[derive(Debug)]
pub struct Captured {
    /// What stands where.
    pub layout: Layout,
    /// Role (`cc`, `c++`, `ar`, …) to path.
    pub tools: BTreeMap<String, String>,
    /// What a command gets where it does not set it itself.
    pub environment: BTreeMap<String, String>,
    /// What could not be had, or had to be changed.
    pub warnings: Vec<Warning>,
    /// The first line of the compiler's `--version`.
    pub version: String,
}

/// Captures the compiler at `compiler`, the shell, the tools that build actions call, and `also`: programs or
/// directories. Blocks, and runs the compiler some hundred times (about two seconds).
///
/// # Errors
/// There is no compiler, it cannot build a small program, a required tool is not there, or a file
/// cannot be read.
pub fn capture(compiler: &Path, also: &[PathBuf], progress: &dyn Progress) -> Result<Captured, ToolchainError> {
    let compiler = Compiler::ask(compiler)?;
    let mut gather = Gather::new(Loader::ask(interpreter_of(&compiler).as_deref()));
    let found = |gather: &Gather| progress.update(Stage::Finding, gather.layout.len() as u64, 0);
    add_merged(&mut gather)?;
    add_drivers(&mut gather, &compiler)?;
    found(&gather);
    add_headers(&mut gather, &compiler)?;
    found(&gather);
    add_libraries(&mut gather, &compiler)?;
    found(&gather);
    add_opened(&mut gather, &compiler)?;
    found(&gather);
    add_tools(&mut gather, &compiler, also)?;
    found(&gather);
    if compiler.cxx.is_none() {
        gather.warnings.push(Warning::Note(format!("{} has no C++ compiler beside it", compiler.cc.display())));
    }
    Ok(Captured {
        tools: roles(&compiler, &gather),
        environment: [("PATH".to_owned(), search_path(&compiler))].into(),
        version: compiler.version,
        layout: gather.layout,
        warnings: gather.warnings,
    })
}

/// The dynamic loader of the compiler, which knows where libraries are looked for.
fn interpreter_of(compiler: &Compiler) -> Option<PathBuf> {
    let real = fs::canonicalize(&compiler.cc).ok()?;
    elf::read(&real).ok()??.interpreter.map(PathBuf::from)
}

fn add_merged(gather: &mut Gather) -> Result<(), ToolchainError> {
    for path in MERGED {
        gather.path(Path::new(path))?;
    }
    Ok(())
}

/// The drivers, the programs they call, and the directories that belong to the compiler as a whole.
fn add_drivers(gather: &mut Gather, compiler: &Compiler) -> Result<(), ToolchainError> {
    for driver in &compiler.drivers {
        gather.program(driver)?;
    }
    // Builds call `cc` whatever the compiler's own name is; where this machine's `cc` is another
    // compiler, in the tree it is this one.
    for (name, driver) in [("cc", Some(&compiler.cc)), ("c++", compiler.cxx.as_ref())] {
        let path = RelPath::parse(&format!("usr/bin/{name}"))?;
        if let Some(target) = driver.and_then(|d| d.to_str())
            && gather.layout.get(&path).is_none()
        {
            gather.layout.insert(path, Entry::Symlink { target: target.to_owned() });
        }
    }
    let called = if compiler.family == Family::Gcc { programs::COMPILER_PROGRAMS } else { &[] };
    for name in called.iter().chain(programs::BINUTILS) {
        if let Some(program) = compiler.program(name) {
            gather.program(&program)?;
        }
    }
    let mut own = vec![compiler.program("cc1")];
    let libraries = ["crtbegin.o", "libgcc.a"].map(|file| compiler.file(file));
    let contents = match compiler.family {
        // Its programs and plugins lie there as well, or in a directory of their own.
        Family::Gcc => Contents::Programs,
        // These are a gcc's, whose programs it does not call.
        Family::Clang => {
            own = vec![Some(Path::new(compiler.stdout(&["-print-resource-dir"])?.trim()).join("include"))];
            Contents::Libraries
        }
    };
    for file in own.into_iter().chain(libraries).flatten() {
        if let Some(directory) = file.parent() {
            gather.directory(directory, contents)?;
        }
    }
    // `ar`, `nm` and `ranlib` read LTO objects with it.
    gather.program(Path::new("/usr/lib/bfd-plugins/liblto_plugin.so"))?;
    Ok(())
}

/// Every include directory that the compiler reports, whole: what is not in the tree does not exist
/// for a build, and which headers a project wants is not known here.
fn add_headers(gather: &mut Gather, compiler: &Compiler) -> Result<(), ToolchainError> {
    for (driver, language) in [(Some(&compiler.cc), "c"), (compiler.cxx.as_ref(), "c++")] {
        let Some(driver) = driver else { continue };
        let ran = compiler.run(driver, &["-E", "-v", "-x", language, "/dev/null"], Path::new("/"), &[])?;
        for directory in crate::introspect::include_directories(&ran.text) {
            gather.directory(Path::new(&directory), Contents::Data)?;
        }
    }
    Ok(())
}

fn add_libraries(gather: &mut Gather, compiler: &Compiler) -> Result<(), ToolchainError> {
    let names = START_FILES.iter().chain(&LOADED_BY_NAME).map(|n| (*n).to_owned());
    let libraries = LIBRARIES.iter().flat_map(|n| [format!("lib{n}.so"), format!("lib{n}.a")]);
    let mut left: Vec<_> = names.chain(libraries).filter_map(|name| compiler.file(&name)).collect();
    let mut directories = Vec::new();
    while let Some(path) = left.pop() {
        let Some(Led::File(real)) = gather.path(&path)? else { continue };
        if real.file_name().is_some_and(|n| n == "libc.so" || n == "libc.a") {
            directories.extend(real.parent().map(Path::to_owned));
        }
        gather.program(&path)?;
        for word in linker_script(&real) {
            let file = if word.starts_with('/') { Some(PathBuf::from(&word)) } else { compiler.file(&word) };
            left.extend(file.filter(|f| gather.layout_lacks(f)));
        }
    }
    // Loaded by the C library and by the linker when they are asked for something unusual.
    directories.dedup();
    for directory in directories {
        gather.directory(&directory.join("gconv"), Contents::Programs)?;
        gather.directory(&directory.join("ldscripts"), Contents::Data)?;
    }
    gather.directory(Path::new("/usr/lib/locale/C.utf8"), Contents::Data)?;
    Ok(())
}

/// The files that a linker script such as `libc.so` names: paths, and names that the compiler is asked
/// for. Nothing for a file that is none.
fn linker_script(path: &Path) -> Vec<String> {
    let small = fs::metadata(path).is_ok_and(|m| m.len() <= LINKER_SCRIPT_BYTES_MAX);
    let Some(text) = small.then(|| fs::read_to_string(path).ok()).flatten() else { return Vec::new() };
    let word = |w: &&str| w.contains(".so") || w.ends_with(".a");
    text.split(|c: char| c.is_whitespace() || "(),".contains(c)).filter(word).map(str::to_owned).collect()
}

fn add_opened(gather: &mut Gather, compiler: &Compiler) -> Result<(), ToolchainError> {
    for path in probes::opened(compiler)? {
        gather.program(&path)?;
    }
    Ok(())
}

fn add_tools(gather: &mut Gather, compiler: &Compiler, also: &[PathBuf]) -> Result<(), ToolchainError> {
    for name in programs::TOOLS {
        // Under /bin as well, where scripts look for it.
        let paths = [programs::find(name, None), Some(Path::new("/bin").join(name))];
        let mut there = false;
        for path in paths.into_iter().flatten() {
            there |= gather.program(&path)?;
        }
        if !there && programs::REQUIRED.contains(name) {
            return Err(ToolchainError::NotFound {
                what: format!("the program `{name}`"),
                hint: "install it where /usr/bin or /bin has it (Debian: apt install coreutils dash)".to_owned(),
            });
        }
    }
    for path in also {
        let is_there = match gather.path(path)? {
            Some(Led::File(_)) => gather.program(path)?,
            Some(Led::Directory(_)) => gather.directory(path, Contents::Programs)?,
            None => false,
        };
        if !is_there || !path.is_absolute() {
            let hint =
                format!("`--also` takes absolute paths of programs and directories beside {}", compiler.cc.display());
            return Err(ToolchainError::NotFound { what: path.display().to_string(), hint });
        }
    }
    Ok(())
}

/// Role to path, for what was captured.
fn roles(compiler: &Compiler, gather: &Gather) -> BTreeMap<String, String> {
    let mut roles = BTreeMap::new();
    let mut add = |role: &str, path: Option<PathBuf>| {
        if let Some(path) = path.filter(|p| !gather.layout_lacks(p))
            && let Some(path) = path.to_str()
        {
            roles.insert(role.to_owned(), path.to_owned());
        }
    };
    add("cc", Some(compiler.cc.clone()));
    add("c++", compiler.cxx.clone());
    let own = |name: &str| {
        let prefer =
            compiler.drivers.iter().filter(|d| d.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name)));
        prefer.min_by_key(|d| d.as_os_str().len()).cloned()
    };
    match compiler.family {
        Family::Gcc => {
            add("cpp", own("cpp"));
            add("gcov", own("gcov"));
        }
        Family::Clang => {
            add("cpp", own("clang-cpp"));
            add("llvm-cov", own("llvm-cov"));
            add("llvm-profdata", own("llvm-profdata"));
        }
    }
    for name in ["ar", "as", "dwp", "ld", "nm", "objcopy", "objdump", "ranlib", "strip"] {
        add(name, compiler.program(name));
    }
    for name in ["sh", "bash"] {
        add(name, Some(Path::new("/bin").join(name)));
    }
    roles
}

/// The documented `PATH`: the compiler's own directory, where it lies elsewhere, and the usual ones.
fn search_path(compiler: &Compiler) -> String {
    const USUAL: &str = "/usr/bin:/bin";
    match compiler.directory().to_str() {
        Some(own) if !USUAL.split(':').any(|d| d == own) => format!("{own}:{USUAL}"),
        _ => USUAL.to_owned(),
    }
}
