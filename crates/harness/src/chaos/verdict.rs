//! The verdict: what the checkers found, what planted faults they saw, and whether the run did what
//! it owed.

use std::{fmt, path::Path};

use crate::{
    check::{CHECKERS, Plant, plant, totals},
    log::{History, HistoryError, Load},
    proxy::FaultKind,
    rng::Rng,
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

/// A judged run.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// The table.
    pub rows: Vec<Row>,
    /// Violations in words.
    pub violations: Vec<String>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was counted.
    pub name: String,
    /// How much.
    pub value: u64,
    /// What it should be, in words; empty if it is for information.
    pub wanted: String,
    /// Whether it is.
    pub passed: bool,
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
pub fn judge(folder: &Path) -> Result<Verdict, HistoryError> {
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
    verdict.plant_all(&mut history);
    verdict.count(&history);
    Ok(verdict)
}

impl Verdict {
    /// Whether every row passed.
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.passed)
    }

    /// A checker that can't see a fault planted into this very log has shown nothing.
    fn plant_all(&mut self, history: &mut History) {
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
            self.exactly(
                &format!("planted {kind:?}, seen by {:?}", kind.checker()),
                seen,
                1,
            );
        }
    }

    fn count(&mut self, history: &History) {
        let Some((_, load)) = history.run else {
            self.exactly("ledger has a first line", 0, 1);
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
        self.exactly("publications acked", totals.published, publications);
        self.exactly(
            "upstream acked or dropped",
            totals.upstream_acked + totals.upstream_dropped,
            load.upstream as u64,
        );
        for kind in FaultKind::ALL {
            let felt = history.faults.iter().find(|(name, _)| name == kind.name());
            let count = felt.map_or(0, |(_, count)| *count);
            self.at_least(&format!("fault {}", kind.name()), count, owed.faults_each);
        }
        self.at_least(
            "cuts of the least cut client",
            totals.cuts_min,
            owed.cuts_each,
        );
        self.at_least("recovered:true", totals.recovered, owed.recovered);
        let catchups = stat("catchups_started").min(stat("catchups_finished"));
        self.at_least("Live -> CatchingUp -> Live", catchups, owed.catchups);
        self.at_least(
            "upstream duplicates refused",
            stat("upstream_duplicates"),
            owed.upstream_duplicates,
        );
        self.at_least("explicit gaps", totals.explicit_gaps, owed.explicit_gaps);
        self.inform("deliveries", totals.deliveries);
        self.inform("cuts in all", totals.cuts);
        self.inform("handshakes", totals.welcomes);
        self.inform("sessions resumed", totals.resumed);
        self.inform("upstream acked", totals.upstream_acked);
        self.inform(
            "publications repeated and deduplicated by key",
            totals.published_duplicates,
        );
    }

    fn exactly(&mut self, name: &str, value: u64, wanted: u64) {
        self.push(name, value, format!("= {wanted}"), value == wanted);
    }

    fn at_least(&mut self, name: &str, value: u64, wanted: u64) {
        self.push(name, value, format!(">= {wanted}"), value >= wanted);
    }

    fn inform(&mut self, name: &str, value: u64) {
        self.push(name, value, String::new(), true);
    }

    fn push(&mut self, name: &str, value: u64, wanted: String, passed: bool) {
        self.rows.push(Row {
            name: name.to_owned(),
            value,
            wanted,
            passed,
        });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let mark = if row.passed { "" } else { "  FAILED" };
            writeln!(
                f,
                "{:<52} {:>9}  {:<9}{mark}",
                row.name, row.value, row.wanted
            )?;
        }
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

/// The first number with this key, at whatever depth `/ws/stats` has it.
fn find(value: &serde_json::Value, key: &str) -> Option<u64> {
    let object = value.as_object()?;
    object
        .get(key)
        .and_then(serde_json::Value::as_u64)
        .or_else(|| object.values().find_map(|inner| find(inner, key)))
}
