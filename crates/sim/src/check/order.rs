//! Order: publications come as the log has them, one after the other.

use std::{collections::BTreeMap, sync::Arc};

use bowline_proto::Position;
use bytes::Bytes;

use super::{Account, Violation, walk::Walk};
use crate::observed::Step;

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    let live: BTreeMap<&Bytes, u64> = account
        .truth
        .live
        .values()
        .flatten()
        .map(|(data, commit)| (data, *commit))
        .collect();
    for (number, life) in account.lives.iter().enumerate() {
        for (channel, steps) in &life.steps {
            let mut last_commit = 0;
            for (cursor, step) in Walk::new(steps) {
                let Step::Message { position, data } = step else {
                    continue;
                };
                let problem = match position {
                    Some(position) => judge(account, channel, cursor, *position, data),
                    // Repeated by its publisher after a rewind.
                    None if account.truth.cut.contains(data) => None,
                    None => {
                        let commit = live.get(data).copied().unwrap_or(0);
                        let before = std::mem::replace(&mut last_commit, commit);
                        (commit <= before).then(|| format!("{data:?} came out of order"))
                    }
                };
                if let Some(problem) = problem {
                    let text = format!("life {number}, {channel}: {problem}");
                    found.push(Violation::new("order", text));
                }
            }
        }
    }
}

fn judge(
    account: &Account,
    channel: &Arc<str>,
    cursor: Option<Position>,
    at: Position,
    data: &Bytes,
) -> Option<String> {
    let key = (channel.clone(), at.epoch, at.offset, at.term);
    match account.truth.ever.get(&key) {
        None => return Some(format!("{at:?} never was in the log")),
        Some(known) if known != data => return Some(format!("{at:?} is another message")),
        Some(_) => {}
    }
    let cursor = cursor.filter(|cursor| cursor.epoch == at.epoch)?;
    (at.offset <= cursor.offset).then(|| format!("{at:?} came after {cursor:?}"))
}
