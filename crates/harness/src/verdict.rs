//! The outcome of a run as a table: what was counted, what it should be, and whether it is.

use std::{collections::BTreeMap, fmt};

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

impl Verdict {
    /// Whether every row passed.
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.passed)
    }

    /// What was counted, by names for records: `fault hole_both` is `fault_hole_both`.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        let name = |row: &Row| {
            let words = row.name.split(|c: char| !c.is_ascii_alphanumeric());
            let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
            words.join("_").to_lowercase()
        };
        self.rows.iter().map(|row| (name(row), row.value)).collect()
    }

    /// A row that passes only with this value.
    pub fn exactly(&mut self, name: &str, value: u64, wanted: u64) {
        self.push(name, value, format!("= {wanted}"), value == wanted);
    }

    /// A row that passes with this value or more.
    pub fn at_least(&mut self, name: &str, value: u64, wanted: u64) {
        self.push(name, value, format!(">= {wanted}"), value >= wanted);
    }

    /// A row that passes with this value or less.
    pub fn at_most(&mut self, name: &str, value: u64, wanted: u64) {
        self.push(name, value, format!("<= {wanted}"), value <= wanted);
    }

    /// A row for information.
    pub fn inform(&mut self, name: &str, value: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_have_names_without_spaces_and_signs() {
        let mut verdict = Verdict::default();
        verdict.inform("Live -> CatchingUp -> Live", 3);
        verdict.exactly("planted Dropped, seen by \"no loss\"", 1, 1);
        let totals = verdict.totals();
        assert_eq!(totals["live_catchingup_live"], 3);
        assert_eq!(totals["planted_dropped_seen_by_no_loss"], 1);
    }
}
