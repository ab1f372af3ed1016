//! The shells around the clients' machines: what a machine says is done, what happens is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline::Operation;
use bowline_proto::{
    BackoffConfig, Code, Data, Position,
    client::{Client, DropReason, Event as Told, Fate, Input, Options, Output, State},
    recovery::From,
};

use super::{Event, World};
use crate::{
    access,
    observed::{Ended, Life, Sent, Step, Target, Then},
    wire::lock,
};

/// A client: its machine, and what its process has beside it.
pub(super) struct Actor {
    pub(super) user: usize,
    pub(super) machine: Client,
    pub(super) life: usize,
    /// Links by their numbers.
    pub(super) links: BTreeMap<u64, u64>,
    /// What a process saves: session and highest link.
    pub(super) session: Box<str>,
    pub(super) highest_link: u64,
    /// Channels that it has subscribed to on its present link, unanswered.
    pub(super) asked: BTreeSet<Arc<str>>,
    /// The session that it shares with another client.
    pub(super) shared_session: Option<Box<str>>,
    timer: Option<u64>,
    pub(super) frozen_until: Option<u64>,
    pub(super) slow_until: Option<u64>,
    pub(super) hello_delay_ms: u64,
}

impl World {
    /// A client process begins, with what another has saved.
    pub(super) fn begin(
        &mut self,
        user: usize,
        saved: Option<(Box<str>, u64)>,
        channels: &[(Arc<str>, Option<Position>)],
    ) -> usize {
        let (session, highest_link) = saved.unwrap_or_else(|| {
            let random = u128::from(self.rng.next()) << 64 | u128::from(self.rng.next());
            (format!("{random:032x}").into(), 0)
        });
        let options = Options {
            backoff: BackoffConfig {
                min_ms: self.rng.within(20, 100),
                max_ms: self.rng.within(500, 2_000),
                min_uptime_ms: 300,
            },
            connect_timeout_ms: self.rng.within(600, 1_500),
            authorize_timeout_ms: 500,
            attempts_max: self.rng.percent(80).then_some(1_000_000),
            silence_ms: self.rng.within(300, 3_000),
            authorize: true,
            resend_stored: self.rng.percent(30),
            session: Some(session.clone()),
            link: highest_link,
            ..Options::default()
        };
        let life = self.lives.len();
        self.lives.push(Life {
            user,
            steps: BTreeMap::new(),
            sent: Vec::new(),
            wanted: BTreeMap::new(),
            is_alive: true,
            stuck: None,
        });
        self.actors.push(Actor {
            user,
            machine: Client::new(self.rng.next() as u32, options),
            life,
            links: BTreeMap::new(),
            session,
            highest_link,
            asked: BTreeSet::new(),
            shared_session: None,
            timer: None,
            frozen_until: None,
            slow_until: None,
            hello_delay_ms: 0,
        });
        let client = self.actors.len() - 1;
        for (channel, position) in channels {
            self.ask(client, channel, *position);
        }
        let soon = self.rng.below(300);
        self.plan_in(soon, Event::Connect(client));
        client
    }

    pub(super) fn subscribe(&mut self, client: usize, channel: &Arc<str>) {
        self.ask(client, channel, None);
    }

    fn ask(&mut self, client: usize, channel: &Arc<str>, position: Option<Position>) {
        let life = self.actors[client].life;
        if self.lives[life]
            .wanted
            .insert(channel.clone(), ())
            .is_some()
        {
            return;
        }
        self.step(client, channel, Step::Asked(position));
        let from = match (position, self.rng.below(4)) {
            (Some(position), _) => From::After(position),
            (None, 0) => From::First,
            (None, 1) => From::Last(self.rng.below(20)),
            _ => From::Now,
        };
        let channel = channel.clone();
        self.feed(client, Input::Subscribe { channel, from });
    }

    /// Tells the machine, unless its process stands still, and does what it says.
    pub(super) fn feed(&mut self, client: usize, input: Input) {
        let now = self.time();
        let mut out = Vec::new();
        self.actors[client].machine.handle(now, input, &mut out);
        for output in out {
            match output {
                Output::Dial { link, .. } => self.dial(client, link),
                Output::Write { link, message } => self.write(client, link, &message),
                Output::CloseLink { link, code } => {
                    if let Some(&id) = self.actors[client].links.get(&link) {
                        self.leave(id, Some(code));
                    }
                }
                Output::Event(told) => self.told(client, told),
                Output::Authorize => {
                    let soon = self.rng.within(2, 60);
                    self.plan_in(soon, Event::Token(client));
                }
            }
        }
        self.set_timer(client);
    }

