//! Upstream once (P2): a client's publish takes effect once, in the order of its session; a refused
//! one never; every one ends in exactly one answer.

use std::collections::HashMap;

use super::{Findings, places::places};
use crate::log::{Fate, History, Id, Outcome};

pub(super) fn check(history: &History) -> Findings {
    let places = places(history);
    let mut findings = Findings::default();
    let mut last: HashMap<(Id, Id, Id), (u64, Id)> = HashMap::new();
    for upstream in &history.upstream {
        let place = places.place.get(&upstream.message);
        let name = || history.name(upstream.message);
        match history.fates.get(&upstream.message).map(Vec::as_slice) {
            None | Some([]) => findings.add(|| format!("{} was never answered", name())),
            Some([Fate::Refused]) if place.is_some() => {
                findings.add(|| format!("{} was refused and appears", name()));
            }
            Some([_]) => {}
            Some(fates) => findings.add(|| format!("{} was answered {fates:?}", name())),
        }
        let Some(place) = place else { continue };
        let key = (upstream.client, upstream.channel, place.position.epoch);
        let before = last.insert(key, (place.position.offset, upstream.message));
        if let Some((offset, message)) = before
            && offset >= place.position.offset
        {
            findings.add(|| {
                format!(
                    "{} of {} was told before {} and stored after it",
                    history.name(message),
                    history.name(upstream.client),
                    name(),
                )
            });
        }
    }
    for publication in &history.published {
        let appears = places.place.contains_key(&publication.message);
        if publication.outcome == Outcome::Refused && appears {
            findings.add(|| {
                format!(
                    "{} was refused and appears",
                    history.name(publication.message)
                )
            });
        }
    }
    // A client's message that is stored twice has two places.
    for (message, first, second) in &places.repetitions {
        if history.fates.contains_key(message) {
            findings.add(|| {
                let (first, second) = (first.position.offset, second.position.offset);
                format!(
                    "{} took effect at {first} and at {second}",
                    history.name(*message)
                )
            });
        }
    }
    findings
}
