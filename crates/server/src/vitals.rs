//! What a node says of itself: the numbers behind `/ws/stats` and readiness.

use std::collections::BTreeMap;

use bowline_proto::Code;
use serde_json::{Map, Value};

use crate::{http::Vitals, node::Node, sync::lock};

impl Vitals for Node {
    fn stats(&self) -> Map<String, Value> {
        let links = self.links();
        let mut totals: BTreeMap<&str, u64> = self.counters.totals().into_iter().collect();
        let mut add = |name, by| *totals.entry(name).or_default() += by;
        for link in &links {
            let counts = link.counts();
            add("messages_out", counts.messages_out);
            add("bytes_out", counts.bytes_out);
            add("catchups_started", counts.catchups_started);
            add("catchups_finished", counts.catchups_finished);
        }
        let users: std::collections::BTreeSet<_> =
            links.iter().filter_map(|link| link.user()).collect();
        let mut stats: Map<String, Value> = totals
            .into_iter()
            .map(|(name, total)| (name.to_owned(), total.into()))
            .collect();
        stats.insert("node".to_owned(), (&*self.name).into());
        stats.insert("connections".to_owned(), links.len().into());
        stats.insert("users".to_owned(), users.len().into());
        stats.insert(
            "live_sessions".to_owned(),
            lock(&self.sessions).len().into(),
        );
        stats.insert("subscribed_channels".to_owned(), self.hub.channels().into());
        stats.insert(
            "uptime_s".to_owned(),
            (self.clock.now().as_millis() / 1_000).into(),
        );
        stats
    }

    fn readiness(&self) -> Result<(), Code> {
        if self.is_draining() {
            Err(Code::Draining)
        } else {
            Ok(())
        }
    }
}
