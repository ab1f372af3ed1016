//! False alarm: whoever is told of a gap has one, and no larger one.

use bowline_proto::{Position, message::GapReason, recovery::RecoveryReason};

use super::{Account, Violation, walk::Walk};
use crate::{
    observed::{Standing, Step, Then},
    truth::now_s,
};

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    let forget_after_s = account.truth.forget_after_s();
    for (number, life) in account.lives.iter().enumerate() {
        for (channel, steps) in &life.steps {
            for (cursor, step) in Walk::new(steps) {
                if let Some(problem) = judge(forget_after_s, cursor, step) {
                    let text = format!("life {number}, {channel}: {problem}");
                    found.push(Violation::new("false-alarm", text));
                }
            }
        }
    }
}

fn judge(forget_after_s: u64, cursor: Option<Position>, step: &Step) -> Option<String> {
    match step {
        Step::Began { recovery, then } => match recovery.reason {
            Some(RecoveryReason::Expired) => {
                judge_expired(cursor, then).or_else(|| judge_extent(recovery.position, then))
            }
            Some(RecoveryReason::Rewound) => {
                (then.rewinds == 0).then(|| format!("{recovery:?} without a rewind"))
            }
            Some(RecoveryReason::UnknownEpoch) => judge_unknown(forget_after_s, cursor, then)
                .or_else(|| judge_extent(recovery.position, then)),
            _ => None,
        },
        Step::Gap {
            position,
            reason: GapReason::Expired,
            missed,
            then,
        } => {
            let counted = match (cursor, position) {
                (Some(from), Some(to)) if from.epoch == to.epoch => {
                    Some(to.offset.saturating_sub(from.offset))
                }
                _ => None,
            };
            let miscounted = counted.is_some() && *missed != counted;
            judge_expired(cursor, then)
                .or_else(|| judge_extent(*position, then))
                .or_else(|| {
                    miscounted.then(|| format!("{missed:?} missed from {cursor:?} to {position:?}"))
                })
        }
        Step::Gap {
            position,
            reason: GapReason::UnknownEpoch,
            then,
            ..
        } => judge_unknown(forget_after_s, cursor, then).or_else(|| judge_extent(*position, then)),
        _ => None,
    }
}

/// Another record, or a position that is too old: what the cursor stood in must have been forgotten.
fn judge_unknown(forget_after_s: u64, cursor: Option<Position>, then: &Then) -> Option<String> {
    let any_is_gone = || then.records.iter().any(|record| record.is_forgotten);
    let legal = match cursor {
        _ if then.rewinds > 0 => true,
        None => any_is_gone(),
        Some(at) => match standing(then, at.epoch) {
            Some(record) => record.is_forgotten,
            // The position of a channel that did not exist: it holds for so long.
            None => {
                let age_s = now_s(then.now_ms).saturating_sub(at.term.into());
                age_s >= forget_after_s || any_is_gone()
            }
        },
    };
    (!legal).then(|| format!("{cursor:?} was told to be unknown, and nothing was forgotten"))
}

fn judge_expired(cursor: Option<Position>, then: &Then) -> Option<String> {
    let cursor = cursor?;
    // Where the channel did not exist, all its records are behind the cursor.
    let floors = then.records.iter().map(|record| record.floor);
    let floor = standing(then, cursor.epoch)
        .map_or_else(|| floors.max().unwrap_or(0), |record| record.floor);
    // After a rewind the floor belongs to another past.
    (then.rewinds == 0 && cursor.offset + 1 >= floor)
        .then(|| format!("expired at {cursor:?}, but history begins at {floor}"))
}

/// A reader that has lost its place goes on with the oldest that history still has.
fn judge_extent(position: Option<Position>, then: &Then) -> Option<String> {
    let at = position?;
    let floor = standing(then, at.epoch)?.floor;
    (then.rewinds == 0 && at.offset >= floor)
        .then(|| format!("goes on at {at:?}, but history begins at {floor}"))
}

fn standing(then: &Then, epoch: u64) -> Option<&Standing> {
    then.records.iter().find(|record| record.epoch == epoch)
}
