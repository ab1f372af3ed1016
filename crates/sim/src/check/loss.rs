//! Loss: what was acknowledged is in the log, and whoever follows a channel has come to its head.

use super::{Account, Violation, walk};
use crate::observed::Ended;

pub(super) fn check(account: &Account, found: &mut Vec<Violation>) {
    let places = account.truth.places();
    for published in &account.published {
        let count = places.get(&published.data).map_or(0, Vec::len);
        let is_cut = account.truth.cut.contains(&published.data);
        let legal = match published.end {
            Some(Ended::Acked) => count == 1 || is_cut,
            Some(Ended::Refused) => count == 0,
            // One without an end is still repeated, where the seed has ended early.
            Some(Ended::Unknown) | None => count <= 1 || is_cut,
        };
        if !legal {
            let text = format!(
                "{:?} in {} ended {:?} and is stored {count} times",
                published.data, published.channel, published.end
            );
            found.push(Violation::new("loss", text));
        }
    }
    for (number, life) in account
        .lives
        .iter()
        .enumerate()
        .filter(|(_, life)| life.is_alive)
    {
        if let Some(why) = &life.stuck {
            let text = format!("life {number} of user {} {why}", life.user);
            found.push(Violation::new("liveness", text));
            continue;
        }
        for channel in life.wanted.keys() {
            let Some(record) = account.truth.newest(channel) else {
                continue;
            };
            let steps = life.steps.get(channel).map(Vec::as_slice);
            let end = walk::end(steps.unwrap_or_default());
            if end.map(|at| (at.epoch, at.offset)) != Some((record.epoch, record.head())) {
                let head = record.head();
                let text =
                    format!("life {number} ends at {end:?} of {channel}, its head is {head}");
                found.push(Violation::new("loss", text));
            }
        }
    }
}
