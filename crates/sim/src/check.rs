//! The checkers: each judges one promise from what the outside saw and what the log had.
//!
//! Must not know machines, wires or the server: a checker that shared their code would share their
//! bugs.

mod alarm;
mod bounds;
mod double;
mod holders;
mod loss;
mod order;
mod readers;
mod silent_gap;
mod upstream;
mod walk;

use std::fmt;

use crate::{
    handler::Handled,
    observed::{Fullest, Life, Published},
    truth::Truth,
};
pub(crate) use holders::Holders;
pub(crate) use readers::Readers;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which checker found it.
    pub checker: &'static str,
    /// What is wrong.
    pub text: String,
}

/// All that checkers may look at.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) truth: Truth,
    pub(crate) lives: Vec<Life>,
    pub(crate) published: Vec<Published>,
    pub(crate) handled: Vec<Handled>,
    pub(crate) fullest: Fullest,
    pub(crate) page_bytes_max: usize,
}

/// Everything that is wrong.
pub(crate) fn judge(account: &Account) -> Vec<Violation> {
    let mut found = Vec::new();
    loss::check(account, &mut found);
    double::check(account, &mut found);
    order::check(account, &mut found);
    silent_gap::check(account, &mut found);
    alarm::check(account, &mut found);
    bounds::check(account, &mut found);
    upstream::check(account, &mut found);
    found
}

impl Violation {
    pub(crate) const fn new(checker: &'static str, text: String) -> Self {
        Self { checker, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.text)
    }
}

#[cfg(test)]
mod tests;
