//! What the log has had: every publication that was committed, as the engine told before anyone
//! else heard of it.
//!
//! Owns the one account against which all checkers judge. It listens beside the server's hub, and
//! compares itself with the log at every opening. Must not know who publishes or reads.

mod opening;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bowline_engine::{EngineConfig, Listener};
use bowline_proto::{Position, Publication, recovery::ChannelState};
use bytes::Bytes;

use crate::{
    node::{BEGINNING_MS, NodeClock},
    observed::Standing,
    wire::lock,
};
pub(crate) use opening::Opening;

/// One publication of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) term: u32,
    pub(crate) data: Bytes,
    /// Counts all commits of a seed; what was found at an opening has one number.
    pub(crate) commit: u64,
}

/// One record of a channel: from its creation until the channel is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) epoch: u64,
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// The highest floor that was seen.
    pub(crate) floor: u64,
    /// When it was created; none where it was found at an opening.
    pub(crate) created_ms: Option<u64>,
    /// When the last was published; of one that was found at an opening, the earliest that it may have been.
    pub(crate) last_ms: u64,
}

/// Where a payload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) channel: Arc<str>,
    pub(crate) offset: u64,
    pub(crate) commit: u64,
}

/// When a publication was committed.
#[derive(Clone, Copy, Debug)]
enum When {
    /// Now, as the engine told.
    Heard(u64),
    /// Between these two times: it was found at an opening.
    Found(u64, u64),
}

/// Everything that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// How long what is kept.
    engine: EngineConfig,
    /// The records of each channel in order of time, at least one; a rewind takes some back.
    records: BTreeMap<Arc<str>, Vec<Record>>,
    /// Channels without history: payload and commit, in order.
    pub(crate) live: BTreeMap<Arc<str>, Vec<(Bytes, u64)>>,
    /// Every payload by channel, epoch, offset and term, those included that a rewind took.
    pub(crate) ever: BTreeMap<(Arc<str>, u64, u64, u32), Bytes>,
    /// Payloads that a rewind took.
    pub(crate) cut: BTreeSet<Bytes>,
    pub(crate) commits: u64,
    /// When the last commit was heard of.
    heard_ms: u64,
    /// How often an older disk was put back.
    pub(crate) rewinds: u64,
    /// How often a channel was created anew.
    pub(crate) recreated: u64,
    pub(crate) faults: Vec<String>,
}

/// The engine's seconds at a time of the world, where no clock was set wrong.
pub(crate) const fn now_s(world_ms: u64) -> u64 {
    (BEGINNING_MS + world_ms) / 1_000
}

impl Record {
    pub(crate) fn head(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(0, |(offset, _)| *offset)
    }
}

impl Truth {
    pub(crate) fn new(engine: EngineConfig) -> Self {
        Self {
            engine,
            records: BTreeMap::new(),
            live: BTreeMap::new(),
            ever: BTreeMap::new(),
            cut: BTreeSet::new(),
            commits: 0,
            heard_ms: 0,
            rewinds: 0,
            recreated: 0,
            faults: Vec::new(),
        }
    }

