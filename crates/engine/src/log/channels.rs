//! The table of channels: their bounds over all, their creation, expiry and forgetting.
//!
//! Owns which channel has which policy, the totals, and the queue of deadlines. Must not know
//! sessions, keys, or who reads.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
};

use bowline_proto::{Publication, recovery::ChannelState};

use super::{
    channel::{Channel, Extent, Keep},
    hash::Seeded,
};
use crate::{
    config::{ChannelPolicy, EngineConfig, Retention},
    contract::{AppendError, Page, PageLimit},
};

/// Publications that one step of expiry drops from a channel, so that no step is long.
const EXPIRED_PER_STEP: u64 = 16;

/// Whether and where a publication can be stored. Nothing has changed yet.
pub(super) enum Place {
    /// The channel keeps nothing.
    NoHistory,
    /// There is room.
    History(Room),
}

/// Room for one publication, valid until the table next changes.
pub(super) struct Room {
    target: Target,
    policy: u16,
    displaced: u64,
}

enum Target {
    Existing { slot: u32, epoch: u64 },
    Forgotten { slot: u32 },
    New { name: Arc<str> },
}

/// All channels.
pub(super) struct Channels {
    policies: Vec<ChannelPolicy>,
    /// In the order of `policies`, then what channels without a pattern keep.
    keeps: Vec<Option<Keep>>,
    channels_max: usize,
    messages_max: u64,
    bytes_max: u64,
    forget_after_ms: u64,
    held: Extent,
    by_name: HashMap<Arc<str>, u32, Seeded>,
    slots: Vec<Option<Channel>>,
    free: Vec<u32>,
    /// When the oldest publication of each channel that holds any expires.
    ages: Deadlines,
    /// When each empty channel is forgotten; some that are no longer empty stand here still.
    forgets: Deadlines,
}

/// Slots by time. A channel stands at most once in each, never later than what it is due for; what
/// comes up too early goes back in. That happens at most once per publication that the channel has
/// lost since, so this work is amortised over the appends.
type Deadlines = BinaryHeap<Reverse<(u64, u32)>>;

impl Room {
    /// The epoch of the channel's record; none if one is to be made.
    pub(super) fn epoch(&self) -> Option<u64> {
        match self.target {
            Target::Existing { epoch, .. } => Some(epoch),
            Target::Forgotten { .. } | Target::New { .. } => None,
        }
    }
}

impl Channels {
    pub(super) fn new(config: &EngineConfig, hasher: Seeded) -> Self {
        let keep = |retention: Retention| Keep {
            messages: retention.messages as usize,
            bytes: retention.bytes,
            age_ms: retention.age.as_millis() as u64,
        };
        Self {
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
            by_name: HashMap::with_hasher(hasher),
            slots: Vec::new(),
            free: Vec::new(),
            ages: BinaryHeap::new(),
            forgets: BinaryHeap::new(),
        }
    }

    /// Finds room for a publication of `size` bytes, or says which bound is reached.
    pub(super) fn place(
        &self,
        name: &Arc<str>,
        size: u64,
        now_ms: u64,
    ) -> Result<Place, AppendError> {
        let Some((slot, channel)) = self.find(name) else {
            let policy = self.policy_of(name);
            if self.keeps[policy as usize].is_none() {
                return Ok(Place::NoHistory);
            }
            if self.by_name.len() >= self.channels_max {
                return Err(AppendError::TooManyChannels);
            }
            self.demand_room(size, Extent::default())?;
            return Ok(Place::History(Room {
                target: Target::New { name: name.clone() },
                policy,
                displaced: 0,
            }));
        };
        let keep = self.keep(channel);
        let forgotten = channel.forget_ms(keep, self.forget_after_ms) <= now_ms;
        let (target, displaced) = if forgotten {
            (Target::Forgotten { slot }, channel.held())
        } else {
            let epoch = channel.epoch;
            let displaced = channel.displaced(size, keep);
            (Target::Existing { slot, epoch }, displaced)
        };
        self.demand_room(size, displaced)?;
        Ok(Place::History(Room {
            target,
            policy: channel.policy,
            displaced: displaced.messages,
        }))
    }

    /// Stores a publication where room was found.
    pub(super) fn store(
        &mut self,
        room: Room,
        epoch: u64,
        publication: Publication,
        now_ms: u64,
    ) -> Arc<Publication> {
        let keep = self.keeps[room.policy as usize].expect("a policy with room keeps history");
        let slot = match room.target {
            Target::Existing { slot, .. } | Target::Forgotten { slot } => slot,
            Target::New { ref name } => {
                let channel = Channel::new(name.clone(), room.policy, epoch);
                let slot = self.insert(channel);
                self.by_name.insert(name.clone(), slot);
                slot
            }
        };
        let channel = self.slots[slot as usize]
            .as_mut()
            .expect("room is in a slot that is taken");
        if channel.held().messages == 0 {
            self.ages
                .push(Reverse((now_ms.saturating_add(keep.age_ms), slot)));
        }
        let freed = channel.trim(room.displaced, keep);
        if matches!(room.target, Target::Forgotten { .. }) {
            channel.begin_anew(epoch);
        }
        self.held.messages = self.held.messages - freed.messages + 1;
        self.held.bytes = self.held.bytes - freed.bytes + super::channel::size_of(&publication);
        channel.push(publication, now_ms)
    }

