//! The outcome of a run as a table: what was counted, what it should be, and whether it is.

use std::fmt;

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
