//! The client of the suite: what a case does to an engine, repeated where the subject may fail.
//!
//! Owns the retries and the invariants that every answer must hold. Must not know what a case is
//! after.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_proto::{
    Data, Position, Publication,
    recovery::{ChannelRecord, ChannelState},
};

use super::{Subject, block_on};
use crate::{
    config::EngineConfig,
    contract::{
        Append, AppendError, Appended, Effect, Engine, IdempotencyKey, Page, PageLimit, Producer,
        SessionKey,
    },
};

/// How often something is repeated: with a fault in every second append, one of 10^12 is given up.
const ATTEMPTS: usize = 40;
/// Read in small pages, so that every case that reads also pages.
const PAGE_COUNT: usize = 7;
/// Pages until a history that never ends is called one.
const PAGES_MAX: usize = 10_000;

/// An outcome of an entry.
pub(super) type Outcome = Result<Appended, AppendError>;

/// An engine under test with the means of a client.
pub(super) struct Driver<'a> {
    subject: &'a Subject,
    pub(super) engine: Arc<dyn Engine>,
    next_key: AtomicU64,
}

/// An entry that publishes a JSON number or text as it stands.
pub(super) fn publish(channel: &str, json: impl ToString) -> Append {
    Append {
        producer: None,
        effect: Effect::Publish {
            channel: channel.into(),
            data: Data::Json(json.to_string().into()),
            user: None,
            tag: None,
            key: None,
        },
    }
}

/// An entry that moves the session's number only.
pub(super) fn advance(session: SessionKey, seq: u64) -> Append {
    Append {
        producer: Some(Producer { session, seq }),
        effect: Effect::Advance,
    }
}

/// A session by number.
pub(super) fn session(number: u8) -> SessionKey {
    SessionKey([number; 16])
}

/// A key by number; none of them is among those that the driver gives out itself.
pub(super) fn key(number: u8) -> IdempotencyKey {
    IdempotencyKey([number; 16])
}

impl Append {
    /// The same entry as a session's message.
    pub(super) fn by(self, session: SessionKey, seq: u64) -> Self {
        Self {
            producer: Some(Producer { session, seq }),
            ..self
        }
    }

    /// The same entry with a key.
    pub(super) fn keyed(mut self, with: IdempotencyKey) -> Self {
        if let Effect::Publish { key, .. } = &mut self.effect {
            *key = Some(with);
        }
        self
    }

    /// The same entry with a user and a tag.
    pub(super) fn marked(mut self, by: &str, with: &str) -> Self {
        if let Effect::Publish { user, tag, .. } = &mut self.effect {
            *user = Some(by.into());
            *tag = Some(with.into());
        }
        self
    }

    fn has_identity(&self) -> bool {
        self.producer.is_some() || !matches!(&self.effect, Effect::Publish { key: None, .. })
    }
}

impl<'a> Driver<'a> {
    /// Opens an engine.
    pub(super) fn open(subject: &'a Subject, config: EngineConfig) -> Self {
        Self {
            subject,
            engine: (subject.open)(config),
            next_key: AtomicU64::new(1),
        }
    }

    /// Appends entries that are new; one whose first attempt had an unknown fate and that turns
    /// out to be stored is answered as what it is, the first.
    pub(super) fn append(&self, batch: Vec<Append>) -> Vec<Outcome> {
        self.append_as(batch, true)
    }

    /// Appends entries that were sent before.
    pub(super) fn append_again(&self, batch: Vec<Append>) -> Vec<Outcome> {
        self.append_as(batch, false)
    }

    /// Appends one new entry.
    pub(super) fn append_one(&self, entry: Append) -> Outcome {
        self.append(vec![entry]).remove(0)
    }

    /// Appends one entry that was sent before.
    pub(super) fn append_one_again(&self, entry: Append) -> Outcome {
        self.append_again(vec![entry]).remove(0)
    }

    /// Publishes something new where there is history.
    pub(super) fn publish(&self, channel: &str, json: impl ToString) -> Result<Position, String> {
        match self.append_one(publish(channel, json)) {
            Ok(Appended {
                position: Some(position),
                duplicate: false,
            }) => Ok(position),
            other => Err(format!("a publish in {channel} was answered {other:?}")),
        }
    }

    /// Publishes `count` numbers from 1.
    pub(super) fn publish_numbers(&self, channel: &str, count: u64) -> Result<(), String> {
        (1..=count).try_for_each(|number| self.publish(channel, number).map(drop))
    }

    /// Ends a session.
    pub(super) fn end_session(&self, session: SessionKey) -> Result<(), String> {
        for _ in 0..ATTEMPTS {
            match block_on(self.engine.end_session(session)) {
                Ok(()) => return Ok(()),
                Err(_) if self.subject.retries => {}
                Err(error) => return Err(format!("end_session was answered {error:?}")),
            }
        }
        Err("end_session never succeeded".to_owned())
    }

    /// R of a session.
    pub(super) fn highest(&self, session: SessionKey) -> Result<Option<u64>, String> {
        block_on(self.engine.session(session)).map_err(|error| format!("session: {error}"))
    }

    /// Moves time on.
    pub(super) fn wait(&self, span: Duration) {
        let advance = self.subject.advance.as_ref();
        advance.expect("only cases that need a clock wait")(span);
    }

    /// The channel's state.
    pub(super) fn state(&self, channel: &str) -> Result<ChannelState, String> {
        block_on(self.engine.channel(channel)).map_err(|error| format!("channel: {error}"))
    }

