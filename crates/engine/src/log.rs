//! The log of the memory engine: channels, sessions and keys, and how an entry changes them.
//!
//! Owns the meaning of an append and of a read. Single-threaded; time and random bits are
//! parameters, so that a test or a simulation repeats every run exactly. Must not know threads,
//! locks, clocks, or who listens.

mod channel;
mod channels;
mod hash;
mod keys;
mod sessions;

use std::{collections::BTreeSet, hash::BuildHasher, sync::Arc};

use bowline_proto::{Publication, recovery::ChannelState};

use crate::{
    config::EngineConfig,
    contract::{
        Append, AppendError, Appended, Effect, EngineStats, Page, PageLimit, Producer, SessionKey,
    },
};
use channel::size_of;
use channels::{Channels, Place};
use hash::Seeded;
use keys::{KeyId, Keys};
use sessions::Sessions;

/// Steps of expiry that each entry and each question pays for: more than one, so that a backlog
/// shrinks while entries come in, and few enough to cost less than the append itself.
const EXPIRY_STEPS: usize = 4;
/// Steps of expiry before an entry is refused for lack of room: about 100 µs.
const EXPIRY_STEPS_WHEN_FULL: usize = 1_024;

/// A committed publication, for those who listen.
pub(crate) struct Hint {
    pub(crate) channel: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) publication: Arc<Publication>,
}

/// The random bits of one opening.
pub(crate) struct Seed {
    /// Makes the places in hash tables unpredictable to whoever chooses names.
    pub(crate) hash: u64,
    /// Names this opening; never 0.
    pub(crate) term: u32,
}

/// Where new epochs come from; none when entropy can't be had.
pub(crate) type DrawEpoch<'a> = &'a mut dyn FnMut() -> Option<u64>;

/// All state of the engine.
pub(crate) struct Log {
    hasher: Seeded,
    term: u32,
    /// Never goes back, so that publications of a channel expire in their order.
    now_ms: u64,
    channels: Channels,
    keys: Keys,
    sessions: Sessions,
    appended: u64,
    session_duplicates: u64,
    key_duplicates: u64,
    failed: u64,
}

/// What one publish carries, beside its channel.
struct Publish<'a> {
    channel: &'a Arc<str>,
    publication: Publication,
    draw: DrawEpoch<'a>,
    hints: &'a mut Vec<Hint>,
}

impl Log {
    /// An empty log. The configuration has been checked.
    pub(crate) fn open(config: &EngineConfig, seed: Seed) -> Self {
        let hasher = Seeded::new(seed.hash);
        Self {
            hasher,
            term: seed.term,
            now_ms: 0,
            channels: Channels::new(config, hasher),
            keys: Keys::new(config, hasher),
            sessions: Sessions::new(config, hasher),
            appended: 0,
            session_duplicates: 0,
            key_duplicates: 0,
            failed: 0,
        }
    }

