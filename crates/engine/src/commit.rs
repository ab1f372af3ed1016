//! One commit in the making: what a run of requests would change, as records of one frame.
//!
//! Owns the meaning of an append: it is judged by the committed state and, above it, by what earlier
//! entries of the same commit would change. The state itself changes only when the frame is durable,
//! by the records, so that a commit that fails needs no undoing. Must not know files or threads.

mod keys;
mod staged;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bowline_proto::{Data, Position, Publication};

use crate::{
    contract::{Append, AppendError, Appended, Effect, IdempotencyKey, Producer, SessionKey},
    format::{
        frame::FRAME_HEADER_BYTES,
        record::{ChannelId, KeyId, KeyPosition, Publish, Record},
    },
    state::{Extent, Keep, SLOT_MAX, Seeded, State, Totals},
};
use staged::Staged;

/// Bytes of a record beside its texts, at most.
const RECORD_OVERHEAD: usize = 160;

/// A committed publication, for those who listen.
pub(crate) struct Hint {
    pub(crate) channel: Arc<str>,
    pub(crate) epoch: u64,
    pub(crate) publication: Arc<Publication>,
}

/// Where new epochs come from; none when entropy can't be had.
pub type Entropy = Box<dyn FnMut() -> Option<u64> + Send>;

/// The outcome of an entry.
pub(crate) type Outcome = Result<Appended, AppendError>;

/// A commit in the making. Its tables are as large as the largest commit was.
pub(crate) struct Stage {
    /// Room for the frame's header, then its records.
    pub(crate) frame: Vec<u8>,
    pub(crate) records: u32,
    pub(crate) hints: Vec<Hint>,
    pub(crate) totals: Totals,
    /// Channels that were taken from the queues of deadlines.
    pub(crate) due: Vec<u32>,
    now_ms: u64,
    term: u32,
    /// So many bytes may the frame have before the log is full.
    frame_bytes_max: u64,
    channels: HashMap<u32, Staged, Seeded>,
    /// Channels whose records begin in this commit.
    names: HashMap<Arc<str>, u32, Seeded>,
    sessions: HashMap<SessionKey, u64, Seeded>,
    new_sessions: usize,
    /// How many of them are each user's.
    new_of_user: HashMap<u64, usize, Seeded>,
    keys: HashMap<KeyId, StagedKey, Seeded>,
    /// Channels whose records end in this commit.
    forgotten: BTreeSet<u32>,
    created: usize,
    next_free: u32,
    added: Extent,
    freed: Extent,
}

#[derive(Clone, Copy)]
struct StagedKey {
    body: u64,
    position: Option<Position>,
}

/// What one publish carries.
struct Message {
    channel: Arc<str>,
    data: Data,
    user: Option<Arc<str>>,
    tag: Option<Arc<str>>,
    producer: Option<Producer>,
    key: Option<(KeyId, u64)>,
}

/// Room for a message in a channel, valid until the stage next changes.
struct Room {
    slot: u32,
    base: u64,
    freed: Extent,
}

impl Stage {
    pub(crate) fn new(hasher: Seeded) -> Self {
        Self {
            frame: Vec::new(),
            records: 0,
            hints: Vec::new(),
            totals: Totals::default(),
            due: Vec::new(),
            now_ms: 0,
            term: 0,
            frame_bytes_max: 0,
            channels: HashMap::with_hasher(hasher),
            names: HashMap::with_hasher(hasher),
            sessions: HashMap::with_hasher(hasher),
            new_sessions: 0,
            new_of_user: HashMap::with_hasher(hasher),
            keys: HashMap::with_hasher(hasher),
            forgotten: BTreeSet::new(),
            created: 0,
            next_free: 0,
            added: Extent::default(),
            freed: Extent::default(),
        }
    }