    /// The channel's record, which must exist and hold together.
    pub(super) fn record(&self, channel: &str) -> Result<ChannelRecord, String> {
        let ChannelState::Present(record) = self.state(channel)? else {
            return Err(format!("{channel} has no record"));
        };
        let terms = &record.terms;
        let sound = (1..=record.head + 1).contains(&record.floor)
            && terms
                .first()
                .is_some_and(|first| first.first_offset < record.floor.max(2))
            && terms
                .windows(2)
                .all(|pair| pair[0].first_offset < pair[1].first_offset)
            && terms
                .iter()
                .all(|start| start.term != 0 && start.first_offset <= record.head + 1);
        if sound {
            Ok(record)
        } else {
            Err(format!(
                "the record of {channel} does not hold together: {record:?}"
            ))
        }
    }

    /// One page, none without a record.
    pub(super) fn page(
        &self,
        channel: &str,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Option<Page>, String> {
        block_on(self.engine.read(channel, after, PageLimit { count, bytes }))
            .map_err(|error| format!("read: {error}"))
    }

    /// All that history has, read page by page, without holes and in the terms of the record.
    pub(super) fn history(&self, channel: &str) -> Result<Vec<Arc<Publication>>, String> {
        let record = self.record(channel)?;
        let mut all: Vec<Arc<Publication>> = Vec::new();
        let mut after = record.floor - 1;
        for _ in 0..PAGES_MAX {
            let page = self
                .page(channel, after, PAGE_COUNT, usize::MAX)?
                .ok_or_else(|| format!("{channel} has a record and no page"))?;
            if (page.epoch, page.floor) != (record.epoch, record.floor) {
                return Err(format!("the page {page:?} is not of the record {record:?}"));
            }
            for publication in &page.publications {
                after += 1;
                let position = Some(record.position_at(after));
                if publication.position(record.epoch) != position {
                    return Err(format!(
                        "{publication:?} stands at {position:?} in {channel}"
                    ));
                }
            }
            if page.publications.is_empty() {
                return if after == page.head {
                    Ok(all)
                } else {
                    Err(format!(
                        "{channel} ends at {after}, its head is {}",
                        page.head
                    ))
                };
            }
            all.extend(page.publications);
        }
        Err(format!("the history of {channel} does not end"))
    }

    /// The payloads of all that history has.
    pub(super) fn texts(&self, channel: &str) -> Result<Vec<String>, String> {
        let text = |publication: &Arc<Publication>| {
            String::from_utf8_lossy(publication.data.bytes()).into_owned()
        };
        Ok(self.history(channel)?.iter().map(text).collect())
    }

    fn append_as(&self, mut batch: Vec<Append>, are_new: bool) -> Vec<Outcome> {
        if !self.subject.retries {
            return self.append_once(batch);
        }
        for entry in batch.iter_mut().filter(|entry| !entry.has_identity()) {
            let number = self.next_key.fetch_add(1, Ordering::Relaxed);
            let key = u128::MAX << 64 | u128::from(number);
            *entry = entry.clone().keyed(IdempotencyKey(key.to_be_bytes()));
        }
        let mut outcomes = vec![Err(AppendError::Aborted); batch.len()];
        let mut unsure = vec![false; batch.len()];
        let mut full = vec![false; batch.len()];
        let mut open: Vec<usize> = (0..batch.len()).collect();
        for _ in 0..ATTEMPTS {
            let sent = open.iter().map(|&index| batch[index].clone()).collect();
            let answers = self.append_once(sent);
            for (&index, answer) in open.iter().zip(&answers) {
                unsure[index] |= *answer == Err(AppendError::FateUnknown);
                full[index] |= *answer == Err(AppendError::StorageFull);
                outcomes[index] = *answer;
            }
            open = to_repeat(&batch, &open, &answers);
            if open.is_empty() {
                break;
            }
        }
        for index in open {
            // Faults come and go; a storage that is really full answers so again and again.
            if full[index] {
                outcomes[index] = Err(AppendError::StorageFull);
            }
        }
        for (index, outcome) in outcomes.iter_mut().enumerate() {
            let is_first = !batch[..index]
                .iter()
                .any(|entry| is_same(entry, &batch[index]));
            if let Ok(appended) = outcome
                && are_new
                && is_first
                && unsure[index]
            {
                appended.duplicate = false;
            }
        }
        outcomes
    }

    fn append_once(&self, batch: Vec<Append>) -> Vec<Outcome> {
        let count = batch.len();
        let outcomes = block_on(self.engine.append(batch));
        assert_eq!(outcomes.len(), count, "one outcome per entry");
        outcomes
    }
}

/// Which of the entries that were sent are worth another attempt: those that failed by a fault, and
/// those that were aborted because of one.
fn to_repeat(batch: &[Append], sent: &[usize], answers: &[Outcome]) -> Vec<usize> {
    let mut refused = BTreeSet::new();
    let mut repeat = Vec::new();
    for (&index, answer) in sent.iter().zip(answers) {
        let session = batch[index].producer.map(|producer| producer.session);
        match answer {
            Ok(_) => {}
            Err(
                AppendError::StorageFull
                | AppendError::StorageUnavailable
                | AppendError::FateUnknown,
            ) => repeat.push(index),
            Err(AppendError::Aborted) if session.is_some_and(|key| !refused.contains(&key)) => {
                repeat.push(index);
            }
            Err(_) => refused.extend(session),
        }
    }
    repeat
}

fn is_same(one: &Append, other: &Append) -> bool {
    let key = |append: &Append| match &append.effect {
        Effect::Publish {
            channel,
            key: Some(key),
            ..
        } => Some((channel.clone(), *key)),
        _ => None,
    };
    (one.producer.is_some() && one.producer == other.producer)
        || (key(one).is_some() && key(one) == key(other))
}
