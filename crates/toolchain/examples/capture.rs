//! Captures a compiler into a directory, timed: `cargo run -p lre-toolchain --example capture -- /usr/bin/cc DIR`.
use lre_model::DigestFunction;
use lre_store::{DiskStore, Inodes};
use lre_toolchain::{Kind, Source, Wanted, add, materialise};
use std::sync::Arc;
use std::time::Instant;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(compiler), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("usage: capture COMPILER DIRECTORY [ALSO...]".into());
    };
    let directory = std::path::PathBuf::from(directory);
    let store = DiskStore::open(&directory)?;
    let inodes = Inodes::new(directory.join("inodes"))?;
    let wanted = Wanted {
        name: "captured".to_owned(),
        kind: Kind::Rootfs,
        source: Source::Capture(compiler.into()),
        also: arguments.map(Into::into).collect(),
    };
    let start = Instant::now();
    let added = add(&store, DigestFunction::Sha256, &wanted, Arc::new(())).await?;
    println!("{:?} in {:?}", added.imported, start.elapsed());
    println!("{:#?}", added.toolchain);
    let start = Instant::now();
    let path = materialise(&store, &inodes, added.imported.digest, &directory.join("trees")).await?;
    println!("{} in {:?}", path.display(), start.elapsed());
    Ok(())
}
