//! `lre cc`: real projects, built by CMake, ninja and make on a machine that has no compiler.
use lre_e2e::makers::{Done, Makers, compiles, count};
use lre_e2e::serve::{PATIENCE, said};
use lre_e2e::{binary, projects};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SAMPLE: &str = "sample1_unittest";

fn googletest(makers: &Makers) -> impl Fn(&Path) -> anyhow::Result<()> {
    let sources = makers.root().path().join("usr/src/googletest/googletest");
    move |into| projects::copy(&sources, into)
}

fn append(path: &Path, text: &str) {
    let present = fs::read_to_string(path).unwrap();
    fs::write(path, present + text).unwrap();
}

/// Everything was found, and nothing was refused.
fn all_hits(done: &[Done]) {
    let others: Vec<_> = done.iter().filter(|one| one.outcome != "hit").collect();
    assert!(others.is_empty() && !done.is_empty(), "{others:?}");
}

/// One machine for all, since to freeze its compiler takes longer than most of this.
#[test]
fn projects_of_cmake_and_make() {
    let makers = Makers::new().unwrap();
    a_project_of_cmake(&makers);
    let made = a_project_of_make(&makers);
    headers(&makers, &made);
    refusals(&makers, &made);
    bad_input(&makers, &made);
    interrupted(makers, &made);
}

