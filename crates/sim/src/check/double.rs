//! Double: within one subscription no publication comes twice.

use std::collections::BTreeSet;

use super::{Account, Violation};
use crate::observed::Step;

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    for (number, life) in account.lives.iter().enumerate() {
        for (channel, steps) in &life.steps {
            let mut seen = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Asked(_) => seen.clear(),
                    // Payloads are never the same, so the same payload is the same publication, unless
                    // its publisher repeated it because a rewind had taken it.
                    Step::Message { position, data }
                        if !seen.insert(data) && !account.truth.cut.contains(data) =>
                    {
                        let text = format!("life {number} had {position:?} of {channel} twice");
                        found.push(Violation::new("double", text));
                    }
                    _ => {}
                }
            }
        }
    }
}
