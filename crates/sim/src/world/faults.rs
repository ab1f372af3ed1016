//! What breaks, and when.

use std::sync::Arc;

use bowline_engine::SimPlan;
use bowline_proto::{
    Position,
    client::{Hint, Input},
};

use super::{Event, World};
use crate::{
    observed::{Ended, Target},
    plan::Fault,
    wire::lock,
};

/// At most so many clients use the session of another.
const CLONES_MAX: u64 = 4;
/// At most so many older disks are put back: each takes what was promised.
const OLDER_DISKS_MAX: u64 = 2;

/// What a client process has saved: session and highest link, channels and cursors.
type Saved = ((Box<str>, u64), Vec<(Arc<str>, Option<Position>)>);

impl World {
    pub(super) fn on_fault(&mut self) {
        if self.healed {
            return;
        }
        self.note_fullest();
        self.forget_links();
        let kind = self.rng.pick(&self.plan.kinds);
        if let Some(kind) = kind
            && self.strike(kind)
        {
            let now = self.now;
            self.trace.say(now, || format!("FAULT {}", kind.name()));
            self.counters.faults += 1;
        }
        if self.counters.faults < self.plan.faults as u64 {
            let every_ms = self.plan.safety_ms / self.plan.faults as u64;
            let wait_ms = self.rng.below(every_ms * 2) + 1;
            self.plan_in(wait_ms, Event::Fault);
        }
    }

    /// Whether it could be done.
    fn strike(&mut self, kind: Fault) -> bool {
        match kind {
            Fault::Cut
            | Fault::CutAtByte
            | Fault::HalfOpen
            | Fault::LossUp
            | Fault::LossDown
            | Fault::Delay => self.break_link(kind),
            Fault::LateHello
            | Fault::FreezeClient
            | Fault::SlowReader
            | Fault::Hint
            | Fault::Reload
            | Fault::Goodbye
            | Fault::Clone
            | Fault::ClearOutbox
            | Fault::Unsubscribe => {
                let client = self.rng.index(self.actors.len());
                if self.actors[client].frozen_until.is_some() {
                    return false;
                }
                self.trouble(kind, client)
            }
            Fault::ExpireToken => self.expire_tokens(),
            Fault::Revoke => self.revoke(),
            Fault::Burst => self.burst(),
            Fault::Silence => self.silence(),
            Fault::FreezeServer
            | Fault::Crash
            | Fault::TornCrash
            | Fault::Drain
            | Fault::OlderDisk
            | Fault::ClockJump
            | Fault::DiskFull
            | Fault::BrokenSync => {
                self.node.is_some() && self.frozen_until.is_none() && self.trouble_server(kind)
            }
        }
    }

    fn break_link(&mut self, kind: Fault) -> bool {
        let open = self.open_links();
        let Some(id) = self.rng.pick(&open) else {
            return false;
        };
        let now = self.now;
        let bytes = self.rng.below(600) as usize + 1;
        let delay_ms = self.rng.within(50, 900);
        let up = self.rng.percent(40);
        let Some(link) = self.link(id) else {
            return false;
        };
        match kind {
            Fault::Cut => {
                self.counters.cuts += 1;
                self.cut(id, now);
            }
            Fault::CutAtByte => {
                if up {
                    link.cut_up_after = Some(bytes);
                } else {
                    link.cut_down_after = Some(bytes);
                }
                self.counters.cuts += 1;
            }
            Fault::HalfOpen => {
                (link.loses_up, link.loses_down) = (true, true);
                self.counters.half_open += 1;
            }
            Fault::LossUp => {
                link.loses_up = true;
                self.counters.one_way += 1;
            }
            Fault::LossDown => {
                link.loses_down = true;
                self.counters.one_way += 1;
            }
            _ => {
                link.delay_ms = delay_ms;
                self.counters.delays += 1;
            }
        }
        true
    }

