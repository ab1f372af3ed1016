//! What the log has had: every publication that was committed, as the engine told before anyone
//! else heard of it.
//!
//! Owns the one account against which all checkers judge. It listens beside the server's hub, and
//! compares itself with the log at every opening. Must not know who publishes or reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{ControlFlow, Range},
    sync::{Arc, Mutex},
};

use bowline_engine::{
    Listener, PageLimit, SimDisk,
    offline::{FieldValue, OfflineLog, RecordView},
};
use bowline_proto::{Position, Publication, recovery::ChannelState};
use bytes::Bytes;

use crate::{node::Node, wire::lock};

/// Pages of this size are read at an opening.
const PAGE: PageLimit = PageLimit {
    count: 1_000,
    bytes: 1 << 20,
};

/// One publication of the log as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: u32,
    pub(crate) data: Bytes,
    /// Counts all commits of a seed; what was found at an opening has one number.
    pub(crate) commit: u64,
}

/// A channel's present record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) epoch: u64,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The highest floor that was seen.
    pub(crate) floor: u64,
}

/// Where a payload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) channel: Arc<str>,
    pub(crate) offset: u64,
    pub(crate) commit: u64,
}

/// Everything that was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) logs: BTreeMap<Arc<str>, Log>,
    /// Channels without history: payload and commit, in order.
    pub(crate) live: BTreeMap<Arc<str>, Vec<(Bytes, u64)>>,
    /// Every payload by channel, epoch, offset and term, those included that a rewind took.
    pub(crate) ever: BTreeMap<(Arc<str>, u64, u64, u32), Bytes>,
    /// Payloads that a rewind took.
    pub(crate) cut: BTreeSet<Bytes>,
    pub(crate) commits: u64,
    /// How often an older disk was put back.
    pub(crate) rewinds: u64,
    pub(crate) faults: Vec<String>,
}

impl Log {
    pub(crate) fn head(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(0, |(offset, _)| *offset)
    }
}

impl Truth {
    /// Where each payload stands in the log as it is now.
    pub(crate) fn places(&self) -> BTreeMap<Bytes, Vec<Place>> {
        let mut places: BTreeMap<Bytes, Vec<Place>> = BTreeMap::new();
        for (channel, log) in &self.logs {
            for (offset, entry) in &log.entries {
                places.entry(entry.data.clone()).or_default().push(Place {
                    channel: channel.clone(),
                    offset: *offset,
                    commit: entry.commit,
                });
            }
        }
        for (channel, live) in &self.live {
            for (data, commit) in live {
                places.entry(data.clone()).or_default().push(Place {
                    channel: channel.clone(),
                    offset: 0,
                    commit: *commit,
                });
            }
        }
        places
    }

    /// The commit of a publication that stands in the present log.
    pub(crate) fn commit_of(&self, channel: &str, position: Position) -> Option<u64> {
        let log = self.logs.get(channel)?;
        let entry = log.entries.get(&position.offset)?;
        (log.epoch == position.epoch && entry.term == position.term).then_some(entry.commit)
    }

    fn add(&mut self, channel: &Arc<str>, epoch: u64, publication: &Publication, commit: u64) {
        let data = publication.data.bytes();
        if epoch == 0 {
            self.live
                .entry(channel.clone())
                .or_default()
                .push((data.clone(), commit));
            return;
        }
        let place = (publication.offset, publication.term);
        self.put(channel, epoch, place, data, commit);
    }

    fn put(
        &mut self,
        channel: &Arc<str>,
        epoch: u64,
        (offset, term): (u64, u32),
        data: &Bytes,
        commit: u64,
    ) {
        let data = data.clone();
        let key = (channel.clone(), epoch, offset, term);
        self.ever.insert(key, data.clone());
        let log = self.logs.entry(channel.clone()).or_default();
        if log.epoch == 0 {
            log.epoch = epoch;
        }
        let expected = log.head() + 1;
        if log.epoch != epoch || offset != expected {
            let problem = format!(
                "log: {channel} has {offset} of {epoch:x} where {expected} of {:x} is next",
                log.epoch
            );
            self.faults.push(problem);
            log.epoch = epoch;
        }
        log.entries.insert(offset, Entry { term, data, commit });
    }

    fn next_commit(&mut self) -> u64 {
        self.commits += 1;
        self.commits
    }

    /// Notes how far retention has come.
    pub(crate) fn note_floor(&mut self, channel: &str, state: &ChannelState) {
        if let (Some(log), ChannelState::Present(record)) = (self.logs.get_mut(channel), state)
            && log.epoch == record.epoch
        {
            log.floor = log.floor.max(record.floor);
        }
    }

