//! Throws what nobody should send at everything that reads what anybody may send.
//!
//! A target reads bytes, checks what must hold of them whatever they are, and says in a word what it made of them. Inputs
//! are mutated from real messages, by bytes and by the fields of their encoding; an input of which a target says something
//! new is kept and mutated further. A failure is an input in `tests/corpus`, which every run tries first.
//!
//! There is no coverage of the compiled code in it, which would need a nightly compiler: what a target says of an input is
//! the measure. `cargo xtask test` runs each target for some thousand inputs; `cargo xtask fuzz TARGET --seconds N` longer.
#![forbid(unsafe_code)]

mod chance;
mod mutate;
pub mod targets;

use anyhow::{Context, Result};
use chance::Chance;
use std::collections::HashSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

/// Inputs that are mutated are not longer, in bytes: what is read here is bounded long before.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Inputs that are kept, in number; then older ones make room.
const POOL_MAX: usize = 4096;

/// Something that reads what anybody may send.
pub struct Target {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// Real inputs.
    pub seeds: Vec<Vec<u8>>,
    /// Panics where something does not hold. Says in a word what it made of the input.
    pub check: Check,
}

/// Reads an input.
pub type Check = Box<dyn FnMut(&[u8]) -> String>;

/// An input that a target does not bear.
#[derive(Debug)]
pub struct Found {
    /// The input.
    pub input: Vec<u8>,
    /// What did not hold.
    pub why: String,
}

/// What a run has seen.
#[derive(Debug, Default)]
pub struct Ran {
    /// Inputs.
    pub inputs: u64,
    /// Different words that the target had for them.
    pub words: usize,
    /// What it does not bear.
    pub found: Option<Found>,
}

/// The folder with the past finds of a target.
#[must_use]
pub fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus").join(target)
}

/// Past finds, in order of their names.
///
/// # Errors
/// Files that cannot be read.
pub fn past_finds(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = corpus(target);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| fs::read(path).with_context(|| path.display().to_string())).collect()
}

/// Runs a target on its past finds, its seeds, and what is made of them while `go_on` (it is told how many there were).
/// Equal `seed`s make equal inputs.
pub fn run(target: &mut Target, past_finds: Vec<Vec<u8>>, seed: u64, mut go_on: impl FnMut(u64) -> bool) -> Ran {
    let mut chance = Chance::new(seed);
    let mut words = HashSet::new();
    let mut pool: Vec<Vec<u8>> = target.seeds.iter().cloned().chain(past_finds).collect();
    let mut ran = Ran::default();
    for input in pool.clone() {
        ran.inputs += 1;
        match checked(target, &input) {
            Ok(word) => drop(words.insert(word)),
            Err(why) => return Ran { words: words.len(), found: Some(Found { input, why }), ..ran },
        }
    }
    while go_on(ran.inputs) {
        ran.inputs += 1;
        let mut input = chance.one_of(&pool).clone();
        for _ in 0..=chance.below(4) {
            let other = chance.below(pool.len());
            input = mutate::mutated(&input, &pool[other], &mut chance);
        }
        input.truncate(INPUT_BYTES_MAX);
        match checked(target, &input) {
            Ok(word) => {
                if !words.insert(word) {
                    continue;
                }
                if pool.len() == POOL_MAX {
                    let old = chance.below(pool.len());
                    pool.swap_remove(old);
                }
                pool.push(input);
            }
            Err(why) => return Ran { words: words.len(), found: Some(Found { input, why }), ..ran },
        }
    }
    Ran { words: words.len(), ..ran }
}

fn checked(target: &mut Target, input: &[u8]) -> Result<String, String> {
    panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input))).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
    })
}
