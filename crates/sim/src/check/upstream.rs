//! Upstream once: each message of a client ends once, and took effect as it was told, in the order of its
//! session: what was on its way when a client lost its session may take effect after what the client
//! sends in the next one, and its fate is unknown. One process of the server hands nothing to the
//! application twice, unless the log did not tell it that the number is stored.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Account, Violation};
use crate::{
    observed::{Ended, Sent, Target},
    truth::Place,
};

/// What took effect last of a session.
#[derive(Default)]
struct Last {
    commit: u64,
    handled: Option<usize>,
}

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    let places = account.truth.places();
    let mut handled: BTreeMap<&Bytes, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (index, one) in account.handled.iter().enumerate() {
        let known = handled.entry(&one.data).or_insert((index, BTreeSet::new()));
        known.1.insert(&one.key);
    }
    let mut taken = BTreeSet::new();
    for one in &account.handled {
        if !taken.insert((one.process, &one.data)) && !one.untold {
            let text = format!("{:?} was handed over twice by one process", one.data);
            found.push(Violation::new("upstream", text));
        }
    }
    for (number, life) in account.lives.iter().enumerate() {
        let mut sessions: BTreeMap<Option<&str>, Last> = BTreeMap::new();
        for sent in &life.sent {
            let mut report = |problem: String| {
                let text = format!("life {number}, {:?}: {problem}", sent.data);
                found.push(Violation::new("upstream", text));
            };
            if sent.ends.len() != 1 {
                report(format!("ended {:?}", sent.ends));
                continue;
            }
            let last = sessions.entry(sent.session.as_deref()).or_default();
            let problem = match &sent.target {
                Target::Channel(_) => {
                    let stored = places
                        .get(&sent.data)
                        .map(Vec::as_slice)
                        .unwrap_or_default();
                    let cut = account.truth.cut.contains(&sent.data);
                    judge_stored(sent, stored, cut, &mut last.commit)
                }
                Target::Application => {
                    judge_handled(sent, handled.get(&sent.data), &mut last.handled)
                }
            };
            if let Some(problem) = problem {
                report(problem);
            }
        }
    }
}

fn judge_stored(sent: &Sent, stored: &[Place], cut: bool, last: &mut u64) -> Option<String> {
    let legal = match sent.ends[0] {
        // What a rewind took was sent again where its ack had not arrived.
        Ended::Acked => stored.len() == 1 || cut,
        Ended::Refused => stored.is_empty(),
        Ended::Unknown => stored.len() <= 1 || cut,
    };
    if !legal {
        return Some(format!("ended {:?} and stands at {stored:?}", sent.ends[0]));
    }
    if cut {
        // It took effect twice, in two pasts.
        return None;
    }
    let commit = stored.first()?.commit;
    let before = std::mem::replace(last, commit);
    (commit < before).then(|| "took effect before an earlier one".to_owned())
}

fn judge_handled(
    sent: &Sent,
    handled: Option<&(usize, BTreeSet<&str>)>,
    last: &mut Option<usize>,
) -> Option<String> {
    let keys = handled.map_or(0, |(_, keys)| keys.len());
    let legal = match sent.ends[0] {
        Ended::Acked => keys == 1,
        Ended::Refused => keys == 0,
        Ended::Unknown => keys <= 1,
    };
    if !legal {
        return Some(format!(
            "ended {:?}, handled under {keys} keys",
            sent.ends[0]
        ));
    }
    let first = handled?.0;
    let before = last.replace(first);
    (Some(first) < before).then(|| "was handled before an earlier one".to_owned())
}
