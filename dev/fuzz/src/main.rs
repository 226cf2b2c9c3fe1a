//! `lre-fuzz [TARGET] [SECONDS]`: one target or all, for so long each. What is found becomes a file of the corpus.
use anyhow::{Context, Result, bail};
use lre_fuzz::{corpus, past_finds, run, targets};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let chosen = arguments.next().filter(|name| name != "all");
    let seconds: u64 = arguments.next().map_or(Ok(60), |text| text.parse()).context("SECONDS")?;
    let mut all = targets::all();
    all.retain(|target| chosen.as_ref().is_none_or(|name| name == target.name));
    if all.is_empty() {
        let names: Vec<_> = targets::all().iter().map(|target| target.name).collect();
        bail!("the targets are {}", names.join(", "));
    }
    let mut failed = false;
    for mut target in all {
        let end = Instant::now() + Duration::from_secs(seconds);
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        let finds = past_finds(target.name)?;
        let ran = run(&mut target, finds, seed, |_| Instant::now() < end);
        println!("{}: {} inputs, {} kinds of answers", target.name, ran.inputs, ran.words);
        if let Some(found) = ran.found {
            let folder = corpus(target.name);
            std::fs::create_dir_all(&folder)?;
            let path = folder.join(format!("found-{seed:016x}"));
            std::fs::write(&path, &found.input)?;
            println!("{}: {}\n  kept as {}", target.name, found.why, path.display());
            failed = true;
        }
    }
    if failed {
        bail!("something was found");
    }
    Ok(())
}
