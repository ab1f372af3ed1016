//! The log against a model that is slow and simple: plain lists, purged before every operation.

use std::{collections::BTreeMap, time::Duration};

use bowline_proto::{Data, Position, recovery::ChannelState};
use proptest::prelude::*;

use super::super::*;
use crate::{
    config::{ChannelPolicy, Retention},
    contract::IdempotencyKey,
};

const TERM: u32 = 9;
const CHANNELS: [&str; 5] = ["a", "b", "short:a", "short:b", "live:a"];
const FORGET_MS: u64 = 200_000;
const TTL_MS: u64 = 50_000;
const WINDOW_MS: u64 = 20_000;
const CHANNELS_MAX: usize = 3;
const MESSAGES_MAX: usize = 9;
const BYTES_MAX: usize = 90;
const SESSIONS_MAX: usize = 2;
const KEYS_MAX: usize = 2;

fn retention(messages: u32, bytes: u64, age_ms: u64) -> Option<Retention> {
    Some(Retention {
        messages,
        bytes,
        age: Duration::from_millis(age_ms),
    })
}

fn config() -> EngineConfig {
    let policy = |pattern: &str, history| ChannelPolicy {
        pattern: pattern.to_owned(),
        history,
    };
    let config = EngineConfig {
        channels_max: CHANNELS_MAX,
        policies: vec![
            policy("live:*", None),
            policy("short:*", retention(2, 1_000, 10_000)),
            policy("*", retention(4, 40, 100_000)),
        ],
        messages_max: MESSAGES_MAX as u64,
        bytes_max: BYTES_MAX as u64,
        sessions_max: SESSIONS_MAX,
        session_ttl: Duration::from_millis(TTL_MS),
        key_window: Duration::from_millis(WINDOW_MS),
        keys_max: KEYS_MAX,
        channel_forget_after: Duration::from_millis(FORGET_MS),
    };
    config.check().expect("the settings are sound");
    config
}

#[derive(Clone, Debug)]
struct Entry {
    channel: usize,
    size: usize,
    producer: Option<(u8, u64)>,
    key: Option<u8>,
    advance: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Append(Vec<Entry>),
    EndSession(u8),
    Wait(u64),
    Read {
        channel: usize,
        after: u64,
        count: usize,
        bytes: usize,
    },
}

fn entries() -> impl Strategy<Value = Entry> {
    (
        0..CHANNELS.len(),
        prop_oneof![4 => Just(1_usize), 2 => Just(9), 1 => Just(39), 1 => Just(45), 1 => Just(95)],
        proptest::option::of((0..3_u8, 0..9_u64)),
        proptest::option::weighted(0.3, 0..3_u8),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(channel, size, producer, key, advance)| Entry {
            channel,
            size,
            producer,
            key,
            advance,
        })
}

fn operations() -> impl Strategy<Value = Operation> {
    let spans = [
        1, 4_000, 9_999, 10_000, 19_999, 30_000, 60_000, 100_000, 200_000, 400_000,
    ];
    prop_oneof![
        8 => proptest::collection::vec(entries(), 0..5).prop_map(Operation::Append),
        1 => (0..3_u8).prop_map(Operation::EndSession),
        3 => proptest::sample::select(spans.to_vec()).prop_map(Operation::Wait),
        3 => (0..CHANNELS.len(), 0..12_u64, 0..5_usize, 0..60_usize).prop_map(
            |(channel, after, count, bytes)| Operation::Read { channel, after, count, bytes }
        ),
    ]
}

