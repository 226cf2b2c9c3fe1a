//! Toolchains of another kind, described by a manifest.
use crate::trees::{Tree, Trees};
use lre_toolchain::{Kind, Manifest};

const MANIFEST: &str = "{\n  tools: { gen: 'bin/gen', data: 'bin/data' },\n  version: ['gen', '--version'],\n  \
    environment: { GEN_DATA: '{tree}/share' },\n}\n";

fn manifest() -> Manifest {
    Manifest::parse(MANIFEST, "gen.json5").unwrap()
}

/// A static program, so that a tree is enough for it: busybox of the packages that Nix is tested with.
fn tree() -> Tree {
    let busybox = lre_e2e::packages::Packages::of_this_checkout("nix-2.8").ready().unwrap().path().join("bin/busybox");
    let script = |at: &str| format!("#!{at}/bin/busybox sh\necho\necho \"gen 1.2 with $GEN_DATA\"\n");
    Tree::empty()
        .with_program("bin/busybox", busybox.to_str().unwrap())
        .with("bin/gen", &script(""))
        .with("bin/data", "#!x")
}

pub async fn a_code_generator(trees: &Trees) {
    let facts = trees.described(tree(), &manifest()).await;
    let custom = facts.custom.expect("it is described");
    assert_eq!(custom.version, "gen 1.2 with /share");
    assert_eq!(
        custom.tools.into_iter().collect::<Vec<_>>(),
        [("data".to_owned(), "/bin/data".to_owned()), ("gen".to_owned(), "/bin/gen".to_owned())]
    );
    assert_eq!(custom.environment["GEN_DATA"], "/share");
    // As a tree it does not know where it will be, and asks for that by `{tree}`.
    let text = MANIFEST.replace("['gen', '--version']", "'1.2'");
    let facts = trees.described(tree().kind(Kind::Tree), &Manifest::parse(&text, "m").unwrap()).await;
    let custom = facts.custom.expect("it is described");
    assert!(
        custom.environment["GEN_DATA"].starts_with("/lre/toolchains/") && custom.tools["gen"].ends_with("/bin/gen")
    );
}

pub async fn what_is_not_so(trees: &Trees) {
    let unfit = trees.refusal_described(tree().without(&["bin/data"]), &manifest()).await;
    assert_eq!(unfit.wants.as_deref(), Some("/bin/data"), "{unfit}");
    let unfit = trees.refusal_described(tree().with("bin/data", "text"), &manifest()).await;
    assert!(unfit.problem.contains("`data`") && unfit.problem.contains("not executable"), "{unfit}");
    let unfit = trees.refusal_described(tree().with_symlink("bin/gen", "/opt/gen"), &manifest()).await;
    assert!(unfit.problem.contains("leads to `/opt/gen`"), "{unfit}");
    // The script's interpreter is at another place in a tree.
    let unfit = trees.refusal_described(tree().kind(Kind::Tree), &manifest()).await;
    assert_eq!(unfit.wants.as_deref(), Some("/bin/busybox"), "{unfit}");
    let text = MANIFEST.replace("environment", "kind: 'tree', environment");
    let unfit = trees.refusal_described(tree(), &Manifest::parse(&text, "m").unwrap()).await;
    assert!(unfit.problem.contains("of kind rootfs, and its manifest says tree"), "{unfit}");
    assert!(unfit.hint.ends_with("--kind tree"), "{}", unfit.hint);
}
