//! What a run exercised: a run that broke nothing has shown nothing either.

use crate::log::{Fate, History, Outcome, Step};

/// Counts over a whole history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Handler calls.
    pub deliveries: u64,
    /// Publications over HTTP that were answered with a position.
    pub published: u64,
    /// Those of them that the server had already, by their key.
    pub published_duplicates: u64,
    /// Publishes of clients that were acked.
    pub upstream_acked: u64,
    /// Publishes of clients that were dropped, whatever their fate.
    pub upstream_dropped: u64,
    /// Handshakes.
    pub welcomes: u64,
    /// Handshakes that resumed a session.
    pub resumed: u64,
    /// Resumed subscriptions that missed nothing (new ones don't count).
    pub recovered: u64,
    /// `gap` and `recovered:false`.
    pub explicit_gaps: u64,
    /// Those of channels whose history no run outgrows: `room:…`.
    pub gaps_within_reach: u64,
    /// The least that any client's link was cut.
    pub cuts_min: u64,
    /// Cuts of all links.
    pub cuts: u64,
}

/// Counts.
pub fn totals(history: &History) -> Totals {
    let mut totals = Totals {
        welcomes: history.welcomes.0,
        resumed: history.welcomes.1,
        cuts_min: history
            .cuts
            .iter()
            .map(|(_, cuts)| *cuts)
            .min()
            .unwrap_or(0),
        cuts: history.cuts.iter().map(|(_, cuts)| *cuts).sum(),
        ..Totals::default()
    };
    let steps = history.tracks.iter().flat_map(|track| {
        let is_roomy = history.name(track.channel).starts_with("room:");
        track.steps.iter().map(move |step| (step, is_roomy))
    });
    for (step, is_roomy) in steps {
        match step {
            Step::Delivered { .. } => totals.deliveries += 1,
            Step::Gap { .. }
            | Step::Subscribed {
                recovered: false, ..
            } => {
                totals.explicit_gaps += 1;
                totals.gaps_within_reach += u64::from(is_roomy);
            }
            Step::Subscribed { new: false, .. } => totals.recovered += 1,
            Step::Subscribed { .. } | Step::Unsubscribed => {}
        }
    }
    for publication in &history.published {
        totals.published += u64::from(publication.outcome == Outcome::Acked);
        totals.published_duplicates += u64::from(publication.duplicate);
    }
    for fates in history.fates.values() {
        totals.upstream_acked += u64::from(fates.contains(&Fate::Acked));
        totals.upstream_dropped += u64::from(!fates.contains(&Fate::Acked));
    }
    totals
}
