//! Imports Debian packages into a directory, timed: `cargo run --release -p lre-toolchain --example deb_import --
//! deb:cc-debian12 DIRECTORY`. What is in `DIRECTORY/incoming/packages` already is not fetched.
use lre_model::DigestFunction;
use lre_store::DiskStore;
use lre_toolchain::{Access, Kind, Progress, Stage, Wanted, add};
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
        return Err("usage: deb_import SOURCE DIRECTORY".into());
    };
    let directory = std::path::PathBuf::from(directory);
    let store = DiskStore::open(&directory)?;
    let wanted = Wanted {
        name: "packages".to_owned(),
        kind: Kind::Rootfs,
        source: source.parse()?,
        also: Vec::new(),
        expected: None,
    };
    let start = Instant::now();
    let stages = Arc::new(Stages(start, Mutex::default()));
    let access = Access::at(directory.join("incoming"));
    let added = add(&store, DigestFunction::Sha256, &wanted, &access, stages.clone()).await?;
    let imported = &added.imported;
    println!("{} {}: {} files, {} bytes", added.toolchain.source, imported.digest, imported.files, imported.bytes);
    println!("{:?}: {:?}", start.elapsed(), stages.1.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}
