//! Lives of a catalogue on a disk that loses what was not synced, by chance from a seed, and what must hold after each.
use super::simulated::{Chance, Cut, Disk};
use super::*;
use std::collections::BTreeMap;

const KEYS: u32 = 24;
const SEGMENT: u64 = 4 * 1024;

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Absent,
    /// The bytes of this version, of this length.
    Packed(u32, usize),
    File(u64),
}

/// The pristine copy: what was said of a key, and which of it must still be there.
#[derive(Clone, Debug)]
struct Told {
    history: Vec<Content>,
    /// From here on one of them is there after a power cut.
    durable: usize,
    /// And after the process was killed.
    certain: usize,
    /// When it was used: at least, after a cut and after a kill; and at most.
    used_durable: u32,
    used_certain: u32,
    used_most: u32,
    /// And by what could not be written yet.
    used_owed: u32,
    /// Of a batch that did not fit, or lost in a power cut: gone, but that is not synced.
    maybe: Vec<Content>,
}

impl Told {
    fn new(content: Content, used: u32) -> Self {
        Self {
            history: vec![content],
            durable: 0,
            certain: 0,
            used_durable: used,
            used_certain: used,
            used_most: used,
            used_owed: 0,
            maybe: Vec::new(),
        }
    }

    fn now(&self) -> Content {
        *self.history.last().unwrap()
    }

    fn is(&mut self, content: Content, minute: u32, certain: bool) {
        self.history.push(content);
        self.used_most = self.used_most.max(minute);
        self.used_owed = 0;
        if certain {
            self.certain = self.history.len() - 1;
            self.used_certain = minute;
        }
    }
}

struct World {
    seed: u64,
    disk: Disk,
    chance: Chance,
    told: BTreeMap<Key, Told>,
    numbers: BTreeMap<Key, u32>,
    invocations: BTreeMap<String, (u16, bool)>,
    version: u32,
    minute: u32,
    /// Keys forgotten, and uses, that may not be written yet.
    owed: bool,
}

fn number_key(n: u32) -> Key {
    key([Kind::Blob, Kind::Result, Kind::Name][n as usize % 3], n)
}

impl World {
    fn new(seed: u64) -> Self {
        let numbers: BTreeMap<_, _> = (0..KEYS).map(|n| (number_key(n), n)).collect();
        Self {
            seed,
            disk: Disk::default(),
            chance: Chance::new(seed),
            told: numbers.keys().map(|key| (*key, Told::new(Content::Absent, 0))).collect(),
            numbers,
            invocations: BTreeMap::new(),
            version: 0,
            minute: 100,
            owed: false,
        }
    }

    fn open(&self) -> io::Result<Catalogue> {
        Ok(Catalogue::open_on(Arc::new(self.disk.clone()), SEGMENT)?.0)
    }

    fn stamp(&mut self) -> Stamp {
        self.minute += self.chance.below(3) as u32;
        Stamp { minute: self.minute, invocation: self.chance.below(5) as u16, rank: self.chance.below(4) as u8 }
    }

    fn any_key(&mut self) -> Key {
        number_key(self.chance.below(KEYS as usize) as u32)
    }

    fn content(&mut self) -> Content {
        self.version += 1;
        let length = match self.chance.below(20) {
            0 => 8 + self.chance.below(6_000),
            1..5 => 8 + self.chance.below(1_000),
            _ => 8 + self.chance.below(200),
        };
        Content::Packed(self.version, length)
    }

    fn bytes_of(&self, key: &Key, content: Content) -> Vec<u8> {
        match content {
            Content::Packed(version, length) => bytes(self.numbers[key], version, length),
            _ => Vec::new(),
        }
    }

    /// What the catalogue says of a key.
    fn observed(&self, catalogue: &Catalogue, key: &Key, possible: &[Content]) -> Option<(Content, u32)> {
        let entry = catalogue.get(key);
        let content = match catalogue.read(key).unwrap() {
            Payload::Absent => Content::Absent,
            Payload::File => Content::File(entry?.size_bytes),
            Payload::Bytes(bytes) => {
                let of = |content: &&Content| {
                    matches!(content, Content::Packed(..)) && self.bytes_of(key, **content) == bytes
                };
                *possible.iter().find(of)?
            }
            Payload::Damaged(_) => return None,
        };
        possible.contains(&content).then_some((content, entry.map_or(0, |entry| entry.used)))
    }