/// GoogleTest with CMake: cold; then from another home, checkout, build directory and builder; then after changes.
fn a_project_of_cmake(makers: &Makers) {
    let first = makers.project("first", "cmake", googletest(makers)).unwrap();
    let configure = |person: &str, at: &Path, build: &str, more: &[&str]| {
        let mut arguments = vec!["-S", ".", "-B", build, "--toolchain", "lre.cmake", "-Dgtest_build_samples=ON"];
        arguments.extend(more);
        makers.must(person, at, "cmake", &arguments).unwrap()
    };
    let build = |person: &str, at: &Path, build: &str| {
        makers.run(person, at, "cmake", &["--build", build, "-j4", "--target", SAMPLE]).unwrap()
    };
    configure("ann", &first, "build", &["-G", "Ninja"]);
    let probes = makers.done("ann").unwrap();
    assert!(probes.iter().any(|one| one.what == "local" && one.reason == "it compiles and links"), "{probes:?}");
    let output = build("ann", &first, "build");
    assert!(output.status.success(), "{}", said(&output));
    let cold = makers.done("ann").unwrap();
    assert_eq!(count(&cold, "compile", "ran"), 4, "{cold:?}");
    assert!(cold.iter().any(|one| one.reason == "it links"), "{cold:?}");
    let tested = Command::new(first.join("build").join(SAMPLE)).output().unwrap();
    assert!(said(&tested).contains("[  PASSED  ] 6 tests."), "{}", said(&tested));

    // Everything is elsewhere, the builder is another, and there is a launcher besides.
    let second = makers.project("elsewhere/their checkout", "cmake", googletest(makers)).unwrap();
    let outside = makers.home.path().join("work/b 2");
    let launcher = ["-G", "Unix Makefiles", "-DCMAKE_CXX_COMPILER_LAUNCHER=lre;cc"];
    configure("bob", &second, outside.to_str().unwrap(), &launcher);
    makers.done("bob").unwrap();
    let output = build("bob", &second, outside.to_str().unwrap());
    assert!(output.status.success(), "{}", said(&output));
    let warm = makers.done("bob").unwrap();
    all_hits(&warm);
    assert_eq!(compiles(&warm), compiles(&cold), "the same actions");
    // Nobody's path is in what was made.
    let object = fs::read(outside.join("CMakeFiles/gtest.dir/src/gtest-all.cc.o")).unwrap();
    let named = |path: &Path| object.windows(path.as_os_str().len()).any(|w| w == path.as_os_str().as_encoded_bytes());
    assert!(!named(&first) && !named(&second) && !named(&outside));
    // Nothing to do: the lists of dependencies name files that are there.
    let output = build("bob", &second, outside.to_str().unwrap());
    assert!(output.status.success() && makers.done("bob").unwrap().is_empty(), "{}", said(&output));

    // A header that two files read.
    append(&first.join("samples/sample1.h"), "\n// changed\n");
    let output = build("ann", &first, "build");
    assert!(output.status.success(), "{}", said(&output));
    let changed: Vec<_> = compiles(&makers.done("ann").unwrap()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(changed, ["sample1.cc", "sample1_unittest.cc"]);
    // In an empty build directory the others are hits.
    configure("ann", &first, "again", &["-G", "Ninja"]);
    makers.done("ann").unwrap();
    append(&first.join("samples/sample1.h"), "\n// changed once more\n");
    assert!(build("ann", &first, "again").status.success());
    let done = makers.done("ann").unwrap();
    assert_eq!((count(&done, "compile", "ran"), count(&done, "compile", "hit")), (2, 2), "{done:?}");

    // A mistake is told with the user's path, and with the compiler's exit code.
    append(&first.join("samples/sample1.cc"), "\nint mistake = nothing;\n");
    let output = build("ann", &first, "build");
    let said = said(&output);
    assert!(!output.status.success());
    assert!(said.contains(&format!("{}/samples/sample1.cc:", first.display())), "{said}");
    assert!(said.contains("‘nothing’ was not declared") || said.contains("'nothing' was not declared"), "{said}");
    assert!(!said.contains("/lre/exec"), "{said}");
    assert!(!first.join("build/CMakeFiles/sample1_unittest.dir/samples/sample1.cc.o").exists(), "no object of before");
}

/// The sources of zstd, which come with a crate that this program is made of.
fn zstd(into: &Path) -> anyhow::Result<()> {
    let sources = crate_sources("zstd-sys").join("zstd/lib");
    for folder in ["common", "decompress"] {
        projects::copy(&sources.join(folder), &into.join("lib").join(folder))?;
    }
    for header in ["zstd.h", "zstd_errors.h"] {
        fs::copy(sources.join(header), into.join("lib").join(header))?;
    }
    fs::write(into.join("Makefile"), MAKEFILE).map_err(Into::into)
}

/// Where cargo has unpacked a dependency of this program, as it had to before it could build it.
fn crate_sources(name: &str) -> PathBuf {
    let lock = fs::read_to_string(binary::workspace().join("Cargo.lock")).unwrap();
    let entry = format!("name = \"{name}\"\nversion = \"");
    let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split_once('"')).expect("a dependency").0;
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home).expect("cargo has a home");
    let registries = fs::read_dir(cargo.join("registry/src")).unwrap().flatten();
    let found = registries.map(|at| at.path().join(format!("{name}-{version}"))).find(|path| path.is_dir());
    found.unwrap_or_else(|| panic!("cargo has not unpacked {name} {version} below {}", cargo.display()))
}

const MAKEFILE: &str = "\
OBJECTS := $(patsubst %.c,%.o,$(wildcard lib/common/*.c lib/decompress/*.c)) lib/decompress/huf_decompress_amd64.o
CFLAGS = -O1 -MMD -MP
libzstd.a: $(OBJECTS)
\t$(AR) rcs $@ $^
-include $(OBJECTS:.o=.d)
";