    /// Applies a batch in order; committed publications are added to `hints` in the same order.
    pub(crate) fn append(
        &mut self,
        now_ms: u64,
        batch: Vec<Append>,
        draw: DrawEpoch<'_>,
        hints: &mut Vec<Hint>,
    ) -> Vec<Result<Appended, AppendError>> {
        let mut failed_sessions = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for append in batch {
            self.advance_to(now_ms);
            let session = append.producer.map(|producer| producer.session);
            let outcome = if session.is_some_and(|session| failed_sessions.contains(&session)) {
                Err(AppendError::Aborted)
            } else {
                self.apply(append, draw, hints)
            };
            if outcome.is_err() {
                self.failed += 1;
                failed_sessions.extend(session);
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// The channel as a subscriber sees it.
    pub(crate) fn channel(&mut self, now_ms: u64, name: &str) -> ChannelState {
        self.advance_to(now_ms);
        self.channels.state(name, self.now_ms, self.term)
    }

    /// A page of the channel's history.
    pub(crate) fn read(
        &mut self,
        now_ms: u64,
        name: &str,
        after: u64,
        limit: PageLimit,
    ) -> Option<Page> {
        self.advance_to(now_ms);
        self.channels.page(name, after, limit, self.now_ms)
    }

    /// The highest number stored for the session.
    pub(crate) fn session(&mut self, now_ms: u64, session: SessionKey) -> Option<u64> {
        self.advance_to(now_ms);
        self.sessions.highest(session, self.now_ms)
    }

    /// Forgets the session.
    pub(crate) fn end_session(&mut self, session: SessionKey) {
        self.sessions.remove(session);
    }

    /// What is held and what was done.
    pub(crate) fn stats(&self) -> EngineStats {
        EngineStats {
            channels: self.channels.len() as u64,
            messages: self.channels.messages(),
            bytes: self.channels.bytes(),
            sessions: self.sessions.len() as u64,
            keys: self.keys.len() as u64,
            appended: self.appended,
            session_duplicates: self.session_duplicates,
            key_duplicates: self.key_duplicates,
            failed: self.failed,
            keys_evicted: self.keys.evicted(),
            details: Vec::new(),
        }
    }

    fn advance_to(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        self.expire(EXPIRY_STEPS);
    }

    fn expire(&mut self, steps: usize) {
        self.channels.expire(self.now_ms, steps);
        self.keys.expire(self.now_ms, steps);
        self.sessions.expire(self.now_ms, steps);
    }

    /// One entry, wholly or not at all: everything that can refuse comes before the first change.
    fn apply(
        &mut self,
        append: Append,
        draw: DrawEpoch<'_>,
        hints: &mut Vec<Hint>,
    ) -> Result<Appended, AppendError> {
        let Append { producer, effect } = append;
        if let Some(producer) = producer
            && self.is_repeated(producer)?
        {
            self.session_duplicates += 1;
            return Ok(Appended {
                position: None,
                duplicate: true,
            });
        }
        let appended = match effect {
            Effect::Advance => Appended {
                position: None,
                duplicate: false,
            },
            Effect::Publish {
                channel,
                data,
                user,
                tag,
                key,
            } => {
                let publication = Publication {
                    offset: 0,
                    term: self.term,
                    data,
                    user,
                    tag,
                };
                let publish = Publish {
                    channel: &channel,
                    publication,
                    draw,
                    hints,
                };
                match key {
                    None => self.publish(publish)?,
                    Some(key) => {
                        let id = KeyId::new(self.hasher.hash_one(&channel), key);
                        self.publish_keyed(id, publish)?
                    }
                }
            }
        };
        if let Some(producer) = producer {
            self.sessions
                .store(producer.session, producer.seq, self.now_ms);
        }
        if appended.duplicate {
            self.key_duplicates += 1;
        } else {
            self.appended += 1;
        }
        Ok(appended)
    }

    /// Whether the session's number was stored before; refuses a session there is no room for.
    fn is_repeated(&mut self, producer: Producer) -> Result<bool, AppendError> {
        match self.sessions.highest(producer.session, self.now_ms) {
            Some(highest) => Ok(producer.seq <= highest),
            None => {
                if self.sessions.is_full() {
                    self.expire(EXPIRY_STEPS_WHEN_FULL);
                }
                if self.sessions.is_full() && !self.sessions.contains(producer.session) {
                    return Err(AppendError::TooManySessions);
                }
                Ok(producer.seq == 0)
            }
        }
    }

    fn publish_keyed(&mut self, id: KeyId, publish: Publish<'_>) -> Result<Appended, AppendError> {
        let Publication {
            data, user, tag, ..
        } = &publish.publication;
        let binary = matches!(data, bowline_proto::Data::Binary(_));
        let body = self.hasher.hash_one((binary, data.bytes(), user, tag));
        if let Some(first) = self.keys.find(id, self.now_ms) {
            return if first.body == body {
                Ok(Appended {
                    position: first.position,
                    duplicate: true,
                })
            } else {
                Err(AppendError::KeyReused)
            };
        }
        let appended = self.publish(publish)?;
        self.keys.store(id, body, appended.position, self.now_ms);
        Ok(appended)
    }

    fn publish(&mut self, publish: Publish<'_>) -> Result<Appended, AppendError> {
        let size = size_of(&publish.publication);
        let mut place = self.channels.place(publish.channel, size, self.now_ms);
        if place.is_err() {
            self.expire(EXPIRY_STEPS_WHEN_FULL);
            place = self.channels.place(publish.channel, size, self.now_ms);
        }
        let (epoch, publication) = match place? {
            Place::NoHistory => (0, Arc::new(publish.publication)),
            Place::History(room) => {
                let epoch = match room.epoch() {
                    Some(epoch) => epoch,
                    None => (publish.draw)().ok_or(AppendError::StorageUnavailable)?,
                };
                let publication = publish.publication;
                let stored = self.channels.store(room, epoch, publication, self.now_ms);
                (epoch, stored)
            }
        };
        let position = publication.position(epoch);
        publish.hints.push(Hint {
            channel: publish.channel.clone(),
            epoch,
            publication,
        });
        Ok(Appended {
            position,
            duplicate: false,
        })
    }
}

#[cfg(test)]
mod tests;