    fn set_timer(&mut self, client: usize) {
        let actor = &mut self.actors[client];
        let Some(due) = actor.machine.next_timeout() else {
            return;
        };
        let at = due.as_micros().div_ceil(1_000).max(self.now);
        if actor.timer.is_none_or(|timer| at < timer) {
            actor.timer = Some(at);
            self.plan_at(at, Event::Timer(client));
        }
    }

    pub(super) fn on_timer(&mut self, client: usize) {
        let now = self.now;
        let actor = &mut self.actors[client];
        if actor.timer.is_none_or(|timer| timer > now) {
            // An earlier one took its place and has set a new one.
            return;
        }
        if let Some(until) = actor.frozen_until {
            actor.timer = Some(until);
            return self.plan_at(until, Event::Timer(client));
        }
        actor.timer = None;
        let due = actor.machine.next_timeout();
        if due.is_some_and(|due| due.as_micros() <= now * 1_000) {
            self.feed(client, Input::Timeout);
        } else {
            self.set_timer(client);
        }
    }

    pub(super) fn on_token(&mut self, client: usize) {
        let user = self.actors[client].user;
        let input = if !self.healed && self.rng.percent(5) {
            Input::TokenFailed { retry: true }
        } else {
            let ttl_ms = self.plan.token_ttl_ms;
            Input::Token(Some(access::token(user, self.now, ttl_ms)))
        };
        self.feed(client, input);
    }

    pub(super) fn on_connect(&mut self, client: usize) {
        if let Some(until) = self.actors[client].frozen_until {
            return self.plan_at(until, Event::Connect(client));
        }
        self.feed(client, Input::Connect);
    }

    pub(super) fn on_thaw(&mut self, client: usize) {
        self.actors[client].frozen_until = None;
        let hint = bowline_proto::client::Hint::Wake;
        self.feed(client, Input::Hint(hint));
    }

    fn told(&mut self, client: usize, told: Told) {
        let now = self.now;
        self.trace.say(now, || format!("c{client} ! {told:?}"));
        match told {
            // The user presses the button.
            Told::State(State::Blocked | State::Dormant) => {
                let soon = self.rng.within(50, 300);
                self.plan_in(soon, Event::Connect(client));
            }
            Told::Welcome {
                session, reason, ..
            } => {
                self.actors[client].session = session;
                self.actors[client].asked.clear();
                self.counters.sessions_lost += u64::from(reason.is_some());
            }
            Told::Subscribed { channel, recovery } => {
                self.actors[client].asked.remove(&channel);
                self.counters.recovered +=
                    u64::from(recovery.recovered && recovery.reason.is_none());
                let then = self.then(&channel);
                let life = self.actors[client].life;
                self.lives[life].wanted.insert(channel.clone(), ());
                let step = Step::Began { recovery, then };
                self.step(client, &channel, step);
            }
            Told::Gap {
                channel,
                position,
                reason,
                missed,
            } => {
                self.counters.gaps += 1;
                let then = self.then(&channel);
                let step = Step::Gap {
                    position,
                    reason,
                    missed,
                    then,
                };
                self.step(client, &channel, step);
            }
            Told::Message(message) => {
                self.counters.delivered += 1;
                let data = message.data.bytes().clone();
                let position = message.position;
                self.step(client, &message.channel, Step::Message { position, data });
            }
            Told::SubscribeFailed { channel, error } => {
                self.actors[client].asked.remove(&channel);
                if !error.retry {
                    self.refused(client, &channel, &error.code);
                }
            }
            // The client has saved itself, but the server has left something out.
            Told::Error(error) if error.code == "offset_jump" => {
                self.violate("silent-gap", format!("c{client}: {}", error.message));
            }
            Told::Unsubscribed { channel, .. } => self.unfollow(client, &channel),
            Told::Acked { key } => {
                let ended = self.acked(client, key);
                self.end(client, key, ended);
            }
            Told::Dropped { key, fate, reason } => self.dropped(client, key, fate, &reason),
            _ => {}
        }
    }

    /// What an ack proves.
    fn acked(&self, client: usize, key: u64) -> Ended {
        let actor = &self.actors[client];
        // Where two clients number in one session, it may be for the other's number.
        let is_shared = actor.shared_session.as_ref() == Some(&actor.session);
        // Without history nothing tells whether it was seen by anybody before a crash.
        let sent = &self.lives[actor.life].sent[key as usize];
        let is_volatile =
            matches!(&sent.target, Target::Channel(name) if name.starts_with("live-"));
        if is_shared || (is_volatile && sent.processes < self.processes) {
            Ended::Unknown
        } else {
            Ended::Acked
        }
    }

    fn dropped(&mut self, client: usize, key: u64, fate: Fate, _: &DropReason) {
        let ended = match fate {
            Fate::Refused => Ended::Refused,
            Fate::Unknown => Ended::Unknown,
        };
        self.end(client, key, ended);
    }

