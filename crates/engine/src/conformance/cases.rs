//! The list of all cases.
//!
//! Owns their order. Each file below holds the cases of one part of the contract.

mod bounds;
mod channels;
mod concurrency;
mod hints;
mod keys;
mod log;
mod reading;
mod retention;
mod sessions;

use super::Case;

/// What a case answers: nothing, or why the engine fails it.
type Check = Result<(), String>;

/// Ends a case unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($reason:tt)+) => {
        if !$holds {
            return Err(format!($($reason)+));
        }
    };
}

/// Ends a case unless both are equal.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        let (found, expected) = (&$found, &$expected);
        if found != expected {
            return Err(format!("{}: found {found:?}, expected {expected:?}", format!($($what)+)));
        }
    };
}

/// Names a case after its function.
macro_rules! case {
    ($check:ident) => {
        case!($check, false)
    };
    ($check:ident, clock) => {
        case!($check, true)
    };
    ($check:ident, $needs_clock:literal) => {
        crate::conformance::Case {
            name: stringify!($check),
            needs_clock: $needs_clock,
            check: $check,
        }
    };
}

use {case, ensure, ensure_eq};

pub(super) fn all() -> Vec<Case> {
    [
        log::CASES,
        reading::CASES,
        channels::CASES,
        sessions::CASES,
        keys::CASES,
        retention::CASES,
        bounds::CASES,
        hints::CASES,
        concurrency::CASES,
    ]
    .concat()
}
