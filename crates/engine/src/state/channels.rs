//! The table of channels: their names and places, their totals, expiry and forgetting.
//!
//! Owns which channel has which policy, and the queues of deadlines. Must not know sessions, keys,
//! or who reads.

use std::{cmp::Reverse, collections::BinaryHeap, hash::BuildHasher};

use bowline_proto::recovery::ChannelState;
use hashbrown::HashTable;

use super::{
    Inconsistent, PagePlan, Stored,
    channel::{Channel, Entry, Extent, Keep},
    files::Files,
    hash::Seeded,
    slab::{SLOT_MAX, Slab},
};
use crate::{
    config::{ChannelPolicy, EngineConfig, Retention},
    contract::PageLimit,
    format::record::ChannelId,
};

/// What a channel keeps whose pattern says, since a change of the settings, that it keeps nothing.
const NOTHING: Keep = Keep {
    messages: 0,
    bytes: 0,
    age_ms: 0,
};

/// All channels.
pub(crate) struct Channels {
    hasher: Seeded,
    policies: Vec<ChannelPolicy>,
    /// In the order of `policies`, then what channels without a pattern keep.
    keeps: Vec<Option<Keep>>,
    channels_max: usize,
    messages_max: u64,
    bytes_max: u64,
    forget_after_ms: u64,
    held: Extent,
    by_name: HashTable<u32>,
    slab: Slab,
    /// When the oldest publication of each channel that holds any expires.
    ages: Deadlines,
    /// When each empty channel is forgotten; some that are no longer empty stand here still.
    forgets: Deadlines,
}

/// Slots by time. A channel stands at most once in each, never later than what it is due for; what
/// comes up too early goes back in. That happens at most once per publication that the channel has
/// lost since, so this work is amortised over the appends.
type Deadlines = BinaryHeap<Reverse<(u64, u32)>>;

impl Channels {
    pub(super) fn new(config: &EngineConfig, hasher: Seeded) -> Self {
        let keep = |retention: Retention| Keep {
            messages: retention.messages.into(),
            bytes: retention.bytes,
            age_ms: retention.age.as_millis() as u64,
        };
        Self {
            hasher,
            policies: config.policies.clone(),
            keeps: config
                .policies
                .iter()
                .map(|policy| policy.history)
                .chain([Some(Retention::default())])
                .map(|history| history.map(keep))
                .collect(),
            channels_max: config.channels_max,
            messages_max: config.messages_max,
            bytes_max: config.bytes_max,
            forget_after_ms: config.channel_forget_after.as_millis() as u64,
            held: Extent::default(),
            by_name: HashTable::new(),
            slab: Slab::default(),
            ages: BinaryHeap::new(),
            forgets: BinaryHeap::new(),
        }
    }

    /// A channel record begins, in place of any other with its name or its slot.
    pub(super) fn create(
        &mut self,
        files: &mut Files,
        id: ChannelId,
        epoch: u64,
        name: &str,
    ) -> Result<(), Inconsistent> {
        if id.slot > SLOT_MAX {
            return Err(Inconsistent("a channel's place is beyond all bounds"));
        }
        if let Some(slot) = self.find(name)
            && slot != id.slot
        {
            self.remove(files, slot);
        }
        let policy = self.policy_of(name);
        let mut channel = Channel::new(name.into(), policy, epoch);
        if let Some(before) = self.slab.get(id.slot) {
            // The deadlines of the place are taken over with it.
            channel.is_among_ages = before.is_among_ages;
            channel.is_among_forgets = before.is_among_forgets;
            self.remove(files, id.slot);
        }
        let hash = self.hasher.hash_one(name);
        self.slab.put(id.slot, id.generation, channel);
        let (slab, hasher) = (&self.slab, self.hasher);
        self.by_name
            .insert_unique(hash, id.slot, |&slot| hash_of(slab, hasher, slot));
        Ok(())
    }

    /// Adds a publication and answers its channel's epoch; none where that record has ended since.
    pub(super) fn push(
        &mut self,
        files: &mut Files,
        stored: &Stored,
        entry: Entry,
        term: u32,
    ) -> Result<Option<u64>, Inconsistent> {
        let ChannelId { slot, generation } = stored.id;
        let Some(channel) = self.slab.get_mut(slot, generation) else {
            self.slab.saw(slot, generation);
            return Ok(None);
        };
        if stored.offset != channel.head() + 1 {
            return Err(Inconsistent("a channel's offsets do not follow each other"));
        }
        channel.push(files, entry, term);
        let epoch = channel.epoch;
        let freed = match stored.floor {
            Some(floor) => channel.raise_floor(files, floor),
            None => Extent::default(),
        };
        self.held.messages = self.held.messages + 1 - freed.messages;
        self.held.bytes = self.held.bytes + u64::from(entry.size) - freed.bytes;
        if !channel.is_among_ages {
            self.arm(slot);
        }
        Ok(Some(epoch))
    }