    /// Begins anew. `due` are channels with something to trim or to forget.
    pub(crate) fn begin(
        &mut self,
        state: &State,
        now_ms: u64,
        term: u32,
        frame_bytes_max: u64,
        due: Vec<u32>,
    ) {
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_BYTES, 0);
        self.records = 0;
        self.hints.clear();
        self.totals = state.totals;
        self.due = due;
        self.now_ms = now_ms;
        self.term = term;
        self.frame_bytes_max = frame_bytes_max;
        self.channels.clear();
        self.names.clear();
        self.sessions.clear();
        self.new_sessions = 0;
        self.new_of_user.clear();
        self.keys.clear();
        self.forgotten.clear();
        self.created = 0;
        self.next_free = 0;
        self.added = Extent::default();
        self.freed = Extent::default();
        self.stage_due(state);
    }

    pub(crate) fn term(&self) -> u32 {
        self.term
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Adds a record.
    pub(crate) fn put(&mut self, record: &Record<'_>) {
        record.encode(&mut self.frame);
        self.records += 1;
    }

    /// Judges one entry. `is_aborted` where an earlier one of its session failed.
    pub(crate) fn append(
        &mut self,
        state: &State,
        append: Append,
        is_aborted: bool,
        draw: &mut Entropy,
    ) -> Outcome {
        let outcome = if is_aborted {
            Err(AppendError::Aborted)
        } else {
            self.judge(state, append, draw)
        };
        if outcome.is_err() {
            self.totals.failed += 1;
        }
        outcome
    }

    /// Ends a session.
    pub(crate) fn end_session(&mut self, state: &State, session: SessionKey) {
        if self.highest(state, session).is_some() {
            self.put(&Record::EndSession { session });
            // Whoever numbers from 1 again in this commit finds nothing stored.
            self.sessions.insert(session, 0);
        }
    }

    fn judge(&mut self, state: &State, append: Append, draw: &mut Entropy) -> Outcome {
        let Append { producer, effect } = append;
        if let Some(producer) = producer
            && self.is_repeated(state, producer)?
        {
            self.totals.session_duplicates += 1;
            return Ok(duplicate(None));
        }
        let appended = match effect {
            Effect::Advance => {
                if let Some(Producer { session, seq }) = producer {
                    self.demand_frame_room(RECORD_OVERHEAD)?;
                    self.put(&Record::Advance { session, seq });
                }
                stored(None)
            }
            Effect::Publish {
                channel,
                data,
                user,
                tag,
                key,
            } => {
                let message = Message {
                    channel,
                    data,
                    user,
                    tag,
                    producer,
                    key: None,
                };
                match key {
                    None => self.publish(state, message, draw)?,
                    Some(key) => self.publish_keyed(state, message, key, draw)?,
                }
            }
        };
        if let Some(producer) = producer {
            self.store_session(state, producer);
        }
        if appended.duplicate {
            self.totals.key_duplicates += 1;
        } else {
            self.totals.appended += 1;
        }
        Ok(appended)
    }

    /// Whether the session's number was stored before; refuses a session there is no room for.
    fn is_repeated(&self, state: &State, producer: Producer) -> Result<bool, AppendError> {
        match self.highest(state, producer.session) {
            Some(highest) => Ok(producer.seq <= highest),
            None if self.has_room_for(state, producer.session) => Ok(producer.seq == 0),
            None => Err(AppendError::TooManySessions),
        }
    }

    /// Whether the session may have a record, or has one, if only an expired one.
    fn has_room_for(&self, state: &State, session: SessionKey) -> bool {
        let fits_user = |user: u64| {
            let new = self.new_of_user.get(&user).copied().unwrap_or_default();
            state.has_room_for_sessions_of(user, new + 1)
        };
        state.has_session(session)
            || state.has_room_for_sessions(self.new_sessions + 1)
                && session.user().is_none_or(fits_user)
    }

    fn highest(&self, state: &State, session: SessionKey) -> Option<u64> {
        match self.sessions.get(&session) {
            Some(0) => None,
            Some(&highest) => Some(highest),
            None => state.session(self.now_ms, session),
        }
    }

    fn store_session(&mut self, state: &State, producer: Producer) {
        let is_new = self
            .sessions
            .insert(producer.session, producer.seq)
            .is_none()
            && !state.has_session(producer.session);
        if is_new {
            self.new_sessions += 1;
            if let Some(user) = producer.session.user() {
                *self.new_of_user.entry(user).or_default() += 1;
            }
        }
    }

    fn publish_keyed(
        &mut self,
        state: &State,
        mut message: Message,
        key: IdempotencyKey,
        draw: &mut Entropy,
    ) -> Outcome {
        let id = keys::identity(&message.channel, key);
        let body = keys::body(
            &message.data,
            message.user.as_deref(),
            message.tag.as_deref(),
        );
        let first = self.keys.get(&id).copied().or_else(|| {
            let first = state.key(self.now_ms, id)?;
            Some(StagedKey {
                body: first.body,
                position: first.position,
            })
        });
        if let Some(first) = first {
            if first.body != body {
                return Err(AppendError::KeyReused);
            }
            if let Some(Producer { session, seq }) = message.producer {
                self.demand_frame_room(RECORD_OVERHEAD)?;
                self.put(&Record::Advance { session, seq });
            }
            return Ok(duplicate(first.position));
        }
        message.key = Some((id, body));
        let appended = self.publish(state, message, draw)?;
        let position = appended.position;
        self.keys.insert(id, StagedKey { body, position });
        Ok(appended)
    }

    fn publish(&mut self, state: &State, message: Message, draw: &mut Entropy) -> Outcome {
        let size = message.data.len()
            + message.user.as_ref().map_or(0, |text| text.len())
            + message.tag.as_ref().map_or(0, |text| text.len());
        self.demand_frame_room(size + message.channel.len() + RECORD_OVERHEAD)?;
        let Some(keep) = self.keep(state, &message.channel) else {
            self.put_without_history(&message);
            let publication = self.hint(&message, 0, 0);
            return Ok(stored(publication.position(0)));
        };
        let room = self.room(state, &message.channel, keep, size as u64, draw)?;
        let channel = self.channels.get_mut(&room.slot).expect("room is staged");
        let floor = (room.base > channel.base).then_some(room.base);
        channel.base = room.base;
        channel.bytes = channel.bytes + size as u64 - room.freed.bytes;
        channel.head += 1;
        channel.sizes.push(size as u32);
        self.freed.messages += room.freed.messages;
        self.freed.bytes += room.freed.bytes;
        self.added.messages += 1;
        self.added.bytes += size as u64;
        let (id, epoch, offset) = (channel.id, channel.epoch, channel.head);
        self.put(&Record::Publish(Publish {
            id,
            offset,
            floor,
            is_binary: matches!(message.data, Data::Binary(_)),
            data: message.data.bytes(),
            user: message.user.as_ref().map(|text| text.as_bytes()),
            tag: message.tag.as_ref().map(|text| text.as_bytes()),
            session: message.producer.map(|by| (by.session, by.seq)),
            key: message.key,
        }));
        let publication = self.hint(&message, epoch, offset);
        Ok(stored(publication.position(epoch)))
    }

    /// What is told of a publication once it is committed.
    fn hint(&mut self, message: &Message, epoch: u64, offset: u64) -> Arc<Publication> {
        let publication = Arc::new(Publication {
            offset,
            term: self.term,
            data: message.data.clone(),
            user: message.user.clone(),
            tag: message.tag.clone(),
        });
        self.hints.push(Hint {
            channel: message.channel.clone(),
            epoch,
            publication: publication.clone(),
        });
        publication
    }

    fn put_without_history(&mut self, message: &Message) {
        if let Some(Producer { session, seq }) = message.producer {
            self.put(&Record::Advance { session, seq });
        }
        if let Some((key, body)) = message.key {
            let position: Option<KeyPosition> = None;
            self.put(&Record::Key {
                key,
                body,
                position,
            });
        }
    }

    fn demand_frame_room(&self, bytes: usize) -> Result<(), AppendError> {
        if (self.frame.len() + bytes) as u64 <= self.frame_bytes_max {
            Ok(())
        } else {
            Err(AppendError::StorageFull)
        }
    }
}

