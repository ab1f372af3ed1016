//! Looking at a log without opening it as an engine: nothing is written, locked or repaired.
//!
//! Owns the walk over all files for people and tools. A log that is in use may be looked at: what is
//! being written shows as a torn tail, and a file that is just being rewritten may be missed.

mod view;

use std::{collections::BTreeMap, io, ops::ControlFlow, path::Path, sync::Arc};

pub use view::{FieldValue, FrameView, RecordView};

use crate::{
    config::{ChannelPolicy, EngineConfig, Retention},
    disk::{Disk, DiskFile, RealDisk},
    hint, names,
    open::Opened,
    scan::{self, BeginError, Damage, Segment},
    state::State,
};

/// A log's folder, to look at.
pub struct OfflineLog {
    disk: Arc<dyn Disk>,
}

/// What one segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentSummary {
    /// Its file.
    pub file: String,
    /// Its number.
    pub number: u64,
    /// The last number that it stands for, above its own where neighbours were merged into it.
    pub last_number: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Good frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Publications among them, history or not.
    pub publications: u64,
    /// Bytes of records of publications that are still history.
    pub live_bytes: u64,
    /// The opening that wrote it.
    pub term: u32,
    /// It holds what compaction left, not what was committed.
    pub is_rewritten: bool,
    /// It ends with the record of an orderly end.
    pub is_closed: bool,
    /// Bytes behind its last good frame.
    pub torn_bytes: u64,
    /// It has a hint file that says what it says.
    pub has_hint: bool,
}

/// What a log holds, and everything that is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogReport {
    /// In the order of the log, those included that have damage.
    pub segments: Vec<SegmentSummary>,
    /// All damage that was found; an engine would refuse to open this log if there is any.
    pub damage: Vec<Damage>,
    /// Hint files that are not those of their segments: they are not used, and so no damage.
    pub bad_hints: Vec<String>,
    /// Files of a newer format, with their versions.
    pub newer: Vec<(String, u32)>,
    /// The log's epoch, if any segment's header could be read.
    pub epoch: Option<u64>,
    /// Channel records.
    pub channels: u64,
    /// Publications that are history, by count and bytes; those that have expired are among them.
    pub messages: u64,
    /// Bytes of their data, users and tags.
    pub message_bytes: u64,
    /// Session records, those included that have expired.
    pub sessions: u64,
    /// The latest time in the log, in milliseconds since 1970.
    pub time_ms: u64,
}

impl LogReport {
    /// Whether an engine would open it.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.newer.is_empty()
    }
}

/// Whom each frame and its records are shown to; broken off by an answer.
type Show<'a> = &'a mut dyn FnMut(&FrameView<'_>, &[RecordView<'_>]) -> ControlFlow<()>;

/// One look over everything.
struct Look<'a> {
    opened: Opened,
    report: LogReport,
    /// Whether the segment at hand has a good hint.
    has_hint: bool,
    show: Show<'a>,
}

impl OfflineLog {
    /// The log in this folder, which must exist.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            disk: Arc::new(RealDisk::existing(folder)?),
        })
    }

    /// The log on any disk.
    pub fn on(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// Reads everything and checks every frame, every record and how they follow each other. Damage
    /// does not end it: what can still be read behind it is.
    ///
    /// # Errors
    /// The system's.
    pub fn verify(&self) -> io::Result<LogReport> {
        self.dump(|_, _| ControlFlow::Continue(()))
    }

    /// As [`verify`](Self::verify), and shows every good frame with its records, in the order of the
    /// log, until `show` breaks off.
    ///
    /// # Errors
    /// The system's.
    pub fn dump(
        &self,
        mut show: impl FnMut(&FrameView<'_>, &[RecordView<'_>]) -> ControlFlow<()>,
    ) -> io::Result<LogReport> {
        let mut look = Look {
            opened: Opened::empty(&keep_all(), 0),
            report: LogReport::default(),
            has_hint: false,
            show: &mut show,
        };
        let mut numbers = BTreeMap::new();
        for name in self.disk.list()? {
            if let Some(number) = names::segment_number(&name) {
                numbers.insert(number, name);
            }
        }
        let last = numbers.keys().next_back().copied();
        for (number, name) in numbers {
            let file = self.disk.open(&name)?;
            match scan::begin(&*file, &name, number) {
                Ok(segment) => {
                    let is_last = last == Some(number);
                    look.hint(&*self.disk, &segment, &name);
                    if look.segment(&name, file, &segment, is_last).is_break() {
                        break;
                    }
                }
                Err(BeginError::Unborn) if last == Some(number) => {}
                Err(BeginError::Unborn) => look.report.damage.push(Damage {
                    file: name,
                    offset: 0,
                    problem: "the segment is cut off".to_owned(),
                }),
                Err(BeginError::Damaged(damage)) => look.report.damage.push(damage),
                Err(BeginError::Newer(version)) => look.report.newer.push((name, version)),
                Err(BeginError::Io(error)) => return Err(error),
            }
        }
        Ok(look.finish())
    }
}