    /// Everything that was said last is so.
    fn check_now(&self, catalogue: &Catalogue) {
        for (key, told) in &self.told {
            let found = self.observed(catalogue, key, &[told.now()]);
            assert!(found.is_some(), "seed {}: {key:?} is not {:?} in life", self.seed, told.now());
        }
        check_stats(catalogue);
    }

    /// After a start.
    fn check_start(&mut self, catalogue: &Catalogue, cut: bool) {
        let seed = self.seed;
        let keys: Vec<_> = self.told.keys().copied().collect();
        for key in keys {
            let told = self.told[&key].clone();
            let from = if cut { told.durable } else { told.certain };
            let mut possible = told.history[from..].to_vec();
            if cut {
                possible.extend(&told.maybe);
            }
            let possible = &possible[..];
            let Some((content, used)) = self.observed(catalogue, &key, possible) else {
                let found = catalogue.read(&key);
                panic!(
                    "seed {seed}: {key:?} is {found:?} after a cut ({cut}), and must be one of {possible:?} of {told:?}"
                );
            };
            if content != Content::Absent && possible.len() == 1 {
                let least = if cut { told.used_durable } else { told.used_certain };
                assert!(used >= least && used <= told.used_most, "seed {seed}: {key:?} used {used}, {told:?}");
            }
            if cut {
                // What it was lifted to may be in the checkpoint alone.
                let least = if possible.len() == 1 { told.used_durable } else { 0 };
                // What was not synced and is gone may come back at another cut, until something is synced: a segment whose name
                // was lost has left its blocks, header and all, and the next one has its number.
                let maybe = told.history[told.durable + 1..].iter().chain(&told.maybe).copied().collect();
                let used_most = told.used_most.max(used);
                let new = Told::new(content, used);
                self.told.insert(key, Told { used_durable: least, used_certain: least, used_most, maybe, ..new });
            } else if let Some(told) = self.told.get_mut(&key) {
                told.history.push(content);
                told.certain = told.history.len() - 1;
                told.used_owed = 0;
                if possible.len() > 1 {
                    told.used_certain = 0;
                }
            }
        }
        let known: BTreeMap<_, _> = catalogue.invocations().into_iter().map(|(n, known)| (known.name, n)).collect();
        let durable = self.invocations.iter().filter(|(_, (_, durable))| *durable || !cut);
        for (name, (number, _)) in durable {
            assert_eq!(
                known.get(name),
                Some(number),
                "seed {seed}: invocation {name} after a cut ({cut}): {:?}",
                self.invocations
            );
        }
        self.invocations = known.into_iter().map(|(name, number)| (name, (number, cut))).collect();
        check_stats(catalogue);
        self.owed = false;
    }

    /// Something was written: what was owed is too.
    fn paid(&mut self) {
        if std::mem::take(&mut self.owed) {
            for told in self.told.values_mut() {
                told.certain = told.history.len() - 1;
                told.used_certain = told.used_certain.max(told.used_owed);
            }
        }
    }

    fn synced(&mut self) {
        for told in self.told.values_mut() {
            (told.durable, told.used_durable) = (told.certain, told.used_certain);
            told.maybe.clear();
        }
        self.invocations.values_mut().for_each(|(_, durable)| *durable = true);
    }

    /// Puts; some may be kept where it fails.
    fn put(&mut self, catalogue: &Catalogue, count: usize) {
        let mut new: BTreeMap<Key, Content> = BTreeMap::new();
        while new.len() < count {
            let (key, content) = (self.any_key(), self.content());
            new.insert(key, content);
        }
        let stamp = self.stamp();
        let payloads: Vec<_> = new.iter().map(|(key, content)| (*key, self.bytes_of(key, *content))).collect();
        let entries: Vec<_> = payloads.iter().map(|(key, bytes)| (*key, bytes.len() as u64, &bytes[..])).collect();
        let done = match &entries[..] {
            [(key, size, bytes)] => catalogue.put(*key, *size, bytes, stamp),
            _ => catalogue.put_many(&entries, stamp),
        };
        let is_out = self.disk.is_out();
        if done.is_ok() {
            self.paid();
        }
        for (key, content) in new {
            let kept = done.is_ok() || (count > 1 && !is_out && self.observed(catalogue, &key, &[content]).is_some());
            let told = self.told.get_mut(&key).unwrap();
            if kept || is_out {
                told.is(content, stamp.minute, kept);
            } else if count > 1 {
                told.maybe.push(content);
            }
        }
    }

