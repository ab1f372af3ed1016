//! The checkers: what a run must not show, each in a file of its own.
//!
//! They see a [`History`](crate::History) and nothing else: no server, no clock, no live client.

mod authentic;
mod coverage;
mod double;
mod loss;
mod order;
mod places;
mod plant;
mod silent_gap;
mod totals;
mod upstream;

pub use plant::{Plant, plant};
pub use totals::{Totals, totals};

use crate::log::History;

/// How many violations of one checker are told in words; the rest is counted.
const SAMPLES_MAX: usize = 10;

/// A named checker.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// As it stands in tables.
    pub name: &'static str,
    /// Finds every violation of one promise.
    pub check: fn(&History) -> Findings,
}

/// The violations that a checker found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How many.
    pub total: u64,
    /// The first of them, in words.
    pub samples: Vec<String>,
}

/// All checkers.
pub const CHECKERS: [Checker; 6] = [
    Checker {
        name: "no loss",
        check: loss::check,
    },
    Checker {
        name: "no double",
        check: double::check,
    },
    Checker {
        name: "one order",
        check: order::check,
    },
    Checker {
        name: "no silent gap",
        check: silent_gap::check,
    },
    Checker {
        name: "upstream once",
        check: upstream::check,
    },
    Checker {
        name: "authentic",
        check: authentic::check,
    },
];

impl Findings {
    fn add(&mut self, violation: impl FnOnce() -> String) {
        self.total += 1;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(violation());
        }
    }
}

#[cfg(test)]
mod tests;
