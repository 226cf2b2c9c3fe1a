//! C and C++: which compiler, which libraries, and which flags it takes. Some ten commands, as many of
//! them at a time as do not need each other; more only where the first answer is no.
mod build;
mod libc;

use super::lab::{Failure, Lab};
use super::probe::{Input, Probed};
use super::said::{Absent, absent, absent_directories, include_directories};
use crate::types::Family;
use crate::{CcFacts, ToolchainError};
use build::{Builder, Library};
use futures::future::{try_join, try_join4};

/// `-fno-canonical-system-headers` and `-no-canonical-prefixes`: no real paths where symlinks were
/// written. `-ffile-prefix-map`: the exec root is the same everywhere, but a local rebuild has another.
const COMPILE_FLAGS: [&str; 6] = [
    "-no-canonical-prefixes",
    "-Wall",
    "-fstack-protector",
    "-fno-omit-frame-pointer",
    "-Wno-builtin-macro-redefined",
    "-ffile-prefix-map=/lre/exec=.",
];
/// What only gcc knows.
const GCC_COMPILE_FLAGS: [&str; 2] = ["-fno-canonical-system-headers", "-gno-record-gcc-switches"];
const CXX_FLAGS: [&str; 1] = ["-std=c++17"];
/// No build id: it is a hash over the output, which is named by its digest anyway.
const LINK_FLAGS: [&str; 4] =
    ["-no-canonical-prefixes", "-Wl,-z,relro,-z,now", "-Wl,--build-id=none", "-Wl,--hash-style=gnu"];
/// For a clang whose own choice, libstdc++, is not in the tree.
const USE_LIBCXX: &str = "-stdlib=libc++";

const MACROS_C: &str = "#include <limits.h>\n#include <stdlib.h>\n";
const MACROS_CXX: &str = "#include <cstddef>\n";

/// Asks a toolchain that has a C compiler what it is like; nothing where it has none.
pub(super) async fn introspect(lab: &Lab<'_>) -> Result<Option<CcFacts>, ToolchainError> {
    let Some(cc) = lab.tool("cc") else { return Ok(None) };
    let (asked, cxx) = try_join(Asked::of(lab, cc), Cxx::of(lab)).await?;
    let builder = Builder { lab, cc, searched: &asked.absent_directories };
    let compile: Vec<&str> = match asked.family {
        Family::Gcc => COMPILE_FLAGS.into_iter().chain(GCC_COMPILE_FLAGS).collect(),
        Family::Clang => COMPILE_FLAGS.into(),
    };
    let ((c, link_flags), object) = try_join(builder.link_c(&compile, &LINK_FLAGS), async {
        let Some(cxx) = &cxx else { return Ok(None) };
        let candidates: Vec<&str> = compile.iter().copied().chain(CXX_FLAGS).collect();
        builder.compile_cxx(&cxx.required, &candidates).await.map(Some)
    })
    .await?;
    let (linker, (start_end_lib, static_only), (), cxx_link_libraries) = try_join4(
        builder.linker(&link_flags),
        try_join(builder.start_end_lib(&link_flags), builder.static_only(&link_flags)),
        builder.archive(&c),
        async {
            match (&cxx, &object) {
                (Some(cxx), Some(object)) => builder.link_cxx(object, &link_flags, cxx.library).await,
                _ => Ok(Vec::new()),
            }
        },
    )
    .await?;
    let libc = libc::libc(&asked.macros, &asked.triple, c.loader().as_deref(), &asked.include_directories);
    let required = cxx.iter().flat_map(|c| &c.required).map(|f| (*f).to_owned());
    Ok(Some(CcFacts {
        family: asked.family,
        version: asked.version,
        triple: libc::triple(&asked.triple, &libc),
        libc,
        linker,
        c_include_directories: asked.include_directories,
        compile_flags: c.kept(&compile),
        cxx_flags: required.chain(object.map_or(Vec::new(), |o| o.kept(&CXX_FLAGS))).collect(),
        link_flags,
        cxx_link_libraries,
        start_end_lib,
        static_only,
        cxx_include_directories: cxx.map_or(Vec::new(), |c| c.include_directories),
    }))
}

/// What the C driver says of itself.
struct Asked {
    family: Family,
    version: String,
    triple: String,
    macros: String,
    include_directories: Vec<String>,
    absent_directories: Vec<String>,
}

