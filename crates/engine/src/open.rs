//! Opening a log: replay of its segments, or of their hints, and what of its tail is no longer one.
//!
//! Owns which files belong to a log and in which order, and the refusal of what is damaged. Must not
//! know threads or clocks.

use std::{collections::BTreeMap, io, ops::ControlFlow, sync::Arc};

use crate::{
    config::{ConfigProblem, EngineConfig},
    disk::{Disk, DiskFile, is_not_renamed},
    format::{
        FORMAT_VERSION,
        frame::Frame,
        header::{HEADER_BYTES, SegmentHeader},
        hint::Item,
    },
    hint::{self, Hint},
    names,
    scan::{self, BeginError, Damage, End, Segment},
    state::{Context, SegmentFile, State},
};

/// An engine can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Settings that can't be used, all of them.
    #[error("the engine's settings can't be used: {}", join(.0))]
    Config(Vec<ConfigProblem>),
    /// The operating system gave no random bits.
    #[error("the system's source of random numbers is not available")]
    Entropy,
    /// Another process has the folder.
    #[error("another process uses the data in {folder}; stop it, or choose another --data-dir")]
    Locked {
        /// Which.
        folder: String,
    },
    /// The log is not as it was written. It is left as it stands.
    #[error(
        "the log in {folder} is damaged: {}, byte {}: {}; `bowline log verify {folder}` shows more",
        .damage.file, .damage.offset, .damage.problem
    )]
    Damaged {
        /// Where the log is.
        folder: String,
        /// What is damaged.
        damage: Damage,
    },
    /// A newer program has written the log.
    #[error(
        "the log in {folder} has format version {found}, and this program knows versions up to \
         {FORMAT_VERSION}; use a newer program (file {file})"
    )]
    Newer {
        /// Where the log is.
        folder: String,
        /// The first such file.
        file: String,
        /// Its version.
        found: u32,
    },
    /// The system refused something.
    #[error("the data in {folder} can't be used: {source}")]
    Io {
        /// Where the log is.
        folder: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread can't be started.
    #[error("a thread of the engine can't be started: {0}")]
    Thread(io::Error),
}

/// What is in a folder.
pub(crate) struct Opened {
    pub(crate) state: State,
    /// Of the log; none where there is none yet.
    pub(crate) epoch: Option<u64>,
    pub(crate) next_number: u64,
    pub(crate) next_seq: u64,
    /// The latest time in the log.
    pub(crate) time_ms: u64,
    /// Bytes that were cut off behind the last good frame.
    pub(crate) torn_bytes: u64,
    /// Segments that were not read, since their hints say the same.
    pub(crate) hinted: u64,
}

/// One segment on the way in.
struct Found {
    name: String,
    file: Arc<dyn DiskFile>,
    segment: Segment,
}

/// Replays what is on the disk, which this process has locked, and makes its tail durable.
///
/// The newest segments, up to `check_bytes` of them and always the last, are read and checked frame
/// by frame; of those before, that is left for later where a hint says what they hold.
pub(crate) fn open(
    disk: &dyn Disk,
    config: &EngineConfig,
    hash_seed: u64,
    check_bytes: u64,
) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Io {
        folder: disk.describe(),
        source,
    };
    let damaged = |damage| OpenError::Damaged {
        folder: disk.describe(),
        damage,
    };
    let (numbers, unfinished) = list(disk).map_err(failed)?;
    for name in unfinished {
        disk.remove(&name).map_err(failed)?;
    }
    let mut opened = Opened::empty(config, hash_seed);
    let last = numbers.keys().next_back().copied();
    let checked_from = checked_from(disk, &numbers, check_bytes).map_err(failed)?;
    let checked_from = checked_from.min(last.unwrap_or(0));
    for (number, name) in numbers {
        let is_last = last == Some(number);
        if number < checked_from
            && number >= opened.next_number
            && let Some((header, file, hint)) = hinted(disk, &name, number)
        {
            opened.check(&name, &header).map_err(damaged)?;
            opened.take_hint(header, file, &hint).map_err(damaged)?;
            continue;
        }
        let Some(found) = find(disk, &name, number, is_last)? else {
            disk.remove(&name).map_err(failed)?;
            continue;
        };
        if number < opened.next_number {
            let header = &found.segment.header;
            opened.check_covered(&name, header).map_err(damaged)?;
            // A neighbour was merged with it, and is whole: it was read to its end, or its hint is
            // of its whole length.
            disk.remove(&name).map_err(failed)?;
            continue;
        }
        let header = found.segment.header;
        opened.check(&found.name, &header).map_err(damaged)?;
        let found = match is_last {
            true => made_durable(disk, found).map_err(failed)?,
            false => found,
        };
        // One that was tried above was no good.
        let wants_hint =
            number < checked_from || !hint::exists(disk, &header, found.segment.bytes.len() as u64);
        let end = opened
            .replay(&found, is_last, wants_hint)
            .map_err(damaged)?;
        opened.follow(&header, &end);
        if is_last {
            opened.settle(&found, &end).map_err(failed)?;
        }
    }
    Ok(opened)
}

