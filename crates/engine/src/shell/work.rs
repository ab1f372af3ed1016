//! A request on its way through commits.
//!
//! Owns what of a batch is done, and how a failed commit is answered. Must not know how commits are
//! made.

use std::collections::BTreeSet;

use super::oneshot::Reply;
use crate::{
    commit::{Entropy, Outcome, Stage},
    contract::{Append, AppendError, Effect, SessionKey},
    state::State,
};

/// A request and who waits for it.
pub(crate) enum Work {
    Append(Batch),
    EndSession {
        session: SessionKey,
        reply: Reply<Result<(), AppendError>>,
    },
    /// All sessions and keys that are over are to be forgotten at once.
    Expire {
        /// How many sessions that were.
        sessions: u64,
        reply: Reply<Result<u64, AppendError>>,
    },
    /// Something may be due by age.
    Tick,
}

/// A batch of entries.
pub(crate) struct Batch {
    entries: Vec<Append>,
    /// One per entry that has been judged.
    outcomes: Vec<Outcome>,
    /// Outcomes before this are committed.
    committed: usize,
    failed_sessions: BTreeSet<SessionKey>,
    reply: Reply<Vec<Outcome>>,
}

impl Work {
    pub(crate) fn append(entries: Vec<Append>, reply: Reply<Vec<Outcome>>) -> Self {
        Self::Append(Batch {
            outcomes: Vec::with_capacity(entries.len()),
            entries,
            committed: 0,
            failed_sessions: BTreeSet::new(),
            reply,
        })
    }

    /// Entries that are still to be judged, and bytes of payload.
    pub(crate) fn extent(&self) -> (usize, usize) {
        match self {
            Self::Append(batch) => {
                let rest = &batch.entries[batch.outcomes.len()..];
                (rest.len(), rest.iter().map(bytes_of).sum())
            }
            Self::EndSession { .. } | Self::Expire { .. } | Self::Tick => (0, 0),
        }
    }

    /// Whether it asks for all that is over to be forgotten.
    pub(crate) const fn is_expiry(&self) -> bool {
        matches!(self, Self::Expire { .. })
    }

    /// So many sessions were over.
    pub(crate) fn expired(&mut self, count: u64) {
        if let Self::Expire { sessions, .. } = self {
            *sessions += count;
        }
    }

    /// Judges as much as the frame takes; whether all is judged.
    pub(crate) fn stage(
        &mut self,
        stage: &mut Stage,
        state: &State,
        frame_bytes: usize,
        draw: &mut Entropy,
    ) -> bool {
        match self {
            Self::Append(batch) => batch.stage(stage, state, frame_bytes, draw),
            Self::EndSession { session, .. } => {
                stage.end_session(state, *session);
                true
            }
            Self::Expire { .. } | Self::Tick => true,
        }
    }

    /// The commit is durable; answers if all is done, else gives itself back.
    pub(crate) fn succeed(self) -> Option<Self> {
        match self {
            Self::Append(mut batch) => {
                batch.committed = batch.outcomes.len();
                if batch.committed < batch.entries.len() {
                    return Some(Self::Append(batch));
                }
                batch.reply.send(batch.outcomes);
            }
            Self::EndSession { reply, .. } => reply.send(Ok(())),
            Self::Expire { sessions, reply } => reply.send(Ok(sessions)),
            Self::Tick => {}
        }
        None
    }

    /// The commit failed: nothing since the last one has taken effect, or it is not known.
    pub(crate) fn fail(self, error: AppendError) {
        match self {
            Self::Append(batch) => batch.fail(error),
            Self::EndSession { reply, .. } => reply.send(Err(error)),
            Self::Expire { reply, .. } => reply.send(Err(error)),
            Self::Tick => {}
        }
    }
}

impl Batch {
    fn stage(
        &mut self,
        stage: &mut Stage,
        state: &State,
        frame_bytes: usize,
        draw: &mut Entropy,
    ) -> bool {
        while let Some(entry) = self.entries.get_mut(self.outcomes.len()) {
            let producer = entry.producer;
            let effect = std::mem::replace(&mut entry.effect, Effect::Advance);
            let session = producer.map(|producer| producer.session);
            let is_aborted = session.is_some_and(|key| self.failed_sessions.contains(&key));
            let outcome = stage.append(state, Append { producer, effect }, is_aborted, draw);
            if outcome.is_err() {
                self.failed_sessions.extend(session);
            }
            self.outcomes.push(outcome);
            // Not before the first one: a frame has a header, and each turn must get on.
            if stage.frame.len() >= frame_bytes {
                break;
            }
        }
        self.outcomes.len() == self.entries.len()
    }

    fn fail(mut self, error: AppendError) {
        let is_unknown = error == AppendError::FateUnknown;
        let judged = self.outcomes.split_off(self.committed);
        let mut failed: BTreeSet<SessionKey> = BTreeSet::new();
        for (entry, outcome) in self.entries.iter().zip(&self.outcomes) {
            failed.extend(
                entry
                    .producer
                    .filter(|_| outcome.is_err())
                    .map(|by| by.session),
            );
        }
        for (index, entry) in self.entries.iter().enumerate().skip(self.committed) {
            let session = entry.producer.map(|producer| producer.session);
            let has_failed = session.is_some_and(|key| failed.contains(&key));
            let outcome = match judged.get(index - self.committed) {
                Some(Ok(_)) if is_unknown => Err(AppendError::FateUnknown),
                _ if has_failed => Err(AppendError::Aborted),
                // In no frame: not judged yet, or refused because of what is now not stored.
                None | Some(Err(_)) if is_unknown => Err(AppendError::StorageUnavailable),
                _ => Err(error),
            };
            failed.extend(session);
            self.outcomes.push(outcome);
        }
        self.reply.send(self.outcomes);
    }
}

/// As the queue counts it.
fn bytes_of(append: &Append) -> usize {
    match &append.effect {
        Effect::Publish {
            data, user, tag, ..
        } => {
            data.len()
                + user.as_ref().map_or(0, |text| text.len())
                + tag.as_ref().map_or(0, |text| text.len())
        }
        Effect::Advance => 0,
    }
}
