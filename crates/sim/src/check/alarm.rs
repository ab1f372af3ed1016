//! False alarm: whoever is told of a gap has one.

use bowline_proto::{Position, message::GapReason, recovery::RecoveryReason};

use super::{Account, Violation, walk::Walk};
use crate::observed::Step;

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    for (number, life) in account.lives.iter().enumerate() {
        for (channel, steps) in &life.steps {
            for (cursor, step) in Walk::new(steps) {
                if let Some(problem) = judge(cursor, step) {
                    let text = format!("life {number}, {channel}: {problem}");
                    found.push(Violation::new("false-alarm", text));
                }
            }
        }
    }
}

fn judge(cursor: Option<Position>, step: &Step) -> Option<String> {
    match step {
        Step::Began {
            recovery,
            floor,
            rewinds,
        } => match recovery.reason {
            Some(RecoveryReason::Expired) => judge_expired(cursor, *floor, *rewinds),
            Some(RecoveryReason::Rewound | RecoveryReason::UnknownEpoch) => {
                (*rewinds == 0).then(|| format!("{recovery:?} without a rewind"))
            }
            _ => None,
        },
        Step::Gap {
            position,
            reason: GapReason::Expired,
            missed,
            floor,
            rewinds,
        } => {
            let counted = match (cursor, position) {
                (Some(from), Some(to)) if from.epoch == to.epoch => {
                    Some(to.offset.saturating_sub(from.offset))
                }
                _ => None,
            };
            let miscounted = counted.is_some() && *missed != counted;
            judge_expired(cursor, *floor, *rewinds).or_else(|| {
                miscounted.then(|| format!("{missed:?} missed from {cursor:?} to {position:?}"))
            })
        }
        Step::Gap {
            reason: GapReason::UnknownEpoch,
            rewinds: 0,
            ..
        } => Some("another record without a rewind".to_owned()),
        _ => None,
    }
}

fn judge_expired(cursor: Option<Position>, floor: u64, rewinds: u64) -> Option<String> {
    let cursor = cursor?;
    // After a rewind the floor belongs to another past.
    (rewinds == 0 && cursor.offset + 1 >= floor)
        .then(|| format!("expired at {cursor:?}, but history begins at {floor}"))
}
