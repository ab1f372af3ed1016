//! Which records a rewritten segment keeps, and in which form.

use std::{collections::BTreeMap, ops::ControlFlow};

use super::{CompactError, Move, STEP, StateLock};
use crate::{
    format::{
        frame::{FRAME_HEADER_BYTES, Frame},
        record::{ChannelId, KeyPosition, Publish, Record},
    },
    scan,
    state::{SegmentFile, State},
};

/// A rewriting in progress.
pub(super) struct Rewrite {
    now_ms: u64,
    /// The number among open files of the original that is being read.
    original: u32,
    /// Room for a frame's header, then its records.
    frame: Vec<u8>,
    records: u32,
    /// What holds for the next record of the frame that is written.
    time_ms: u64,
    term: u32,
    /// The latest time that was written.
    latest_ms: u64,
    moves: Vec<Move>,
    /// Moves before this know their place in the file; later ones know that in the frame.
    placed: usize,
    /// Publications that were dropped, the highest of each channel, unless a later one was kept.
    gone: BTreeMap<ChannelId, Gone>,
    /// Whether segments stand before, in which channels may begin.
    has_previous: bool,
    /// Of each place, the channel whose beginning or end was read last.
    turns: BTreeMap<u32, Turn>,
}

/// What was made of a channel's beginning, or of its end.
#[derive(Clone, Copy)]
struct Turn {
    generation: u32,
    begins: bool,
}

#[derive(Clone, Copy)]
struct Gone {
    last: u64,
    term: u32,
    time_ms: u64,
}

/// What holds for the record that is read.
#[derive(Clone, Copy)]
struct Reading {
    time_ms: u64,
    term: u32,
    /// No segment before these has records of before this one.
    ends_all: bool,
}

impl Rewrite {
    pub(super) fn new(now_ms: u64, has_previous: bool) -> Self {
        Self {
            now_ms,
            original: 0,
            frame: vec![0; FRAME_HEADER_BYTES],
            records: 0,
            time_ms: 0,
            term: 0,
            latest_ms: 0,
            moves: Vec::new(),
            placed: 0,
            gone: BTreeMap::new(),
            has_previous,
            turns: BTreeMap::new(),
        }
    }

    pub(super) fn begin_original(&mut self, number: u32) {
        self.original = number;
    }

    /// Judges the records of a frame that was committed as number `seq` or before.
    pub(super) fn frame(
        &mut self,
        lock: &dyn StateLock,
        frame: &Frame<'_>,
        body_pos: u32,
        seq: u64,
        previous: &[(u32, SegmentFile)],
    ) -> Result<(), CompactError> {
        let mut records = Vec::new();
        // The segment was walked before: what can't be told apart is damage and ends the walk.
        let _ = scan::records(frame, body_pos, |_, place| {
            records.push(place);
            ControlFlow::<()>::Continue(())
        });
        let mut reading = Reading {
            time_ms: frame.header.time_ms,
            term: frame.header.term,
            ends_all: previous
                .iter()
                .all(|(_, file)| file.header.rewritten_at_seq >= seq),
        };
        for step in records.chunks(STEP) {
            let trusted = lock.with(&mut |state| {
                for &(pos, len) in step {
                    let at = (pos - body_pos) as usize;
                    let bytes = &frame.body[at..at + len as usize];
                    self.judge(state, bytes, pos, &mut reading);
                }
            });
            if !trusted {
                return Err(CompactError::Stopped);
            }
        }
        Ok(())
    }

