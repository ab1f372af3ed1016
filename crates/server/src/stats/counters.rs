//! Totals since the start of the server.
//!
//! Owns the one list of plain totals, errors and disconnects by code, and the durations. What a
//! connection counts stands in its link until it ends.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use bowline_proto::{Code, message::ErrorInfo};

use super::histogram::Histogram;
use crate::sync::{Mutex, lock};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// All of them.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
            /// Refusals of every kind, by code.
            pub(crate) errors: Errors,
            /// Ends of connections, by close code.
            pub(crate) disconnects: Disconnects,
            /// From the upgrade to `welcome`.
            pub(crate) handshakes: Histogram,
            /// From handing a batch to the engine to its answer.
            pub(crate) appends: Histogram,
            /// Calls of the application's handler.
            pub(crate) handler_calls: Histogram,
            /// From a request over HTTP to its answer; upgrades are none.
            pub(crate) http_requests: Histogram,
        }

        impl Counters {
            /// Each plain total with its name, as `/ws/stats` shows it.
            pub(crate) fn totals(&self) -> BTreeMap<&'static str, u64> {
                BTreeMap::from([
                    $((stringify!($name), self.$name.load(Ordering::Relaxed)),)*
                ])
            }
        }
    };
}

counters! {
    /// Connections that were opened.
    connections_opened,
    /// Connections whose task panicked.
    connections_panicked,
    /// Messages from clients, of connections that have ended.
    messages_in,
    /// Messages to clients, of connections that have ended.
    messages_out,
    /// Bytes from clients, of connections that have ended.
    bytes_in,
    /// Bytes to clients, of connections that have ended.
    bytes_out,
    /// Pages read from the log for subscriptions that were behind.
    pages_read,
    /// Live subscriptions that fell back to the log, of connections that have ended.
    catchups_started,
    /// Those of them that went live again.
    catchups_finished,
    /// Numbered messages that were stored already.
    upstream_duplicates,
    /// Numbered messages that were refused.
    upstream_refused,
    /// Resumes that answered `recovered:true`.
    recovered,
    /// Resumes that answered `recovered:false`.
    not_recovered,
    /// Sessions taken over by a newer link.
    takeovers,
}

/// Adds to a total.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// How often each code of the table was told, whether by an error, a close frame or over HTTP.
#[derive(Debug)]
pub(crate) struct Errors([AtomicU64; Code::ALL.len()]);

impl Default for Errors {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Errors {
    pub(crate) fn add(&self, code: Code) {
        count(&self.0[code.index()], 1);
    }

    /// Counts a refusal, and answers its code where the table has it.
    pub(crate) fn note(&self, error: &ErrorInfo) -> Option<Code> {
        let code = Code::from_name(&error.code)?;
        self.add(code);
        Some(code)
    }

    /// Every code with its total.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Code::ALL
            .iter()
            .zip(&self.0)
            .map(|(code, total)| (code.as_str(), total.load(Ordering::Relaxed)))
    }
}

/// How often connections ended with each close code; those that no table has are one.
#[derive(Debug, Default)]
pub(crate) struct Disconnects(Mutex<BTreeMap<u16, u64>>);

impl Disconnects {
    /// RFC 6455, 7.4.1: no close frame came.
    pub(crate) const ABNORMAL: u16 = 1006;
    /// Stands for those that applications made up.
    const OTHER: u16 = 0;

    pub(crate) fn add(&self, close: u16) {
        // RFC 6455's registry, and Bowline's own: so the map stays small whatever peers send.
        let known = (1000..=1015).contains(&close)
            || Code::ALL.iter().any(|code| code.row().close == Some(close));
        let close = if known { close } else { Self::OTHER };
        *lock(&self.0).entry(close).or_default() += 1;
    }

    /// Every close code that was seen, with its total.
    pub(crate) fn totals(&self) -> Vec<(String, u64)> {
        let map = lock(&self.0);
        map.iter()
            .map(|(close, total)| match *close {
                Self::OTHER => ("other".to_owned(), *total),
                close => (close.to_string(), *total),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_that_nobody_knows_are_one() {
        let disconnects = Disconnects::default();
        for close in [1000, 4408, 1000, 3000, 4999] {
            disconnects.add(close);
        }
        let expected = [("other", 2), ("1000", 2), ("4408", 1)];
        assert_eq!(
            disconnects.totals(),
            expected.map(|(close, total)| (close.to_owned(), total))
        );
    }

    #[test]
    fn every_code_has_a_total_of_its_own() {
        let errors = Errors::default();
        for code in Code::ALL {
            errors.add(*code);
        }
        assert!(errors.totals().all(|(_, total)| total == 1));
        assert_eq!(errors.note(&Code::Stale.into()), Some(Code::Stale));
        assert!(errors.totals().any(|found| found == ("stale", 2)));
    }
}