fn session(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

impl Entry {
    fn to_append(&self) -> Append {
        let producer = self.producer.map(|(number, seq)| Producer {
            session: session(number),
            seq,
        });
        let effect = if self.advance {
            Effect::Advance
        } else {
            Effect::Publish {
                channel: CHANNELS[self.channel].into(),
                data: Data::Binary(vec![b'x'; self.size].into()),
                user: None,
                tag: None,
                key: self.key.map(|number| IdempotencyKey([number; 16])),
            }
        };
        Append { producer, effect }
    }
}

struct ModelChannel {
    epoch: u64,
    head: u64,
    /// Offset, size and time.
    entries: Vec<(u64, usize, u64)>,
    emptied_ms: u64,
}

struct ModelKey {
    channel: usize,
    key: u8,
    size: usize,
    position: Option<Position>,
    stored_ms: u64,
}

#[derive(Default)]
struct Model {
    now_ms: u64,
    next_epoch: u64,
    channels: BTreeMap<usize, ModelChannel>,
    sessions: BTreeMap<u8, (u64, u64)>,
    keys: Vec<ModelKey>,
    hints: Vec<(usize, u64, u64)>,
}

impl Model {
    fn keep(channel: usize) -> (usize, usize, u64) {
        match CHANNELS[channel] {
            "short:a" | "short:b" => (2, 1_000, 10_000),
            _ => (4, 40, 100_000),
        }
    }

    fn purge(&mut self) {
        let now_ms = self.now_ms;
        for (&number, channel) in &mut self.channels {
            let age_ms = Self::keep(number).2;
            while let Some(&(_, _, stored_ms)) = channel.entries.first()
                && stored_ms + age_ms <= now_ms
            {
                channel.entries.remove(0);
                channel.emptied_ms = stored_ms + age_ms;
            }
        }
        self.channels.retain(|_, channel| {
            !channel.entries.is_empty() || channel.emptied_ms + FORGET_MS > now_ms
        });
        self.sessions
            .retain(|_, (_, used_ms)| *used_ms + TTL_MS > now_ms);
        self.keys.retain(|key| key.stored_ms + WINDOW_MS > now_ms);
    }

    fn append(&mut self, batch: &[Entry]) -> Vec<Result<Appended, AppendError>> {
        let mut failed = Vec::new();
        let mut outcomes = Vec::new();
        for entry in batch {
            let session = entry.producer.map(|(session, _)| session);
            let outcome = if session.is_some_and(|session| failed.contains(&session)) {
                Err(AppendError::Aborted)
            } else {
                self.apply(entry)
            };
            if outcome.is_err() {
                failed.extend(session);
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn apply(&mut self, entry: &Entry) -> Result<Appended, AppendError> {
        if let Some((session, seq)) = entry.producer {
            let highest = self.sessions.get(&session).map(|(highest, _)| *highest);
            if highest.is_none() && self.sessions.len() >= SESSIONS_MAX {
                return Err(AppendError::TooManySessions);
            }
            if seq <= highest.unwrap_or(0) {
                return Ok(Appended {
                    position: None,
                    duplicate: true,
                });
            }
        }
        let appended = if entry.advance {
            Appended {
                position: None,
                duplicate: false,
            }
        } else {
            self.publish_keyed(entry)?
        };
        if let Some((session, seq)) = entry.producer {
            self.sessions.insert(session, (seq, self.now_ms));
        }
        Ok(appended)
    }

    fn publish_keyed(&mut self, entry: &Entry) -> Result<Appended, AppendError> {
        let Some(key) = entry.key else {
            return self.publish(entry);
        };
        let first = self
            .keys
            .iter()
            .find(|first| (first.channel, first.key) == (entry.channel, key));
        match first {
            Some(first) if first.size == entry.size => Ok(Appended {
                position: first.position,
                duplicate: true,
            }),
            Some(_) => Err(AppendError::KeyReused),
            None => {
                let appended = self.publish(entry)?;
                if self.keys.len() >= KEYS_MAX {
                    self.keys.remove(0);
                }
                self.keys.push(ModelKey {
                    channel: entry.channel,
                    key,
                    size: entry.size,
                    position: appended.position,
                    stored_ms: self.now_ms,
                });
                Ok(appended)
            }
        }
    }

    fn publish(&mut self, entry: &Entry) -> Result<Appended, AppendError> {
        let mut appended = Appended {
            position: None,
            duplicate: false,
        };
        if CHANNELS[entry.channel].starts_with("live:") {
            self.hints.push((entry.channel, 0, 0));
            return Ok(appended);
        }
        if !self.channels.contains_key(&entry.channel) && self.channels.len() >= CHANNELS_MAX {
            return Err(AppendError::TooManyChannels);
        }
        let (messages, bytes, _) = Self::keep(entry.channel);
        let sizes = |entries: &[(u64, usize, u64)]| -> usize {
            entries.iter().map(|(_, size, _)| size).sum()
        };
        let mut kept = self
            .channels
            .get(&entry.channel)
            .map_or(Vec::new(), |channel| channel.entries.clone());
        while !kept.is_empty() && (kept.len() >= messages || sizes(&kept) + entry.size > bytes) {
            kept.remove(0);
        }
        let others = || {
            self.channels
                .iter()
                .filter(|(number, _)| **number != entry.channel)
        };
        let held: usize = others().map(|(_, channel)| channel.entries.len()).sum();
        let held_bytes: usize = others().map(|(_, channel)| sizes(&channel.entries)).sum();
        if held + kept.len() + 1 > MESSAGES_MAX
            || held_bytes + sizes(&kept) + entry.size > BYTES_MAX
        {
            return Err(AppendError::StorageFull);
        }
        let next_epoch = &mut self.next_epoch;
        let channel = self.channels.entry(entry.channel).or_insert_with(|| {
            *next_epoch += 1;
            ModelChannel {
                epoch: *next_epoch,
                head: 0,
                entries: Vec::new(),
                emptied_ms: 0,
            }
        });
        channel.head += 1;
        kept.push((channel.head, entry.size, self.now_ms));
        channel.entries = kept;
        self.hints
            .push((entry.channel, channel.epoch, channel.head));
        appended.position = Some(Position {
            epoch: channel.epoch,
            offset: channel.head,
            term: TERM,
        });
        Ok(appended)
    }
}

/// The two side by side.
struct Pair {
    log: Log,
    model: Model,
    hints: Vec<Hint>,
    epochs: u64,
}

impl Pair {
    fn apply(&mut self, operation: &Operation) -> Result<(), TestCaseError> {
        self.model.purge();
        let now_ms = self.model.now_ms;
        match operation {
            Operation::Append(batch) => {
                let sent = batch.iter().map(Entry::to_append).collect();
                let epochs = &mut self.epochs;
                let mut draw = || {
                    *epochs += 1;
                    Some(*epochs)
                };
                let found = self.log.append(now_ms, sent, &mut draw, &mut self.hints);
                prop_assert_eq!(found, self.model.append(batch));
            }
            Operation::EndSession(number) => {
                self.log.end_session(session(*number));
                self.model.sessions.remove(number);
            }
            Operation::Wait(span_ms) => {
                self.model.now_ms += span_ms;
                self.model.purge();
            }
            Operation::Read {
                channel,
                after,
                count,
                bytes,
            } => self.read(*channel, *after, *count, *bytes)?,
        }
        Ok(())
    }

    fn read(
        &mut self,
        channel: usize,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<(), TestCaseError> {
        let limit = PageLimit { count, bytes };
        let page = self
            .log
            .read(self.model.now_ms, CHANNELS[channel], after, limit);
        let found = page.map(|page| -> Vec<(u64, usize)> {
            let publications = page.publications.iter();
            publications
                .map(|found| (found.offset, found.data.len()))
                .collect()
        });
        let expected = self.model.channels.get(&channel).map(|channel| {
            let mut page = Vec::new();
            let mut left = bytes;
            for &(offset, size, _) in channel.entries.iter().filter(|entry| entry.0 > after) {
                if !page.is_empty() && (page.len() >= count || size > left) {
                    break;
                }
                left = left.saturating_sub(size);
                page.push((offset, size));
            }
            page
        });
        prop_assert_eq!(found, expected);
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let now_ms = self.model.now_ms;
        for (number, name) in CHANNELS.into_iter().enumerate() {
            let found = match self.log.channel(now_ms, name) {
                ChannelState::Present(record) => Some((record.epoch, record.floor, record.head)),
                ChannelState::Absent => None,
                ChannelState::NoHistory => {
                    prop_assert!(name.starts_with("live:"));
                    None
                }
            };
            let expected = self.model.channels.get(&number).map(|channel| {
                let floor = channel
                    .entries
                    .first()
                    .map_or(channel.head + 1, |first| first.0);
                (channel.epoch, floor, channel.head)
            });
            prop_assert_eq!(found, expected, "{}", name);
        }
        for number in 0..3 {
            let expected = self
                .model
                .sessions
                .get(&number)
                .map(|(highest, _)| *highest);
            prop_assert_eq!(self.log.session(now_ms, session(number)), expected);
        }
        let hints: Vec<_> = self.hints.drain(..).collect();
        let expected: Vec<_> = self.model.hints.drain(..).collect();
        let found: Vec<_> = hints
            .iter()
            .map(|hint| (&*hint.channel, hint.epoch, hint.publication.offset))
            .collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(channel, epoch, offset)| (CHANNELS[channel], epoch, offset))
            .collect();
        prop_assert_eq!(found, expected);
        let stats = self.log.stats();
        prop_assert!(stats.channels as usize <= CHANNELS_MAX);
        prop_assert!(stats.messages as usize <= MESSAGES_MAX);
        prop_assert!(stats.bytes as usize <= BYTES_MAX);
        prop_assert!(stats.sessions as usize <= SESSIONS_MAX);
        prop_assert!(stats.keys as usize <= KEYS_MAX);
        Ok(())
    }
}

proptest! {
    // About 60,000 operations, in some seconds; a failing run prints its seed and shrinks.
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_does_as_the_model(
        steps in proptest::collection::vec(operations(), 1..120),
        compares in proptest::bool::ANY,
    ) {
        let log = Log::open(&config(), Seed { hash: 3, term: TERM });
        let mut pair = Pair { log, model: Model::default(), hints: Vec::new(), epochs: 0 };
        for step in &steps {
            pair.apply(step)?;
            // Comparing asks, and asking moves expiry on: every second run leaves it a backlog.
            if compares {
                pair.compare()?;
            }
        }
        pair.compare()?;
    }
}
