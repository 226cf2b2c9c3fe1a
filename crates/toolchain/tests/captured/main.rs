//! This machine's compilers, captured, in a real sandbox that has nothing else (issue 2, item 6: "with
//! the tree mounted and nothing else of the host, hello-world and an iostream program compile, link
//! and run").
//!
//! Not a libtest program: called with `launcher` it is the launcher, which must have one thread.
mod sandbox;

use lre_model::DigestFunction;
use lre_sandbox::How;
use lre_store::{DiskStore, Inodes};
use lre_toolchain::{Access, Added, CcFacts, Family, Kind, Source, Wanted, add, introspect, materialise};
use sandbox::Sandbox;
use std::path::Path;
use std::sync::Arc;

const C: &str = "#include <math.h>\n#include <stdio.h>\nint main(int c, char **v) { (void)v; printf(\"%.3f\\n\", sqrt(c + 1)); return 0; }\n";
const CXX: &str = "#include <iostream>\n#include <thread>\n#include <vector>\n\
    int main() { std::vector<int> v{1, 2}; std::thread t([&] { std::cout << v.size() << std::endl; }); t.join(); }\n";

fn main() {
    if std::env::args().nth(1).as_deref() == Some("launcher") {
        lre_sandbox::launcher::main();
    }
    let missing: Vec<_> = lre_sandbox::check().into_iter().filter(|f| !f.ok).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: this machine cannot make sandboxes: {missing:#?}");
        let must_work = ["LRE_KERNEL_MUST_WORK", "CI"].into_iter().any(|v| std::env::var_os(v).is_some());
        std::process::exit(i32::from(must_work));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for compiler in ["/usr/bin/cc", "/usr/bin/clang"] {
        // The first is required, the second is tried where there is one.
        if compiler == "/usr/bin/cc" || Path::new(compiler).exists() {
            println!("test {compiler} ...");
            runtime.block_on(captured(compiler));
            println!("test {compiler} ... ok");
        }
    }
}

async fn captured(compiler: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = DiskStore::open(&dir.path().join("store")).unwrap();
    let inodes = Inodes::new(dir.path().join("store/inodes")).unwrap();
    let first = capture(&store, compiler).await;
    let again = capture(&store, compiler).await;
    assert_eq!(first.toolchain, again.toolchain, "two captures of one machine are one toolchain");
    let root = materialise(&store, &inodes, first.toolchain.digest, &dir.path().join("store/trees")).await.unwrap();
    let sandbox = Sandbox::new(&store, &root, &first.toolchain);
    for tool in first.toolchain.tools.values() {
        works(&sandbox, &format!("test -x {tool}"), "");
    }
    programs_compile_link_and_run(&sandbox, &first);
    the_tools_of_build_actions_work(&sandbox);
    works(&sandbox, "test ! -e /root && test ! -e /home && test ! -e /var && test ! -e /usr/share/doc", "");
    let facts = introspect(&sandbox, &first.toolchain).await.unwrap();
    facts_are_found(&facts.cc.expect("it compiles C"), &first);
}

async fn capture(store: &DiskStore, compiler: &str) -> Added {
    let source = Source::Capture(compiler.into());
    let wanted = Wanted { name: "cc".to_owned(), kind: Kind::Rootfs, source, also: Vec::new(), expected: None };
    let access = Access::at(store.directory().join("incoming"));
    let start = std::time::Instant::now();
    let added = add(store, DigestFunction::Sha256, &wanted, &access, Arc::new(())).await.unwrap();
    println!("{:?} files, {} bytes, {:?}", added.imported.files, added.imported.bytes, start.elapsed());
    added
}

fn programs_compile_link_and_run(sandbox: &Sandbox<'_>, added: &Added) {
    let (cc, cxx) = (&added.toolchain.tools["cc"], &added.toolchain.tools["c++"]);
    for flags in ["", "-static", "-O2 -g -flto", "-static-libgcc -pthread"] {
        works(sandbox, &format!("{cc} {flags} a.c -o a -lm && ./a"), "1.414\n");
    }
    for flags in ["", "-static", "-O2 -g -flto", "-std=c++17 -static-libstdc++ -pthread"] {
        works(sandbox, &format!("{cxx} {flags} a.cc -o a && ./a"), "2\n");
    }
    // As Bazel does it: the C driver links C++, objects and archives are steps of their own.
    let steps = "-c a.cc -o a.o && ar rcsD a.a a.o";
    works(sandbox, &format!("{cc} {steps} && {cc} a.a -lstdc++ -lm -o a && strip a && ./a"), "2\n");
    works(sandbox, "cc a.c -o a -lm && c++ a.cc -o b && ./b", "2\n");
    works(sandbox, &format!("{cc} -shared -fPIC a.c -o liba.so && nm -D liba.so | grep -c ' T main'"), "1\n");
}

fn the_tools_of_build_actions_work(sandbox: &Sandbox<'_>) {
    for (script, says) in [
        ("echo a b | awk '{ print $2 }'", "b\n"),
        ("echo aXb | sed -e 's/X/-/' | grep -o 'a-b'", "a-b\n"),
        ("find . -name 'a.c*' | sort | xargs basename -a", "a.c\na.cc\n"),
        (
            "tar czf a.tgz a.c && mkdir x && tar xzf a.tgz -C x && diff a.c x/a.c && cmp a.c x/a.c && echo same",
            "same\n",
        ),
        ("env -i /usr/bin/env A=b sh -c 'echo $A'", "b\n"),
        ("/bin/bash -c 'set -o pipefail; which ls | wc -l'", "1\n"),
        ("LC_ALL=C.UTF-8 bash -c 'x=$(printf \"\\303\\251\"); echo ${#x}'", "1\n"),
        ("printf x | sha256sum | cut -c1-8", "2d711642\n"),
    ] {
        works(sandbox, script, says);
    }
}

#[track_caller]
fn works(sandbox: &Sandbox<'_>, script: &str, says: &str) {
    let arguments = ["/bin/sh", "-e", "-c", script].map(str::to_owned);
    let (ended, probed) = sandbox.run(&arguments, &[("a.c", C), ("a.cc", CXX)]).unwrap();
    let stderr = String::from_utf8_lossy(&probed.stderr);
    assert_eq!(ended.how, How::Exited(0), "{script}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&probed.stdout), says, "{script}: {stderr}");
}

fn facts_are_found(facts: &CcFacts, added: &Added) {
    println!("{facts:#?}");
    let clang = added.toolchain.tools["cc"].contains("clang");
    assert_eq!(facts.family, if clang { Family::Clang } else { Family::Gcc });
    assert!(facts.triple.contains("linux"), "{}", facts.triple);
    assert!(facts.cxx_include_directories.iter().any(|d| d.contains("c++")));
    assert!(facts.c_include_directories.contains(&"/usr/include".to_owned()));
    assert!(facts.compile_flags.contains(&"-ffile-prefix-map=/lre/exec=.".to_owned()));
    assert!(facts.link_flags.contains(&"-Wl,--build-id=none".to_owned()));
    assert!(facts.cxx_flags.contains(&"-std=c++17".to_owned()));
    assert!(!facts.libc.is_empty() && !facts.linker.is_empty());
}