    /// Trims and forgets what is due, at most `steps` channels' worth.
    pub(super) fn expire(&mut self, now_ms: u64, steps: usize) {
        for _ in 0..steps {
            if let Some(slot) = pop_due(&mut self.ages, now_ms) {
                self.trim_expired(slot, now_ms);
            } else if let Some(slot) = pop_due(&mut self.forgets, now_ms) {
                self.forget_if_due(slot, now_ms);
            } else {
                return;
            }
        }
    }

    /// The channel as a subscriber sees it.
    pub(super) fn state(&self, name: &str, now_ms: u64, term: u32) -> ChannelState {
        match self.live(name, now_ms) {
            Some((channel, keep)) => ChannelState::Present(channel.record(keep, now_ms, term)),
            None if self.keeps[self.policy_of(name) as usize].is_none() => ChannelState::NoHistory,
            None => ChannelState::Absent,
        }
    }

    /// Part of the channel's history; none without a record.
    pub(super) fn page(
        &self,
        name: &str,
        after: u64,
        limit: PageLimit,
        now_ms: u64,
    ) -> Option<Page> {
        self.live(name, now_ms)
            .map(|(channel, keep)| channel.page(after, limit, keep, now_ms))
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn messages(&self) -> u64 {
        self.held.messages
    }

    pub(super) fn bytes(&self) -> u64 {
        self.held.bytes
    }

    /// Places that the table takes, used or not.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.len() + self.ages.len() + self.forgets.len()
    }

    fn insert(&mut self, channel: Channel) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(channel);
                slot
            }
            None => {
                self.slots.push(Some(channel));
                u32::try_from(self.slots.len() - 1).expect("channels_max is below 2^32")
            }
        }
    }

    fn trim_expired(&mut self, slot: u32, now_ms: u64) {
        let channel = self.slots[slot as usize]
            .as_mut()
            .expect("a deadline is removed with its channel");
        let keep = self.keeps[channel.policy as usize].expect("a channel record keeps history");
        let expired = channel.expired(keep, now_ms).min(EXPIRED_PER_STEP);
        let freed = channel.trim(expired, keep);
        self.held.messages -= freed.messages;
        self.held.bytes -= freed.bytes;
        match channel.expires_ms(keep) {
            Some(expires_ms) => self.ages.push(Reverse((expires_ms, slot))),
            None if channel.is_among_forgets => {}
            None => {
                channel.is_among_forgets = true;
                let forget_ms = channel.forget_ms(keep, self.forget_after_ms);
                self.forgets.push(Reverse((forget_ms, slot)));
            }
        }
    }

    fn forget_if_due(&mut self, slot: u32, now_ms: u64) {
        let place = &mut self.slots[slot as usize];
        let channel = place
            .as_mut()
            .expect("a deadline is removed with its channel");
        let keep = self.keeps[channel.policy as usize].expect("a channel record keeps history");
        let forget_ms = channel.forget_ms(keep, self.forget_after_ms);
        if channel.held().messages > 0 {
            channel.is_among_forgets = false;
        } else if forget_ms > now_ms {
            self.forgets.push(Reverse((forget_ms, slot)));
        } else {
            self.by_name.remove(&channel.name);
            *place = None;
            self.free.push(slot);
        }
    }

    fn find(&self, name: &str) -> Option<(u32, &Channel)> {
        let slot = *self.by_name.get(name)?;
        let channel = self.slots[slot as usize].as_ref();
        Some((slot, channel.expect("a name leads to a slot that is taken")))
    }

    fn live(&self, name: &str, now_ms: u64) -> Option<(&Channel, Keep)> {
        let (_, channel) = self.find(name)?;
        let keep = self.keep(channel);
        (channel.forget_ms(keep, self.forget_after_ms) > now_ms).then_some((channel, keep))
    }

    fn keep(&self, channel: &Channel) -> Keep {
        self.keeps[channel.policy as usize].expect("a channel record keeps history")
    }

    fn policy_of(&self, name: &str) -> u16 {
        let index = self
            .policies
            .iter()
            .position(|policy| policy.matches(name))
            .unwrap_or(self.policies.len());
        u16::try_from(index).expect("at most POLICIES_MAX policies")
    }

    fn demand_room(&self, size: u64, freed: Extent) -> Result<(), AppendError> {
        let fits = self.held.messages - freed.messages < self.messages_max
            && self.held.bytes - freed.bytes + size <= self.bytes_max;
        if fits {
            Ok(())
        } else {
            Err(AppendError::StorageFull)
        }
    }
}

fn pop_due(deadlines: &mut Deadlines, now_ms: u64) -> Option<u32> {
    let Reverse((deadline_ms, slot)) = *deadlines.peek()?;
    (deadline_ms <= now_ms).then(|| {
        deadlines.pop();
        slot
    })
}