    fn put_file(&mut self, catalogue: &Catalogue) {
        let key = number_key(self.chance.below(KEYS as usize / 3) as u32 * 3);
        let (stamp, size) = (self.stamp(), 1 + self.chance.below(100_000) as u64);
        let done = catalogue.put_file(key, size, stamp).is_ok();
        if done {
            self.paid();
        }
        if done || self.disk.is_out() {
            self.told.get_mut(&key).unwrap().is(Content::File(size), stamp.minute, done);
        }
    }

    fn touch(&mut self, catalogue: &Catalogue) {
        let keys: Vec<_> = (0..1 + self.chance.below(5)).map(|_| self.any_key()).collect();
        let stamp = self.stamp();
        if self.chance.one_in(5) {
            catalogue.lift(&keys, stamp);
            keys.iter().for_each(|key| self.told.get_mut(key).unwrap().used_most = self.minute);
            return;
        }
        // What memory alone has is not written again.
        let before: Vec<_> = keys.iter().map(|key| catalogue.get(key).map_or(0, |entry| entry.used)).collect();
        let done = catalogue.touch(&keys, stamp);
        if done.is_ok() {
            self.paid();
        }
        for (key, before) in keys.iter().zip(before) {
            let told = self.told.get_mut(key).unwrap();
            if told.now() != Content::Absent {
                told.used_most = told.used_most.max(stamp.minute);
                if done.is_ok() && before < stamp.minute {
                    told.used_certain = told.used_certain.max(stamp.minute);
                }
                if done.is_err() {
                    self.owed = true;
                    told.used_owed = if before < stamp.minute { stamp.minute } else { told.used_owed };
                }
            }
        }
    }

    fn forget(&mut self, catalogue: &Catalogue) {
        let keys: Vec<_> = (0..1 + self.chance.below(3)).map(|_| self.any_key()).collect();
        let done = catalogue.forget_if(&keys, |_, _| true);
        if done.is_ok() {
            self.paid();
        }
        for key in &keys {
            let told = self.told.get_mut(key).unwrap();
            if told.now() != Content::Absent {
                told.is(Content::Absent, 0, done.is_ok());
                self.owed |= done.is_err();
            }
        }
    }

    fn invocation(&mut self, catalogue: &Catalogue) {
        let name = format!("run {}", self.chance.below(8));
        self.minute += self.chance.below(20) as u32;
        let full = self.owed;
        let number = catalogue.invocation(&name, "tool", self.minute);
        let written = number.is_ok() && !full;
        if let Ok(number) = number
            && written
            && !self.disk.is_out()
            && self.disk_has_room(catalogue)
        {
            let durable = self.invocations.get(&name).is_some_and(|(_, durable)| *durable);
            self.invocations.insert(name, (number, durable));
        }
    }

    /// Whether nothing is owed: an invocation on a full disk is known, and not yet written.
    fn disk_has_room(&self, catalogue: &Catalogue) -> bool {
        unpoisoned(catalogue.writer.lock()).owed.is_empty()
    }

    fn step(&mut self, catalogue: &Catalogue) {
        match self.chance.below(100) {
            0..34 => self.put(catalogue, 1),
            34..44 => {
                let count = 2 + self.chance.below(5);
                self.put(catalogue, count);
            }
            44..52 => self.put_file(catalogue),
            52..62 => self.touch(catalogue),
            62..74 => self.forget(catalogue),
            74..77 => self.invocation(catalogue),
            77..82 => {
                if catalogue.sync().is_ok() {
                    if self.disk_has_room(catalogue) {
                        self.paid();
                    }
                    self.synced();
                }
            }
            82..86 => {
                let now = !self.chance.one_in(3);
                let _ = catalogue.checkpoint(now);
            }
            86..95 => {
                let bytes = 1 + self.chance.below(4_000) as u64;
                let all = self.chance.one_in(2);
                let _ = catalogue.compact(bytes, all);
            }
            95 => {
                let cursor = catalogue.scrub(None, 2_000, |_, _, payload| {
                    assert!(matches!(payload, Payload::Bytes(_)), "{payload:?}");
                });
                let _ = cursor.and_then(|from| catalogue.scrub(from, 100_000, |_, _, _| {}));
            }
            96 => self.disk.set_room(Some(self.chance.below(1_500))),
            97 => self.disk.set_room(None),
            _ => self.check_now(catalogue),
        }
    }