    /// Compares with a log that was opened again: nothing committed is missing, unless an older
    /// disk was put back; what is new had an unknown fate.
    pub(crate) fn reconcile(
        &mut self,
        node: &Node,
        disk: &SimDisk,
        channels: &[Arc<str>],
        is_older: bool,
    ) {
        self.rewinds += u64::from(is_older);
        // What nobody has heard of was committed in an order that nothing tells.
        let commit = self.next_commit();
        if is_older {
            // With the log went the keys by which a repetition is known.
            let live = self.live.values().flatten();
            self.cut.extend(live.map(|(data, _)| data.clone()));
        }
        for channel in channels {
            let Ok(state) = node.channel(channel) else {
                self.faults.push(format!("log: {channel} can't be read"));
                continue;
            };
            match state {
                ChannelState::NoHistory => {}
                ChannelState::Absent => self.lose(channel, 0, 0, is_older),
                ChannelState::Present(record) => {
                    self.lose(channel, record.epoch, record.head, is_older);
                    let known = self.logs.get(channel).map_or(0, Log::head);
                    if known + 1 < record.floor {
                        let unseen = known + 1..record.floor;
                        self.find(disk, channel, record.epoch, unseen, commit);
                    }
                    self.compare(node, channel, record.floor - 1, is_older, commit);
                }
            }
        }
    }

    fn lose(&mut self, channel: &Arc<str>, epoch: u64, head: u64, is_older: bool) {
        let Some(log) = self.logs.get_mut(channel) else {
            return;
        };
        let keeps = if log.epoch == epoch { head } else { 0 };
        let lost = log.entries.split_off(&(keeps + 1));
        if !is_older && !lost.is_empty() {
            let range = (lost.keys().next(), lost.keys().next_back());
            self.faults
                .push(format!("log: {channel} has lost {range:?} by a restart"));
        }
        self.cut.extend(lost.into_values().map(|entry| entry.data));
        if keeps == 0 {
            self.logs.remove(channel);
        }
    }

    /// Takes from the disk what was written with an unknown fate, and has expired before anyone could
    /// read it.
    fn find(
        &mut self,
        disk: &SimDisk,
        channel: &Arc<str>,
        epoch: u64,
        unseen: Range<u64>,
        commit: u64,
    ) {
        let found = on_disk(disk, channel, epoch);
        for offset in unseen {
            match found.get(&offset) {
                Some((term, data)) => self.put(channel, epoch, (offset, *term), data, commit),
                None => self.faults.push(format!(
                    "log: {channel} counts {offset}, which is not on the disk"
                )),
            }
        }
    }

    fn compare(&mut self, node: &Node, channel: &Arc<str>, from: u64, is_older: bool, commit: u64) {
        let mut after = from;
        while let Ok(Some(page)) = node.read(channel, after, PAGE) {
            for publication in &page.publications {
                after = publication.offset;
                let known = self
                    .logs
                    .get(channel)
                    .and_then(|log| log.entries.get(&publication.offset));
                match known {
                    None => self.add(channel, page.epoch, publication, commit),
                    Some(known)
                        if known.term == publication.term
                            && known.data == *publication.data.bytes() => {}
                    // A write of unknown fate that only the older disk has kept.
                    Some(_) if is_older => {
                        self.lose(channel, page.epoch, publication.offset - 1, true);
                        self.add(channel, page.epoch, publication, commit);
                    }
                    Some(_) => self.faults.push(format!(
                        "log: {channel} has another {} after a restart",
                        publication.offset
                    )),
                }
            }
            if page.publications.is_empty() || after >= page.head {
                return;
            }
        }
    }
}

/// What a channel's record has on the disk, expired or not: term and payload by offset.
fn on_disk(disk: &SimDisk, channel: &str, epoch: u64) -> BTreeMap<u64, (u32, Bytes)> {
    let (mut its, mut found) = (None, BTreeMap::new());
    let looked = OfflineLog::on(Arc::new(disk.clone())).dump(|frame, records| {
        let mut term = frame.term;
        for record in records {
            let id = (number(record, "channel"), number(record, "generation"));
            let is_its_beginning = record.kind == "create"
                && text(record, "name") == Some(channel)
                && text(record, "epoch") == Some(&format!("{epoch:016x}"));
            if is_its_beginning {
                its = Some(id);
            } else if record.kind == "term" {
                // What was rewritten keeps its term.
                let kept = text(record, "term").and_then(|hex| u32::from_str_radix(hex, 16).ok());
                term = kept.unwrap_or(term);
            } else if let (Some(offset), Some(data)) = (number(record, "offset"), record.data)
                && its == Some(id)
            {
                found.insert(offset, (term, Bytes::copy_from_slice(data)));
            }
        }
        ControlFlow::Continue(())
    });
    looked.map_or_else(|_| BTreeMap::new(), |_| found)
}

fn field<'a>(record: &'a RecordView<'_>, name: &str) -> Option<&'a FieldValue> {
    let mut fields = record.fields.iter();
    fields.find_map(|(field, value)| (*field == name).then_some(value))
}

fn number(record: &RecordView<'_>, name: &str) -> Option<u64> {
    match field(record, name)? {
        FieldValue::Number(number) => Some(*number),
        _ => None,
    }
}

fn text<'a>(record: &'a RecordView<'_>, name: &str) -> Option<&'a str> {
    match field(record, name)? {
        FieldValue::Text(text) | FieldValue::Hex(text) => Some(text),
        _ => None,
    }
}

/// The truth as a listener of the engine.
pub(crate) struct Ear(pub(crate) Arc<Mutex<Truth>>);

impl Listener for Ear {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let mut truth = lock(&self.0);
        let commit = truth.next_commit();
        truth.add(channel, epoch, publication, commit);
    }
}
