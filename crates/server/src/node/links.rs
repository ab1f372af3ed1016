//! The live connections, and the totals of what they count.
//!
//! Owns that no total ever falls, although the connections are looked at in steps and end meanwhile.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Node;
use crate::{
    link::Link,
    stats::count,
    sync::lock,
    walk::{STEP_MAX, Walk},
};

/// What links count, in the order of `LinkCounts::list`.
pub(super) type LinkTotals = [u64; 6];

/// The live connections, by id.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) live: BTreeMap<u64, Arc<Link>>,
    /// The sum over them that is on its way; there is one at a time.
    sum: Option<Sum>,
}

/// A sum of what links count, in the order of their ids.
#[derive(Debug)]
struct Sum {
    /// The id of the last one that was looked at.
    after: u64,
    /// Of those that had ended before it began, and of those that end before they are looked at.
    ended: LinkTotals,
}

impl Links {
    /// Some with an id above this, in the order of their ids.
    fn after(&self, after: u64, count: usize) -> Vec<Arc<Link>> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        let range = self.live.range(range).take(count);
        range.map(|(_, link)| link.clone()).collect()
    }
}

impl Node {
    /// Removes a connection.
    pub(crate) fn forget(&self, link: &Link) {
        link.pass.release();
        // In one step under the lock, so that no total ever falls.
        let mut links = lock(&self.links);
        if links.live.remove(&link.id).is_none() {
            return;
        }
        let counts = link.counts().list();
        for (total, by) in self.link_totals().into_iter().zip(counts) {
            count(total.1, by);
        }
        if let Some(sum) = &mut links.sum
            && link.id > sum.after
        {
            add(&mut sum.ended, counts);
        }
    }

    /// All plain totals with what the open connections add to them.
    pub(crate) async fn totals(self: &Arc<Self>) -> BTreeMap<&'static str, u64> {
        let node = self.clone();
        let summing = async move { node.sum_up(STEP_MAX).await };
        let sum = self.link_sum.get(self.clock, summing).await;
        self.totals_with(sum)
    }

    /// The same at once, for simulations, which have few connections.
    #[cfg(feature = "simulation")]
    pub(crate) fn totals_at_once(&self) -> BTreeMap<&'static str, u64> {
        let mut visited = self.begin_sum();
        while self.add_links(&mut visited, STEP_MAX) {}
        self.totals_with(self.end_sum(visited))
    }

    fn totals_with(&self, sum: LinkTotals) -> BTreeMap<&'static str, u64> {
        let mut totals = self.counters.totals();
        totals.extend(
            self.link_totals()
                .map(|(name, _)| name)
                .into_iter()
                .zip(sum),
        );
        totals
    }

    /// What all links have counted, and how long that may be kept. One at a time.
    pub(crate) async fn sum_up(&self, step_max: usize) -> (LinkTotals, Option<Duration>) {
        let mut walk = Walk::begin(self.clock);
        let mut visited = self.begin_sum();
        while self.add_links(&mut visited, step_max) {
            walk.rest().await;
        }
        (self.end_sum(visited), walk.keep_for())
    }

    fn begin_sum(&self) -> LinkTotals {
        let mut links = lock(&self.links);
        let ended = self.link_totals().map(|(_, total)| total);
        links.sum = Some(Sum {
            after: 0,
            ended: ended.map(|total| total.load(Ordering::Relaxed)),
        });
        LinkTotals::default()
    }

    /// Adds what the next links have counted; true if there are more.
    fn add_links(&self, visited: &mut LinkTotals, step_max: usize) -> bool {
        let mut links = lock(&self.links);
        let after = links.sum.as_ref().map_or(u64::MAX, |sum| sum.after);
        let step = links.after(after, step_max);
        if let (Some(sum), Some(last)) = (&mut links.sum, step.last()) {
            sum.after = last.id;
        }
        drop(links);
        for link in &step {
            add(visited, link.counts().list());
        }
        step.len() == step_max
    }

    fn end_sum(&self, mut visited: LinkTotals) -> LinkTotals {
        let sum = lock(&self.links).sum.take();
        add(
            &mut visited,
            sum.map_or_else(Default::default, |sum| sum.ended),
        );
        visited
    }

    /// The totals of what links count, in the order of `LinkCounts::list`.
    fn link_totals(&self) -> [(&'static str, &AtomicU64); 6] {
        let counters = &self.counters;
        [
            ("messages_in", &counters.messages_in),
            ("messages_out", &counters.messages_out),
            ("bytes_in", &counters.bytes_in),
            ("bytes_out", &counters.bytes_out),
            ("catchups_started", &counters.catchups_started),
            ("catchups_finished", &counters.catchups_finished),
        ]
    }

    /// A live connection.
    pub(crate) fn link(&self, id: u64) -> Option<Arc<Link>> {
        lock(&self.links).live.get(&id).cloned()
    }

    /// Some live connections with an id above this, in the order of their ids.
    pub(crate) fn links_after(&self, after: u64, count: usize) -> Vec<Arc<Link>> {
        lock(&self.links).after(after, count)
    }

    /// Looks at the live connections in the order of their ids, in steps between which others go on.
    pub(crate) async fn visit_links(&self, mut visit: impl FnMut(Arc<Link>)) {
        let mut after = 0;
        loop {
            let step = self.links_after(after, STEP_MAX);
            let is_last = step.len() < STEP_MAX;
            after = step.last().map_or(after, |last| last.id);
            step.into_iter().for_each(&mut visit);
            if is_last {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// How many connections are live.
    pub(crate) fn link_count(&self) -> usize {
        lock(&self.links).live.len()
    }
}

fn add(totals: &mut LinkTotals, counts: LinkTotals) {
    for (total, by) in totals.iter_mut().zip(counts) {
        *total += by;
    }
}
