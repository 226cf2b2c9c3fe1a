//! Imports a toolchain from any source into a directory, timed, and lays it out: `cargo run --release -p lre-toolchain
//! --example import -- deb:cc-debian12 DIRECTORY`. What waits in `DIRECTORY/incoming` already is not fetched.
use lre_model::DigestFunction;
use lre_store::{DiskStore, Inodes};
use lre_toolchain::{Access, Progress, Source, Stage, Wanted, add, materialise};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says when each stage first and last made progress.
struct Stages(Instant, Mutex<Vec<(Stage, Duration, Duration)>>);

impl Progress for Stages {
    fn update(&self, stage: Stage, _: u64, _: u64) {
        let mut stages = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.0.elapsed();
        match stages.iter_mut().find(|(s, ..)| *s == stage) {
            Some((_, _, last)) => *last = now,
            None => stages.push((stage, now, now)),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("usage: import SOURCE DIRECTORY [ALSO...]".into());
    };
    let directory = std::path::PathBuf::from(directory);
    let store = DiskStore::open(&directory)?;
    let inodes = Inodes::new(directory.join("inodes"))?;
    let source: Source = source.parse()?;
    let kind = source.kinds()[0];
    let also = arguments.map(Into::into).collect();
    let wanted = Wanted { name: "imported".to_owned(), kind, source, also, expected: None };
    let start = Instant::now();
    let stages = Arc::new(Stages(start, Mutex::default()));
    let access = Access::at(directory.join("incoming"));
    let added = add(&store, DigestFunction::Sha256, &wanted, &access, stages.clone()).await?;
    println!("{:?} in {:?}", added.imported, start.elapsed());
    println!("{:?}", stages.1.lock().unwrap_or_else(PoisonError::into_inner));
    println!("{:#?}", added.toolchain);
    let start = Instant::now();
    let path = materialise(&store, &inodes, added.imported.digest, &directory.join("trees")).await?;
    println!("{} in {:?}", path.display(), start.elapsed());
    Ok(())
}
