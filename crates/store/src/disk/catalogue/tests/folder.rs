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
    (1_000..1_100).for_each(|n| catalogue.put(blob(n), 100, &bytes(n, 0, 100), NOW).unwrap());
    let large = bytes(5_000, 0, 100_000);
    catalogue.put(blob(5_000), 100_000, &large, NOW).unwrap();
    let full = catalogue.stats();
    assert!(fs::read_dir(dir.path()).unwrap().count() > 10);
    let gone: Vec<_> = (0..1_100).filter(|n| n % 5 != 0).map(blob).collect();
    assert_eq!(catalogue.forget_if(&gone, |_, _| true).unwrap().len(), 880);
    while catalogue.compact(4_096, true).unwrap() {}
    let stats = catalogue.stats();
    assert!(stats.log_bytes * 9 / 10 <= stats.live_bytes + 16 * 1024, "{stats:?} {full:?}");
    check_stats(&catalogue);
    let on_disk: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, stats.log_bytes);
    drop(catalogue);
    let (catalogue, _) = open_small(dir.path(), 16 * 1024);
    for n in 0..1_100 {
        if n % 5 == 0 {
            is(&catalogue, &blob(n), &bytes(n, 0, 100));
        } else {
            assert_eq!(catalogue.get(&blob(n)), None);
        }
    }
    is(&catalogue, &blob(5_000), &large);
    assert_eq!(catalogue.stats(), stats);
}

/// Forgotten, put and forgotten again, and a power cut leaves only the last record of the three. It ends what the first should
/// have ended, and must stay as long as that is there.
#[test]
fn what_a_later_forget_has_ended_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, _) = open_small(dir.path(), 4096);
    catalogue.put(blob(1), 8, &bytes(1, 1, 8), NOW).unwrap();
    // Fills the segment, and stays, so that it is not worth compacting.
    catalogue.put(blob(2), 3850, &bytes(2, 1, 3850), NOW).unwrap();
    catalogue.forget(blob(1)).unwrap();
    catalogue.put(blob(1), 8, &bytes(1, 2, 8), NOW).unwrap();
    catalogue.forget(blob(1)).unwrap();
    drop(catalogue);
    let second = dir.path().join(segment_name(2));
    let mut image = fs::read(&second).unwrap();
    assert_eq!(image.len(), 64 + 64 + 72 + 64);
    image[64..200].fill(0);
    fs::write(&second, image).unwrap();

    let (catalogue, opened) = open_small(dir.path(), 4096);
    assert_eq!((opened.torn_bytes, catalogue.get(&blob(1))), (136, None));
    while catalogue.compact(u64::MAX, true).unwrap() {}
    drop(catalogue);
    assert!(dir.path().join(segment_name(1)).exists() && !second.exists());
    let (catalogue, _) = open_small(dir.path(), 4096);
    assert_eq!(catalogue.read(&blob(1)).unwrap(), Payload::Absent);
    is(&catalogue, &blob(2), &bytes(2, 1, 3850));
}

/// Every byte of a small log, and of its checkpoint: whatever is damaged, nothing is ever read that was not written.
#[test]
fn no_flipped_bit_is_ever_served() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, _) = open(dir.path());
    let puts: Vec<_> = (0..6).map(|n| (blob(n), bytes(n, 0, 40 * n as usize))).collect();
    for (n, (key, bytes)) in puts.iter().enumerate() {
        catalogue.put(*key, bytes.len() as u64, bytes, NOW).unwrap();
        if n == 2 {
            catalogue.put_file(blob(100), 5_000, NOW).unwrap();
            catalogue.forget(puts[1].0).unwrap();
            catalogue.checkpoint(true).unwrap();
        }
    }
    drop(catalogue);
    let (segment, checkpoint) = (dir.path().join(segment_name(1)), dir.path().join(checkpoint::NAME));
    let (log, known) = (fs::read(&segment).unwrap(), fs::read(&checkpoint).unwrap());
    for (file, good) in [(&segment, &log), (&checkpoint, &known)] {
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(file, &bad).unwrap();
            let (catalogue, opened) = open(dir.path());
            let mut lost = 0;
            for (key, bytes) in &puts {
                match catalogue.read(key).unwrap() {
                    Payload::Bytes(found) => assert_eq!(found, bytes, "{at} of {}", file.display()),
                    Payload::Damaged(_) | Payload::Absent => lost += 1,
                    Payload::File => panic!("byte {at}"),
                }
            }
            assert_eq!(catalogue.get(&puts[1].0), None, "it was forgotten");
            let header = file == &segment && at < 64;
            assert!(lost <= 2 || header, "byte {at} of {}: {lost} are gone", file.display());
            assert_eq!(opened.foreign.len(), usize::from(header), "byte {at}");
            check_stats(&catalogue);
            catalogue.put(blob(50), 3, b"new", NOW).unwrap();
            is(&catalogue, &blob(50), b"new");
            drop(catalogue);
            fs::read_dir(dir.path()).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
            fs::write(&segment, &log).unwrap();
            fs::write(&checkpoint, &known).unwrap();
        }
    }
}