    fn trouble(&mut self, kind: Fault, client: usize) -> bool {
        let now = self.now;
        match kind {
            Fault::LateHello => {
                self.actors[client].hello_delay_ms = self.rng.within(700, 2_500);
                self.counters.late_hellos += 1;
                self.feed(client, Input::Hint(Hint::NetworkChange));
            }
            Fault::FreezeClient => {
                let until = now + self.rng.within(50, self.plan.freeze_ms);
                self.actors[client].frozen_until = Some(until);
                self.plan_at(until, Event::Thaw(client));
                self.counters.client_freezes += 1;
            }
            Fault::SlowReader => {
                let until = now + self.rng.within(300, 4_000);
                self.actors[client].slow_until = Some(until);
                let bytes = self.rng.within(20, 200) as usize;
                let ids: Vec<u64> = self.actors[client].links.values().copied().collect();
                for id in ids {
                    if let Some(link) = self.link(id) {
                        link.slow = Some(bytes);
                    }
                }
                self.counters.slow_readers += 1;
            }
            Fault::Hint => {
                let hints = [Hint::Wake, Hint::Offline, Hint::Online, Hint::NetworkChange];
                let hint = self.rng.pick(&hints).expect("there are some");
                self.feed(client, Input::Hint(hint));
                self.counters.hints += 1;
            }
            Fault::Reload => {
                let (saved, channels) = self.saved(client);
                self.begin_anew(client, Some(saved), &channels);
                self.counters.reloads += 1;
            }
            Fault::Goodbye => {
                for _ in 0..self.rng.below(8) {
                    self.send(client, Target::Application);
                }
                let (saved, channels) = self.saved(client);
                self.feed(client, Input::Close { bye: true });
                // Half of them have saved a session that is no more, and number in it as another did.
                let saved = Some(saved).filter(|_| self.rng.percent(50));
                if let Some((session, _)) = &saved {
                    self.actors[client].shared_session = Some(session.clone());
                }
                self.begin_anew(client, saved, &channels);
                // At once, while what was said last is still worked on.
                self.plan_in(1, Event::Connect(client));
                self.counters.goodbyes += 1;
            }
            Fault::Clone => return self.clone_session(client),
            Fault::ClearOutbox => {
                self.feed(client, Input::ClearOutbox);
                self.counters.cleared_outboxes += 1;
            }
            _ => return self.leave_channel(client),
        }
        true
    }

    fn leave_channel(&mut self, client: usize) -> bool {
        let life = self.actors[client].life;
        let wanted: Vec<Arc<str>> = self.lives[life].wanted.keys().cloned().collect();
        let index = self.rng.index(wanted.len());
        let Some(channel) = wanted.get(index).cloned() else {
            return false;
        };
        let pause = self.rng.percent(40);
        let back_ms = self.rng.within(1, 1_500);
        if pause {
            // The answer that comes meanwhile is not told.
            self.actors[client].asked.remove(&channel);
            self.feed(
                client,
                Input::Pause {
                    channel: channel.clone(),
                },
            );
            self.plan_in(back_ms, Event::Unpause(client, life, channel));
        } else {
            self.feed(
                client,
                Input::Unsubscribe {
                    channel: channel.clone(),
                },
            );
            self.plan_in(back_ms, Event::Resubscribe(client, channel));
        }
        self.counters.unsubscribes += 1;
        true
    }

    pub(super) fn unpause(&mut self, client: usize, life: usize, channel: Arc<str>) {
        if self.actors[client].life == life {
            self.feed(client, Input::Resume { channel });
        }
    }

    /// The process ends, and another begins with what it has saved: cursors, and session and link
    /// where it goes on with them.
    fn begin_anew(
        &mut self,
        client: usize,
        session: Option<(Box<str>, u64)>,
        channels: &[(Arc<str>, Option<Position>)],
    ) {
        let life = self.actors[client].life;
        let ids: Vec<u64> = self.actors[client].links.values().copied().collect();
        for id in ids {
            self.leave(id, None);
        }
        self.lives[life].is_alive = false;
        for sent in &mut self.lives[life].sent {
            if sent.ends.is_empty() {
                sent.ends.push(Ended::Unknown);
            }
        }
        let user = self.actors[client].user;
        let slow_until = self.actors[client].slow_until;
        let shared_session = self.actors[client].shared_session.clone();
        let next = self.begin(user, session, channels);
        let mut actor = self.actors.pop().expect("it has just begun");
        actor.slow_until = slow_until;
        actor.shared_session = shared_session;
        // The new process takes the place of the old one, and its first events come to that place.
        for event in self.agenda.values_mut() {
            if let Event::Connect(to) | Event::Timer(to) | Event::Token(to) = event
                && *to == next
            {
                *to = client;
            }
        }
        self.actors[client] = actor;
    }

    /// A second process with the same session, as of a duplicated browser tab.
    fn clone_session(&mut self, client: usize) -> bool {
        if self.counters.clones >= CLONES_MAX {
            return false;
        }
        let (saved, channels) = self.saved(client);
        let user = self.actors[client].user;
        let shared = saved.0.clone();
        let clone = self.begin(user, Some(saved), &channels);
        for client in [client, clone] {
            self.actors[client].shared_session = Some(shared.clone());
        }
        self.counters.clones += 1;
        true
    }

