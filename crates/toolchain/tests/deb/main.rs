//! Debian's own packages, unpacked without dpkg, in a real sandbox that has nothing else (issue 3, items 1 and 2).
//!
//! Not a libtest program: called with `launcher` it is the launcher, which must have one thread; called with `import`
//! it imports what a lock file pins, as whoever runs it.
mod packages;
#[path = "../captured/sandbox.rs"]
mod sandbox;

use lre_model::{Digest, DigestFunction};
use lre_sandbox::How;
use lre_store::{DiskStore, Inodes};
use lre_toolchain::{
    Access, Added, Facts, Kind, LockFile, Locked, Obtained, Place, Source, ToolchainError, Wanted, Warning, add, deb,
    materialise, obtain,
};
use packages::Packages;
use sandbox::Sandbox;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

const F: DigestFunction = DigestFunction::Sha256;
/// A user who is nobody here.
const STRANGER: u32 = 23456;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["launcher"] => lre_sandbox::launcher::main(),
        ["resolve", folder] => return runtime().block_on(resolved(Path::new(folder))),
        ["import", folder] => return println!("{}", runtime().block_on(pinned(Path::new(folder))).imported.digest),
        _ => {}
    }
    let missing: Vec<_> = lre_sandbox::check().into_iter().filter(|f| !f.ok).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: this machine cannot make sandboxes: {missing:#?}");
        let must_work = ["LRE_KERNEL_MUST_WORK", "CI"].into_iter().any(|v| std::env::var_os(v).is_some());
        std::process::exit(i32::from(must_work));
    }
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only.as_str()));
    for name in ["cc-debian12", "polyglot-debian12"] {
        if wanted(name) {
            println!("test {name} ...");
            runtime().block_on(embedded(name));
            println!("test {name} ... ok");
        }
    }
    if wanted("resolve") {
        println!("test resolve ...");
        runtime().block_on(packages_are_resolved_by_anybody());
        println!("test resolve ... ok");
    }
    if wanted("gone") {
        println!("test gone ...");
        runtime().block_on(what_is_gone_is_named_and_nothing_taken_in_its_place());
        println!("test gone ... ok");
    }
}

async fn embedded(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let packages = Packages::of(name).await;
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let access = Access::at(store.directory().join("incoming"));
    packages.lay_out(&access);
    let start = Instant::now();
    let added = import(&store, &packages.source, &access).await;
    println!("{:?} in {:?}", added.imported, start.elapsed());
    assert_eq!(packages.kept(&access), 0, "what is in the store is not kept twice");
    let start = Instant::now();
    // There is no package here any more, and none is fetched.
    let offline = Access { offline: true, ..access.clone() };
    let again = import(&store, &packages.source, &offline).await;
    println!("again in {:?}", start.elapsed());
    assert_eq!(again.toolchain, added.toolchain);
    if name == "cc-debian12" {
        a_stranger_has_the_same_tree_from_the_lock_alone(&packages, &added).await;
    }
    let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
    let root = materialise(&store, &inodes, added.toolchain.digest, &dir.path().join("store/trees")).await.unwrap();
    the_root_has_tools_and_nothing_else(&root);
    let sandbox = Sandbox::new(&store, &root, &added.toolchain);
    c_and_cxx_work(&sandbox, &added);
    the_tools_of_build_actions_work(&sandbox);
    if name == "polyglot-debian12" {
        java_works(&sandbox, &added);
        rust_works(&sandbox, &added);
    }
}

async fn import(store: &DiskStore, source: &Source, access: &Access) -> Added {
    add(store, F, &wanted(source), access, Arc::new(())).await.unwrap()
}

fn wanted(source: &Source) -> Wanted {
    let (name, source) = ("t".to_owned(), source.clone());
    Wanted { name, kind: Kind::Rootfs, source, also: Vec::new(), expected: None }
}

/// TOOLCHAINS 4: "same digest when rebuilt from the lock by another user with umask 077".
async fn a_stranger_has_the_same_tree_from_the_lock_alone(packages: &Packages, added: &Added) {
    let dir = tempfile::tempdir().unwrap();
    let mut lock = LockFile::default();
    lock.put(Locked::new(&added.toolchain, Facts::default()));
    lock.write(&dir.path().join("lre.lock")).unwrap();
    packages.lay_out(&Access::at(dir.path().join("incoming")));
    let said = by_a_stranger("import", dir.path());
    assert_eq!(Digest::from_text(said.trim()).unwrap(), added.toolchain.digest);
}

/// What this program says when it is called so by somebody else, whose files nobody may read.
fn by_a_stranger(what: &str, folder: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    // It must reach the program, wherever the target directory is, and write into the folder.
    let copy = folder.join("program");
    std::fs::copy(&program, &copy).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$1\" \"$2\""]).arg(copy).arg(what).arg(folder);
    if rustix::process::geteuid().is_root() {
        give(folder);
        command.uid(STRANGER).gid(STRANGER);
    }
    let output = command.current_dir(folder).env("HOME", "/nonexistent").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Gives a folder to the stranger.
