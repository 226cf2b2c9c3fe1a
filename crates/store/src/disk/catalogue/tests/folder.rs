//! On real files.
use super::super::medium::segment_name;
use super::super::*;
use super::*;
use std::fs;
use std::time::Instant;

fn open(log: &Path) -> (Catalogue, Opened) {
    Catalogue::open(log).unwrap()
}

/// With small segments.
fn open_small(log: &Path, segment_bytes: u64) -> (Catalogue, Opened) {
    Catalogue::open_on(Arc::new(Folder(log.to_owned())), segment_bytes).unwrap()
}

fn is(catalogue: &Catalogue, key: &Key, bytes: &[u8]) {
    assert_eq!(catalogue.read(key).unwrap(), Payload::Bytes(Bytes::copy_from_slice(bytes)), "{key:?}");
}

#[test]
fn what_was_put_is_there_at_the_next_start_with_a_checkpoint_and_without() {
    for checkpoint in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (catalogue, opened) = open(dir.path());
        assert!(opened.fresh);
        let stamp = Stamp { minute: 77, invocation: 5, rank: 3 };
        catalogue.put(blob(1), 4, b"abcd", stamp).unwrap();
        catalogue.put(key(Kind::Result, 1), 4, b"result", NOW).unwrap();
        catalogue.put_file(blob(2), 123_456, NOW).unwrap();
        catalogue.put(blob(3), 3, b"abc", NOW).unwrap();
        assert!(catalogue.forget(blob(3)).unwrap());
        assert_eq!(catalogue.losses(), 1);
        let run = catalogue.invocation("a-run", "bazel", 900).unwrap();
        if checkpoint {
            assert!(catalogue.checkpoint(true).unwrap());
            assert!(!catalogue.checkpoint(true).unwrap(), "nothing is new");
        }
        let late = Stamp { minute: 1_200, invocation: run, rank: 9 };
        assert_eq!(catalogue.touch(&[blob(2), blob(3), blob(1)], late).unwrap(), [blob(3)]);
        let before: Vec<_> = [blob(1), blob(2), key(Kind::Result, 1)].map(|k| catalogue.get(&k)).to_vec();
        let stats = catalogue.stats();
        drop(catalogue);

        let (catalogue, opened) = open(dir.path());
        assert!(!opened.fresh);
        assert_eq!((opened.minute, opened.torn_bytes, opened.lost), (1_200, 0, 0));
        assert_eq!(opened.replayed, if checkpoint { 2 } else { 8 });
        let after = [blob(1), blob(2), key(Kind::Result, 1)].map(|k| catalogue.get(&k));
        for (before, after) in before.into_iter().zip(after) {
            assert_eq!(before.map(|e| Entry { seen: false, ..e }), after);
        }
        assert_eq!(catalogue.get(&blob(3)), None);
        is(&catalogue, &blob(1), b"abcd");
        is(&catalogue, &key(Kind::Result, 1), b"result");
        assert_eq!(catalogue.read(&blob(2)).unwrap(), Payload::File);
        assert_eq!(catalogue.read(&blob(3)).unwrap(), Payload::Absent);
        assert_eq!(catalogue.invocation("a-run", "bazel", 901).unwrap(), run);
        assert_eq!(catalogue.invocations()[0].1.began, 900);
        assert_eq!(catalogue.stats(), stats);
        check_stats(&catalogue);
    }
}

#[test]
fn segments_are_rolled_compacted_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, _) = open_small(dir.path(), 16 * 1024);
    for n in 0..1_000 {
        catalogue.put(blob(n), 100, &bytes(n, 0, 100), NOW).unwrap();
    }
    let large = bytes(5_000, 0, 100_000);
    catalogue.put(blob(5_000), 100_000, &large, NOW).unwrap();
    let full = catalogue.stats();
    assert!(fs::read_dir(dir.path()).unwrap().count() > 10);
    let gone: Vec<_> = (0..1_000).filter(|n| n % 5 != 0).map(blob).collect();
    assert_eq!(catalogue.forget_if(&gone, |_, _| true).unwrap().len(), 800);
    while catalogue.compact(4_096, true).unwrap() {}
    let stats = catalogue.stats();
    assert!(stats.log_bytes * 9 / 10 <= stats.live_bytes + 16 * 1024, "{stats:?} {full:?}");
    check_stats(&catalogue);
    let on_disk: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, stats.log_bytes);
    drop(catalogue);
    let (catalogue, _) = open_small(dir.path(), 16 * 1024);
    for n in 0..1_000 {
        if n % 5 == 0 {
            is(&catalogue, &blob(n), &bytes(n, 0, 100));
        } else {
            assert_eq!(catalogue.get(&blob(n)), None);
        }
    }
    is(&catalogue, &blob(5_000), &large);
    assert_eq!(catalogue.stats(), stats);
}

/// `cargo test --release -p lre-store the_costs -- --ignored --nocapture`-like figures, by a variable.
#[test]
fn the_costs() {
    let Some(entries) = std::env::var("LRE_LOG_ENTRIES").ok().and_then(|n| n.parse::<u32>().ok()) else { return };
    let dir = tempfile::tempdir_in(std::env::var("LRE_LOG_DIR").unwrap_or_else(|_| "/tmp".into())).unwrap();
    let resident = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap()
    };
    let keys: Vec<_> = (0..entries).map(blob).collect();
    let payload = bytes(1, 1, 500);
    let before = resident();
    let (catalogue, _) = open(dir.path());
    let start = Instant::now();
    for key in &keys {
        catalogue.put(*key, 500, &payload, NOW).unwrap();
    }
    let each = start.elapsed().as_nanos() / u128::from(entries);
    println!("put {each} ns, {} KiB resident", resident() - before);
    for round in 0..3 {
        let step = (entries / 10_000).max(1) as usize;
        let asked: Vec<_> = keys.iter().skip(round).step_by(step).take(10_000).copied().collect();
        let start = Instant::now();
        let mut found = 0;
        catalogue.look(asked.iter().copied(), |_, entry| found += usize::from(entry.is_some()));
        println!("look of {found}: {:?}", start.elapsed());
        let start = Instant::now();
        asked.iter().for_each(|key| assert!(matches!(catalogue.read(key).unwrap(), Payload::Bytes(_))));
        println!("read of {found}: {:?}", start.elapsed());
        let start = Instant::now();
        catalogue.touch(&asked, Stamp { minute: 2_000 + round as u32, ..NOW }).unwrap();
        println!("touch of {found}: {:?}", start.elapsed());
    }
    drop(catalogue);
    let start = Instant::now();
    let (catalogue, opened) = open(dir.path());
    let took = start.elapsed();
    let bytes = catalogue.stats().log_bytes;
    println!("replay of all {took:?}, {} MB/s, {} records", bytes as u128 / took.as_micros(), opened.replayed);
    let start = Instant::now();
    assert!(catalogue.checkpoint(true).unwrap());
    println!("checkpoint {:?}", start.elapsed());
    drop(catalogue);
    let start = Instant::now();
    let (catalogue, opened) = open(dir.path());
    println!(
        "open with checkpoint {:?}, {} records, {} entries",
        start.elapsed(),
        opened.replayed,
        catalogue.stats().entries
    );
    println!("first: {}", segment_name(1));
}