impl Look<'_> {
    /// Compares the segment's hint with what the segment says.
    fn hint(&mut self, disk: &dyn Disk, segment: &Segment, name: &str) {
        let number = segment.header.number;
        self.has_hint = false;
        let file = names::hint(number);
        let Ok(found) = disk.open(&file).and_then(|file| {
            let mut bytes = vec![0; usize::try_from(file.size()?).unwrap_or(0)];
            file.read_at(&mut bytes, 0).map(|()| bytes)
        }) else {
            return;
        };
        match hint::build(segment, name) {
            Ok(built) if built == found => self.has_hint = true,
            _ => self.report.bad_hints.push(file),
        }
    }

    fn segment(
        &mut self,
        name: &str,
        file: Arc<dyn DiskFile>,
        segment: &Segment,
        is_last: bool,
    ) -> ControlFlow<()> {
        let header = segment.header;
        if header.number < self.opened.next_number {
            // Merged into its neighbour; the next opening removes it.
            let checked = self.opened.check_covered(name, &header);
            self.report.damage.extend(checked.err());
            return ControlFlow::Continue(());
        }
        if let Err(damage) = self.opened.check(name, &header) {
            self.report.damage.push(damage);
        }
        let mut summary = SegmentSummary {
            file: name.to_owned(),
            number: header.number,
            last_number: header.last_number,
            bytes: segment.bytes.len() as u64,
            frames: 0,
            records: 0,
            publications: 0,
            live_bytes: 0,
            term: header.term,
            is_rewritten: header.is_rewritten(),
            is_closed: false,
            torn_bytes: 0,
            has_hint: self.has_hint,
        };
        let file = self.opened.add(file, header, summary.bytes, true, false);
        let mut is_over = false;
        let (opened, show) = (&mut self.opened, &mut self.show);
        let end = scan::walk(segment, name, is_last, |frame, body_pos| {
            let records = view::records(frame, body_pos)?;
            summary.records += records.len() as u64;
            summary.publications += records.iter().filter(|one| one.data.is_some()).count() as u64;
            if !is_over {
                is_over = show(&FrameView::new(name, frame, body_pos), &records).is_break();
            }
            opened.apply(frame, body_pos, file)
        });
        match end {
            Ok(end) => {
                summary.frames = end.frames;
                summary.is_closed = end.is_closed;
                summary.torn_bytes = summary.bytes - end.bytes;
                self.opened.follow(&header, &end);
            }
            Err(damage) => {
                self.report.damage.push(damage);
                self.opened.skip(&header);
            }
        }
        self.report.segments.push(summary);
        if is_over {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finish(self) -> LogReport {
        let Opened {
            state,
            epoch,
            time_ms,
            ..
        } = self.opened;
        let mut report = self.report;
        fill(&mut report, &state);
        report.epoch = epoch;
        report.time_ms = time_ms;
        report
    }
}

fn fill(report: &mut LogReport, state: &State) {
    let stats = state.stats();
    report.channels = stats.channels;
    report.messages = stats.messages;
    report.message_bytes = stats.bytes;
    report.sessions = stats.sessions;
    for (_, file) in state.files.in_order() {
        let number = file.header.number;
        for summary in report
            .segments
            .iter_mut()
            .filter(|one| one.number == number)
        {
            summary.live_bytes = file.live_bytes;
        }
    }
}

/// Bounds that nothing in a log meets.
fn keep_all() -> EngineConfig {
    let mut config = EngineConfig {
        keys_max: usize::MAX,
        ..EngineConfig::default()
    };
    config.policies.push(ChannelPolicy {
        pattern: "*".to_owned(),
        history: Some(Retention {
            messages: u32::MAX,
            bytes: u64::MAX,
            age: config.channel_forget_after,
        }),
    });
    config
}

#[cfg(test)]
mod tests;