impl Asked {
    async fn of(lab: &Lab<'_>, cc: &str) -> Result<Self, ToolchainError> {
        let (version, macros) = try_join(
            lab.run(&[cc, "--version"], Vec::new(), &[]),
            lab.run(&[cc, "-v", "-E", "-dM", "-x", "c", "macros.c"], vec![Input::text("macros.c", MACROS_C)], &[]),
        )
        .await?;
        if !version.ok() {
            return Err(lab.refused(Failure::of(cc, "say its version", &version)).await);
        }
        let (told, verbose) = (macros.stdout(), macros.stderr());
        let said = version.text();
        // A wrapper may call itself what it likes; the macros are the compiler's.
        let family = match () {
            () if told.contains("#define __clang__ ") => Some(Family::Clang),
            () if told.contains("#define __GNUC__ ") => Some(Family::Gcc),
            () => Family::of_version(&said),
        };
        let first_line = said.lines().next().unwrap_or_default().trim().to_owned();
        let Some(family) = family else {
            let problem = format!("`{cc}` is neither gcc nor clang");
            return Err(lab.unfit(problem, None, Some(first_line)));
        };
        let absent_directories = noteworthy(absent_directories(&verbose));
        if !macros.ok() {
            let doing = "preprocess a header of the C library";
            return Err(lab
                .refused(Failure { searched: &absent_directories, ..Failure::of(cc, doing, &macros) })
                .await);
        }
        Ok(Self {
            family,
            version: first_line,
            triple: target(&verbose).ok_or_else(|| lab.unfit(format!("`{cc}` names no target"), None, None))?,
            macros: told,
            include_directories: include_directories(&verbose),
            absent_directories,
        })
    }
}

/// What a toolchain does for C++.
struct Cxx {
    /// Without these there are no headers.
    required: Vec<&'static str>,
    include_directories: Vec<String>,
    library: Library,
}

impl Cxx {
    /// Nothing where the toolchain is for C only: it has no driver for C++; or it is clang, which always has
    /// the driver, without a library behind it. A g++ without headers is no g++.
    async fn of(lab: &Lab<'_>) -> Result<Option<Self>, ToolchainError> {
        let Some(cxx) = lab.tool("c++") else { return Ok(None) };
        let plain = Self::ask(lab, cxx, &[]).await?;
        if plain.ok() {
            return Ok(Some(Self::said(&plain, Vec::new())));
        }
        let verbose = plain.stderr();
        let lacks_library = matches!(absent(&verbose), Some(Absent::Header(header)) if header == "cstddef");
        if lacks_library && verbose.contains("clang") {
            let libcxx = Self::ask(lab, cxx, &[USE_LIBCXX]).await?;
            if !libcxx.ok() {
                tracing::info!(toolchain = lab.toolchain.name, "for C only: its clang finds no headers of C++");
            }
            return Ok(libcxx.ok().then(|| Self::said(&libcxx, vec![USE_LIBCXX])));
        }
        let searched = noteworthy(absent_directories(&verbose));
        let failure = Failure::of(cxx, "preprocess a header of the C++ library", &plain);
        Err(lab.refused(Failure { searched: &searched, ..failure }).await)
    }

    async fn ask(lab: &Lab<'_>, cxx: &str, flags: &[&str]) -> Result<Probed, ToolchainError> {
        let arguments = [&[cxx, "-v", "-E", "-dM", "-x", "c++", "macros.cc"], flags].concat();
        lab.run(&arguments, vec![Input::text("macros.cc", MACROS_CXX)], &[]).await
    }

    fn said(probed: &Probed, required: Vec<&'static str>) -> Self {
        let is_libcxx = probed.stdout().contains("#define _LIBCPP_VERSION ");
        Self {
            required,
            include_directories: include_directories(&probed.stderr()),
            library: if is_libcxx { Library::LibCxx } else { Library::LibStdCxx },
        }
    }
}

/// From `Target: x86_64-linux-gnu`.
fn target(verbose: &str) -> Option<String> {
    verbose.lines().find_map(|line| line.strip_prefix("Target: ")).map(|t| t.trim().to_owned())
}

/// Directories that are absent from most trees say nothing of this one.
fn noteworthy(mut absent: Vec<String>) -> Vec<String> {
    absent.retain(|d| d != "/include" && !d.starts_with("/usr/local/"));
    absent
}