    /// What is below is no longer history.
    pub(super) fn raise_floor(
        &mut self,
        files: &mut Files,
        id: ChannelId,
        floor: u64,
    ) -> Result<(), Inconsistent> {
        let Some(channel) = self.slab.get_mut(id.slot, id.generation) else {
            self.slab.saw(id.slot, id.generation);
            return Ok(());
        };
        if floor > channel.head() + 1 {
            return Err(Inconsistent("a channel's floor is above its head"));
        }
        let freed = channel.raise_floor(files, floor);
        self.give_back(freed);
        Ok(())
    }

    /// Publications up to `last` are no longer history.
    pub(super) fn skip_to(
        &mut self,
        files: &mut Files,
        id: ChannelId,
        last: u64,
        term: u32,
        time_ms: u64,
    ) {
        match self.slab.get_mut(id.slot, id.generation) {
            Some(channel) => {
                let freed = channel.skip_to(files, last, term, time_ms);
                self.give_back(freed);
            }
            None => self.slab.saw(id.slot, id.generation),
        }
    }

    /// The channel record ends, and with it any earlier one that had its place: the record that
    /// began after that one may have been dropped since.
    pub(super) fn forget(&mut self, files: &mut Files, id: ChannelId) {
        if self.slab.get(id.slot).is_some() {
            if self.slab.generation(id.slot) <= id.generation {
                self.remove(files, id.slot);
                self.slab.saw(id.slot, id.generation);
            }
        } else {
            self.slab.saw(id.slot, id.generation);
        }
    }

    /// Takes at most `steps` channels from the queues that have something to trim or to forget.
    /// Each must be given back with [`arm`](Self::arm).
    pub(super) fn pop_due(&mut self, now_ms: u64, steps: usize) -> Vec<u32> {
        let mut due = Vec::new();
        while due.len() < steps {
            if let Some(slot) = pop_due(&mut self.ages, now_ms) {
                if let Some(channel) = self.slab.get_mut(slot, self.slab.generation(slot)) {
                    channel.is_among_ages = false;
                    due.push(slot);
                }
            } else if let Some(slot) = pop_due(&mut self.forgets, now_ms) {
                if let Some(channel) = self.slab.get_mut(slot, self.slab.generation(slot)) {
                    channel.is_among_forgets = false;
                    due.push(slot);
                }
            } else {
                break;
            }
        }
        due
    }

    /// Puts a channel into the queue where it belongs.
    pub(crate) fn arm(&mut self, slot: u32) {
        let generation = self.slab.generation(slot);
        let Some(channel) = self.slab.get_mut(slot, generation) else {
            return;
        };
        let keep = self.keeps[channel.policy as usize].unwrap_or(NOTHING);
        match channel.expires_ms(keep) {
            Some(expires_ms) if !channel.is_among_ages => {
                channel.is_among_ages = true;
                self.ages.push(Reverse((expires_ms, slot)));
            }
            None if !channel.is_among_forgets => {
                channel.is_among_forgets = true;
                let forget_ms = channel.forget_ms(keep, self.forget_after_ms);
                self.forgets.push(Reverse((forget_ms, slot)));
            }
            _ => {}
        }
    }

    /// Puts every channel into the queue where it belongs, after a log was replayed.
    pub(crate) fn arm_all(&mut self) {
        let slots: Vec<u32> = self.slab.slots().collect();
        for slot in slots {
            self.arm(slot);
        }
    }

    /// Moves an entry that was copied, unless it has been trimmed or moved since.
    pub(crate) fn relocate(
        &mut self,
        files: &mut Files,
        id: ChannelId,
        offset: u64,
        from: (u32, u32),
        to: (u32, u32),
    ) -> bool {
        let channel = self.slab.get_mut(id.slot, id.generation);
        let entry = channel.and_then(|channel| channel.entry_mut(offset));
        match entry {
            Some(entry) if (entry.file, entry.pos) == from => {
                files.release(entry);
                (entry.file, entry.pos) = to;
                files.take(entry);
                true
            }
            _ => false,
        }
    }

    /// The channel as a subscriber sees it.
    pub(super) fn state(&self, name: &str, now_ms: u64) -> ChannelState {
        match self.live(name, now_ms) {
            Some((_, channel, keep)) => ChannelState::Present(channel.record(keep, now_ms)),
            None if self.keeps[self.policy_of(name) as usize].is_none() => ChannelState::NoHistory,
            None => ChannelState::Absent,
        }
    }