/// The number of the oldest segment among the newest `check_bytes`; that behind all of them if the last
/// is larger.
fn checked_from(
    disk: &dyn Disk,
    numbers: &BTreeMap<u64, String>,
    check_bytes: u64,
) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for (&number, name) in numbers.iter().rev() {
        bytes = bytes.saturating_add(disk.open(name)?.size()?);
        if bytes > check_bytes {
            return Ok(number + 1);
        }
    }
    Ok(0)
}

/// A segment whose hint says what it holds.
fn hinted(
    disk: &dyn Disk,
    name: &str,
    number: u64,
) -> Option<(SegmentHeader, Arc<dyn DiskFile>, Hint)> {
    let file = disk.open(name).ok()?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0).ok()?;
    // What is wrong with it is told by reading all of it.
    let header = SegmentHeader::decode(&bytes).ok()?;
    let hint = hint::load(disk, &header, file.size().ok()?)?;
    (header.number == number).then_some((header, file, hint))
}

/// The segments by number, and the files that are left over: those that were being written when a
/// process ended, and hints of segments that are no more.
fn list(disk: &dyn Disk) -> io::Result<(BTreeMap<u64, String>, Vec<String>)> {
    let mut numbers = BTreeMap::new();
    let mut unfinished = Vec::new();
    let mut hints = Vec::new();
    for name in disk.list()? {
        if let Some(number) = names::segment_number(&name) {
            numbers.insert(number, name);
        } else if names::unfinished_number(&name).is_some() {
            unfinished.push(name);
        } else if let Some(number) = names::hint_number(&name) {
            hints.push((number, name));
        }
    }
    // Of segments that are no more: only litter.
    hints.retain(|(number, _)| !numbers.contains_key(number));
    unfinished.extend(hints.into_iter().map(|(_, name)| name));
    Ok((numbers, unfinished))
}

/// None for the last segment if a crash came before its header was whole.
fn find(
    disk: &dyn Disk,
    name: &str,
    number: u64,
    is_last: bool,
) -> Result<Option<Found>, OpenError> {
    let folder = disk.describe();
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(source) => return Err(OpenError::Io { folder, source }),
    };
    match scan::begin(&*file, name, number) {
        Ok(segment) => Ok(Some(Found {
            name: name.to_owned(),
            file,
            segment,
        })),
        Err(BeginError::Unborn) if is_last => Ok(None),
        Err(BeginError::Unborn) => Err(OpenError::Damaged {
            folder,
            damage: Damage {
                file: name.to_owned(),
                offset: 0,
                problem: "the segment is cut off".to_owned(),
            },
        }),
        Err(BeginError::Damaged(damage)) => Err(OpenError::Damaged { folder, damage }),
        Err(BeginError::Newer(found)) => Err(OpenError::Newer {
            folder,
            file: name.to_owned(),
            found,
        }),
        Err(BeginError::Io(source)) => Err(OpenError::Io { folder, source }),
    }
}

impl Opened {
    /// A log without segments.
    pub(crate) fn empty(config: &EngineConfig, hash_seed: u64) -> Self {
        Self {
            state: State::new(config, hash_seed),
            epoch: None,
            next_number: 1,
            next_seq: 1,
            time_ms: 0,
            torn_bytes: 0,
            hinted: 0,
        }
    }

    /// Whether a segment follows those before it.
    pub(crate) fn check(&self, name: &str, header: &SegmentHeader) -> Result<(), Damage> {
        let problem = if header.number != self.next_number {
            format!("segment {:016x} is missing", self.next_number)
        } else if self.epoch.is_some_and(|epoch| epoch != header.epoch) {
            "the segment belongs to another log".to_owned()
        } else if self.next_seq != 0 && header.first_seq != self.next_seq {
            format!(
                "the segment begins with frame {}, where frame {} belongs",
                header.first_seq, self.next_seq
            )
        } else {
            return Ok(());
        };
        Err(Damage {
            file: name.to_owned(),
            offset: 0,
            problem,
        })
    }

    /// Whether the segments before stand for all that a segment stands for.
    pub(crate) fn check_covered(&self, name: &str, header: &SegmentHeader) -> Result<(), Damage> {
        if header.last_number < self.next_number {
            return Ok(());
        }
        Err(Damage {
            file: name.to_owned(),
            offset: 0,
            problem: format!(
                "the segment stands for those up to {:016x}, and one before it for only a part of them",
                header.last_number
            ),
        })
    }

    /// Adds an open file.
    pub(crate) fn add(
        &mut self,
        file: Arc<dyn DiskFile>,
        header: SegmentHeader,
        bytes: u64,
        is_checked: bool,
        wants_hint: bool,
    ) -> u32 {
        self.state.files.add(SegmentFile {
            file,
            header,
            bytes,
            live_bytes: 0,
            kept_bytes: 0,
            judged_ms: 0,
            wait_ms: 0,
            is_sealed: true,
            is_checked,
            wants_hint,
        })
    }

