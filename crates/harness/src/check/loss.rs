//! No loss (P1): every acknowledged publication reaches every subscriber that was there, unless an
//! explicit gap covers it.

use std::collections::{HashMap, HashSet};

use super::{
    Findings,
    coverage::{Range, Standing, walk},
    places::{Place, places},
};
use crate::log::{Fate, History, Id, Outcome, Track};

/// What the logs say of the channels, beside the tracks.
struct Acked {
    /// The acknowledged message at (channel, epoch, offset).
    at: HashMap<(Id, Id, u64), Id>,
    /// The last acknowledged or delivered offset of (channel, epoch).
    heads: HashMap<(Id, Id), u64>,
    /// Acknowledged messages that no log places anywhere, by channel.
    nowhere: HashMap<Id, Vec<Id>>,
    /// How many offsets up to its heads no log names, by channel.
    unseen: HashMap<Id, u64>,
}

pub(super) fn check(history: &History) -> Findings {
    let acked = gather(history);
    let mut findings = Findings::default();
    let mut latest: HashMap<(Id, Id), &Track> = HashMap::new();
    for track in &history.tracks {
        latest.insert((track.client, track.channel), track);
        let coverage = walk(track);
        for skipped in coverage.skipped {
            acked.report(history, track, skipped, &mut findings);
        }
    }
    for pair in &history.expected {
        match latest.get(pair) {
            Some(track) => check_tail(history, &acked, track, &mut findings),
            None => findings.add(|| {
                let (client, channel) = (history.name(pair.0), history.name(pair.1));
                format!("{client} was never subscribed to {channel}")
            }),
        }
    }
    // What a killed server had in memory only is lost, and its subscribers were told so.
    if history.kills > 0 {
        return findings;
    }
    // Where every subscriber had an explicit gap, the logs name fewer places than there are. More
    // acknowledged messages than such places can't all have been stored.
    let watched: HashSet<Id> = history
        .expected
        .iter()
        .map(|(_, channel)| *channel)
        .collect();
    for (channel, messages) in acked
        .nowhere
        .iter()
        .filter(|(channel, _)| watched.contains(*channel))
    {
        let places = acked.unseen.get(channel).copied().unwrap_or(0);
        if messages.len() as u64 > places {
            findings.add(|| {
                format!(
                    "{}: {} acked messages were delivered to nobody, {places} places are unseen; \
                     one is {}",
                    history.name(*channel),
                    messages.len(),
                    history.name(messages[0]),
                )
            });
        }
    }
    findings
}

fn check_tail(history: &History, acked: &Acked, track: &Track, findings: &mut Findings) {
    let heads = acked
        .heads
        .iter()
        .filter(|((channel, _), _)| *channel == track.channel);
    for ((_, epoch), head) in heads {
        let first = match walk(track).end {
            Standing::After {
                epoch: known,
                offset,
            } if known == *epoch => offset + 1,
            // It still stands before the creation of the channel.
            Standing::After { offset: 0, .. } => 1,
            // Another epoch: what is left of this one is covered by the step that left it.
            Standing::After { .. } => continue,
            // A gap without a position may hide what came before the last publication, not that.
            Standing::Anywhere => *head,
            Standing::Nowhere => {
                findings.add(|| {
                    let (client, channel) =
                        (history.name(track.client), history.name(track.channel));
                    format!("{client} is not subscribed to {channel} at the end")
                });
                continue;
            }
        };
        let range = Range {
            epoch: *epoch,
            first,
            last: *head,
        };
        acked.report(history, track, range, findings);
    }
}

fn gather(history: &History) -> Acked {
    let places = places(history);
    let mut acked = Acked {
        at: HashMap::new(),
        heads: HashMap::new(),
        nowhere: HashMap::new(),
        unseen: HashMap::new(),
    };
    let mut named: HashSet<(Id, Id, u64)> = HashSet::new();
    for Place { channel, position } in places.message.keys() {
        let head = acked.heads.entry((*channel, position.epoch)).or_insert(0);
        *head = (*head).max(position.offset);
        named.insert((*channel, position.epoch, position.offset));
    }
    for ((channel, _), head) in &acked.heads {
        *acked.unseen.entry(*channel).or_insert(0) += head;
    }
    for (channel, _, _) in &named {
        if let Some(unseen) = acked.unseen.get_mut(channel) {
            *unseen -= 1;
        }
    }
    let from_http = history
        .published
        .iter()
        .filter(|publication| publication.outcome == Outcome::Acked)
        .map(|publication| (publication.channel, publication.message));
    let from_clients = history
        .upstream
        .iter()
        .filter(|upstream| {
            history
                .fates
                .get(&upstream.message)
                .is_some_and(|fates| fates.contains(&Fate::Acked))
        })
        .map(|upstream| (upstream.channel, upstream.message));
    for (channel, message) in from_http.chain(from_clients) {
        match places.place.get(&message) {
            Some(place) => {
                let position = place.position;
                acked
                    .at
                    .insert((channel, position.epoch, position.offset), message);
            }
            None => acked.nowhere.entry(channel).or_default().push(message),
        }
    }
    acked
}

impl Acked {
    fn report(&self, history: &History, track: &Track, range: Range, findings: &mut Findings) {
        for offset in range.first..=range.last {
            if let Some(message) = self.at.get(&(track.channel, range.epoch, offset)) {
                findings.add(|| {
                    format!(
                        "{} never got {} at {}.{offset} of {}",
                        history.name(track.client),
                        history.name(*message),
                        history.name(range.epoch),
                        history.name(track.channel),
                    )
                });
            }
        }
    }
}