/// zstd with make and nothing but a variable.
fn a_project_of_make(makers: &Makers) -> PathBuf {
    let first = makers.project("zstd", "make", zstd).unwrap();
    let make = |person: &str, at: &Path| makers.must(person, at, "make", &["-j4", "CC=lre cc gcc", "AR=lre cc ar"]);
    make("ann", &first).unwrap();
    let cold = makers.done("ann").unwrap();
    assert!(count(&cold, "compile", "ran") > 10, "{cold:?}");
    assert_eq!(compiles(&cold).len() + 1, cold.len(), "and ar: {cold:?}");
    let second = makers.project("a/b/c/zstd 2", "make", zstd).unwrap();
    let environment = ". ./lre.env && exec make -j4";
    makers.must("bob", &second, "sh", &["-c", environment]).unwrap();
    let warm = makers.done("bob").unwrap();
    // `cc` and `gcc` are two commands; the archive is made of the same objects.
    assert!(warm.iter().all(|one| one.outcome != "failed"), "{warm:?}");
    fs::remove_file(second.join("libzstd.a")).unwrap();
    for object in fs::read_dir(second.join("lib/common")).unwrap().flatten() {
        if object.path().extension().is_some_and(|e| e == "o") {
            fs::remove_file(object.path()).unwrap();
        }
    }
    make("bob", &second).unwrap();
    all_hits(&makers.done("bob").unwrap());
    let same = |name: &str| fs::read(first.join(name)).unwrap() == fs::read(second.join(name)).unwrap();
    assert!(same("lib/common/entropy_common.o") && same("libzstd.a"));
    first
}

/// What is included, by what names, and what is not there.
fn headers(makers: &Makers, at: &Path) {
    let compile = |arguments: &[&str]| {
        let all: Vec<_> = ["cc", "gcc", "-c", "x.c", "-o", "x.o"].iter().chain(arguments).copied().collect();
        let output = makers.run("eve", at, "lre", &all).unwrap();
        (output.status.code(), said(&output), makers.done("eve").unwrap().remove(0))
    };
    fs::create_dir_all(at.join("one")).unwrap();
    fs::create_dir_all(at.join("two")).unwrap();
    // By a macro, on the command line and in a file, whether it is there at all, and before the source.
    let source = "#include NAME\n#define OTHER <deep.h>\n#include OTHER\n#if __has_include(\"seen.h\")\nint seen;\n#endif\n\
                  int x = FORCED + A + B;\n";
    fs::write(at.join("x.c"), source).unwrap();
    fs::write(at.join("two/a.h"), "#define A 1\n").unwrap();
    fs::write(at.join("two/deep.h"), "#include \"deeper.h\"\n").unwrap();
    fs::write(at.join("two/deeper.h"), "#define B 2\n").unwrap();
    fs::write(at.join("forced.h"), "#define FORCED 3\n").unwrap();
    let flags = ["-Ione", "-Itwo", "-include", "forced.h", "-DNAME=\"a.h\""];
    let (code, text, done) = compile(&flags);
    assert_eq!((code, done.outcome.as_str(), done.what.as_str()), (Some(0), "ran", "compile"), "{text}");
    let plain = fs::read(at.join("x.o")).unwrap();
    assert_eq!(compile(&flags).2.outcome, "hit");
    // What it does not read changes nothing.
    fs::write(at.join("two/unread.h"), "#error\n").unwrap();
    assert_eq!(compile(&flags).2.outcome, "hit");
    // A header that appears where one is only asked for, and one in a directory that comes first.
    fs::write(at.join("seen.h"), "").unwrap();
    assert_eq!(compile(&flags).2.outcome, "ran");
    assert_ne!(fs::read(at.join("x.o")).unwrap(), plain);
    fs::write(at.join("one/a.h"), "#define A 10\n").unwrap();
    let before = fs::read(at.join("x.o")).unwrap();
    assert_eq!(compile(&flags).2.outcome, "ran");
    assert_ne!(fs::read(at.join("x.o")).unwrap(), before);
    fs::remove_file(at.join("one/a.h")).unwrap();
    assert_eq!(compile(&flags).2.outcome, "hit", "and back");
    // A header of the toolchain finds the project's, as it would without a sandbox.
    fs::write(at.join("x.c"), "#include <stdlib.h>\nint x = sizeof(size_t);\n").unwrap();
    assert_eq!(compile(&["-Ione"]).2.outcome, "ran");
    fs::write(at.join("one/features.h"), "#error mine\n").unwrap();
    let (code, text, _) = compile(&["-Ione"]);
    assert!(code == Some(1) && text.contains("#error mine"), "{text}");
    fs::remove_file(at.join("one/features.h")).unwrap();
    // And one that it only asks for: c++config.h wants to know whether there is tbb/tbb.h.
    let parallel = "#include <cstddef>\n#ifdef _PSTL_PAR_BACKEND_TBB\n#error parallel\n#endif\n";
    fs::write(at.join("x.cc"), parallel).unwrap();
    let tbb = || {
        let output = makers.run("eve", at, "lre", &["cc", "g++", "-std=c++17", "-Ione", "-c", "x.cc"]).unwrap();
        makers.done("eve").unwrap();
        said(&output)
    };
    assert_eq!(tbb(), "");
    fs::create_dir_all(at.join("one/tbb")).unwrap();
    fs::write(at.join("one/tbb/tbb.h"), "").unwrap();
    assert!(tbb().contains("#error parallel"));
    // A name that only the compiler can make up.
    fs::write(at.join("x.c"), "#define N \"two/a.h\"\n#if __has_include(N)\n#include N\n#endif\nint x = A;\n").unwrap();
    let (code, text, done) = compile(&[]);
    assert!(code == Some(0) && done.reason.contains("known to the compiler alone"), "{text} {done:?}");
}