    fn refused(&mut self, client: usize, channel: &Arc<str>, code: &str) {
        let user = self.actors[client].user;
        let allowed = lock(&self.grants).allows(user, Operation::Subscribe, channel);
        let innocent = code == Code::Forbidden.as_str() && allowed;
        if innocent {
            self.violate(
                "access",
                format!("c{client} may read {channel} and was refused"),
            );
        }
        self.counters.refused += 1;
        self.unfollow(client, channel);
    }

    fn unfollow(&mut self, client: usize, channel: &Arc<str>) {
        let life = self.actors[client].life;
        self.lives[life].wanted.remove(channel);
        self.actors[client].asked.remove(channel);
        self.step(client, channel, Step::Ended);
    }

    fn end(&mut self, client: usize, key: u64, ended: Ended) {
        match ended {
            Ended::Acked => self.counters.acked += 1,
            Ended::Refused => self.counters.refused += 1,
            Ended::Unknown => self.counters.unknown += 1,
        }
        let life = self.actors[client].life;
        self.lives[life].sent[key as usize].ends.push(ended);
    }

    fn step(&mut self, client: usize, channel: &Arc<str>, step: Step) {
        let life = self.actors[client].life;
        let steps = self.lives[life].steps.entry(channel.clone());
        steps.or_default().push(step);
    }

    /// How a channel stands now.
    fn then(&self, channel: &Arc<str>) -> Then {
        self.note_floor(channel);
        let truth = lock(&self.truth);
        Then {
            now_ms: self.now,
            rewinds: truth.rewinds,
            records: truth.standings(channel, self.now),
        }
    }

    pub(super) fn note_floor(&self, channel: &Arc<str>) {
        if let Some(node) = &self.node
            && let Ok(state) = node.channel(channel)
        {
            lock(&self.truth).note_floor(channel, &state);
        }
    }

    /// A client is told to send something.
    pub(super) fn send(&mut self, client: usize, target: Target) {
        let life = self.actors[client].life;
        let key = self.lives[life].sent.len() as u64;
        let padding = "x".repeat(self.rng.index(60));
        let text = format!("\"m{life}-{key}-{padding}\"");
        let data = Data::Json(text.into());
        self.lives[life].sent.push(Sent {
            data: data.bytes().clone(),
            target: target.clone(),
            processes: self.processes,
            session: None,
            ends: Vec::new(),
        });
        let item = match target {
            Target::Channel(channel) => bowline_proto::client::Item::Publish {
                channel,
                data,
                tag: None,
            },
            Target::Application => bowline_proto::client::Item::Send { data, method: None },
        };
        self.feed(client, Input::Queue { key, item });
    }

    /// Who has not converged yet, and why.
    pub(super) fn stuck(&self) -> Vec<(usize, String)> {
        let connections = self.node.as_ref().map(|node| node.gauges().connections);
        if connections.is_none_or(|count| count > self.actors.len()) {
            let why = format!("is not alone: the server has {connections:?} connections");
            return vec![(self.actors[0].life, why)];
        }
        let truth = lock(&self.truth);
        let mut stuck = Vec::new();
        for actor in &self.actors {
            let mut why = Vec::new();
            let state = actor.machine.state();
            if !matches!(state, State::Open | State::Probing) {
                why.push(format!("is {state:?}"));
            }
            if !actor.machine.outbox().is_empty() {
                why.push(format!(
                    "has {} in its outbox",
                    actor.machine.outbox().len()
                ));
            }
            // Where it stands may by chance be the head of this log, and of another past: so may one
            // who has not noticed that the server is gone, and one who was refused for now or asks anew.
            let link = actor.links.values().next_back();
            let link = link.and_then(|id| self.links.get(id));
            if link.is_none_or(|link| link.process != self.processes) {
                why.push("is linked to a process that is no more".to_owned());
            }
            if actor.machine.subscriptions().retry_at().is_some() {
                why.push("was refused a subscription for now".to_owned());
            }
            if !actor.asked.is_empty() {
                why.push(format!("was not answered for {:?}", actor.asked));
            }
            for channel in self.lives[actor.life].wanted.keys() {
                let Some(record) = truth.newest(channel) else {
                    continue;
                };
                let cursor = actor.machine.subscriptions().cursor(channel);
                let at = cursor.map(|at| (at.epoch, at.offset));
                if at != Some((record.epoch, record.head())) {
                    why.push(format!(
                        "stands at {at:?} of {channel}, its head is {}",
                        record.head()
                    ));
                }
            }
            if !why.is_empty() {
                stuck.push((actor.life, why.join(", ")));
            }
        }
        stuck
    }
}