/// Channels within a commit.
impl Stage {
    /// What a channel keeps; none if it has no history.
    fn keep(&self, state: &State, name: &str) -> Option<Keep> {
        match state.channels.find(name) {
            Some(slot) => state.channels.keep(state.channels.get(slot)?),
            None => state.channels.keep_of_name(name),
        }
    }

    /// Finds room for a message, in a channel record that begins here if it must. Nothing has
    /// changed if there is none.
    fn room(
        &mut self,
        state: &State,
        name: &Arc<str>,
        keep: Keep,
        size: u64,
        draw: &mut Entropy,
    ) -> Result<Room, AppendError> {
        if let Some(slot) = self.existing(state, name) {
            let channel = &self.channels[&slot];
            let (base, freed) = channel.displaced(&state.channels, keep, size);
            self.demand_room(state, size, freed)?;
            return Ok(Room { slot, base, freed });
        }
        let old = state.channels.find(name);
        // The record that still stands ends; if it was not counted as freed before, it is now.
        let old_held = old
            .filter(|slot| !self.forgotten.contains(slot))
            .and_then(|slot| state.channels.get(slot))
            .map(|channel| channel.held());
        if old_held.is_none() {
            let count = state.channels.len() + self.created - self.forgotten.len();
            if count >= state.channels.channels_max() {
                return Err(AppendError::TooManyChannels);
            }
        }
        let given_back = old_held.unwrap_or_default();
        self.demand_room(state, size, given_back)?;
        let id = match old {
            Some(slot) => state.channels.next_id(slot),
            None => state.channels.free_id(self.next_free),
        };
        if id.slot > SLOT_MAX {
            return Err(AppendError::TooManyChannels);
        }
        let epoch = draw().ok_or(AppendError::StorageUnavailable)?;
        self.freed.messages += given_back.messages;
        self.freed.bytes += given_back.bytes;
        if old_held.is_none() {
            self.created += 1;
        }
        if old.is_none() {
            self.next_free = id.slot + 1;
        }
        self.create(name, id, epoch);
        Ok(Room {
            slot: id.slot,
            base: 1,
            freed: Extent::default(),
        })
    }