fn give(folder: &Path) {
    std::os::unix::fs::chown(folder, Some(STRANGER), Some(STRANGER)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The packages are links to those in the cache, which stay whose they are.
        if path.is_dir() {
            give(&path);
        }
    }
}

/// What the lock file in `folder` pins, with nothing but it and the packages.
async fn pinned(folder: &Path) -> Obtained {
    let store = DiskStore::open(&folder.join("store")).unwrap();
    let lock = LockFile::read(&folder.join("lre.lock")).unwrap().unwrap();
    let access = Access { offline: true, ..Access::at(folder.join("incoming")) };
    let obtained = obtain(&store, &lock.toolchains()[0], &access, Arc::new(())).await.unwrap();
    assert!(matches!(&obtained.place, Place::Source(source) if source.starts_with("deb:")));
    obtained
}

fn the_root_has_tools_and_nothing_else(root: &Path) {
    let mut names: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let may = ["bin", "etc", "lib", "lib32", "lib64", "libx32", "opt", "sbin", "usr"];
    assert!(names.iter().all(|name| may.contains(&&**name)), "{names:?}");
    for (link, target) in [("bin", "usr/bin"), ("usr/bin/sh", "dash"), ("usr/bin/awk", "mawk"), ("usr/bin/cc", "gcc")] {
        assert_eq!(std::fs::read_link(root.join(link)).unwrap(), Path::new(target));
    }
    for gone in ["usr/share/doc", "usr/share/man", "var", "etc/init.d", "etc/passwd"] {
        assert!(root.join(gone).symlink_metadata().is_err(), "{gone}");
    }
}

const C: &str = "#include <math.h>\n#include <stdio.h>\nint main(int c, char **v) { (void)v; printf(\"%.3f\\n\", sqrt(c + 1)); return 0; }\n";
const CXX: &str = "#include <iostream>\n#include <thread>\n#include <vector>\n\
    int main() { std::vector<int> v{1, 2}; std::thread t([&] { std::cout << v.size() << std::endl; }); t.join(); }\n";
const MAKEFILE: &str = "all: a b\n\t./a; ./b\na: a.c\n\t$(CC) -O2 $< -o $@ -lm\nb: a.cc\n\t$(CXX) -O2 $< -o $@\n";
const JAVA: &str = "import java.util.stream.*;\npublic class Main { record P(int x) {}\n\
    public static void main(String[] a) { System.out.println(Stream.of(new P(1), new P(2)).mapToInt(P::x).sum()); } }\n";
const RUST: &str =
    "use std::collections::BTreeMap;\nfn main() { let m: BTreeMap<_, _> = [(1, 2)].into(); println!(\"{m:?}\"); }\n";
const INPUTS: [(&str, &str); 5] =
    [("a.c", C), ("a.cc", CXX), ("Makefile", MAKEFILE), ("Main.java", JAVA), ("main.rs", RUST)];

fn c_and_cxx_work(sandbox: &Sandbox<'_>, added: &Added) {
    let (cc, cxx) = (&added.toolchain.tools["cc"], &added.toolchain.tools["c++"]);
    assert_eq!((cc.as_str(), cxx.as_str()), ("/usr/bin/cc", "/usr/bin/c++"));
    for tool in added.toolchain.tools.values() {
        works(sandbox, &format!("test -x {tool}"), "");
    }
    for flags in ["", "-static", "-O2 -g -flto"] {
        works(sandbox, &format!("{cc} {flags} a.c -o a -lm && ./a"), "1.414\n");
        works(sandbox, &format!("{cxx} {flags} a.cc -o a && ./a"), "2\n");
    }
    works(sandbox, &format!("{cxx} -fsanitize=address,undefined -g a.cc -o a && ./a"), "2\n");
    // As Bazel does it: the C driver links C++, objects and archives are steps of their own.
    let steps = "-c a.cc -o a.o && ar rcsD a.a a.o";
    works(sandbox, &format!("{cc} {steps} && {cc} a.a -lstdc++ -lm -o a && strip a && ./a"), "2\n");
    works(sandbox, "make -s", "1.414\n2\n");
}

