//! What the log means: channels, sessions and keys, as the committed records leave them.
//!
//! Owns the one function that gives a record its effect, for commits and for replay alike, so that
//! opening a log again can't come to another state. Single-threaded; time is a parameter. Must not
//! know who commits, nor how bytes come to the disk.

mod channel;
mod channels;
mod files;
mod grace;
mod hash;
mod keys;
mod sessions;
mod slab;

use bowline_proto::{
    Position,
    recovery::{ChannelRecord, ChannelState},
};

use crate::{
    config::EngineConfig,
    contract::{EngineStats, PageLimit, SessionKey},
    format::record::{ChannelId, KeyId, Publish, Record},
};
pub(crate) use channel::{Channel, Entry, Extent, Keep};
pub(crate) use channels::Channels;
pub(crate) use files::{Files, SegmentFile};
pub(crate) use hash::Seeded;
pub(crate) use keys::First;
use keys::Keys;
use sessions::Sessions;
pub(crate) use slab::SLOT_MAX;

/// Steps of expiry before entries are refused for lack of room, and while there are none: about 100 µs.
const EXPIRY_STEPS_MAX: usize = 1_024;
/// Steps of expiry that each entry pays for: more than one, so that a backlog shrinks while entries
/// come in, and few enough to cost less than the append itself.
const EXPIRY_STEPS: usize = 4;

/// All state of an engine.
pub(crate) struct State {
    pub(crate) channels: Channels,
    pub(crate) files: Files,
    keys: Keys,
    sessions: Sessions,
    pub(crate) totals: Totals,
    /// The last frame that was applied.
    pub(crate) last_seq: u64,
}

/// What has been answered since the engine was opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) appended: u64,
    pub(crate) session_duplicates: u64,
    pub(crate) key_duplicates: u64,
    pub(crate) failed: u64,
}

/// What holds for the records of a frame, until one of them says otherwise.
#[derive(Clone, Copy)]
pub(crate) struct Context {
    pub(crate) file: u32,
    pub(crate) time_ms: u64,
    pub(crate) term: u32,
}

/// A publication without its bytes, as replay and hints know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) id: ChannelId,
    pub(crate) offset: u64,
    pub(crate) floor: Option<u64>,
    pub(crate) size: u32,
    pub(crate) session: Option<(SessionKey, u64)>,
    pub(crate) key: Option<(KeyId, u64)>,
    /// Where its record begins in the file, and how long it is.
    pub(crate) place: (u32, u32),
}

/// A record does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Inconsistent(pub(crate) &'static str);

/// Where a page's publications are.
pub(crate) struct PagePlan {
    pub(crate) epoch: u64,
    pub(crate) floor: u64,
    pub(crate) head: u64,
    pub(crate) id: ChannelId,
    /// Of the first of `entries`; the others follow one by one.
    pub(crate) first: u64,
    pub(crate) entries: Vec<Entry>,
    /// For the terms of the publications.
    pub(crate) record: ChannelRecord,
}

impl Stored {
    /// What stays of a publish record at a place.
    pub(crate) fn new(publish: &Publish<'_>, place: (u32, u32)) -> Self {
        Self {
            id: publish.id,
            offset: publish.offset,
            floor: publish.floor,
            size: u32::try_from(publish.size()).unwrap_or(u32::MAX),
            session: publish.session,
            key: publish.key,
            place,
        }
    }
}

impl State {
    /// Nothing. The configuration has been checked.
    pub(crate) fn new(config: &EngineConfig, hash_seed: u64) -> Self {
        let hasher = Seeded::new(hash_seed);
        Self {
            channels: Channels::new(config, hasher),
            files: Files::new(config),
            keys: Keys::new(config, hasher),
            sessions: Sessions::new(config, hasher),
            totals: Totals::default(),
            last_seq: 0,
        }
    }

    /// Gives a record its effect. `place` is where it begins in the file and how long it is.
    pub(crate) fn apply(
        &mut self,
        context: &mut Context,
        record: &Record<'_>,
        place: (u32, u32),
    ) -> Result<(), Inconsistent> {
        let files = &mut self.files;
        match *record {
            Record::Create { id, epoch, name } => {
                let name = std::str::from_utf8(name);
                let name = name.map_err(|_| Inconsistent("a channel's name is no text"))?;
                self.channels.create(files, id, epoch, name)?;
            }
            Record::Publish(publish) => self.store(context, &Stored::new(&publish, place))?,
            Record::Advance { session, seq } => {
                self.sessions.store(session, seq, context.time_ms);
            }
            Record::EndSession { session } => self.sessions.remove(session),
            Record::Floor { id, floor } => self.channels.raise_floor(files, id, floor)?,
            Record::Forget { id } => self.channels.forget(files, id),
            Record::Gone { id, last, term } => {
                self.channels
                    .skip_to(files, id, last, term, context.time_ms);
            }
            Record::Key {
                key,
                body,
                position,
            } => {
                let position = position.map(|position| Position {
                    epoch: position.epoch,
                    offset: position.offset,
                    term: position.term,
                });
                self.keys.store(key, body, position, context.time_ms);
            }
            Record::Time { time_ms } => context.time_ms = time_ms,
            Record::Term { term } => context.term = term,
            Record::Close | Record::End => {}
        }
        Ok(())
    }