    fn create(&mut self, name: &Arc<str>, id: ChannelId, epoch: u64) {
        self.put(&Record::Create {
            id,
            epoch,
            name: name.as_bytes(),
        });
        self.names.insert(name.clone(), id.slot);
        self.channels.insert(id.slot, Staged::new(id, epoch));
    }

    /// The slot of a channel that exists, staged.
    fn existing(&mut self, state: &State, name: &str) -> Option<u32> {
        if !self.names.is_empty()
            && let Some(&slot) = self.names.get(name)
        {
            return Some(slot);
        }
        let slot = state.channels.find(name)?;
        if self.channels.contains_key(&slot) {
            return Some(slot);
        }
        let channel = state.channels.get(slot)?;
        if self.forgotten.contains(&slot) || state.channels.is_forgotten(channel, self.now_ms) {
            return None;
        }
        let staged = Staged::of(state.channels.id(slot), channel);
        self.channels.insert(slot, staged);
        Some(slot)
    }

    /// Trims and forgets what is due.
    fn stage_due(&mut self, state: &State) {
        for slot in std::mem::take(&mut self.due) {
            self.stage_due_slot(state, slot);
            self.due.push(slot);
        }
    }

    fn stage_due_slot(&mut self, state: &State, slot: u32) {
        let Some(channel) = state.channels.get(slot) else {
            return;
        };
        if self.forgotten.contains(&slot) || self.channels.contains_key(&slot) {
            return;
        }
        let id = state.channels.id(slot);
        if state.channels.is_forgotten(channel, self.now_ms) {
            let held = channel.held();
            self.freed.messages += held.messages;
            self.freed.bytes += held.bytes;
            self.forgotten.insert(slot);
            self.put(&Record::Forget { id });
            return;
        }
        let floor = state.channels.floor(channel, self.now_ms);
        if floor > channel.base() {
            let mut staged = Staged::of(id, channel);
            let freed = staged.raise(&state.channels, floor);
            self.freed.messages += freed.messages;
            self.freed.bytes += freed.bytes;
            self.channels.insert(slot, staged);
            self.put(&Record::Floor { id, floor });
        }
    }

    fn demand_room(&self, state: &State, size: u64, freed: Extent) -> Result<(), AppendError> {
        let (held, max) = (state.channels.held(), state.channels.held_max());
        let messages = held.messages + self.added.messages - self.freed.messages - freed.messages;
        let bytes = held.bytes + self.added.bytes - self.freed.bytes - freed.bytes;
        if messages < max.messages && bytes + size <= max.bytes {
            Ok(())
        } else {
            Err(AppendError::StorageFull)
        }
    }
}

fn stored(position: Option<Position>) -> Appended {
    Appended {
        position,
        duplicate: false,
    }
}

fn duplicate(position: Option<Position>) -> Appended {
    Appended {
        position,
        duplicate: true,
    }
}
