//! A disk that keeps apart what is synced and what is not. At a power cut it loses, tears and reorders what is not.
use super::super::medium::{Handle, Medium};
use super::super::unpoisoned;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

/// What is lost of a write, is lost by sectors.
const SECTOR: usize = 512;

/// Chance, from a seed.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 33);
        x.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 17
    }

    /// Less than `below`.
    pub(super) fn below(&mut self, below: usize) -> usize {
        (self.next() % below.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug)]
enum NameOp {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Op>,
}

type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: Names,
    synced_names: Names,
    unsynced_names: Vec<NameOp>,
    /// Changes until the power goes.
    fuel: Option<usize>,
    /// Bytes that can still be written where nothing was.
    room: Option<usize>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

struct Open {
    disk: Disk,
    file: usize,
}

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Nothing,
    All,
    Some,
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

impl State {
    /// Whether the next change is done; `false` for the one at which the power goes.
    fn burn(&mut self) -> io::Result<bool> {
        match &mut self.fuel {
            None => Ok(true),
            Some(0) => Err(gone()),
            Some(fuel) => {
                *fuel -= 1;
                Ok(*fuel > 0)
            }
        }
    }

    fn change_name(&mut self, op: NameOp) -> io::Result<()> {
        let goes_on = self.burn()?;
        apply_name(&mut self.names, &op);
        self.unsynced_names.push(op);
        if goes_on { Ok(()) } else { Err(gone()) }
    }
}

fn apply_name(names: &mut Names, op: &NameOp) {
    match op {
        NameOp::Create(name, file) => {
            names.insert(name.clone(), *file);
        }
        NameOp::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        NameOp::Remove(name) => {
            names.remove(name);
        }
    }
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, new) => {
            let end = offset + new.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(new);
        }
        Op::Truncate(length) => bytes.resize(*length, 0),
    }
}

impl Disk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        unpoisoned(self.0.lock())
    }

    /// The power goes at the change with this number, in the middle of it.
    pub(super) fn set_fuel(&self, fuel: Option<usize>) {
        self.state().fuel = fuel;
    }

    pub(super) fn is_out(&self) -> bool {
        self.state().fuel == Some(0)
    }

    pub(super) fn set_room(&self, room: Option<usize>) {
        self.state().room = room;
    }

    /// The power goes and comes back.
    pub(super) fn cut(&self, cut: Cut, chance: &mut Chance) {
        let mut state = self.state();
        let State { files, names, synced_names, unsynced_names, fuel, room } = &mut *state;
        let all: Vec<_> = files.iter().map(|file| file.now.clone()).collect();
        for file in files.iter_mut() {
            let ops = std::mem::take(&mut file.unsynced);
            match cut {
                Cut::Nothing => {}
                Cut::All => file.synced.clone_from(&file.now),
                Cut::Some => file.synced = survive(std::mem::take(&mut file.synced), ops, &all, chance),
            }
            file.now.clone_from(&file.synced);
        }
        let ops = std::mem::take(unsynced_names);
        // The journals of file systems keep the order of changes of names; this disk does so only now and then.
        let until = if chance.one_in(2) { chance.below(ops.len() + 1) } else { ops.len() };
        let each = until == ops.len();
        for op in &ops[..until] {
            let kept = match cut {
                Cut::Nothing => false,
                Cut::All => true,
                Cut::Some => !each || !chance.one_in(3),
            };
            if kept {
                apply_name(synced_names, op);
            }
        }
        if cut == Cut::All {
            synced_names.clone_from(names);
        }
        names.clone_from(synced_names);
        (*fuel, *room) = (None, None);
    }
}

/// What is in a file afterwards.
fn survive(mut bytes: Vec<u8>, ops: Vec<Op>, all: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mode = chance.below(4);
    for op in ops {
        match &op {
            // It is lost, and then so is what was written afterwards; or that is there, and what should be gone is behind it.
            Op::Truncate(_) if chance.one_in(3) => {
                if chance.one_in(2) {
                    break;
                }
            }
            Op::Truncate(_) => apply(&mut bytes, &op),
            Op::Write(..) if mode == 0 || (mode == 1 && chance.one_in(2)) => apply(&mut bytes, &op),
            Op::Write(offset, new) if mode == 2 && chance.one_in(2) => {
                // Up to some byte.
                apply(&mut bytes, &Op::Write(*offset, new[..chance.below(new.len() + 1)].to_vec()));
            }
            Op::Write(offset, new) => tear(&mut bytes, *offset, new, all, chance),
        }
    }
    bytes
}

/// Some sectors of a write are there; of others only the length of the file knows; or something else lies there.
fn tear(bytes: &mut Vec<u8>, offset: usize, new: &[u8], all: &[Vec<u8>], chance: &mut Chance) {
    let mut at = offset;
    while at < offset + new.len() {
        let end = ((at / SECTOR + 1) * SECTOR).min(offset + new.len());
        let sector = &new[at - offset..end - offset];
        match chance.below(5) {
            0 | 1 => apply(bytes, &Op::Write(at, sector.to_vec())),
            2 if bytes.len() < end => bytes.resize(end, 0),
            // Blocks that were those of another file.
            3 if bytes.len() <= at => {
                let other = all.get(chance.below(all.len())).and_then(|file| file.get(at..end));
                apply(bytes, &Op::Write(at, other.map_or_else(|| vec![0xa5; end - at], <[u8]>::to_vec)));
            }
            _ => {}
        }
        at = end;
    }
}

impl Medium for Disk {
    fn list(&self) -> io::Result<Vec<(String, bool)>> {
        Ok(self.state().names.keys().map(|name| (name.clone(), true)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = state.files.len();
        state.files.push(File::default());
        state.change_name(NameOp::Create(name.to_owned(), file))?;
        Ok(Arc::new(Open { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let file = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().change_name(NameOp::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameOp::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if !state.burn()? {
            return Err(gone());
        }
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}

impl Handle for Open {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let file = state.files[self.file].now.get(offset as usize..).unwrap_or_default();
        let length = bytes.len().min(file.len());
        bytes[..length].copy_from_slice(&file[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let goes_on = state.burn()?;
        let offset = offset as usize;
        let grows = (offset + bytes.len()).saturating_sub(state.files[self.file].now.len());
        let fits = match &mut state.room {
            Some(room) if *room < grows => bytes.len() - grows + std::mem::take(room),
            Some(room) => {
                *room -= grows;
                bytes.len()
            }
            None => bytes.len(),
        };
        let written = if goes_on { fits } else { fits / 2 };
        let op = Op::Write(offset, bytes[..written].to_vec());
        let file = &mut state.files[self.file];
        if written > 0 {
            apply(&mut file.now, &op);
            file.unsynced.push(op);
        }
        match goes_on {
            false => Err(gone()),
            true if written < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            true => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if !state.burn()? {
            return Err(gone());
        }
        let file = &mut state.files[self.file];
        file.synced.clone_from(&file.now);
        file.unsynced.clear();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].now.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let goes_on = state.burn()?;
        let freed = state.files[self.file].now.len().saturating_sub(length as usize);
        if let Some(room) = &mut state.room {
            *room += freed;
        }
        let op = Op::Truncate(length as usize);
        let file = &mut state.files[self.file];
        apply(&mut file.now, &op);
        file.unsynced.push(op);
        if goes_on { Ok(()) } else { Err(gone()) }
    }
}
