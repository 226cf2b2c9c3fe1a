//! A start: the checkpoint, then every record behind it.
use super::checkpoint::{self, NoCheckpoint, Position};
use super::index::Slot;
use super::medium::{Handle, Handles, Medium, segment_name, segment_number};
use super::record::{HEAD, Header, Says, read_header};
use super::scan::{Scan, Step};
use super::state::{Segment, State};
use super::writer::{New, Writer};
use super::{Catalogue, Opened};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

/// What is in the folder.
#[derive(Default)]
struct Found {
    segments: BTreeMap<u32, Segment>,
    /// Segments without a header: made a moment before a power cut. Nothing in them can be read.
    unmade: Vec<u32>,
    foreign: Vec<PathBuf>,
    /// The lowest number that no file has.
    next: u32,
}

fn refused(name: &str, version: u8) -> io::Error {
    let known = super::record::VERSION;
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{name} has version {version}, this program knows {known}: a newer version wrote it"),
    )
}

fn look_around(medium: &dyn Medium) -> io::Result<Found> {
    let mut found = Found { next: 1, ..Found::default() };
    for (name, regular) in medium.list()? {
        if regular && (name == checkpoint::NAME || name == checkpoint::NEW) {
            continue;
        }
        let number = segment_number(&name);
        found.next = found.next.max(number.map_or(0, |number| number.saturating_add(1)));
        let Some(number) = number.filter(|_| regular) else {
            found.foreign.push(name.into());
            continue;
        };
        let file = medium.open(&name)?;
        let mut header = [0; HEAD];
        let read = file.read_at(&mut header, 0)?;
        // The last bytes of a header are zero, and what is not there would look like them.
        match read_header(number, &header) {
            _ if read < HEAD => found.unmade.push(number),
            Header::Segment(seed) => {
                found.segments.insert(number, Segment { seed, len: file.length()?, ..Segment::default() });
            }
            Header::Version(version) => return Err(refused(&name, version)),
            Header::Foreign if header == [0; HEAD] => found.unmade.push(number),
            Header::Foreign => found.foreign.push(name.into()),
        }
    }
    Ok(found)
}

impl Catalogue {
    /// See [`Catalogue::open`].
    pub(super) fn open_on(medium: Arc<dyn Medium>, segment_bytes: u64) -> io::Result<(Self, Opened)> {
        let found = look_around(&*medium)?;
        let mut opened = Opened { fresh: found.segments.is_empty(), foreign: found.foreign, ..Opened::default() };
        let (mut state, position) = load_checkpoint(&*medium, &found.segments)?;
        // Nothing was changed until here.
        for number in found.unmade {
            medium.remove(&segment_name(number))?;
        }
        let handles = Handles::new(Arc::clone(&medium));
        let last = found.segments.last_key_value().map(|(number, _)| *number);
        let mut replayed = BTreeMap::new();
        let (mut tail, mut ended) = (0, Vec::new());
        for (number, segment) in &found.segments {
            let from = match &position {
                Some(position) if *number < position.at.segment => continue,
                Some(position) if *number == position.at.segment => u64::from(position.at.offset),
                _ => HEAD as u64,
            };
            let file = handles.get(*number)?;
            let mut scan = Scan::new(Arc::clone(&file), segment.seed, from, segment.len);
            ended.extend(replay(&mut scan, *number, &mut state, &mut opened)?);
            tail += segment.len - from;
            let end = scan.sound_end();
            if Some(*number) == last && end < segment.len {
                file.truncate(end)?;
                if let Some(segment) = state.segments.get_mut(number) {
                    segment.len = end;
                }
            }
            replayed.insert(*number, file);
        }
        opened.lost = state.prune();
        opened.minute = opened.minute.max(state.minute());
        let next = found.next.max(position.map_or(0, |p| p.at.segment.saturating_add(1)));
        let mut writer = match last.zip(last.and_then(|last| replayed.get(&last).cloned())) {
            Some((number, file)) => continued(number, file, &state, next),
            None => fresh(&*medium, &handles, &mut state, next)?,
        };
        // Or compaction drops what has ended them now, and they come back.
        ended.iter().filter_map(|slot| Some((slot.key()?, slot))).for_each(|(key, slot)| writer.owe(&key, slot));
        // They may be of a life that was killed before it could sync them.
        writer.unsynced.extend(replayed);
        writer.tail = tail;
        let catalogue = Self {
            medium,
            handles,
            segment_bytes,
            compacting: Mutex::new(None),
            checkpointing: Mutex::new(()),
            syncing: Mutex::new(()),
            writer: Mutex::new(writer),
            state: RwLock::new(state),
        };
        Ok((catalogue, opened))
    }
}

/// The memory as the checkpoint has it; empty without one.
fn load_checkpoint(medium: &dyn Medium, segments: &BTreeMap<u32, Segment>) -> io::Result<(State, Option<Position>)> {
    let mut state = State::new();
    state.segments.clone_from(segments);
    match checkpoint::load(medium, &mut state) {
        // The end that it names must be there, in the same segment, or all that is behind it would be missed.
        Ok(Ok(position)) if position.fits(segments) => return Ok((state, Some(position))),
        Ok(Err(NoCheckpoint::Version(version))) => return Err(refused(checkpoint::NAME, version)),
        // All of it is in the segments too.
        Ok(Ok(_) | Err(NoCheckpoint::Bad)) => {}
        Err(error) => tracing::warn!(%error, "the checkpoint of the log cannot be read: all of the log is"),
    }
    let mut state = State::new();
    state.segments.clone_from(segments);
    Ok((state, None))
}

impl Position {
    fn fits(&self, segments: &BTreeMap<u32, Segment>) -> bool {
        match segments.get(&self.at.segment) {
            Some(segment) => segment.seed == self.seed && u64::from(self.at.offset) <= segment.len,
            // Compaction has taken it away since.
            None => segments.range(self.at.segment..).next().is_some(),
        }
    }
}

/// Does what the records say. Returns those of [`State::apply`].
fn replay(scan: &mut Scan, number: u32, state: &mut State, opened: &mut Opened) -> io::Result<Vec<Slot>> {
    let mut ended = Vec::new();
    while let Some(step) = scan.next()? {
        match step {
            Step::Torn(bytes) => opened.torn_bytes += bytes,
            Step::Record { head, offset, payload } => {
                ended.extend(state.apply(&head, payload, super::record::At { segment: number, offset }));
                opened.replayed += 1;
                if head.says != Says::Forget {
                    opened.minute = opened.minute.max(head.stamp.minute);
                }
            }
        }
    }
    Ok(ended)
}

fn continued(number: u32, file: Arc<dyn Handle>, state: &State, next: u32) -> Writer {
    let Segment { seed, len, .. } = state.segments.get(&number).copied().unwrap_or_default();
    Writer::new(New { number, file, seed }, len, next)
}

/// A writer in a log without segments.
pub(super) fn fresh(medium: &dyn Medium, handles: &Handles, state: &mut State, number: u32) -> io::Result<Writer> {
    let new = New::create(medium, number)?;
    handles.add(number, Arc::clone(&new.file));
    state.segments.insert(number, Segment { seed: new.seed, len: HEAD as u64, ..Segment::default() });
    let file = Arc::clone(&new.file);
    let mut writer = Writer::new(new, HEAD as u64, number.saturating_add(1));
    writer.unsynced.insert(number, file);
    Ok(writer)
}
