//! Silent gap: nothing is left out unless it was said before, and a rewound log is never recovered.

use bowline_proto::{Position, recovery::RecoveryReason};

use super::{Account, Violation, walk::Walk};
use crate::{
    observed::Step,
    truth::{Record, Truth, now_s},
};

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    for (number, life) in account.lives.iter().enumerate() {
        for (channel, steps) in &life.steps {
            let mut report = |problem: String| {
                let text = format!("life {number}, {channel}: {problem}");
                found.push(Violation::new("silent-gap", text));
            };
            let (mut asked, mut bare) = (false, false);
            for (cursor, step) in Walk::new(steps) {
                let problem = judge(cursor, asked, step)
                    .or_else(|| judge_absent(&account.truth, channel, cursor, step));
                if let Some(problem) = problem {
                    report(problem);
                }
                if bare && matches!(step, Step::Began { recovery, .. } if recovery.recovered) {
                    report("went on without a position, and without a word".to_owned());
                }
                asked = matches!(step, Step::Asked(_));
                bare = match step {
                    Step::Began { recovery, .. } => recovery.position.is_none(),
                    Step::Asked(_) | Step::Ended => false,
                    _ => bare,
                };
            }
            if let Some(newest) = account.truth.newest(channel)
                && life.is_alive
                && life.wanted.contains_key(channel)
                && let Some(problem) = check_line(&account.truth, newest, steps)
            {
                report(problem);
            }
        }
    }
}

fn judge(cursor: Option<Position>, asked: bool, step: &Step) -> Option<String> {
    match step {
        Step::Message {
            position: Some(at), ..
        } => {
            let cursor = cursor?;
            let expected = if cursor.epoch == at.epoch {
                cursor.offset + 1
            } else {
                1
            };
            let silent = at.offset > expected || (cursor.epoch != at.epoch && cursor.offset > 0);
            silent.then(|| format!("from {cursor:?} to {at:?} without a word"))
        }
        Step::Began { recovery, .. } if recovery.recovered => {
            let (cursor, at) = (cursor?, recovery.position?);
            let is_new = recovery.reason == Some(RecoveryReason::New) && !asked;
            let ahead = if cursor.epoch == at.epoch {
                at.offset > cursor.offset
            } else {
                cursor.offset > 0 || at.offset > 0
            };
            (is_new || ahead).then(|| format!("recovered from {cursor:?} to {at:?}"))
        }
        _ => None,
    }
}

/// Whoever waits for a channel that does not exist goes on with the first record that it gets: none that
/// was created meanwhile, and forgotten, is left out without a word.
fn judge_absent(
    truth: &Truth,
    channel: &str,
    cursor: Option<Position>,
    step: &Step,
) -> Option<String> {
    let at = match step {
        Step::Message { position, .. } => *position,
        Step::Began { recovery, .. } if recovery.recovered => recovery.position,
        _ => None,
    };
    let (cursor, at) = (cursor?, at?);
    if truth.rewinds > 0 || truth.record(channel, cursor.epoch).is_some() {
        return None;
    }
    truth.record(channel, at.epoch)?;
    let earlier = truth.records(channel).iter();
    let mut earlier = earlier.take_while(|record| record.epoch != at.epoch);
    let missed = earlier.find(|record| {
        let created = record.created_ms;
        created.is_some_and(|created_ms| now_s(created_ms) > cursor.term.into())
    })?;
    Some(format!(
        "from {cursor:?} to {at:?} past the record {:x} without a word",
        missed.epoch
    ))
}

/// What was delivered since the last word of a gap is what the log has there now: after a rewind
/// nobody goes on as if nothing had happened.
fn check_line(truth: &Truth, newest: &Record, steps: &[Step]) -> Option<String> {
    if truth.rewinds == 0 {
        return None;
    }
    for step in steps.iter().rev() {
        match step {
            Step::Message {
                position: Some(at),
                data,
            } => {
                let entry = newest.entries.get(&at.offset);
                let same = entry.is_some_and(|entry| entry.term == at.term && entry.data == *data);
                if at.epoch != newest.epoch || !same {
                    return Some(format!("{at:?} was rewound, and nobody said so"));
                }
            }
            Step::Began { recovery, .. } if recovery.recovered && recovery.reason.is_none() => {}
            _ => return None,
        }
    }
    None
}