fn the_tools_of_build_actions_work(sandbox: &Sandbox<'_>) {
    for (script, says) in [
        ("echo a b | awk '{ print $2 }'", "b\n"),
        ("echo aXb | sed -e 's/X/-/' | grep -o 'a-b'", "a-b\n"),
        ("find . -name 'a.c*' | sort | xargs basename -a", "a.c\na.cc\n"),
        ("for z in z J; do tar c${z}f a.t a.c && mkdir x && tar xf a.t -C x && cmp a.c x/a.c; rm -r x; done", ""),
        ("/bin/bash -c 'set -o pipefail; which ls | wc -l'", "1\n"),
        ("LC_ALL=C.UTF-8 bash -c 'x=$(printf \"\\303\\251\"); echo ${#x}'", "1\n"),
        ("printf x | sha256sum | cut -c1-8; getconf PATH_MAX /", "2d711642\n4096\n"),
        ("ldd /usr/bin/gcc | grep -c 'not found' || true", "0\n"),
        ("xz --version | head -1 | cut -c1-2; diff a.c a.c; gzip -c a.c | gunzip | cmp - a.c", "xz\n"),
    ] {
        works(sandbox, script, says);
    }
}

fn java_works(sandbox: &Sandbox<'_>, added: &Added) {
    for role in ["java", "javac", "jar"] {
        assert_eq!(added.toolchain.tools[role], format!("/usr/bin/{role}"));
    }
    works(sandbox, "javac -d out Main.java && jar cfe m.jar Main -C out . && java -jar m.jar", "3\n");
    // Its settings are symlinks into /etc.
    works(sandbox, "java -XshowSettings:security:properties -version 2>&1 | grep -c keystore.type=", "1\n");
    let said = |warning: &Warning| matches!(warning, Warning::Note(note) if note.contains("TLS"));
    assert!(added.imported.warnings.iter().any(said), "{:?}", added.imported.warnings);
}

fn rust_works(sandbox: &Sandbox<'_>, added: &Added) {
    assert_eq!(added.toolchain.tools["rustc"], "/usr/bin/rustc");
    works(sandbox, "rustc --edition 2021 -O main.rs && ./main", "{1: 2}\n");
}

#[track_caller]
fn works(sandbox: &Sandbox<'_>, script: &str, says: &str) {
    let arguments = ["/bin/sh", "-e", "-c", script].map(str::to_owned);
    let (ended, probed) = sandbox.run(&arguments, &INPUTS).unwrap();
    let stderr = String::from_utf8_lossy(&probed.stderr);
    assert_eq!(ended.how, How::Exited(0), "{script}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&probed.stdout), says, "{script}: {stderr}");
}

/// With the machine's own mirrors and apt, and nothing of either changed.
async fn packages_are_resolved_by_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let said = by_a_stranger("resolve", dir.path());
    let recipe = deb::Recipe::parse(said.lines()).unwrap();
    let has = |name: &str| recipe.packages().iter().any(|pinned| pinned.name == name && pinned.size_bytes > 0);
    for name in deb::BASE.iter().chain(&["make", "libc6"]) {
        assert!(has(name), "{name} in {said}");
    }
    assert!(!has("gcc"), "nothing that is not needed: {said}");
    let access = Access::at(dir.path().join("incoming"));
    let refused = deb::resolve(&["no-such-package".to_owned()], &access, Arc::new(())).await.unwrap_err().to_string();
    assert!(refused.contains("Unable to locate package no-such-package"), "{refused}");
    let left = std::fs::read_dir(&access.directory).unwrap().count();
    assert_eq!(left, 0, "apt's indexes are not kept");
}

/// For [`packages_are_resolved_by_anybody`].
async fn resolved(folder: &Path) {
    let access = Access::at(folder.join("incoming-of-a-stranger"));
    let recipe = deb::resolve(&["make".to_owned()], &access, Arc::new(())).await.unwrap();
    recipe.lines().iter().for_each(|line| println!("{line}"));
}

/// "Pools drop old versions" (TOOLCHAINS 4). The archive that this machine uses has never had these.
async fn what_is_gone_is_named_and_nothing_taken_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let lines = ["bash", "dash"].map(|name| {
        let pool = format!("pool/main/{}/{name}/{name}_0.0-0lre1_amd64.deb", &name[..1]);
        format!("{} 7 {name}=0.0-0lre1 amd64 {pool}", "0".repeat(64))
    });
    let recipe = deb::Recipe::parse(["rules 1"].into_iter().chain(lines.each_ref().map(String::as_str))).unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let access = Access::at(dir.path().join("incoming"));
    let source: Source = format!("deb:bash,dash#{}", recipe.digest()).parse().unwrap();
    let source = source.with_recipe(&recipe.lines()).unwrap();
    let refused = add(&store, F, &wanted(&source), &access, Arc::new(())).await.unwrap_err();
    println!("{refused}");
    let ToolchainError::Gone(gone) = refused else { panic!("{refused}") };
    assert_eq!(gone.packages, ["bash=0.0-0lre1", "dash=0.0-0lre1"]);
    assert!(!gone.asked.is_empty() && gone.anew == "deb:bash,dash");
    let gone = gone.to_string();
    for way in ["peer", "lre toolchain import", "debian_mirror", "`deb:bash,dash`"] {
        assert!(gone.contains(way), "{gone}");
    }
}