/// What is not taken from this machine, and what is not done.
fn refusals(makers: &Makers, at: &Path) {
    let run = |arguments: &[&str]| {
        let output = makers.run("eve", at, "lre", arguments).unwrap();
        (output.status.code(), said(&output), makers.done("eve").unwrap().remove(0))
    };
    // A header of this machine.
    let theirs = makers.home.path().join("work/theirs");
    fs::create_dir_all(&theirs).unwrap();
    fs::write(theirs.join("theirs.h"), "").unwrap();
    fs::write(at.join("y.c"), "#include <theirs.h>\nint main(void) { return 0; }\n").unwrap();
    let include = format!("-I{}", theirs.display());
    let (code, text, done) = run(&["cc", "gcc", &include, "-c", "y.c"]);
    assert_eq!((code, done.outcome.as_str()), (Some(1), "failed"), "{text}");
    assert!(text.contains("y.c:1:10: fatal error: theirs.h"), "{text}");
    assert!(text.contains(&format!("{}/theirs.h is a header of this machine", theirs.display())), "{text}");
    assert!(text.contains("hint: pin a toolchain that has it"), "{text}");
    // Said to belong to the workspace, it is found.
    let roots = [at, &theirs].map(|root| format!("--root={}", root.display()));
    let (code, text, _) = run(&["cc", &roots[0], &roots[1], "gcc", &include, "-c", "y.c"]);
    assert_eq!(code, Some(0), "{text}");
    // Everything that is no compile runs in the toolchain, and it is said.
    let (code, text, done) = run(&["cc", "--verbose", "/usr/bin/gcc", "y.o", "-o", "y"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("ran y (local run in the toolchain: it links"), "{text}");
    assert_eq!(done.what, "local");
    assert!(Command::new(at.join("y")).status().unwrap().success());
    let (_, text, _) = run(&["cc", "gcc", "-E", "-P", "-DX=twice", "-include", "forced.h", "lib/zstd_errors.h"]);
    assert!(text.contains("ZSTD_getErrorString"), "{text}");
    for _ in 0..2 {
        let (code, text, done) = run(&["cc", "gcc", "-march=native", "-c", "lib/common/threading.c"]);
        assert_eq!((code, done.what.as_str(), done.outcome.as_str()), (Some(0), "local", "ran"), "{text} {done:?}");
    }
    // A compiler that the toolchain has not is not taken from elsewhere.
    let (code, text, _) = run(&["cc", "clang", "-c", "y.c"]);
    assert_eq!(code, Some(31), "{text}");
    assert!(text.contains("the toolchain `cc` has no `clang`") && text.contains("hint:"), "{text}");
    let (code, text, _) = run(&["cc", "gcc", "-fdump-tree-all", "-c", "y.c"]);
    assert!(code == Some(125) && text.contains("`-fdump-tree-all` cannot be used"), "{text}");
    // No server: nothing else compiles.
    let mut command = makers.command("eve", at, "lre", &["cc", "gcc", "-c", "y.c"]);
    let output = command.env("LRE_SERVER", format!("unix:{}/none", at.display())).output().unwrap();
    assert_eq!(output.status.code(), Some(20), "{}", said(&output));
    assert!(said(&output).contains("hint: lre up"), "{}", said(&output));
    makers.done("eve").unwrap();
}

/// Names, files and places that are not as one wants them.
fn bad_input(makers: &Makers, at: &Path) {
    let run = |arguments: &[&str]| {
        let output = makers.run("eve", at, "lre", arguments).unwrap();
        (output.status.code(), said(&output))
    };
    fs::create_dir_all(at.join("a dir")).unwrap();
    fs::write(at.join("a dir/it's $x #1.c"), "#include \"h h.h\"\nint q = Q;\n").unwrap();
    fs::write(at.join("a dir/h h.h"), "#define Q 1\n").unwrap();
    // A response file, names with blanks and quotes, 2,000 arguments.
    let many: Vec<_> = (0..2000).map(|i| format!("-DD{i}={i}")).collect();
    fs::write(at.join("args"), format!("-c \"a dir/it's $x #1.c\" -MD -o 'a dir/o.o' {}", many.join("\n"))).unwrap();
    assert_eq!(run(&["cc", "gcc", "@args"]), (Some(0), String::new()));
    let listed = fs::read_to_string(at.join("a dir/o.d")).unwrap();
    assert!(listed.contains("a\\ dir/it's\\ $$x\\ \\#1.c") && listed.contains("a\\ dir/h\\ h.h"), "{listed}");
    assert!(listed.contains("lre.lock") && !listed.contains("/usr/include"), "{listed}");
    // The compiler itself says what it misses.
    let (code, text) = run(&["cc", "gcc", "-c", "none.c"]);
    assert!(code == Some(1) && text.contains("none.c: No such file"), "{text}");
    let (code, text) = run(&["cc", "gcc", "-c", "lib/common/threading.c", "-o", "no/such/folder/y.o"]);
    assert!(code != Some(0) && text.contains("no/such/folder"), "{text}");
    let (code, text) = run(&["cc", "gcc", "@none"]);
    assert!(code == Some(1) && text.contains("@none"), "{text}");
    let (code, text) = run(&["cc"]);
    assert!(code == Some(2) && text.contains("no compiler was named"), "{text}");
    // A name that is no text.
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"\xff.c");
    let mut command = makers.command("eve", at, "lre", &["cc", "gcc", "-c"]);
    let output = command.arg(name).output().unwrap();
    assert!(output.status.code() == Some(125) && said(&output).contains("is not UTF-8"), "{}", said(&output));
    makers.done("eve").unwrap();
}

/// Whoever ends a compile, or the server, leaves no half object.
fn interrupted(mut makers: Makers, at: &Path) {
    fs::write(at.join("slow.c"), "#define A(x) x x x x x x x x x x\nint y[] = {A(A(A(A(A(A(1,))))))};\n").unwrap();
    fs::write(at.join("slow.o"), "of before").unwrap();
    let start = |makers: &Makers| {
        makers.command("eve", at, "lre", &["cc", "gcc", "-c", "slow.c", "-o", "slow.o"]).spawn().unwrap()
    };
    let mut child = start(&makers);
    wait_for(|| running(at));
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(fs::read_to_string(at.join("slow.o")).unwrap(), "of before");
    let mut child = start(&makers);
    wait_for(|| running(at));
    makers.server.kill().unwrap();
    assert_ne!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(at.join("slow.o")).unwrap(), "of before");
    let left: Vec<_> = fs::read_dir(at).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".lre-")), "{left:?}");
}

/// Whether a compiler works on `slow.c`: of the sandbox only its command line is seen from here.
fn running(_at: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    commands.map(|c| String::from_utf8_lossy(&c).into_owned()).any(|c| c.contains("cc1") && c.contains("slow.c"))
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it never happened");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
