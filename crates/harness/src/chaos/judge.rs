//! The verdict: what the checkers found, what planted faults they saw, and whether the run did what
//! it owed.

use std::{collections::BTreeSet, path::Path};

use super::theme::{Owed, Theme};
use crate::{
    check::{CHECKERS, Plant, Totals, plant, totals},
    log::{History, HistoryError, Load},
    rng::Rng,
    verdict::Verdict,
};

/// Judges the logs in a run's folder.
pub(super) fn judge(folder: &Path, theme: Theme) -> Result<Verdict, HistoryError> {
    let mut history = History::read(folder)?;
    let mut verdict = Verdict::default();
    for checker in CHECKERS {
        let findings = (checker.check)(&history);
        verdict.exactly(checker.name, findings.total, 0);
        let violations = findings.samples.into_iter();
        verdict
            .violations
            .extend(violations.map(|sample| format!("{}: {sample}", checker.name)));
    }
    plant_all(&mut verdict, &mut history);
    count(&mut verdict, &history, theme);
    Ok(verdict)
}

/// A checker that can't see a fault planted into this very log has shown nothing.
fn plant_all(verdict: &mut Verdict, history: &mut History) {
    let seed = history.run.map_or(0, |(seed, _)| seed);
    for kind in Plant::ALL {
        let mut seen = 0;
        if let Some((index, before)) = plant(history, kind, &mut Rng::new(seed)) {
            for checker in CHECKERS
                .iter()
                .filter(|checker| checker.name == kind.checker())
            {
                seen = u64::from((checker.check)(history).total > 0);
            }
            history.tracks[index] = before;
        }
        verdict.exactly(
            &format!("planted {kind:?}, seen by {:?}", kind.checker()),
            seen,
            1,
        );
    }
}

fn count(verdict: &mut Verdict, history: &History, theme: Theme) {
    let Some((_, load)) = history.run else {
        verdict.exactly("ledger has a first line", 0, 1);
        return;
    };
    let owed = theme.owed(load.short);
    let totals = totals(history);
    let stat = |key| {
        history
            .stats
            .as_ref()
            .and_then(|stats| find(stats, key))
            .unwrap_or(0)
    };
    count_messages(verdict, history, theme, load, &totals);
    count_strikes(verdict, history, &owed);
    for (name, least) in &owed.faults {
        let felt = history.faults.iter().filter(|(kind, _)| kind == name);
        let count = felt.map(|(_, count)| count).sum();
        verdict.at_least(&format!("fault {name}"), count, *least);
    }
    let catchups = stat("catchups_started").min(stat("catchups_finished"));
    let duplicates = stat("upstream_duplicates");
    for (name, count, least) in [
        ("cuts of each client, min", totals.cuts_min, owed.cuts_each),
        ("kills of the server", history.kills, owed.kills),
        ("pairs of faults at once", pairs(history), owed.pairs),
        ("recovered:true", totals.recovered, owed.recovered),
        ("Live -> CatchingUp -> Live", catchups, owed.catchups),
        (
            "upstream duplicates refused",
            duplicates,
            owed.upstream_duplicates,
        ),
        ("explicit gaps", totals.explicit_gaps, owed.explicit_gaps),
    ] {
        match least {
            // What this run is not about is not told.
            0 if count == 0 => {}
            0 => verdict.inform(name, count),
            least => verdict.at_least(name, count, least),
        }
    }
    // Each kill makes every position of a channel that has had a publication unknown; a client that was
    // not connected between two kills is told once for both.
    if theme == Theme::Restarts {
        let told = history.expected.len() as u64 * owed.kills / 2;
        verdict.at_least("told unknown_epoch", history.unknown_epochs, told);
    }
    verdict.inform("deliveries", totals.deliveries);
    if totals.cuts > 0 {
        verdict.inform("cuts in all", totals.cuts);
    }
    verdict.inform("handshakes", totals.welcomes);
    verdict.inform("sessions resumed", totals.resumed);
    verdict.inform("upstream acked", totals.upstream_acked);
    let acked = totals.published + totals.upstream_acked;
    verdict.inform("acked messages", acked);
    verdict.inform(
        "publications repeated and deduplicated by key",
        totals.published_duplicates,
    );
}

/// Everything that was published has an end, and the right one.
fn count_messages(
    verdict: &mut Verdict,
    history: &History,
    theme: Theme,
    load: Load,
    totals: &Totals,
) {
    // A last message of each channel comes on top.
    let (publications, upstream) = match theme.is_open_ended() {
        true => (history.published.len(), history.upstream.len()),
        false => (load.publications + load.channels, load.upstream),
    };
    verdict.exactly("publications acked", totals.published, publications as u64);
    verdict.exactly(
        "upstream acked or dropped",
        totals.upstream_acked + totals.upstream_dropped,
        upstream as u64,
    );
    if theme.keeps_logs() {
        let gaps = totals.gaps_within_reach;
        verdict.exactly("gaps of channels whose history reaches back", gaps, 0);
        verdict.exactly("upstream dropped", totals.upstream_dropped, 0);
    }
}

/// How often each kind took hold, with how many messages under way.
fn count_strikes(verdict: &mut Verdict, history: &History, owed: &Owed) {
    if owed.strikes == 0 {
        return;
    }
    verdict.inform("kinds of faults, min", history.kinds.len() as u64);
    for kind in &history.kinds {
        let strikes = || history.strikes.iter().filter(|strike| strike.kind == *kind);
        verdict.at_least(
            &format!("fault {kind}"),
            strikes().count() as u64,
            owed.strikes,
        );
        verdict.at_least(
            &format!("  messages in flight, {kind}"),
            strikes().map(|strike| strike.in_flight).sum(),
            owed.in_flight,
        );
    }
}

/// How many different pairs of faults have met.
fn pairs(history: &History) -> u64 {
    let names = history.strikes.iter().filter_map(|strike| {
        let second = strike.with.as_ref()?;
        Some((&strike.kind, second))
    });
    names.collect::<BTreeSet<_>>().len() as u64
}

/// The first number with this key, at whatever depth `/ws/stats` has it.
fn find(value: &serde_json::Value, key: &str) -> Option<u64> {
    let object = value.as_object()?;
    object
        .get(key)
        .and_then(serde_json::Value::as_u64)
        .or_else(|| object.values().find_map(|inner| find(inner, key)))
}