    /// Where a part of the channel's history is; none without a record.
    pub(super) fn plan(
        &self,
        name: &str,
        after: u64,
        limit: PageLimit,
        now_ms: u64,
    ) -> Option<PagePlan> {
        let (slot, channel, keep) = self.live(name, now_ms)?;
        let record = channel.record(keep, now_ms);
        let (first, entries) = channel.page(after, limit, record.floor);
        Some(PagePlan {
            epoch: record.epoch,
            floor: record.floor,
            head: record.head,
            id: ChannelId {
                slot,
                generation: self.slab.generation(slot),
            },
            first,
            entries,
            record,
        })
    }

    /// The slot of the channel of that name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let is_it = |&slot: &u32| {
            self.slab
                .get(slot)
                .is_some_and(|found| &*found.name == name)
        };
        self.by_name.find(hash, is_it).copied()
    }

    /// The channel in a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&Channel> {
        self.slab.get(slot)
    }

    /// The identity of the channel in a slot.
    pub(crate) fn id(&self, slot: u32) -> ChannelId {
        ChannelId {
            slot,
            generation: self.slab.generation(slot),
        }
    }

    /// The identity of the next channel in a slot.
    pub(crate) fn next_id(&self, slot: u32) -> ChannelId {
        ChannelId {
            slot,
            generation: self.slab.next_generation(slot),
        }
    }

    /// The identity of a channel to come, in a free slot from `from` on.
    pub(crate) fn free_id(&self, from: u32) -> ChannelId {
        let (slot, generation) = self.slab.free_from(from);
        ChannelId { slot, generation }
    }

    /// What channels of that name keep; none if they have no history.
    pub(crate) fn keep_of_name(&self, name: &str) -> Option<Keep> {
        self.keeps[self.policy_of(name) as usize]
    }

    /// What a channel keeps; none if, since a change of the settings, it has no history.
    pub(crate) fn keep(&self, channel: &Channel) -> Option<Keep> {
        self.keeps[channel.policy as usize]
    }

    /// Whether the channel no longer exists, though its record still stands.
    pub(crate) fn is_forgotten(&self, channel: &Channel, now_ms: u64) -> bool {
        let keep = self.keep(channel).unwrap_or(NOTHING);
        channel.forget_ms(keep, self.forget_after_ms) <= now_ms
    }

    /// The lowest offset that the channel's history still has.
    pub(crate) fn floor(&self, channel: &Channel, now_ms: u64) -> u64 {
        channel.floor(self.keep(channel).unwrap_or(NOTHING), now_ms)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn channels_max(&self) -> usize {
        self.channels_max
    }

    pub(crate) fn held(&self) -> Extent {
        self.held
    }

    /// The bounds over all channels.
    pub(crate) fn held_max(&self) -> Extent {
        Extent {
            messages: self.messages_max,
            bytes: self.bytes_max,
        }
    }

    /// Whether so much more may be too much.
    pub(super) fn is_crowded(&self, entries: usize, bytes: u64) -> bool {
        self.by_name.len() + entries > self.channels_max
            || self.held.messages + entries as u64 > self.messages_max
            || self.held.bytes + bytes > self.bytes_max
    }

    fn remove(&mut self, files: &mut Files, slot: u32) {
        let Some(channel) = self.slab.get(slot) else {
            return;
        };
        let hash = self.hasher.hash_one(&*channel.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&found| found == slot) {
            entry.remove();
        }
        let generation = self.slab.generation(slot);
        if let Some(mut channel) = self.slab.remove(slot, generation) {
            let freed = channel.raise_floor(files, channel.head() + 1);
            self.give_back(freed);
        }
    }

    fn give_back(&mut self, freed: Extent) {
        self.held.messages -= freed.messages;
        self.held.bytes -= freed.bytes;
    }

    fn live(&self, name: &str, now_ms: u64) -> Option<(u32, &Channel, Keep)> {
        let slot = self.find(name)?;
        let channel = self.slab.get(slot)?;
        let keep = self.keep(channel)?;
        (!self.is_forgotten(channel, now_ms)).then_some((slot, channel, keep))
    }

    fn policy_of(&self, name: &str) -> u16 {
        let index = self
            .policies
            .iter()
            .position(|policy| policy.matches(name))
            .unwrap_or(self.policies.len());
        u16::try_from(index).expect("at most POLICIES_MAX policies")
    }
}

fn hash_of(slab: &Slab, hasher: Seeded, slot: u32) -> u64 {
    let channel = slab
        .get(slot)
        .expect("a name leads to a place that is taken");
    hasher.hash_one(&*channel.name)
}

fn pop_due(deadlines: &mut Deadlines, now_ms: u64) -> Option<u32> {
    let Reverse((deadline_ms, slot)) = *deadlines.peek()?;
    (deadline_ms <= now_ms).then(|| {
        deadlines.pop();
        slot
    })
}