    /// Everything was judged: what is known of dropped publications is written down.
    pub(super) fn finish(&mut self) {
        while let Some((id, gone)) = self.gone.pop_first() {
            self.put_gone(id, gone);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.frame.len()
    }

    pub(super) fn latest_ms(&self) -> u64 {
        self.latest_ms
    }

    /// The frame, to be written with its records at this place: its bytes, how many records, their
    /// latest time, and a term.
    pub(super) fn take_frame(&mut self, body_pos: u32) -> (Vec<u8>, u32, u64, u32) {
        for one in &mut self.moves[self.placed..] {
            one.to += body_pos - FRAME_HEADER_BYTES as u32;
        }
        self.placed = self.moves.len();
        let frame = std::mem::replace(&mut self.frame, vec![0; FRAME_HEADER_BYTES]);
        let records = std::mem::take(&mut self.records);
        let term = self.term;
        // The next frame says its own.
        (self.time_ms, self.term) = (0, 0);
        (frame, records, self.latest_ms, term)
    }

    pub(super) fn into_moves(self) -> Vec<Move> {
        self.moves
    }

    fn judge(&mut self, state: &State, bytes: &[u8], pos: u32, reading: &mut Reading) {
        let mut cursor = crate::format::varint::Cursor(bytes);
        let Some(record) = Record::decode(&mut cursor) else {
            return;
        };
        let is_kept = match record {
            Record::Create { id, .. } => {
                let is_kept = is_alive(state, id);
                self.turn(id, is_kept);
                is_kept
            }
            Record::Publish(publish) => {
                self.publish(state, &publish, bytes, pos, *reading);
                false
            }
            Record::Advance { session, seq } => state.session(self.now_ms, session) == Some(seq),
            Record::EndSession { .. } => !state.is_session_over(reading.time_ms, self.now_ms),
            Record::Floor { id, floor } => {
                let channel = state.channels.get(id.slot).filter(|_| is_alive(state, id));
                let is_kept = channel.is_some_and(|channel| channel.base() == floor);
                // A floor never stands above what is known of the head.
                if is_kept && let Some(gone) = self.gone.remove(&id) {
                    self.put_gone(id, gone);
                }
                is_kept
            }
            Record::Forget { id } => {
                self.turn(id, false);
                !reading.ends_all
            }
            Record::Gone { id, last, term } => {
                let gone = Gone {
                    last,
                    term,
                    time_ms: reading.time_ms,
                };
                self.drop_publication(id, gone);
                false
            }
            Record::Key { key, body, .. } => state
                .key(self.now_ms, key)
                .is_some_and(|first| first.body == body && first.stored_ms == reading.time_ms),
            Record::Time { time_ms } => {
                reading.time_ms = time_ms;
                false
            }
            Record::Term { term } => {
                reading.term = term;
                false
            }
            Record::Close | Record::End => false,
        };
        if is_kept {
            self.put_bytes(bytes, reading.time_ms, reading.term);
        }
    }

    fn publish(
        &mut self,
        state: &State,
        publish: &Publish<'_>,
        bytes: &[u8],
        pos: u32,
        reading: Reading,
    ) {
        let id = publish.id;
        let channel = state.channels.get(id.slot).filter(|_| is_alive(state, id));
        let from = (self.original, pos);
        let is_live = channel
            .and_then(|channel| channel.entry(publish.offset))
            .is_some_and(|entry| (entry.file, entry.pos) == from);
        if is_live {
            if let Some(gone) = self.gone.remove(&id) {
                self.put_gone(id, gone);
            }
            let to = self.put_bytes(bytes, reading.time_ms, reading.term);
            self.moves.push(Move {
                id,
                offset: publish.offset,
                from,
                to,
            });
            return;
        }
        let gone = Gone {
            last: publish.offset,
            term: reading.term,
            time_ms: reading.time_ms,
        };
        self.drop_publication(id, gone);
        self.keep_marks(
            state,
            publish,
            channel.map(|channel| channel.epoch),
            reading,
        );
    }

    /// The session's number and the key of a publication that is dropped.
    fn keep_marks(
        &mut self,
        state: &State,
        publish: &Publish<'_>,
        epoch: Option<u64>,
        reading: Reading,
    ) {
        if let Some((session, seq)) = publish.session
            && state.session(self.now_ms, session) == Some(seq)
        {
            self.put(&Record::Advance { session, seq }, reading);
        }
        if let (Some((key, body)), Some(epoch)) = (publish.key, epoch)
            && state
                .key(self.now_ms, key)
                .is_some_and(|first| first.body == body && first.stored_ms == reading.time_ms)
        {
            let position = Some(KeyPosition {
                epoch,
                offset: publish.offset,
                term: reading.term,
            });
            let record = Record::Key {
                key,
                body,
                position,
            };
            self.put(&record, reading);
        }
    }

    /// A channel begins, and that is kept, or it does not; with it ends any earlier one of its place.
    fn turn(&mut self, id: ChannelId, begins: bool) {
        let ChannelId { slot, generation } = id;
        let begun = Turn { generation, begins };
        self.turns.insert(slot, begun);
        let ended = self.gone.range(
            ChannelId {
                slot,
                generation: 0,
            }..=id,
        );
        let ended: Vec<_> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            self.gone.remove(&id);
        }
    }

    /// Whether replay may find the channel at this place. Its state alone does not say so: one that
    /// has ended since may still begin in what was kept, and go on behind what is rewritten.
    fn may_stand(&self, id: ChannelId) -> bool {
        let turn = self.turns.get(&id.slot);
        let turn = turn.filter(|turn| turn.generation == id.generation);
        turn.map_or(self.has_previous, |turn| turn.begins)
    }

    fn drop_publication(&mut self, id: ChannelId, gone: Gone) {
        if !self.may_stand(id) {
            return;
        }
        let known = self.gone.entry(id).or_insert(gone);
        if known.last < gone.last {
            *known = gone;
        }
    }

    fn put_gone(&mut self, id: ChannelId, gone: Gone) {
        let Gone {
            last,
            term,
            time_ms,
        } = gone;
        let reading = Reading {
            time_ms,
            term,
            ends_all: false,
        };
        self.put(&Record::Gone { id, last, term }, reading);
    }

    fn put(&mut self, record: &Record<'_>, reading: Reading) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        self.put_bytes(&bytes, reading.time_ms, reading.term);
    }

    /// Adds a record and answers its place in the frame.
    fn put_bytes(&mut self, bytes: &[u8], time_ms: u64, term: u32) -> u32 {
        if self.time_ms != time_ms || self.records == 0 {
            self.time_ms = time_ms;
            self.latest_ms = self.latest_ms.max(time_ms);
            Record::Time { time_ms }.encode(&mut self.frame);
            self.records += 1;
        }
        if self.term != term {
            self.term = term;
            Record::Term { term }.encode(&mut self.frame);
            self.records += 1;
        }
        let to = self.frame.len() as u32;
        self.frame.extend_from_slice(bytes);
        self.records += 1;
        to
    }
}

fn is_alive(state: &State, id: ChannelId) -> bool {
    state.channels.get(id.slot).is_some() && state.channels.id(id.slot) == id
}
