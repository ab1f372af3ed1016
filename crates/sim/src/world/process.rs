//! The server's processes and the disk below them: starts, stops, kills.

use bowline_engine::{OpenError, SimDisk, SimPlan};

use super::{Event, World};
use crate::{
    node::{Boot, Node},
    rng::Rng,
    truth::Opening,
    wire::lock,
};

/// How often it is looked whether a server that stops has stopped.
const DRAIN_LOOK_MS: u64 = 50;
/// A server that can't start for lack of space is started again after so long.
const BOOT_AGAIN_MS: u64 = 200;

pub(super) fn disk(seed: u64) -> SimDisk {
    SimDisk::new(SimPlan {
        seed: Rng::new(seed).fork(3).next(),
        ..SimPlan::default()
    })
}

impl World {
    /// Starts the server on what the disk has.
    pub(super) fn boot(&mut self) {
        if self.node.is_some() {
            return;
        }
        self.processes += 1;
        let rng = Rng::new(self.plan.seed).fork(1_000 + self.processes);
        let booted = Node::boot(Boot {
            now_ms: self.now,
            process: self.processes,
            skew_ms: self.skew_ms,
            plan: &self.plan,
            rng,
            disk: &self.disk,
            bell: &self.bell,
            grants: &self.grants,
            truth: &self.truth,
            application: &self.application,
        });
        let (now, process) = (self.now, self.processes);
        match booted {
            Ok(node) => {
                self.trace
                    .say(now, || format!("server process {process} starts"));
                let is_older = std::mem::take(&mut self.is_older_disk);
                let opening = Opening {
                    now_ms: now,
                    node: &node,
                    disk: &self.disk,
                    is_older,
                };
                lock(&self.truth).reconcile(&opening, &self.channels);
                if self.healed {
                    node.faults.heal();
                }
                self.node = Some(node);
            }
            Err(OpenError::Io { .. }) => self.plan_in(BOOT_AGAIN_MS, Event::Boot),
            Err(error) => self.violate("log", format!("the log can't be opened: {error}")),
        }
    }

    /// The process ends at once, and the disk keeps any part of what was not synced.
    pub(super) fn kill(&mut self) {
        self.trace
            .say(self.now, || "the server is killed".to_owned());
        self.end_process();
        self.disk.crash();
        self.disk.set_plan(SimPlan::default());
    }

    fn end_process(&mut self) {
        for channel in &self.channels {
            self.note_floor(channel);
        }
        self.note_totals();
        self.lose_answers();
        self.frozen_until = None;
        self.node = None;
        self.orphan_links();
        self.holders.all_ended();
        let down_ms = self.rng.within(20, 600);
        self.plan_in(down_ms, Event::Boot);
    }

    /// The server comes back with the disk that was put aside.
    pub(super) fn restore(&mut self) {
        let Some(backup) = self.backup.take() else {
            return;
        };
        if self.node.is_some() {
            self.kill();
        }
        self.trace
            .say(self.now, || "an older disk is put back".to_owned());
        self.disk = backup;
        self.is_older_disk = true;
    }

    pub(super) fn drain(&mut self) {
        if let (Some(node), None) = (&self.node, self.frozen_until) {
            self.trace
                .say(self.now, || "the server stops in order".to_owned());
            node.drain();
            self.plan_in(DRAIN_LOOK_MS, Event::Drained);
        }
    }

    pub(super) fn on_drained(&mut self) {
        let Some(node) = &self.node else { return };
        if !node.is_drained() {
            return self.plan_in(DRAIN_LOOK_MS, Event::Drained);
        }
        node.close();
        self.trace
            .say(self.now, || "the server has stopped".to_owned());
        self.end_process();
    }

    pub(super) fn on_thaw_server(&mut self) {
        if self.frozen_until.take().is_some()
            && let Some(node) = &self.node
        {
            node.thaw(self.now);
        }
    }

    /// The server's own counts, and how full it is.
    pub(super) fn note_totals(&mut self) {
        let Some(node) = &self.node else { return };
        let mut panicked = 0;
        for (name, total) in node.totals() {
            match name {
                "takeovers" => self.counters.takeovers += total,
                "catchups_started" => self.counters.catchups_started += total,
                "catchups_finished" => self.counters.catchups_finished += total,
                "upstream_duplicates" => self.counters.upstream_duplicates += total,
                "connections_panicked" => panicked = total,
                _ => {}
            }
        }
        let count = &node.faults.count;
        self.counters.store_faults += count.swap(0, std::sync::atomic::Ordering::Relaxed);
        if panicked > 0 {
            self.violate("panic", format!("{panicked} connections panicked"));
        }
    }

    pub(super) fn note_fullest(&mut self) {
        let Some(node) = &self.node else { return };
        let gauges = node.gauges();
        let fullest = &mut self.fullest;
        fullest.queue_bytes = fullest.queue_bytes.max(gauges.queue_bytes);
        fullest.tail_bytes = fullest.tail_bytes.max(gauges.tail_bytes);
    }
}
