//! Recovery: whether a position still holds, and where a subscription goes on.
//!
//! Owns the decision behind `recovered` and its reasons (PROTOCOL.md, "Positions"). It sees a
//! channel as its engine describes it and never reads a log.

use serde::{Deserialize, Serialize};

use crate::position::Position;

/// One entry of a channel's list of terms: from `first_offset` on, publications carry `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermStart {
    /// Drawn when the log was opened.
    pub term: u32,
    /// The first offset written under it.
    pub first_offset: u64,
}

/// What an engine knows of a channel that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// 64 random bits drawn when the channel was created.
    pub epoch: u64,
    /// The lowest offset that history still has; `head + 1` where it is empty.
    pub floor: u64,
    /// The highest offset ever given.
    pub head: u64,
    /// In rising order of offset; the first entry covers `floor − 1` and everything before it.
    pub terms: Vec<TermStart>,
}

/// A channel as seen by one look at its engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// It has a record.
    Present(ChannelRecord),
    /// It was never published to, or was forgotten.
    Absent,
    /// Its channel pattern keeps no history: there are no positions.
    NoHistory,
}

/// What an engine says of itself, beside each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineClock {
    /// The engine's own epoch, for the positions of absent channels; it lasts as long as its data.
    pub epoch: u64,
    /// Now, in seconds since 1970.
    pub now_s: u32,
    /// How long an absent position holds: `channel_forget_after`.
    pub forget_after_s: u32,
}

/// From where a subscriber wants a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// `null`: what is published from now on.
    Now,
    /// `"first"`: everything that history has.
    First,
    /// `{"last": n}`: the newest n publications, then what follows.
    Last(u64),
    /// After this position.
    After(Position),
}

/// Why a subscription begins where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryReason {
    /// It did not ask for a position: nothing to recover.
    New,
    /// History no longer reaches back to the position.
    Expired,
    /// The log lost what the position had seen.
    Rewound,
    /// The channel record is another one.
    UnknownEpoch,
    /// The channel keeps no history.
    NoHistory,
}

/// The outcome: where the subscription stands and whether anything was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing between the asked position and the answered one is missing.
    pub recovered: bool,
    /// Absent where a position was resumed without loss.
    pub reason: Option<RecoveryReason>,
    /// Where the subscription stands; none on a channel without history.
    pub position: Option<Position>,
}

/// Decides where a subscription that asks for `from` begins.
///
/// After `unknown_epoch` and `expired` it begins at the floor, since nothing there can have been
/// delivered before. After `rewound` it begins where the term of the position ended, if the log
/// still knows that term; else at the head, because a publication that the client already has
/// must not come twice (P2), and the client was told of the gap (P3).
pub fn recover(from: From, channel: &ChannelState, engine: EngineClock) -> Recovery {
    match channel {
        ChannelState::NoHistory => Recovery {
            recovered: !matches!(from, From::After(_)),
            reason: Some(match from {
                From::After(_) => RecoveryReason::NoHistory,
                _ => RecoveryReason::New,
            }),
            position: None,
        },
        ChannelState::Absent => recover_absent(from, engine),
        ChannelState::Present(record) => recover_present(from, record, engine),
    }
}

fn recover_absent(from: From, engine: EngineClock) -> Recovery {
    let position = Some(Position {
        epoch: engine.epoch,
        offset: 0,
        term: engine.now_s,
    });
    let reason = match from {
        From::After(position) if engine.holds_absent(position) => None,
        From::After(_) => Some(RecoveryReason::UnknownEpoch),
        _ => Some(RecoveryReason::New),
    };
    Recovery {
        recovered: reason != Some(RecoveryReason::UnknownEpoch),
        reason,
        position,
    }
}

fn recover_present(from: From, record: &ChannelRecord, engine: EngineClock) -> Recovery {
    let at = |offset: u64| Some(record.position_at(offset.clamp(record.floor - 1, record.head)));
    let started = |offset| Recovery {
        recovered: true,
        reason: Some(RecoveryReason::New),
        position: at(offset),
    };
    let lost = |reason, offset| Recovery {
        recovered: false,
        reason: Some(reason),
        position: at(offset),
    };
    match from {
        From::Now => started(record.head),
        From::First => started(0),
        From::Last(count) => started(record.head.saturating_sub(count)),
        From::After(position) if position.epoch == record.epoch => {
            let ends = record.term_end(position);
            match ends {
                // Trimming drops terms below the floor: an unknown term there is the past, not a
                // rewind, and the outcome is a gap either way.
                _ if position.offset + 1 < record.floor => lost(RecoveryReason::Expired, 0),
                Some(last) if position.offset <= last => Recovery {
                    recovered: true,
                    reason: None,
                    position: at(position.offset),
                },
                Some(last) => lost(RecoveryReason::Rewound, last),
                None => lost(RecoveryReason::Rewound, record.head),
            }
        }
        From::After(position) if engine.holds_absent(position) && record.floor == 1 => Recovery {
            recovered: true,
            reason: None,
            position: at(0),
        },
        From::After(position) if engine.holds_absent(position) => lost(RecoveryReason::Expired, 0),
        From::After(_) => lost(RecoveryReason::UnknownEpoch, 0),
    }
}

impl Recovery {
    /// The same answer where retention has passed it before it was used: who asked for a position
    /// is told that history no longer reaches back; who asked for the newest has them.
    #[must_use]
    pub fn overtaken(mut self) -> Self {
        if self.reason != Some(RecoveryReason::New) {
            self.recovered = false;
            self.reason.get_or_insert(RecoveryReason::Expired);
        }
        self
    }
}

impl EngineClock {
    /// Whether this position of an absent channel was given by this engine and is young enough that
    /// a channel created and forgotten since would still be remembered.
    fn holds_absent(self, position: Position) -> bool {
        position.epoch == self.epoch
            && position.offset == 0
            && self.now_s.saturating_sub(position.term) < self.forget_after_s
    }
}

impl ChannelRecord {
    /// The position of an offset between `floor − 1` and `head`.
    pub fn position_at(&self, offset: u64) -> Position {
        let term = self
            .terms
            .iter()
            .rev()
            .find(|start| start.first_offset <= offset)
            .or(self.terms.first())
            .map_or(0, |start| start.term);
        Position {
            epoch: self.epoch,
            offset,
            term,
        }
    }

    /// The last offset of the term that the position names, or none where the log does not know
    /// that term, or began it only after the position.
    fn term_end(&self, position: Position) -> Option<u64> {
        let index = self
            .terms
            .iter()
            .rposition(|start| start.term == position.term)?;
        // Just before a term's first publication nothing of it was seen: a gap stands there.
        if index > 0 && self.terms[index].first_offset > position.offset + 1 {
            return None;
        }
        Some(
            self.terms
                .get(index + 1)
                .map_or(self.head, |next| next.first_offset - 1),
        )
    }
}

#[cfg(test)]
mod tests;
