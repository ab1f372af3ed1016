//! One order (P2): offsets rise for every subscriber, and all see the same message at the same
//! place.

use super::{Findings, places::places};
use crate::log::{History, Position, Step, Track};

pub(super) fn check(history: &History) -> Findings {
    let mut findings = Findings::default();
    for track in &history.tracks {
        check_rising(history, track, &mut findings);
    }
    for (place, first, second) in places(history).disagreements {
        findings.add(|| {
            format!(
                "{} has both {} and {} at {}.{}",
                history.name(place.channel),
                history.name(first),
                history.name(second),
                history.name(place.position.epoch),
                place.position.offset,
            )
        });
    }
    findings
}

fn check_rising(history: &History, track: &Track, findings: &mut Findings) {
    let mut last: Option<Position> = None;
    for step in &track.steps {
        match *step {
            Step::Delivered {
                position: Some(position),
                ..
            } => {
                let falls = last.is_some_and(|last| {
                    last.epoch == position.epoch && last.offset >= position.offset
                });
                if falls {
                    findings.add(|| {
                        format!(
                            "{} got offset {} of {} after {}",
                            history.name(track.client),
                            position.offset,
                            history.name(track.channel),
                            last.map_or(0, |last| last.offset),
                        )
                    });
                }
                last = Some(position);
            }
            // A rewound log may go on below what was seen, and says so; a new subscription may too.
            Step::Unsubscribed
            | Step::Gap { .. }
            | Step::Subscribed {
                recovered: false, ..
            } => {
                last = None;
            }
            Step::Subscribed { .. } | Step::Delivered { position: None, .. } => {}
        }
    }
}
