//! One channel: where its publications are, in order of offset, and what of them still counts.
//!
//! Owns the floor, the head, the terms and trimming. Must not know other channels or the bounds over
//! all.

use std::{collections::VecDeque, sync::Arc};

use bowline_proto::recovery::{ChannelRecord, TermStart};

use super::files::Files;
use crate::contract::PageLimit;

/// A channel's list is given back when less than a quarter of more than this many places is used.
const SPARE_PLACES: usize = 16;

/// What a channel keeps, in the units of the log.
#[derive(Clone, Copy)]
pub(crate) struct Keep {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) age_ms: u64,
}

/// Publications and bytes, held or given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Where a publication is: 24 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) file: u32,
    /// Where its record begins, and how long it is.
    pub(crate) pos: u32,
    pub(crate) len: u32,
    /// Bytes of data, user and tag.
    pub(crate) size: u32,
    pub(crate) stored_ms: u64,
}

/// A channel record.
pub(crate) struct Channel {
    pub(crate) name: Arc<str>,
    pub(crate) epoch: u64,
    /// Index into the policies.
    pub(super) policy: u16,
    /// Whether it stands in the queue of channels with something to trim, rightly or no longer.
    pub(super) is_among_ages: bool,
    /// Whether it stands in the queue of channels to forget, rightly or no longer.
    pub(super) is_among_forgets: bool,
    /// The offset of the first of `entries`, or that of the next publication where there is none.
    base: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
    /// When the newest publication was stored, trimmed or not.
    last_ms: u64,
    first_term: TermStart,
    /// Those after the first: most channels have none, and then this is one word.
    #[expect(
        clippy::box_collection,
        reason = "two words less in each of a million channels"
    )]
    later_terms: Option<Box<Vec<TermStart>>>,
}

impl Channel {
    pub(super) fn new(name: Arc<str>, policy: u16, epoch: u64) -> Self {
        Self {
            name,
            epoch,
            policy,
            is_among_ages: false,
            is_among_forgets: false,
            base: 1,
            entries: VecDeque::new(),
            bytes: 0,
            last_ms: 0,
            first_term: TermStart {
                term: 0,
                first_offset: 1,
            },
            later_terms: None,
        }
    }

    /// Appends with the next offset.
    pub(super) fn push(&mut self, files: &mut Files, entry: Entry, term: u32) {
        let offset = self.head() + 1;
        self.begin_term(term, offset);
        if self.entries.len() == self.entries.capacity() {
            // By a half and not by the double, so that the spare places stay few.
            self.entries.reserve_exact((self.entries.len() / 2).max(1));
        }
        files.take(&entry);
        self.bytes += u64::from(entry.size);
        self.last_ms = entry.stored_ms;
        self.entries.push_back(entry);
    }

    /// Drops what is below the floor and answers what that gives back.
    pub(super) fn raise_floor(&mut self, files: &mut Files, floor: u64) -> Extent {
        let mut freed = Extent::default();
        while self.base < floor
            && let Some(entry) = self.entries.pop_front()
        {
            self.base += 1;
            freed.messages += 1;
            freed.bytes += u64::from(entry.size);
            files.release(&entry);
        }
        self.bytes -= freed.bytes;
        let places = self.entries.capacity();
        if places > SPARE_PLACES && self.entries.len() < places / 4 || self.entries.is_empty() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        self.drop_terms();
        freed
    }

    /// Publications up to `last` are no longer history, and those above the head never were here.
    pub(super) fn skip_to(
        &mut self,
        files: &mut Files,
        last: u64,
        term: u32,
        time_ms: u64,
    ) -> Extent {
        let freed = self.raise_floor(files, last + 1);
        if self.base <= last {
            self.begin_term(term, last);
            self.base = last + 1;
            self.last_ms = time_ms;
            self.drop_terms();
        }
        freed
    }

    /// Where a publication is.
    pub(crate) fn entry(&self, offset: u64) -> Option<&Entry> {
        let index = offset.checked_sub(self.base)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The same, to be moved.
    pub(super) fn entry_mut(&mut self, offset: u64) -> Option<&mut Entry> {
        let index = offset.checked_sub(self.base)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }

    /// The highest offset ever given.
    pub(crate) fn head(&self) -> u64 {
        self.base + self.entries.len() as u64 - 1
    }

    /// The lowest offset that is held, expired or not.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The lowest offset that history still has. Entries are in order of time.
    pub(crate) fn floor(&self, keep: Keep, now_ms: u64) -> u64 {
        let expired = self
            .entries
            .partition_point(|entry| entry.stored_ms.saturating_add(keep.age_ms) <= now_ms);
        self.base + expired as u64
    }

    /// When its oldest publication expires; none while it is empty.
    pub(super) fn expires_ms(&self, keep: Keep) -> Option<u64> {
        let oldest = self.entries.front()?;
        Some(oldest.stored_ms.saturating_add(keep.age_ms))
    }

    /// When it no longer exists unless it is published to before: it has then been empty, trimmed
    /// or not, for as long as an empty channel is remembered.
    pub(crate) fn forget_ms(&self, keep: Keep, forget_after_ms: u64) -> u64 {
        self.last_ms
            .saturating_add(keep.age_ms)
            .saturating_add(forget_after_ms)
    }

    /// Publications held, those included that have expired.
    pub(crate) fn held(&self) -> Extent {
        Extent {
            messages: self.entries.len() as u64,
            bytes: self.bytes,
        }
    }

    /// What a subscriber needs for its position.
    pub(super) fn record(&self, keep: Keep, now_ms: u64) -> ChannelRecord {
        let first = std::iter::once(self.first_term);
        ChannelRecord {
            epoch: self.epoch,
            floor: self.floor(keep, now_ms),
            head: self.head(),
            terms: first.chain(self.later_terms().iter().copied()).collect(),
        }
    }

    /// The first offset of a page, and where its publications are, as many as fit.
    pub(super) fn page(&self, after: u64, limit: PageLimit, floor: u64) -> (u64, Vec<Entry>) {
        let first = after.saturating_add(1).max(floor);
        let skipped = usize::try_from(first - self.base).unwrap_or(usize::MAX);
        let skipped = skipped.min(self.entries.len());
        let mut bytes = 0;
        let rest = self.entries.range(skipped..).take(limit.count.max(1));
        let fitting = rest.enumerate().take_while(|(index, entry)| {
            bytes += entry.size as usize;
            *index == 0 || bytes <= limit.bytes
        });
        (first, fitting.map(|(_, entry)| *entry).collect())
    }

    fn begin_term(&mut self, term: u32, first_offset: u64) {
        let start = TermStart { term, first_offset };
        if self.first_term.term == 0 {
            self.first_term = start;
        } else if self.later_terms().last().unwrap_or(&self.first_term).term != term {
            self.later_terms.get_or_insert_default().push(start);
        }
    }

    fn later_terms(&self) -> &[TermStart] {
        self.later_terms.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Drops the terms that end below `floor − 1`.
    fn drop_terms(&mut self) {
        let Some(later) = &mut self.later_terms else {
            return;
        };
        let ended = later
            .iter()
            .take_while(|start| start.first_offset < self.base)
            .count();
        if let Some(last) = ended.checked_sub(1) {
            self.first_term = later[last];
            later.drain(..ended);
            if later.is_empty() {
                self.later_terms = None;
            }
        }
    }
}
