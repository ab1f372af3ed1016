//! The conformance suite: what every engine must do, as named cases that an author runs.
//!
//! Owns the cases of the contract in [`Engine`], and [`Faulty`], which makes any engine delay and
//! fail. Must not know any engine: a [`Subject`] opens the one under test.
//!
//! ```
//! use std::sync::Arc;
//! use bowline_engine::{Memory, conformance::{ManualClock, Subject, run}};
//!
//! let clock = ManualClock::default();
//! let subject = Subject::new({
//!     let clock = clock.clone();
//!     move |config| {
//!         let clock = Arc::new(clock.clone());
//!         Arc::new(Memory::open_with_clock(config, clock).expect("the suite's settings are sound"))
//!     }
//! })
//! .with_clock(move |span| clock.advance(span));
//! run(&subject).assert_passed();
//! ```
//!
//! The cases block their thread and bring their own executor, so that they run under any runtime
//! and under none. An engine that needs a runtime for its futures enters it when it is opened.

mod block_on;
mod cases;
mod driver;
mod faulty;
mod manual_clock;
mod recorder;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use crate::{config::EngineConfig, contract::Engine};
pub use block_on::{ANSWER_DEADLINE, block_on};
pub use faulty::{FaultCounts, FaultPlan, Faulty, Timer};
pub use manual_clock::ManualClock;

/// How to open the engine under test, and what else can be done with it.
pub struct Subject {
    open: Box<dyn Fn(EngineConfig) -> Arc<dyn Engine> + Send + Sync>,
    advance: Option<Box<dyn Fn(Duration) + Send + Sync>>,
    retries: bool,
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    needs_clock: bool,
    check: fn(&Subject) -> Result<(), String>,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The engine did as it must.
    Passed,
    /// It did not, or it panicked.
    Failed(String),
    /// The subject can't show it; this counts as not shown.
    NotRun(&'static str),
}

/// How all cases ended, in the order of the suite.
#[derive(Clone, Debug)]
pub struct Report {
    /// The cases' names and verdicts.
    pub verdicts: Vec<(&'static str, Verdict)>,
}

impl Subject {
    /// An engine that is opened anew, empty, for each case. Every setting passes its check.
    pub fn new(open: impl Fn(EngineConfig) -> Arc<dyn Engine> + Send + Sync + 'static) -> Self {
        Self {
            open: Box::new(open),
            advance: None,
            retries: false,
        }
    }

    /// The engines' time can be moved forward, all at once; without this the cases about time are
    /// not run.
    pub fn with_clock(self, advance: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self {
            advance: Some(Box::new(advance)),
            ..self
        }
    }

    /// The engines fail appends now and then, so cases repeat what failed, as a client would: with
    /// the same number, or with a key where the case has neither.
    pub fn with_retries(self) -> Self {
        Self {
            retries: true,
            ..self
        }
    }
}

impl Case {
    /// What it shows.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it on an engine of its own.
    pub fn run(&self, subject: &Subject) -> Verdict {
        if self.needs_clock && subject.advance.is_none() {
            return Verdict::NotRun("the subject's clock can't be moved");
        }
        match catch_unwind(AssertUnwindSafe(|| (self.check)(subject))) {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(reason)) => Verdict::Failed(reason),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied());
                Verdict::Failed(format!("panic: {}", text.unwrap_or("without a text")))
            }
        }
    }
}

/// All cases of the contract.
pub fn cases() -> Vec<Case> {
    cases::all()
}

/// Runs all cases, one after the other.
pub fn run(subject: &Subject) -> Report {
    Report {
        verdicts: cases()
            .iter()
            .map(|case| (case.name(), case.run(subject)))
            .collect(),
    }
}

impl Report {
    /// The names of the cases that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_)))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Panics with the whole report if any case failed.
    pub fn assert_passed(&self) {
        assert!(self.failed().is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, verdict) in &self.verdicts {
            match verdict {
                Verdict::Passed => writeln!(f, "ok      {name}")?,
                Verdict::Failed(reason) => writeln!(f, "FAILED  {name}: {reason}")?,
                Verdict::NotRun(reason) => writeln!(f, "NOT RUN {name}: {reason}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
