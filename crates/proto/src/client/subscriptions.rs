//! Where a client stands in each of its channels.
//!
//! Owns the cursors and the decision whether a message is new, known, or proof of a fault (P2, P3).
//! Must not know links: the machine tells it when one begins.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use crate::{
    message::{GapReason, Message},
    position::Position,
    recovery::{From, Recovery, RecoveryReason},
    time::Time,
};

/// All names that servers began by themselves: a `hello` with them fits into the 512 KiB that servers
/// read, even if each byte is escaped.
const BEGUN_BYTES_MAX: usize = 192 * 1_024;

/// What a message is to its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The next one: hand it on.
    Deliver,
    /// Already seen, or nobody waits for it.
    Ignore,
    /// Offsets were left out: nothing may be delivered before the subscription was asked for anew.
    Fault {
        /// So they were the last time, and nothing was delivered since.
        again: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked for on the next occasion.
    Wanted,
    /// Asked with this id; `hello` counts as 0.
    Asked(u64),
    Live,
    /// The reader is behind.
    Paused,
    /// Refused for now.
    Refused(Time),
}

#[derive(Clone, Debug)]
struct Subscription {
    from: From,
    cursor: Option<Position>,
    phase: Phase,
    /// A gap without a position: the next offset may be any higher one.
    loose: bool,
    /// Live once on a channel without positions, and not since: what was published meanwhile is lost.
    lossy: bool,
    /// Offsets were left out, and nothing was delivered since.
    faulty: bool,
    /// The server began it by itself, where it liked, and nobody has asked for it since.
    by_server: bool,
}

/// All subscriptions of one client, in order of channel name.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    all: BTreeMap<Arc<str>, Subscription>,
    max: usize,
    /// Bytes of the names that servers began by themselves.
    begun_bytes: usize,
    /// Nothing is to be asked for before; saves the search on each input.
    due: Option<Time>,
}