    /// One life, from a start to its end.
    fn live(&mut self) {
        let (cut, steps) = (!self.chance.one_in(3), 10 + self.chance.below(90));
        let fuel = (cut && !self.chance.one_in(4)).then(|| 1 + self.chance.below(120));
        self.disk.set_fuel(fuel);
        // The power may go during the start.
        if let Ok(catalogue) = self.open() {
            for _ in 0..steps {
                self.step(&catalogue);
                if self.disk.is_out() {
                    break;
                }
            }
            if !self.disk.is_out() {
                self.check_now(&catalogue);
            }
            if self.chance.one_in(4) {
                let _ = catalogue.checkpoint(true);
            }
        }
        if cut {
            let what = [Cut::Nothing, Cut::All, Cut::Some, Cut::Some, Cut::Some][self.chance.below(5)];
            self.disk.cut(what, &mut self.chance);
        } else {
            self.disk.set_fuel(None);
            self.disk.set_room(None);
        }
        if cut && self.chance.one_in(8) {
            // Somebody takes it away: all is in the segments too.
            let _ = self.disk.remove(checkpoint::NAME);
            self.disk.sync().unwrap();
        }
        let catalogue = self.open().unwrap();
        self.check_start(&catalogue, cut);
    }
}

fn lives(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..8 {
        world.live();
    }
}

/// Each step of the format once: appends, a new segment, forgets, a checkpoint, a compaction from its first copy to the removal, and
/// what comes after it.
fn steps(world: &mut World, catalogue: &Catalogue, until: impl Fn(&World) -> bool) {
    let parts: [fn(&mut World, &Catalogue); 7] = [
        |world, catalogue| (0..12).for_each(|_| world.put(catalogue, 3)),
        |world, catalogue| {
            if catalogue.sync().is_ok() {
                world.synced();
            }
        },
        |world, catalogue| (0..6).for_each(|_| world.forget(catalogue)),
        |_, catalogue| drop(catalogue.checkpoint(true)),
        |world, catalogue| (0..4).for_each(|_| world.touch(catalogue)),
        |_, catalogue| while matches!(catalogue.compact(1_000, true), Ok(true)) {},
        |_, catalogue| drop(catalogue.checkpoint(true)),
    ];
    for part in parts.iter().chain(&parts) {
        if until(world) {
            return;
        }
        part(world, catalogue);
    }
}

/// The power goes at each change of the disk that these steps make.
#[test]
fn every_step_may_be_the_last() {
    for some in [true, false] {
        for fuel in 1.. {
            let cut = if some { Cut::Some } else { [Cut::Nothing, Cut::All][fuel % 2] };
            let mut world = World::new(fuel as u64 * 31);
            world.disk.set_fuel(Some(fuel));
            if let Ok(catalogue) = world.open() {
                steps(&mut world, &catalogue, |world| world.disk.is_out());
            }
            let done = !world.disk.is_out();
            world.disk.cut(cut, &mut world.chance);
            let catalogue = world.open().unwrap();
            world.check_start(&catalogue, true);
            // And it works on.
            (0..3).for_each(|_| world.put(&catalogue, 3));
            world.check_now(&catalogue);
            if done {
                assert!(fuel > 50, "the steps are not that few: {fuel}");
                break;
            }
        }
    }
}

/// `LRE_LOG_SEEDS=FROM..TO` for more of them.
#[test]
fn nothing_is_lost_that_was_promised() {
    let seeds = std::env::var("LRE_LOG_SEEDS").ok();
    let range = seeds.as_deref().and_then(|text| text.split_once(".."));
    let (from, to) = range.map_or((0, 100), |(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    for seed in from..to {
        if let Err(why) = std::panic::catch_unwind(|| lives(seed)) {
            println!("LRE_LOG_SEEDS={seed}..{} shows it", seed + 1);
            std::panic::resume_unwind(why);
        }
    }
}
