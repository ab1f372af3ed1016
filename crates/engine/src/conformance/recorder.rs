//! A listener that writes down what it is told.
//!
//! Owns the hints seen in a case. Must not know what should have been seen.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use bowline_proto::Publication;

use crate::contract::Listener;

/// How long a case waits for hints of an engine that sends them from elsewhere.
const HINT_DEADLINE: Duration = Duration::from_secs(2);

/// One hint.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) channel: Arc<str>,
    pub(super) epoch: u64,
    pub(super) publication: Arc<Publication>,
}

/// All hints, in the order in which they came.
#[derive(Default)]
pub(super) struct Recorder {
    seen: Mutex<Vec<Seen>>,
    more: Condvar,
}

impl Recorder {
    /// Waits until the condition holds or hints are long overdue, and answers what was seen.
    pub(super) fn wait_until(&self, holds: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let seen = self.seen.lock().expect("a recorder never panics");
        let (seen, _) = self
            .more
            .wait_timeout_while(seen, HINT_DEADLINE, |seen| !holds(seen))
            .expect("a recorder never panics");
        seen.clone()
    }
}

impl Listener for Recorder {
    fn published(&self, channel: &Arc<str>, epoch: u64, publication: &Arc<Publication>) {
        let seen = Seen {
            channel: channel.clone(),
            epoch,
            publication: publication.clone(),
        };
        self.seen
            .lock()
            .expect("a recorder never panics")
            .push(seen);
        self.more.notify_all();
    }
}
