//! Idempotency keys within their window.
//!
//! Owns which keys are remembered and for how long. Must not know what a publication is beyond the
//! digest of its body and its position. A key's identity is a digest of its channel and itself.

use std::collections::{HashMap, VecDeque};

use bowline_proto::Position;

use super::{grace::Grace, hash::Seeded};
use crate::{config::EngineConfig, format::record::KeyId};

/// The first publication with a key.
#[derive(Clone, Copy)]
pub(crate) struct First {
    pub(crate) body: u64,
    pub(crate) position: Option<Position>,
    pub(crate) stored_ms: u64,
}

/// All keys, in a table and in order of time.
pub(super) struct Keys {
    window_ms: u64,
    grace: Grace,
    keys_max: usize,
    first: HashMap<KeyId, First, Seeded>,
    /// Never longer than `keys_max`. An expired key that was stored again stands here twice; the
    /// older entry is known by its time.
    by_time: VecDeque<(u64, KeyId)>,
    evicted: u64,
}

impl Keys {
    pub(super) fn new(config: &EngineConfig, hasher: Seeded) -> Self {
        Self {
            window_ms: config.key_window.as_millis() as u64,
            grace: Grace::default(),
            keys_max: config.keys_max,
            first: HashMap::with_hasher(hasher),
            by_time: VecDeque::new(),
            evicted: 0,
        }
    }

    /// From an opening on.
    pub(super) fn spare(&mut self, grace: Grace) {
        self.grace = grace;
    }

    /// Remembers a publication's key; the oldest key makes room if it must.
    pub(super) fn store(&mut self, id: KeyId, body: u64, position: Option<Position>, now_ms: u64) {
        if self.by_time.len() >= self.keys_max && self.forget_oldest(now_ms) {
            self.evicted += 1;
        }
        let first = First {
            body,
            position,
            stored_ms: now_ms,
        };
        self.first.insert(id, first);
        self.by_time.push_back((now_ms, id));
    }

    /// Forgets at most `steps` keys whose window has ended.
    pub(super) fn expire(&mut self, now_ms: u64, steps: usize) {
        for _ in 0..steps {
            match self.by_time.front() {
                Some((stored_ms, _)) if self.is_over(*stored_ms, now_ms) => {
                    self.forget_oldest(now_ms);
                }
                _ => return,
            }
        }
    }

    /// The first publication with this key within the window.
    pub(super) fn find(&self, id: KeyId, now_ms: u64) -> Option<First> {
        let first = self.first.get(&id)?;
        (!self.is_over(first.stored_ms, now_ms)).then_some(*first)
    }

    pub(super) fn len(&self) -> usize {
        self.first.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Answers whether a key was lost whose window had not ended.
    fn forget_oldest(&mut self, now_ms: u64) -> bool {
        let Some((stored_ms, id)) = self.by_time.pop_front() else {
            return false;
        };
        if self
            .first
            .get(&id)
            .is_some_and(|first| first.stored_ms == stored_ms)
        {
            self.first.remove(&id);
        }
        !self.is_over(stored_ms, now_ms)
    }

    fn is_over(&self, stored_ms: u64, now_ms: u64) -> bool {
        let deadline_ms = stored_ms.saturating_add(self.window_ms);
        self.grace.is_over(deadline_ms, now_ms)
    }
}