#[test]
fn a_newer_version_is_refused_and_what_is_foreign_stays() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut header = fs::read(dir.path().join(segment_name(1))).unwrap();
    fs::create_dir(dir.path().join("00000009.seg")).unwrap();
    fs::write(dir.path().join("notes"), "mine").unwrap();
    let (catalogue, opened) = open(dir.path());
    let mut foreign = opened.foreign;
    foreign.sort();
    assert_eq!(foreign, [dir.path().join("00000009.seg"), dir.path().join("notes")]);
    drop(catalogue);
    header[7] = 2;
    let sum = xxhash_rust::xxh3::xxh3_64(&header[..32]);
    header[32..40].copy_from_slice(&sum.to_le_bytes());
    let newer = dir.path().join(segment_name(2));
    fs::write(&newer, &header).unwrap();
    let refused = Catalogue::open(dir.path()).err().unwrap();
    assert!(refused.to_string().contains("00000002.seg has version 2"), "{refused}");
    assert_eq!(fs::read(&newer).unwrap(), header);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing came, nothing went");
}

#[test]
fn a_hundred_segments_need_no_hundred_handles() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, _) = open_small(dir.path(), 512);
    for n in 0..300 {
        catalogue.put(blob(n), 400, &bytes(n, 0, 400), NOW).unwrap();
    }
    (0..300).for_each(|n| is(&catalogue, &blob(n), &bytes(n, 0, 400)));
    assert!(fs::read_dir(dir.path()).unwrap().count() >= 300);
    assert!(catalogue.handles.count() <= 128);
}

/// Who reads has either the old bytes or the new ones, whatever is done to the log meanwhile.
#[test]
fn many_read_write_and_compact_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, _) = open_small(dir.path(), 8 * 1024);
    let deadline = Instant::now() + std::time::Duration::from_millis(400);
    let working = || Instant::now() < deadline;
    let catalogue = &catalogue;
    std::thread::scope(|threads| {
        for writer in 0..2_u32 {
            threads.spawn(move || {
                for version in (0..).take_while(|_| working()) {
                    let n = writer * 100 + version % 40;
                    catalogue.put(blob(n), 300, &bytes(n, version / 40, 300), NOW).unwrap();
                    catalogue.touch(&[blob(n)], Stamp { minute: 1_000 + version, ..NOW }).unwrap();
                    if version % 7 == 0 {
                        catalogue.forget(blob(n)).unwrap();
                    }
                }
            });
        }
        threads.spawn(|| {
            while working() {
                catalogue.compact(4_096, true).unwrap();
                catalogue.checkpoint(true).unwrap();
            }
        });
        for _ in 0..2 {
            threads.spawn(|| {
                for n in (0..140).cycle().take_while(|_| working()) {
                    match catalogue.read(&blob(n)).unwrap() {
                        Payload::Bytes(found) => assert_eq!(
                            found[8..16],
                            bytes(n, u32::from_le_bytes([found[4] ^ 4, found[5] ^ 5, found[6] ^ 6, found[7] ^ 7]), 300)
                                [8..16]
                        ),
                        Payload::Absent => {}
                        other => panic!("{n}: {other:?}"),
                    }
                }
            });
        }
    });
    check_stats(catalogue);
    let stats = catalogue.stats();
    let (again, opened) = open_small(dir.path(), 8 * 1024);
    assert_eq!((opened.torn_bytes, again.stats().entries), (0, stats.entries));
}

/// A copy of the folder at any moment is what a kill at that moment leaves.
#[test]
fn a_copy_made_while_it_is_written_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, _) = open_small(dir.path(), 8 * 1024);
    for n in 0..120 {
        catalogue.put(blob(n), 200, &bytes(n, 0, 200), NOW).unwrap();
        if n % 10 == 9 {
            catalogue.forget(blob(n - 5)).unwrap();
            catalogue.checkpoint(n % 20 == 9).unwrap();
            catalogue.compact(3_000, true).unwrap();
        }
        if n % 6 != 0 {
            continue;
        }
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(dir.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let (copied, opened) = open_small(copy.path(), 8 * 1024);
        assert_eq!((opened.torn_bytes, copied.stats().entries), (0, catalogue.stats().entries));
        catalogue.each(|key, entry| assert_eq!(copied.get(key), Some(*entry)));
        (0..=n).filter(|n| catalogue.get(&blob(*n)).is_some()).for_each(|n| is(&copied, &blob(n), &bytes(n, 0, 200)));
    }
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