    /// A channel's records in order of time.
    pub(crate) fn records(&self, channel: &str) -> &[Record] {
        self.records.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The newest record, forgotten or not.
    pub(crate) fn newest(&self, channel: &str) -> Option<&Record> {
        self.records(channel).last()
    }

    pub(crate) fn record(&self, channel: &str, epoch: u64) -> Option<&Record> {
        let mut records = self.records(channel).iter();
        records.find(|record| record.epoch == epoch)
    }

    /// What is left of a channel's records.
    pub(crate) fn standings(&self, channel: &str, now_ms: u64) -> Vec<Standing> {
        let records = self.records(channel);
        let each = records.iter().enumerate().map(|(index, record)| {
            let is_forgotten = self.is_forgotten(channel, record, now_ms);
            let is_over = is_forgotten || index + 1 < records.len();
            Standing {
                epoch: record.epoch,
                floor: if is_over {
                    record.head() + 1
                } else {
                    record.floor
                },
                is_forgotten,
            }
        });
        each.collect()
    }

    /// Whether the channel may have been forgotten by then, and this record with it.
    fn is_forgotten(&self, channel: &str, record: &Record, now_ms: u64) -> bool {
        record.last_ms + self.lifetime_ms(channel) <= now_ms
    }

    /// For how many seconds an absent channel's position holds.
    pub(crate) const fn forget_after_s(&self) -> u64 {
        self.engine.channel_forget_after.as_secs()
    }

    /// How long a channel is remembered after its last publication.
    fn lifetime_ms(&self, channel: &str) -> u64 {
        let mut policies = self.engine.policies.iter();
        let policy = policies.find(|policy| policy.matches(channel));
        let history = policy.and_then(|policy| policy.history);
        let age = history.map_or_else(Default::default, |history| history.age);
        (age + self.engine.channel_forget_after).as_millis() as u64
    }

    /// Where each payload stands in the records.
    pub(crate) fn places(&self) -> BTreeMap<Bytes, Vec<Place>> {
        let mut places: BTreeMap<Bytes, Vec<Place>> = BTreeMap::new();
        for (channel, records) in &self.records {
            for (offset, entry) in records.iter().flat_map(|record| &record.entries) {
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

    /// The commit of a publication that stands in the records.
    pub(crate) fn commit_of(&self, channel: &str, position: Position) -> Option<u64> {
        let record = self.record(channel, position.epoch)?;
        let entry = record.entries.get(&position.offset)?;
        (entry.term == position.term).then_some(entry.commit)
    }

    /// Takes a publication that the engine has told of.
    fn add(
        &mut self,
        channel: &Arc<str>,
        epoch: u64,
        publication: &Publication,
        commit: u64,
        when: When,
    ) {
        let data = publication.data.bytes();
        if epoch == 0 {
            self.live
                .entry(channel.clone())
                .or_default()
                .push((data.clone(), commit));
            return;
        }
        let entry = Entry {
            term: publication.term,
            data: data.clone(),
            commit,
        };
        self.put(channel, epoch, publication.offset, entry, when);
    }

    /// Puts it behind the last of the channel's newest record, or at the beginning of another one
    /// where that may have been forgotten.
    fn put(&mut self, channel: &Arc<str>, epoch: u64, offset: u64, entry: Entry, when: When) {
        let (earliest_ms, latest_ms) = match when {
            When::Heard(now_ms) => (now_ms, now_ms),
            When::Found(earliest_ms, latest_ms) => (earliest_ms, latest_ms),
        };
        let key = (channel.clone(), epoch, offset, entry.term);
        self.ever.insert(key, entry.data.clone());
        let newest = self.newest(channel);
        if newest.is_none_or(|record| record.epoch != epoch) {
            if let Some(newest) = newest {
                if !self.is_forgotten(channel, newest, latest_ms) {
                    let problem = format!("log: {channel} is created anew, and was not forgotten");
                    self.faults.push(problem);
                }
                self.recreated += 1;
            }
            let records = self.records.entry(channel.clone()).or_default();
            records.push(Record {
                epoch,
                created_ms: matches!(when, When::Heard(_)).then_some(latest_ms),
                ..Record::default()
            });
        }
        let records = self.records.entry(channel.clone()).or_default();
        let record = records.last_mut().expect("one was pushed where none was");
        let expected = record.head() + 1;
        if offset != expected {
            let problem = format!("log: {channel} has {offset} of {epoch:x}, {expected} is next");
            self.faults.push(problem);
        }
        record.last_ms = record.last_ms.max(earliest_ms);
        record.entries.insert(offset, entry);
    }

    fn next_commit(&mut self) -> u64 {
        self.commits += 1;
        self.commits
    }

    /// Notes how far retention has come.
    pub(crate) fn note_floor(&mut self, channel: &str, state: &ChannelState) {
        if let (Some(records), ChannelState::Present(present)) =
            (self.records.get_mut(channel), state)
            && let Some(record) = records.last_mut()
            && record.epoch == present.epoch
        {
            record.floor = record.floor.max(present.floor);
        }
    }
}

/// The truth as a listener of the engine.
pub(crate) struct Ear {
    pub(crate) truth: Arc<Mutex<Truth>>,
    pub(crate) clock: NodeClock,
}

impl Listener for Ear {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let mut truth = lock(&self.truth);
        let commit = truth.next_commit();
        truth.heard_ms = self.clock.world_ms();
        let when = When::Heard(truth.heard_ms);
        truth.add(channel, epoch, publication, commit, when);
    }
}
