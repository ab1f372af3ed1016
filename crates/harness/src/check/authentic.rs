//! Authentic: what is delivered was published, in that channel, and arrives whole.

use std::collections::HashMap;

use super::Findings;
use crate::log::{History, Id, Step};

pub(super) fn check(history: &History) -> Findings {
    let from_http = history
        .published
        .iter()
        .map(|publication| (publication.message, publication.channel));
    let from_clients = history
        .upstream
        .iter()
        .map(|upstream| (upstream.message, upstream.channel));
    let channels: HashMap<Id, Id> = from_http.chain(from_clients).collect();
    let mut findings = Findings::default();
    for track in &history.tracks {
        for step in &track.steps {
            let Step::Delivered { message, .. } = step else {
                continue;
            };
            if channels.get(message) != Some(&track.channel) {
                findings.add(|| {
                    format!(
                        "{} got {:?}, which nobody published to {}",
                        history.name(track.client),
                        history.name(*message),
                        history.name(track.channel),
                    )
                });
            }
        }
    }
    for (message, pad_len) in &history.damaged {
        findings.add(|| {
            format!(
                "{} arrived with {pad_len} characters of padding",
                history.name(*message)
            )
        });
    }
    findings
}
