//! Never a silent gap (P3): no offset is passed over without `gap` or `recovered:false`.

use super::{Findings, coverage::walk};
use crate::log::History;

pub(super) fn check(history: &History) -> Findings {
    let mut findings = Findings::default();
    for track in &history.tracks {
        let coverage = walk(track);
        let who = || (history.name(track.client), history.name(track.channel));
        for range in coverage.skipped {
            findings.add(|| {
                let (client, channel) = who();
                format!(
                    "{client} skipped {} to {} of {channel}",
                    range.first, range.last
                )
            });
        }
        for position in coverage.misplaced {
            findings.add(|| {
                let (client, channel) = who();
                let (epoch, offset) = (history.name(position.epoch), position.offset);
                format!("{client} was not told how it came to {epoch}.{offset} of {channel}")
            });
        }
    }
    findings
}