    /// Gives a publication its effect.
    pub(crate) fn store(&mut self, context: &Context, stored: &Stored) -> Result<(), Inconsistent> {
        let (pos, len) = stored.place;
        let entry = Entry {
            file: context.file,
            pos,
            len,
            size: stored.size,
            stored_ms: context.time_ms,
        };
        let epoch = self
            .channels
            .push(&mut self.files, stored, entry, context.term)?;
        if let Some((session, seq)) = stored.session {
            self.sessions.store(session, seq, context.time_ms);
        }
        // A key of a channel that is forgotten since has long left its window.
        if let (Some((key, body)), Some(epoch)) = (stored.key, epoch) {
            let position = Some(Position {
                epoch,
                offset: stored.offset,
                term: context.term,
            });
            self.keys.store(key, body, position, context.time_ms);
        }
        Ok(())
    }

    /// Forgets sessions and keys that are over, and answers the channels that have something to
    /// trim or to forget, before `entries` with so many bytes come in: more steps where there may
    /// not be room for them, in the log (`is_log_full`) or beside it, and where there are none.
    pub(crate) fn tidy(
        &mut self,
        now_ms: u64,
        entries: usize,
        bytes: u64,
        is_log_full: bool,
        trims: bool,
    ) -> Vec<u32> {
        let crowded = is_log_full
            || self.channels.is_crowded(entries, bytes)
            || !self.sessions.has_room(entries);
        let steps_if = |crowded| match crowded || entries == 0 {
            true => EXPIRY_STEPS_MAX,
            false => EXPIRY_STEPS * entries,
        };
        let steps = steps_if(crowded);
        self.keys.expire(now_ms, steps);
        let of_sessions = steps_if(crowded || self.sessions.has_full_user());
        self.sessions.expire(now_ms, of_sessions);
        if trims || crowded {
            self.channels.pop_due(now_ms, steps)
        } else {
            Vec::new()
        }
    }

    /// Sessions and keys that were alive when the log ended stay so until then.
    pub(crate) fn spare(&mut self, ended_ms: u64, until_ms: u64) {
        let grace = grace::Grace::new(ended_ms, until_ms);
        self.keys.spare(grace);
        self.sessions.spare(grace);
    }

    /// Forgets every session and key that is over, and answers how many sessions that were.
    pub(crate) fn expire_all(&mut self, now_ms: u64) -> u64 {
        self.keys.expire(now_ms, usize::MAX);
        let before = self.sessions.len();
        self.sessions.expire(now_ms, usize::MAX);
        (before - self.sessions.len()) as u64
    }

    /// The channel as a subscriber sees it.
    pub(crate) fn channel(&self, now_ms: u64, name: &str) -> ChannelState {
        self.channels.state(name, now_ms)
    }

    /// Where a page of the channel's history is; none without a record.
    pub(crate) fn plan(
        &self,
        now_ms: u64,
        name: &str,
        after: u64,
        limit: PageLimit,
    ) -> Option<PagePlan> {
        self.channels.plan(name, after, limit, now_ms)
    }

    /// The highest number stored for the session.
    pub(crate) fn session(&self, now_ms: u64, session: SessionKey) -> Option<u64> {
        self.sessions.highest(session, now_ms)
    }

    /// Whether what a session stored then no longer counts.
    pub(crate) fn is_session_over(&self, stored_ms: u64, now_ms: u64) -> bool {
        self.sessions.is_over(stored_ms, now_ms)
    }

    /// Whether the session holds a record, expired or not.
    pub(crate) fn has_session(&self, session: SessionKey) -> bool {
        self.sessions.contains(session)
    }

    /// Whether so many sessions more fit.
    pub(crate) fn has_room_for_sessions(&self, new: usize) -> bool {
        self.sessions.has_room(new)
    }

    /// Whether so many sessions more of this user fit.
    pub(crate) fn has_room_for_sessions_of(&self, user: u64, new: usize) -> bool {
        self.sessions.has_room_of(user, new)
    }

    /// The first publication with this key within its window.
    pub(crate) fn key(&self, now_ms: u64, key: KeyId) -> Option<First> {
        self.keys.find(key, now_ms)
    }

    /// Counts at this moment.
    pub(crate) fn stats(&self) -> EngineStats {
        let held = self.channels.held();
        EngineStats {
            channels: self.channels.len() as u64,
            messages: held.messages,
            bytes: held.bytes,
            sessions: self.sessions.len() as u64,
            keys: self.keys.len() as u64,
            appended: self.totals.appended,
            session_duplicates: self.totals.session_duplicates,
            key_duplicates: self.totals.key_duplicates,
            failed: self.totals.failed,
            keys_evicted: self.keys.evicted(),
            details: Vec::new(),
        }
    }
}
