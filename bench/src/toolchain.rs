//! Debian's gcc as a toolchain: from a directory into the store, out of it again, and asked what it is like. What a
//! user has today is `cp -r` of the same directory.
use crate::report::{Report, Row};
use crate::stats::Samples;
use crate::world::{F, World};
use anyhow::{Context, Result};
use lre::client::{ActionProber, Client};
use lre::config::Endpoint;
use lre_store::{DiskStore, Inodes};
use lre_toolchain::{Access, Added, Kind, Registry, Source, Wanted, add, introspect, materialise};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
/// Some 3,200 files in 270 MB.
const SOURCE: &str = "deb:cc-debian12";

/// Import, import again, laying out, introspection.
pub async fn toolchain(world: &mut World, report: &mut Report) -> Result<()> {
    let at = world.places.folder("toolchain");
    std::fs::create_dir(&at)?;
    let added = fetched(world).await?;
    let imported = &added.imported;
    println!("{SOURCE}: {} files, {} MB", imported.files, imported.bytes / 1_000_000);
    let tree = plain_directory(world, &added, &at).await?;
    let (mut copy, mut first, mut again, mut laid) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        // The first round warms the page cache.
        let counts = round > 0;
        copied(&tree, &at.join("copy"), counts.then_some(&mut copy))?;
        let folder = at.join("store");
        let store = DiskStore::open(&folder)?;
        for samples in [&mut first, &mut again] {
            let start = Instant::now();
            let digest = import(&store, &folder, &tree).await?;
            if counts {
                samples.add(start.elapsed());
            }
            anyhow::ensure!(digest == added.toolchain.digest, "the directory is not what it was made from");
        }
        let inodes = Inodes::new(folder.join("inodes"))?;
        let start = Instant::now();
        materialise(&store, &inodes, added.toolchain.digest, &folder.join("trees")).await?;
        if counts {
            laid.add(start.elapsed());
        }
        drop((store, inodes));
        std::fs::remove_dir_all(&folder)?;
    }
    report.row(Row::of("toolchain: import", &first).at_most_of(2.0, "cp -r", copy.p50()));
    report.row(Row::of("toolchain: import of a known one", &again).at_most_of(1.0 / 3.0, "the first", first.p50()));
    report.row(Row::of("toolchain: laid out once", &laid).at_most(Duration::from_secs(1)));
    report.row(asked(world, &added).await?);
    Ok(())
}

/// The packages, through the server, which has the toolchain from then on.
async fn fetched(world: &World) -> Result<Added> {
    let store = world.home().store();
    let access = Access::at(store.join("toolchains/incoming"));
    let added = add(&world.store, F, &wanted(SOURCE.parse()?), &access, Arc::new(())).await?;
    Registry::open(store.join("toolchains/registry"))?.put(&added.toolchain)?;
    Ok(added)
}

fn wanted(source: Source) -> Wanted {
    Wanted { name: "gcc".to_owned(), kind: Kind::Rootfs, source, also: Vec::new(), expected: None }
}

async fn import(store: &DiskStore, folder: &Path, tree: &Path) -> Result<lre_model::Digest> {
    let access = Access::at(folder.join("incoming"));
    let source = Source::Directory(tree.to_owned());
    Ok(add(store, F, &wanted(source), &access, Arc::new(())).await?.toolchain.digest)
}

/// The tree as a directory of its own: no file of it is one of a store.
async fn plain_directory(world: &World, added: &Added, at: &Path) -> Result<PathBuf> {
    let inodes = Inodes::new(at.join("inodes"))?;
    let linked = materialise(&world.store, &inodes, added.toolchain.digest, &at.join("linked")).await?;
    let tree = at.join("tree");
    copy_to(&linked, &tree)?;
    Ok(tree)
}

/// `cp -r`, timed; what it has made goes away again.
fn copied(from: &Path, to: &Path, samples: Option<&mut Samples>) -> Result<()> {
    let start = Instant::now();
    copy_to(from, to)?;
    if let Some(samples) = samples {
        samples.add(start.elapsed());
    }
    std::fs::remove_dir_all(to).context("the copy cannot be removed")
}

fn copy_to(from: &Path, to: &Path) -> std::io::Result<()> {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other("cp failed")) }
}

/// What `lre init` asks, each time of a server that does not know the answers.
async fn asked(world: &World, added: &Added) -> Result<Row> {
    let socket = world.home().socket();
    let client = Client::connect(&Endpoint::Unix(socket), None).await?;
    let start = Instant::now();
    introspect(&ActionProber::new(&client, &added.toolchain), &added.toolchain).await?;
    let mut samples = Samples::default();
    samples.add(start.elapsed());
    Ok(Row::of("toolchain: asked what it is like", &samples).at_most(Duration::from_secs(5)))
}
