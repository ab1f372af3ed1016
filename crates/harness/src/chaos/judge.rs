//! The verdict: what the checkers found, what planted faults they saw, and whether the run did what
//! it owed.

use std::path::Path;

use crate::{
    check::{CHECKERS, Plant, plant, totals},
    log::{History, HistoryError, Load},
    proxy::FaultKind,
    rng::Rng,
    verdict::Verdict,
};

/// What a run must have met before its clean logs mean anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owed {
    pub(super) faults_each: u64,
    pub(super) cuts_each: u64,
    recovered: u64,
    catchups: u64,
    upstream_duplicates: u64,
    explicit_gaps: u64,
}

impl Owed {
    pub(super) fn of(load: Load) -> Self {
        if load.short {
            Self {
                faults_each: 3,
                cuts_each: 3,
                recovered: 50,
                catchups: 10,
                upstream_duplicates: 5,
                explicit_gaps: 2,
            }
        } else {
            Self {
                faults_each: 50,
                cuts_each: 10,
                recovered: 1_000,
                catchups: 100,
                upstream_duplicates: 100,
                explicit_gaps: 20,
            }
        }
    }
}

/// Judges the logs in a run's folder.
pub(super) fn judge(folder: &Path) -> Result<Verdict, HistoryError> {
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
    count(&mut verdict, &history);
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

fn count(verdict: &mut Verdict, history: &History) {
    let Some((_, load)) = history.run else {
        verdict.exactly("ledger has a first line", 0, 1);
        return;
    };
    let owed = Owed::of(load);
    let totals = totals(history);
    let stat = |key| {
        history
            .stats
            .as_ref()
            .and_then(|stats| find(stats, key))
            .unwrap_or(0)
    };
    // A last message of each channel comes on top.
    let publications = (load.publications + load.channels) as u64;
    verdict.exactly("publications acked", totals.published, publications);
    verdict.exactly(
        "upstream acked or dropped",
        totals.upstream_acked + totals.upstream_dropped,
        load.upstream as u64,
    );
    for kind in FaultKind::ALL {
        let felt = history.faults.iter().find(|(name, _)| name == kind.name());
        let count = felt.map_or(0, |(_, count)| *count);
        verdict.at_least(&format!("fault {}", kind.name()), count, owed.faults_each);
    }
    verdict.at_least(
        "cuts of the least cut client",
        totals.cuts_min,
        owed.cuts_each,
    );
    verdict.at_least("recovered:true", totals.recovered, owed.recovered);
    let catchups = stat("catchups_started").min(stat("catchups_finished"));
    verdict.at_least("Live -> CatchingUp -> Live", catchups, owed.catchups);
    verdict.at_least(
        "upstream duplicates refused",
        stat("upstream_duplicates"),
        owed.upstream_duplicates,
    );
    verdict.at_least("explicit gaps", totals.explicit_gaps, owed.explicit_gaps);
    verdict.inform("deliveries", totals.deliveries);
    verdict.inform("cuts in all", totals.cuts);
    verdict.inform("handshakes", totals.welcomes);
    verdict.inform("sessions resumed", totals.resumed);
    verdict.inform("upstream acked", totals.upstream_acked);
    verdict.inform(
        "publications repeated and deduplicated by key",
        totals.published_duplicates,
    );
}

/// The first number with this key, at whatever depth `/ws/stats` has it.
fn find(value: &serde_json::Value, key: &str) -> Option<u64> {
    let object = value.as_object()?;
    object
        .get(key)
        .and_then(serde_json::Value::as_u64)
        .or_else(|| object.values().find_map(|inner| find(inner, key)))
}