impl Subscriptions {
    /// None yet; `max` is how many there is room for.
    pub const fn new(max: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            max,
            begun_bytes: 0,
            due: None,
        }
    }

    /// Adds one to be asked for; whether it is new: one that exists is kept as it is. The caller has
    /// looked whether there is room.
    pub fn add(&mut self, channel: Arc<str>, from: From) -> bool {
        let Entry::Vacant(vacant) = self.all.entry(channel) else {
            return false;
        };
        vacant.insert(Subscription::new(from, false));
        self.due = Some(Time::ZERO);
        true
    }

    /// Forgets one; whether there was one.
    pub fn remove(&mut self, channel: &str) -> bool {
        let removed = self.all.remove(channel);
        if removed.as_ref().is_some_and(|s| s.by_server) {
            self.begun_bytes -= channel.len();
        }
        removed.is_some()
    }

    /// Forgets one that the server began by itself; how far it had come, if there was one.
    pub fn remove_by_server(&mut self, channel: &str) -> Option<Option<Position>> {
        let cursor = self.all.get(channel).filter(|s| s.by_server)?.cursor;
        self.remove(channel);
        Some(cursor)
    }

    /// What `hello` asks for. Each stays what it is on an older link until `welcome`, which may never come.
    pub fn hello(&self) -> Vec<(Arc<str>, Option<From>)> {
        let wanted = self.all.iter().filter(|(_, s)| s.phase != Phase::Paused);
        wanted
            .map(|(channel, subscription)| (channel.clone(), Some(subscription.start())))
            .collect()
    }

    /// The link on which they were asked for or live is gone.
    pub fn unlink(&mut self) {
        for subscription in self.all.values_mut() {
            subscription.leave();
            if matches!(subscription.phase, Phase::Asked(_) | Phase::Live) {
                subscription.phase = Phase::Wanted;
                self.due = Some(Time::ZERO);
            }
        }
    }

    /// The next one to be asked for, now marked as asked with this id.
    pub fn ask(&mut self, now: Time, id: u64) -> Option<(Arc<str>, From)> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        let found = self.all.iter_mut().find(|(_, s)| match s.phase {
            Phase::Wanted => true,
            Phase::Refused(until) => until <= now,
            _ => false,
        });
        let Some((channel, subscription)) = found else {
            let refused = self.all.values().filter_map(|s| match s.phase {
                Phase::Refused(until) => Some(until),
                _ => None,
            });
            self.due = refused.min();
            return None;
        };
        subscription.phase = Phase::Asked(id);
        Some((channel.clone(), subscription.start()))
    }

    /// An answer came: what the application is told of it; nothing where it is not the one that is
    /// waited for. `id` is none within `welcome` and for what the server added by itself, which is not
    /// kept where there is no room.
    pub fn begin(
        &mut self,
        channel: &Arc<str>,
        id: Option<u64>,
        recovery: Recovery,
    ) -> Option<Recovery> {
        if id.is_none() && !self.all.contains_key(channel) {
            let begun_bytes = self.begun_bytes + channel.len();
            if self.is_full() || begun_bytes > BEGUN_BYTES_MAX {
                return None;
            }
            self.begun_bytes = begun_bytes;
            let added = Subscription::new(From::Now, true);
            self.all.insert(channel.clone(), added);
        }
        let subscription = self.all.get_mut(channel)?;
        let expected = match (id, subscription.phase) {
            (Some(id), Phase::Asked(asked)) => id == asked,
            (None, phase) => phase != Phase::Paused,
            _ => false,
        };
        if !expected {
            return None;
        }
        subscription.phase = Phase::Live;
        // An older link may have delivered more since `hello` told the position; what comes again
        // is then known, and so is what retention has taken below it. Where the log was rewound only
        // the answer counts.
        let same_log = recovery.recovered || recovery.reason == Some(RecoveryReason::Expired);
        let ahead = subscription.cursor.filter(|cursor| {
            let answer = recovery.position.filter(|at| at.epoch == cursor.epoch);
            same_log && answer.is_some_and(|answer| cursor.offset > answer.offset)
        });
        // The server can't know that it was there before: it held no position to show.
        let lossy = std::mem::take(&mut subscription.lossy);
        let told = match ahead {
            Some(_) => Recovery {
                recovered: true,
                reason: None,
                position: ahead,
            },
            None if lossy => Recovery {
                recovered: false,
                reason: Some(RecoveryReason::NoHistory),
                ..recovery
            },
            None => recovery,
        };
        subscription.cursor = told.position;
        subscription.from = From::Now;
        subscription.loose = false;
        Some(told)
    }

    /// It was refused: for good, or until a time. One that was paused meanwhile stays so.
    pub fn refuse(&mut self, channel: &str, until: Option<Time>) {
        match (self.all.get_mut(channel), until) {
            (Some(subscription), Some(_)) if subscription.phase == Phase::Paused => {}
            (Some(subscription), Some(until)) => {
                subscription.phase = Phase::Refused(until);
                self.due = Some(self.due.map_or(until, |due| due.min(until)));
            }
            _ => {
                self.remove(channel);
            }
        }
    }

    /// The channel of the subscription that was asked for with this id.
    pub fn asked(&self, id: u64) -> Option<Arc<str>> {
        self.all
            .iter()
            .find(|(_, subscription)| subscription.phase == Phase::Asked(id))
            .map(|(channel, _)| channel.clone())
    }

    /// Judges a message and moves the cursor.
    pub fn judge(&mut self, message: &Message) -> Judgement {
        let Some(subscription) = self.all.get_mut(&message.channel) else {
            return Judgement::Ignore;
        };
        if subscription.phase != Phase::Live {
            return Judgement::Ignore;
        }
        let (Some(position), Some(cursor)) = (message.position, subscription.cursor) else {
            subscription.cursor = message.position.or(subscription.cursor);
            subscription.faulty = false;
            return Judgement::Deliver;
        };
        let fault = Judgement::Fault {
            again: subscription.faulty,
        };
        let judgement = if position.epoch != cursor.epoch {
            // The position of an absent channel carries the engine's epoch; its first publication
            // brings the channel's own.
            match (cursor.offset, position.offset) {
                (0, 1) => Judgement::Deliver,
                _ => fault,
            }
        } else if position.offset <= cursor.offset {
            Judgement::Ignore
        } else if position.offset == cursor.offset + 1 || subscription.loose {
            Judgement::Deliver
        } else {
            fault
        };
        match judgement {
            Judgement::Deliver => {
                subscription.cursor = Some(position);
                subscription.loose = false;
                subscription.faulty = false;
            }
            Judgement::Fault { .. } => {
                subscription.phase = Phase::Wanted;
                subscription.faulty = true;
                self.due = Some(Time::ZERO);
            }
            Judgement::Ignore => {}
        }
        judgement
    }

    /// A gap was announced; whether it is one for this client.
    pub fn gap(&mut self, channel: &str, position: Option<Position>, reason: GapReason) -> bool {
        let Some(subscription) = self.all.get_mut(channel) else {
            return false;
        };
        if subscription.phase != Phase::Live {
            return false;
        }
        // An older link has delivered what retention took from this one.
        let known = matches!((subscription.cursor, position), (Some(cursor), Some(gap))
            if cursor.epoch == gap.epoch && cursor.offset >= gap.offset);
        if known && reason == GapReason::Expired {
            return false;
        }
        match position {
            Some(position) => subscription.cursor = Some(position),
            None => subscription.loose = true,
        }
        true
    }

    /// Stops one at its cursor; whether the server must be told.
    pub fn pause(&mut self, channel: &str) -> bool {
        let Some(subscription) = self.all.get_mut(channel) else {
            return false;
        };
        let told = matches!(subscription.phase, Phase::Live | Phase::Asked(1..));
        subscription.leave();
        subscription.phase = Phase::Paused;
        told
    }

    /// Wants a paused one again; whether it was paused.
    pub fn resume(&mut self, channel: &str) -> bool {
        let paused = self.all.get_mut(channel);
        let Some(paused) = paused.filter(|s| s.phase == Phase::Paused) else {
            return false;
        };
        paused.phase = Phase::Wanted;
        self.due = Some(Time::ZERO);
        true
    }

    /// When a refused one may be asked for again, or before: some may be gone since.
    pub const fn retry_at(&self) -> Option<Time> {
        self.due
    }

    /// The position behind the last message that was handed on.
    pub fn cursor(&self, channel: &str) -> Option<Position> {
        self.all.get(channel)?.cursor
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is no room for another.
    pub fn is_full(&self) -> bool {
        self.all.len() >= self.max
    }
}

impl Subscription {
    const fn new(from: From, by_server: bool) -> Self {
        Self {
            from,
            cursor: None,
            phase: Phase::Wanted,
            loose: false,
            lossy: false,
            faulty: false,
            by_server,
        }
    }

    /// It is about to be live no more, for a time.
    fn leave(&mut self) {
        self.lossy |= self.phase == Phase::Live && self.cursor.is_none();
    }

    fn start(&self) -> From {
        self.cursor.map_or(self.from, From::After)
    }
}