    fn saved(&self, client: usize) -> Saved {
        let actor = &self.actors[client];
        let wanted = self.lives[actor.life].wanted.keys();
        let channels = wanted
            .map(|channel| {
                (
                    channel.clone(),
                    actor.machine.subscriptions().cursor(channel),
                )
            })
            .collect();
        ((actor.session.clone(), actor.highest_link), channels)
    }

    fn expire_tokens(&mut self) -> bool {
        let user = self.rng.index(self.plan.users);
        let now = self.now;
        lock(&self.grants).issued_from.insert(user, now);
        self.counters.expired_tokens += 1;
        true
    }

    /// A user loses a grant; its links are closed as an application that does so would.
    fn revoke(&mut self) -> bool {
        let mut grants = lock(&self.grants);
        let secret: Vec<Arc<str>> = grants.readers.keys().cloned().collect();
        let index = self.rng.index(secret.len());
        let Some(channel) = secret.get(index) else {
            return false;
        };
        let readers = grants.readers.get_mut(channel).expect("it was listed");
        let listed: Vec<usize> = readers.iter().copied().collect();
        let Some(user) = self.rng.pick(&listed) else {
            return false;
        };
        readers.remove(&user);
        self.readers.revoked(self.now, user, channel);
        self.counters.revoked_grants += 1;
        true
    }

    /// Nobody publishes to a channel, mostly until it is forgotten.
    fn silence(&mut self) -> bool {
        let channel = self.channels[self.rng.index(self.channels.len())].clone();
        let until = self.now + self.rng.within(1_000, 7_000);
        self.silent_until.insert(channel, until);
        self.counters.silences += 1;
        true
    }

    fn burst(&mut self) -> bool {
        let channel = self.channels[self.rng.index(self.plan.channels)].clone();
        if self.is_silent(&channel) {
            return false;
        }
        for _ in 0..self.rng.within(10, 60) {
            self.publish(channel.clone());
        }
        self.counters.bursts += 1;
        true
    }

    fn trouble_server(&mut self, kind: Fault) -> bool {
        let soon = self.rng.within(1, 400);
        match kind {
            Fault::FreezeServer => {
                let until = self.now + self.rng.within(100, 1_500);
                self.frozen_until = Some(until);
                self.plan_at(until, Event::ThawServer);
                self.counters.server_freezes += 1;
            }
            Fault::Crash => {
                self.kill();
                self.counters.crashes += 1;
            }
            Fault::TornCrash => {
                self.disk.die_after(self.rng.below(8));
                self.plan_in(soon, Event::Kill);
                self.counters.torn_writes += 1;
            }
            Fault::Drain => {
                self.drain();
                self.counters.drains += 1;
            }
            Fault::OlderDisk => {
                if self.backup.is_some() || self.counters.older_disks >= OLDER_DISKS_MAX {
                    return false;
                }
                self.backup = Some(self.disk.copy(self.rng.next()));
                let later = self.rng.within(50, 2_500);
                self.plan_in(later, Event::Restore);
                self.counters.older_disks += 1;
            }
            Fault::ClockJump => {
                // Up to two hours either way: below the time for which sessions are remembered.
                self.skew_ms += self.rng.within(0, 4 * 3_600_000) as i64 - 2 * 3_600_000;
                self.kill();
                self.counters.clock_jumps += 1;
            }
            Fault::DiskFull => {
                self.disk.set_full(true);
                let later = self.rng.within(50, 1_200);
                self.plan_in(later, Event::FreeDisk);
                self.counters.full_disks += 1;
            }
            _ => {
                self.disk.set_plan(SimPlan {
                    broken_sync_permille: 1_000,
                    ..SimPlan::default()
                });
                self.plan_in(soon, Event::Kill);
                self.counters.broken_syncs += 1;
            }
        }
        true
    }

    /// Nothing breaks any more. Links that are broken stay so until both sides find out.
    pub(super) fn heal(&mut self) {
        self.trace.say(self.now, || "HEAL".to_owned());
        self.healed = true;
        self.disk.set_full(false);
        self.disk.set_plan(SimPlan::default());
        // A disk that has lost its power, or has failed, is no disk until the next start.
        if self.frozen_until.is_some() {
            self.on_thaw_server();
        }
        if let Some(node) = &self.node {
            node.faults.heal();
        }
        for client in 0..self.actors.len() {
            self.actors[client].slow_until = None;
            if self.actors[client].frozen_until.is_some() {
                self.on_thaw(client);
            }
            self.feed(client, Input::Hint(Hint::Online));
            self.feed(client, Input::Connect);
        }
        self.plan_in(1_000, Event::LastWords);
        self.plan_in(2_700, Event::Look);
    }
}
