//! The sessions' records: the highest number stored for each, until it is unused for too long.
//!
//! Owns a table and, through links inside its slots, the order of last use; so a record is moved
//! and removed in constant time and the least recently used is always at hand; and how many records
//! each user has. Must not know channels or messages.

use std::collections::HashMap;

use super::{grace::Grace, hash::Seeded};
use crate::{config::EngineConfig, contract::SessionKey};

/// The end of a list of slots.
const NONE: u32 = u32::MAX;

struct Record {
    session: SessionKey,
    highest: u64,
    used_ms: u64,
    older: u32,
    newer: u32,
}

/// All records.
pub(super) struct Sessions {
    ttl_ms: u64,
    grace: Grace,
    sessions_max: usize,
    per_user_max: usize,
    by_key: HashMap<SessionKey, u32, Seeded>,
    /// How many records each user has, where any.
    of_user: HashMap<u64, u32, Seeded>,
    /// How many users have as many as they may.
    full_users: usize,
    slots: Vec<Record>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
}

impl Sessions {
    pub(super) fn new(config: &EngineConfig, hasher: Seeded) -> Self {
        Self {
            ttl_ms: config.session_ttl.as_millis() as u64,
            grace: Grace::default(),
            sessions_max: config.sessions_max,
            per_user_max: config.sessions_per_user_max,
            by_key: HashMap::with_hasher(hasher),
            of_user: HashMap::with_hasher(hasher),
            full_users: 0,
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// From an opening on.
    pub(super) fn spare(&mut self, grace: Grace) {
        self.grace = grace;
    }

    /// Stores the highest number, in a new record if there is none.
    pub(super) fn store(&mut self, session: SessionKey, seq: u64, now_ms: u64) {
        let slot = match self.by_key.get(&session) {
            Some(&slot) => {
                self.unlink(slot);
                slot
            }
            None => self.insert(session),
        };
        let record = &mut self.slots[slot as usize];
        record.highest = seq;
        record.used_ms = now_ms;
        self.link_newest(slot);
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, session: SessionKey) {
        let Some(slot) = self.by_key.remove(&session) else {
            return;
        };
        self.unlink(slot);
        self.free.push(slot);
        if let Some(user) = session.user()
            && let Some(count) = self.of_user.get_mut(&user)
        {
            self.full_users -= usize::from(*count as usize == self.per_user_max);
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }

    /// Forgets at most `steps` sessions that were unused for too long.
    pub(super) fn expire(&mut self, now_ms: u64, steps: usize) {
        for _ in 0..steps {
            match self.slots.get(self.oldest as usize) {
                Some(record) if self.is_over(record.used_ms, now_ms) => {
                    self.remove(record.session);
                }
                _ => return,
            }
        }
    }

    /// The highest number stored for the session.
    pub(super) fn highest(&self, session: SessionKey, now_ms: u64) -> Option<u64> {
        let record = &self.slots[*self.by_key.get(&session)? as usize];
        (!self.is_over(record.used_ms, now_ms)).then_some(record.highest)
    }

    /// Whether it holds a slot, expired or not.
    pub(super) fn contains(&self, session: SessionKey) -> bool {
        self.by_key.contains_key(&session)
    }

    /// Whether so many more fit.
    pub(super) fn has_room(&self, new: usize) -> bool {
        self.by_key.len() + new <= self.sessions_max
    }

    /// Whether any user has as many as they may, expired ones among them.
    pub(super) fn has_full_user(&self) -> bool {
        self.full_users > 0
    }

    /// Whether so many more of this user fit.
    pub(super) fn has_room_of(&self, user: u64, new: usize) -> bool {
        let count = self.of_user.get(&user).map_or(0, |count| *count as usize);
        count + new <= self.per_user_max
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// A slot that is in no list yet.
    fn insert(&mut self, session: SessionKey) -> u32 {
        let record = Record {
            session,
            highest: 0,
            used_ms: 0,
            older: NONE,
            newer: NONE,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = record;
                slot
            }
            None => {
                self.slots.push(record);
                u32::try_from(self.slots.len() - 1).expect("sessions_max is below 2^32")
            }
        };
        self.by_key.insert(session, slot);
        if let Some(user) = session.user() {
            let count = self.of_user.entry(user).or_default();
            *count += 1;
            self.full_users += usize::from(*count as usize == self.per_user_max);
        }
        slot
    }

    fn link_newest(&mut self, slot: u32) {
        let before = self.newest;
        let record = &mut self.slots[slot as usize];
        record.older = before;
        record.newer = NONE;
        match self.slots.get_mut(before as usize) {
            Some(before) => before.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Record { older, newer, .. } = self.slots[slot as usize];
        match self.slots.get_mut(older as usize) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
    }

    pub(super) fn is_over(&self, used_ms: u64, now_ms: u64) -> bool {
        let deadline_ms = used_ms.saturating_add(self.ttl_ms);
        self.grace.is_over(deadline_ms, now_ms)
    }
}
