//! The model: plain lists, changed only by what was acknowledged.

use super::*;

#[derive(Clone, Debug)]
pub(super) struct ModelChannel {
    pub(super) epoch: u64,
    pub(super) head: u64,
    /// Offset, payload, time and term.
    pub(super) entries: Vec<(u64, Vec<u8>, u64, u32)>,
    pub(super) last_ms: u64,
    /// The term of every offset that was ever given.
    pub(super) terms: BTreeMap<u64, u32>,
}

#[derive(Clone, Debug)]
pub(super) struct ModelKey {
    pub(super) body: Vec<u8>,
    pub(super) position: Option<Position>,
    pub(super) stored_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) channels: BTreeMap<usize, ModelChannel>,
    pub(super) sessions: BTreeMap<u8, (u64, u64)>,
    pub(super) keys: BTreeMap<(usize, u8), ModelKey>,
}

impl Model {
    pub(super) fn purge(&mut self, now_ms: u64) {
        for (&number, channel) in &mut self.channels {
            let age_ms = keep(number).2;
            channel.entries.retain(|entry| entry.2 + age_ms > now_ms);
        }
        self.channels
            .retain(|&number, channel| channel.last_ms + keep(number).2 + FORGET_MS > now_ms);
        self.sessions
            .retain(|_, (_, used_ms)| *used_ms + TTL_MS > now_ms);
        self.keys
            .retain(|_, key| key.stored_ms + WINDOW_MS > now_ms);
    }

    /// What was answered without an error has happened.
    pub(super) fn accept(&mut self, step: &Step, payload: &[u8], answer: &Appended, now_ms: u64) {
        let repeats = step.producer.is_some_and(|(number, seq)| {
            self.sessions
                .get(&number)
                .is_some_and(|(highest, _)| seq <= *highest)
        });
        if repeats {
            return;
        }
        if !step.advance && !answer.duplicate {
            if let Some(position) = answer.position {
                self.store(step.channel, payload, position, now_ms);
            }
            if let Some(key) = step.key {
                let key_of = (step.channel, key);
                let stored = ModelKey {
                    body: payload.to_vec(),
                    position: answer.position,
                    stored_ms: now_ms,
                };
                self.keys.insert(key_of, stored);
            }
        }
        if let Some((number, seq)) = step.producer {
            self.sessions.insert(number, (seq, now_ms));
        }
    }

    fn store(&mut self, number: usize, payload: &[u8], position: Position, now_ms: u64) {
        let fresh = || ModelChannel {
            epoch: position.epoch,
            head: 0,
            entries: Vec::new(),
            last_ms: now_ms,
            terms: BTreeMap::new(),
        };
        let channel = self.channels.entry(number).or_insert_with(fresh);
        let (messages, bytes, _) = keep(number);
        let size = |entries: &[(u64, Vec<u8>, u64, u32)]| -> usize {
            entries.iter().map(|entry| entry.1.len()).sum()
        };
        while !channel.entries.is_empty()
            && (channel.entries.len() >= messages || size(&channel.entries) + payload.len() > bytes)
        {
            channel.entries.remove(0);
        }
        channel.head = position.offset;
        channel.last_ms = now_ms;
        channel.terms.insert(position.offset, position.term);
        channel
            .entries
            .push((position.offset, payload.to_vec(), now_ms, position.term));
    }
}
