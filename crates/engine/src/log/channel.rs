//! One channel: its publications in order of offset, and what of them still counts.
//!
//! Owns the floor, the head and trimming. Must not know other channels or the bounds over all.

use std::{collections::VecDeque, sync::Arc};

use bowline_proto::{
    Publication,
    recovery::{ChannelRecord, TermStart},
};

use crate::contract::{Page, PageLimit};

/// A channel's buffer is given back when less than a quarter of more than this many places is used.
const SPARE_PLACES: usize = 16;

/// What a channel keeps, in the units of the log.
#[derive(Clone, Copy)]
pub(super) struct Keep {
    pub(super) messages: usize,
    pub(super) bytes: u64,
    pub(super) age_ms: u64,
}

/// Publications and bytes, held or given back.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

struct Entry {
    publication: Arc<Publication>,
    stored_ms: u64,
}

/// A channel record. About 90 bytes and 16 per publication, beside the publications themselves.
pub(super) struct Channel {
    pub(super) name: Arc<str>,
    pub(super) epoch: u64,
    /// Index into the policies.
    pub(super) policy: u16,
    /// Whether it stands in the queue of channels to forget, rightly or no longer.
    pub(super) is_among_forgets: bool,
    /// The offset of the first of `entries`, or that of the next publication where there is none.
    base: u64,
    entries: VecDeque<Entry>,
    bytes: u64,
    /// When the last publication expired; meaningless while there are entries.
    emptied_ms: u64,
}

/// The bytes of a publication, as every bound counts them.
pub(super) fn size_of(publication: &Publication) -> u64 {
    let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    (publication.data.len() + text(&publication.user) + text(&publication.tag)) as u64
}

impl Channel {
    pub(super) fn new(name: Arc<str>, policy: u16, epoch: u64) -> Self {
        Self {
            name,
            epoch,
            policy,
            is_among_forgets: false,
            base: 1,
            entries: VecDeque::new(),
            bytes: 0,
            emptied_ms: 0,
        }
    }

    /// Becomes a new record of the same name. All its publications have been trimmed.
    pub(super) fn begin_anew(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.base = 1;
    }

    /// Appends with the next offset.
    pub(super) fn push(&mut self, mut publication: Publication, now_ms: u64) -> Arc<Publication> {
        publication.offset = self.head() + 1;
        self.bytes += size_of(&publication);
        let publication = Arc::new(publication);
        self.entries.push_back(Entry {
            publication: publication.clone(),
            stored_ms: now_ms,
        });
        publication
    }

    /// Drops the oldest `count` publications.
    pub(super) fn trim(&mut self, count: u64, keep: Keep) -> Extent {
        let mut freed = Extent::default();
        while freed.messages < count
            && let Some(entry) = self.entries.pop_front()
        {
            freed.messages += 1;
            freed.bytes += size_of(&entry.publication);
            if self.entries.is_empty() {
                self.emptied_ms = entry.stored_ms.saturating_add(keep.age_ms);
            }
        }
        self.base += freed.messages;
        self.bytes -= freed.bytes;
        let places = self.entries.capacity();
        if places > SPARE_PLACES && self.entries.len() < places / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        freed
    }

    /// How many of the oldest go to let a publication of `size` bytes in, and what that frees.
    pub(super) fn displaced(&self, size: u64, keep: Keep) -> Extent {
        let mut freed = Extent::default();
        for entry in &self.entries {
            let left = self.entries.len() as u64 - freed.messages;
            let fits = left < keep.messages as u64 && self.bytes - freed.bytes + size <= keep.bytes;
            if fits {
                break;
            }
            freed.messages += 1;
            freed.bytes += size_of(&entry.publication);
        }
        freed
    }

    /// The highest offset ever given.
    pub(super) fn head(&self) -> u64 {
        self.base + self.entries.len() as u64 - 1
    }

    /// How many of the oldest have expired without being trimmed yet. Entries are in order of time.
    pub(super) fn expired(&self, keep: Keep, now_ms: u64) -> u64 {
        self.entries
            .partition_point(|entry| entry.stored_ms.saturating_add(keep.age_ms) <= now_ms)
            as u64
    }

    /// The lowest offset that history still has.
    pub(super) fn floor(&self, keep: Keep, now_ms: u64) -> u64 {
        self.base + self.expired(keep, now_ms)
    }

    /// When its oldest publication expires; none while it is empty.
    pub(super) fn expires_ms(&self, keep: Keep) -> Option<u64> {
        let oldest = self.entries.front()?;
        Some(oldest.stored_ms.saturating_add(keep.age_ms))
    }

    /// When it no longer exists unless it is published to before: it has then been empty, trimmed
    /// or not, for as long as an empty channel is remembered.
    pub(super) fn forget_ms(&self, keep: Keep, forget_after_ms: u64) -> u64 {
        let emptied_ms = match self.entries.back() {
            Some(newest) => newest.stored_ms.saturating_add(keep.age_ms),
            None => self.emptied_ms,
        };
        emptied_ms.saturating_add(forget_after_ms)
    }

    /// Publications held, those included that have expired.
    pub(super) fn held(&self) -> Extent {
        Extent {
            messages: self.entries.len() as u64,
            bytes: self.bytes,
        }
    }

    /// What a subscriber needs for its position. A log in memory has only the term of its opening.
    pub(super) fn record(&self, keep: Keep, now_ms: u64, term: u32) -> ChannelRecord {
        ChannelRecord {
            epoch: self.epoch,
            floor: self.floor(keep, now_ms),
            head: self.head(),
            terms: vec![TermStart {
                term,
                first_offset: 1,
            }],
        }
    }

    /// The publications after an offset, as many as fit.
    pub(super) fn page(&self, after: u64, limit: PageLimit, keep: Keep, now_ms: u64) -> Page {
        let floor = self.floor(keep, now_ms);
        let first = after.saturating_add(1).max(floor) - self.base;
        let skipped = usize::try_from(first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut publications = Vec::new();
        for entry in self.entries.iter().skip(skipped).take(limit.count.max(1)) {
            bytes += size_of(&entry.publication);
            if !publications.is_empty() && bytes > limit.bytes as u64 {
                break;
            }
            publications.push(entry.publication.clone());
        }
        Page {
            epoch: self.epoch,
            floor,
            head: self.head(),
            publications,
        }
    }
}
