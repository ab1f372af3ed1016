//! The log behind the simulated server: channels with retention, and the sessions' numbers.

use std::{collections::BTreeMap, sync::Arc};

use bowline_proto::{
    Data, Publication,
    recovery::{ChannelRecord, ChannelState, EngineClock, TermStart},
    server::PageView,
};

/// How many publications a channel keeps: few, so that retention overtakes readers.
const KEPT: u64 = 25;
const TERM: u32 = 7;

#[derive(Default)]
pub(crate) struct Log {
    channels: BTreeMap<usize, Vec<Arc<Publication>>>,
    sessions: BTreeMap<String, u64>,
}

impl Log {
    /// Appends and answers the new publication.
    pub(crate) fn append(&mut self, channel: usize, data: Data) -> Arc<Publication> {
        let publications = self.channels.entry(channel).or_default();
        let publication = Arc::new(Publication {
            offset: publications.len() as u64 + 1,
            term: TERM,
            data,
            user: None,
            tag: None,
        });
        publications.push(publication.clone());
        publication
    }

    /// Stores a session's number; false where it was stored before.
    pub(crate) fn advance(&mut self, session: &str, seq: u64) -> bool {
        let stored = self.sessions.entry(session.to_owned()).or_insert(0);
        let new = seq > *stored;
        *stored = seq.max(*stored);
        new
    }

    pub(crate) fn session(&self, session: &str) -> Option<u64> {
        self.sessions.get(session).copied()
    }

    /// The store forgets a session, as after its time to live.
    pub(crate) fn forget(&mut self, session: &str) {
        self.sessions.remove(session);
    }

    pub(crate) fn state(&self, channel: usize) -> ChannelState {
        let Some(publications) = self.channels.get(&channel) else {
            return ChannelState::Absent;
        };
        let head = publications.len() as u64;
        ChannelState::Present(ChannelRecord {
            epoch: epoch(channel),
            floor: head.saturating_sub(KEPT) + 1,
            head,
            terms: vec![TermStart {
                term: TERM,
                first_offset: 1,
            }],
        })
    }

    /// At most `count` publications behind `after`.
    pub(crate) fn page(
        &self,
        channel: usize,
        after: u64,
        count: usize,
    ) -> Option<(PageView, Vec<Arc<Publication>>)> {
        let ChannelState::Present(record) = self.state(channel) else {
            return None;
        };
        let from = after.max(record.floor - 1);
        let skip = usize::try_from(from).expect("small");
        let page: Vec<_> = self.channels[&channel]
            .iter()
            .skip(skip)
            .take(count)
            .cloned()
            .collect();
        let view = PageView {
            epoch: record.epoch,
            floor: record.floor,
            head: record.head,
            first: page.first().map(|publication| publication.offset),
            count: page.len(),
        };
        Some((view, page))
    }

    pub(crate) fn clock(&self) -> EngineClock {
        EngineClock {
            epoch: 0xe0,
            now_s: 1_000,
            forget_after_s: 1_000,
        }
    }

    /// Everything that was ever stored, by channel and offset: what the checkers hold for the truth.
    pub(crate) fn entries(&self) -> BTreeMap<usize, Vec<Data>> {
        let data = |publications: &Vec<Arc<Publication>>| {
            publications.iter().map(|one| one.data.clone()).collect()
        };
        self.channels
            .iter()
            .map(|(channel, publications)| (*channel, data(publications)))
            .collect()
    }
}

pub(crate) fn epoch(channel: usize) -> u64 {
    channel as u64 + 1
}
