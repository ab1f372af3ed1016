//! Once (P2): no handler sees a publication twice within a subscription, and none is stored twice.

use std::collections::HashSet;

use super::{Findings, places::places};
use crate::log::{History, Step};

pub(super) fn check(history: &History) -> Findings {
    let mut findings = Findings::default();
    for track in &history.tracks {
        let mut seen = HashSet::new();
        for step in &track.steps {
            match step {
                Step::Delivered { message, position } => {
                    // A server that lost its memory may store a repeated message in its next life.
                    let life = position
                        .map(|position| position.epoch)
                        .filter(|_| history.kills > 0);
                    if !seen.insert((*message, life)) {
                        findings.add(|| {
                            format!(
                                "{} got {} of {} twice",
                                history.name(track.client),
                                history.name(*message),
                                history.name(track.channel),
                            )
                        });
                    }
                }
                // A later subscription may begin with what an earlier one had.
                Step::Unsubscribed => seen.clear(),
                _ => {}
            }
        }
    }
    for (message, first, second) in places(history).repetitions {
        findings.add(|| {
            format!(
                "{} is stored twice: at {} of {} and at {} of {}",
                history.name(message),
                first.position.offset,
                history.name(first.channel),
                second.position.offset,
                history.name(second.channel),
            )
        });
    }
    findings
}