    /// Gives a frame its effect.
    pub(crate) fn apply(
        &mut self,
        frame: &Frame<'_>,
        body_pos: u32,
        file: u32,
    ) -> Result<(), String> {
        let mut context = Context {
            file,
            time_ms: frame.header.time_ms,
            term: frame.header.term,
        };
        let state = &mut self.state;
        let broken = scan::records(frame, body_pos, |record, place| {
            match state.apply(&mut context, record, place) {
                Ok(()) => ControlFlow::Continue(()),
                Err(problem) => ControlFlow::Break(problem),
            }
        })?;
        match broken {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(problem) => Err(problem.to_string()),
        }
    }

    /// A segment was read to its end.
    pub(crate) fn follow(&mut self, header: &SegmentHeader, end: &End) {
        self.epoch = Some(header.epoch);
        self.next_number = header.last_number + 1;
        self.next_seq = end.next_seq;
        self.state.last_seq = end.next_seq - 1;
        self.time_ms = self.time_ms.max(end.time_ms);
    }

    /// A segment could not be read to its end: with which frame the next one begins is not known.
    pub(crate) fn skip(&mut self, header: &SegmentHeader) {
        self.epoch = Some(header.epoch);
        self.next_number = header.last_number + 1;
        self.next_seq = 0;
    }

    fn replay(&mut self, found: &Found, is_last: bool, wants_hint: bool) -> Result<End, Damage> {
        let Segment { header, bytes } = &found.segment;
        let bytes = bytes.len() as u64;
        let file = self.add(found.file.clone(), *header, bytes, true, wants_hint);
        let end = scan::walk(&found.segment, &found.name, is_last, |frame, body_pos| {
            self.apply(frame, body_pos, file)
        })?;
        Ok(end)
    }

    /// Gives a segment's records their effect from its hint.
    fn take_hint(
        &mut self,
        header: SegmentHeader,
        file: Arc<dyn DiskFile>,
        hint: &Hint,
    ) -> Result<(), Damage> {
        let end = hint.end();
        let file = self.add(file, header, end.bytes, false, false);
        self.apply_hint(hint, file).map_err(|problem| Damage {
            file: names::hint(header.number),
            offset: 0,
            problem: format!("{problem}; the file can be removed, the log has all that it says"),
        })?;
        self.follow(&header, &end);
        self.hinted += 1;
        Ok(())
    }

    fn apply_hint(&mut self, hint: &Hint, file: u32) -> Result<(), String> {
        let mut context = Context {
            file,
            time_ms: 0,
            term: 0,
        };
        let mut items = hint.items();
        while let Some(item) = items.next().map_err(|()| "a record is of no known kind")? {
            match item {
                Item::Stored(stored) => self.state.store(&context, &stored),
                Item::Record(record) => self.state.apply(&mut context, &record, (0, 0)),
            }
            .map_err(|problem| problem.to_string())?;
        }
        Ok(())
    }

    /// Cuts off what is torn.
    fn settle(&mut self, found: &Found, end: &End) -> io::Result<()> {
        if end.is_torn {
            self.torn_bytes = found.segment.bytes.len() as u64 - end.bytes;
            found.file.truncate(end.bytes)?;
            found.file.sync_data()?;
            self.state.files.shrink_last(self.torn_bytes);
        }
        debug_assert!(end.bytes >= HEADER_BYTES as u64);
        Ok(())
    }
}

/// Makes the last segment durable as it was read. It may be in the system's memory only: after a
/// kill, or after a sync that failed, which no later sync of that file makes good. From now on it
/// counts as committed, so it is written anew. Where there can be no copy, it is written over itself:
/// so the system has to write all of it again, and a sync tells of these writes.
fn made_durable(disk: &dyn Disk, found: Found) -> io::Result<Found> {
    let unfinished = names::unfinished(found.segment.header.number);
    let copied = || {
        let file = disk.create(&unfinished)?;
        file.write_at(&found.segment.bytes, 0)?;
        file.sync_data()?;
        Ok::<_, io::Error>(file)
    };
    let refused = match copied() {
        Ok(file) => match disk.rename(&unfinished, &found.name) {
            Ok(()) => {
                // From here on the name leads to the copy, and what is cut off or built on is the
                // copy's: a name that might lead back would be another log.
                disk.sync_dir()?;
                return Ok(Found { file, ..found });
            }
            Err(error) if is_not_renamed(disk, &unfinished) => error,
            Err(error) => return Err(error),
        },
        Err(error) => error,
    };
    // If it stays, the next opening removes it.
    let _ = disk.remove(&unfinished);
    let written = found.file.write_at(&found.segment.bytes, 0);
    match written.and_then(|()| found.file.sync_data()) {
        Ok(()) => Ok(found),
        Err(error) => Err(not_durable(&found.name, &refused, &error)),
    }
}

fn not_durable(name: &str, copy: &io::Error, itself: &io::Error) -> io::Error {
    let problem = format!(
        "{name} can't be made durable, neither as a copy ({copy}) nor over itself ({itself}); free \
         space, check the disk, and start again"
    );
    io::Error::new(itself.kind(), problem)
}

fn join(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests;
