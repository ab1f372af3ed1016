//! Opening a log: replay of all its segments, and what of its tail is no longer one.
//!
//! Owns which files belong to a log and in which order, and the refusal of what is damaged. Must not
//! know threads or clocks.

use std::{collections::BTreeMap, io, ops::ControlFlow, sync::Arc};

use crate::{
    config::{ConfigProblem, EngineConfig},
    disk::{Disk, DiskFile},
    format::{
        FORMAT_VERSION,
        frame::Frame,
        header::{HEADER_BYTES, SegmentHeader},
    },
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
}

/// One segment on the way in.
struct Found {
    name: String,
    file: Arc<dyn DiskFile>,
    segment: Segment,
}

/// Replays what is on the disk, which this process has locked, and makes its tail durable.
pub(crate) fn open(
    disk: &dyn Disk,
    config: &EngineConfig,
    hash_seed: u64,
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
    for (number, name) in numbers {
        let is_last = last == Some(number);
        let Some(found) = find(disk, &name, number, is_last)? else {
            disk.remove(&name).map_err(failed)?;
            continue;
        };
        if number < opened.next_number {
            // A neighbour was merged with it, and is whole: it was read to its end.
            disk.remove(&name).map_err(failed)?;
            continue;
        }
        let header = found.segment.header;
        opened.check(&found.name, &header).map_err(damaged)?;
        let end = opened.replay(&found, is_last).map_err(damaged)?;
        opened.follow(&header, &end);
        if is_last {
            opened.settle(&found, &end).map_err(failed)?;
        }
    }
    Ok(opened)
}

/// The segments by number, and the files that were being written when a process ended.
fn list(disk: &dyn Disk) -> io::Result<(BTreeMap<u64, String>, Vec<String>)> {
    let mut numbers = BTreeMap::new();
    let mut unfinished = Vec::new();
    for name in disk.list()? {
        if let Some(number) = names::segment_number(&name) {
            numbers.insert(number, name);
        } else if names::unfinished_number(&name).is_some() {
            unfinished.push(name);
        }
    }
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

    /// Adds an open file.
    pub(crate) fn add(&mut self, file: Arc<dyn DiskFile>, segment: &Segment) -> u32 {
        self.state.files.add(SegmentFile {
            file,
            header: segment.header,
            bytes: segment.bytes.len() as u64,
            live_bytes: 0,
            kept_bytes: 0,
            is_sealed: true,
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

    fn replay(&mut self, found: &Found, is_last: bool) -> Result<End, Damage> {
        let file = self.add(found.file.clone(), &found.segment);
        let end = scan::walk(&found.segment, &found.name, is_last, |frame, body_pos| {
            self.apply(frame, body_pos, file)
        })?;
        if found.segment.header.is_rewritten() {
            self.state.files.keep_rest(file);
        }
        Ok(end)
    }

    /// Cuts off what is torn, and makes durable what was read: after a kill it may be in the
    /// system's memory only, and from now on it counts as committed.
    fn settle(&mut self, found: &Found, end: &End) -> io::Result<()> {
        if end.is_torn {
            self.torn_bytes = found.segment.bytes.len() as u64 - end.bytes;
            found.file.truncate(end.bytes)?;
            self.state.files.shrink_last(self.torn_bytes);
        }
        debug_assert!(end.bytes >= HEADER_BYTES as u64);
        if !end.is_closed {
            found.file.sync_data()?;
        }
        Ok(())
    }
}

fn join(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests;
