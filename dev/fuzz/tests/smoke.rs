//! Each target for some thousand inputs, the same ones each time, after everything that was ever found.
use lre_fuzz::{Target, past_finds, run, targets};

/// Few enough for seconds, enough to see what a change broke.
const INPUTS: u64 = 20_000;
/// The HTTP cache writes files.
const INPUTS_TO_DISK: u64 = 3_000;
/// What this process may take at most, in kB: its inputs are of 16 KiB, and what is made of one goes with it.
const MEMORY_KB_MAX: u64 = 512 * 1024;

/// PROTOCOL 21, 25, 34, 40, 69, 71, 80, 89, bad input: resource names, digests, Directory, Tree, Action, Command and HTTP
/// paths of any bytes are refused or mean one thing, lead nowhere else, and take bounded memory.
#[test]
fn nothing_breaks_by_what_is_sent() {
    for mut target in targets::all() {
        let inputs = if target.name == "http" { INPUTS_TO_DISK } else { INPUTS };
        let finds = past_finds(target.name).unwrap();
        let ran = run(&mut target, finds, 1, |so_far| so_far < inputs);
        if let Some(found) = ran.found {
            panic!("{}: {}\n{}", target.name, found.why, found.input.escape_ascii());
        }
        assert!(ran.words >= 4, "{}: only {} kinds of answers, so the inputs are all alike", target.name, ran.words);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    assert!(peak.is_some_and(|peak: u64| peak < MEMORY_KB_MAX), "{peak:?} kB at the peak");
}

/// The machinery finds what is there to be found.
#[test]
fn a_mistake_is_found() {
    let check = |input: &[u8]| {
        assert!(!input.windows(2).any(|pair| pair == b".."), "two dots");
        String::new()
    };
    let mut target = Target { name: "none", seeds: vec![b"\x0a\x03abc".to_vec()], check: Box::new(check) };
    let found = run(&mut target, Vec::new(), 1, |so_far| so_far < INPUTS).found.expect("two dots");
    assert_eq!(found.why, "two dots");
    assert!(found.input.windows(2).any(|pair| pair == b".."));
}
