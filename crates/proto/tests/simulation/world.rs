//! Time, links and faults: what stands between the clients' machines and the server's.

use std::{collections::BTreeMap, time::Duration};

use bowline_proto::{
    BackoffConfig, Code, Data, Evidence, Rng, Time,
    client::{Client, Event, Fate, Input, Item, Options, Output},
    codec::close_reason,
    message::{ClientMessage, ServerMessage},
    recovery::From,
};

use crate::{
    log::Log,
    server::{Server, name},
};

const CLIENTS: usize = 5;
const CHANNELS: usize = 3;
/// The safety phase: faults happen.
const FAULTY: Time = Time::from_millis(6_000);
/// The end of the liveness phase: everything has converged long before.
const END: Time = Time::from_millis(30_000);

/// What a client's application has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Per channel, in order.
    pub(crate) channels: BTreeMap<usize, Vec<Step>>,
    /// What it published, in order: channel and fate.
    pub(crate) published: Vec<(usize, Option<Ended>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Began { offset: Option<u64>, resumed: bool },
    Gap { offset: Option<u64> },
    Message { offset: u64, data: Data },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Acked,
    Refused,
    Unknown,
    Twice,
}

#[derive(Debug)]
enum Happening {
    Timer(usize),
    Opened(usize, u64),
    Up(u64, ClientMessage),
    Down(u64, ServerMessage),
    Closed(u64, Code),
    Cut(u64),
    Run(u64),
    Work(u64),
    Broadcast(usize),
    Publish,
    Fault,
}

/// One link: who dialled it, and in which ways it fails.
struct Wire {
    client: usize,
    link: u64,
    is_cut: bool,
    loses_up: bool,
    loses_down: bool,
    up_at: Time,
    down_at: Time,
    /// How many messages it takes at a time: few, where the client reads slowly.
    takes: usize,
}

pub(crate) struct World {
    pub(crate) log: Log,
    pub(crate) server: Server,
    pub(crate) faults: u64,
    pub(crate) seen: Vec<Seen>,
    now: Time,
    rng: Rng,
    clients: Vec<Client>,
    wires: BTreeMap<u64, Wire>,
    agenda: BTreeMap<(Time, u64), Happening>,
    planned: u64,
    next_data: u64,
}

impl World {
    pub(crate) fn new(seed: u32) -> Self {
        let options = |client: usize| Options {
            backoff: BackoffConfig {
                min_ms: 20,
                max_ms: 300,
                min_uptime_ms: 100,
            },
            connect_timeout_ms: 400,
            attempts_max: Some(1_000_000),
            resend_stored: client == 0,
            session: Some(format!("session-{client}").into()),
            ..Options::default()
        };
        let client = |index: usize| Client::new(seed ^ (index as u32) << 20, options(index));
        Self {
            log: Log::default(),
            server: Server::default(),
            faults: 0,
            seen: vec![Seen::default(); CLIENTS],
            now: Time::ZERO,
            rng: Rng::new(seed),
            clients: (0..CLIENTS).map(client).collect(),
            wires: BTreeMap::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            next_data: 0,
        }
    }

    pub(crate) fn run(&mut self) {
        for client in 0..CLIENTS {
            for channel in 0..CHANNELS {
                let from = match self.rng.below(3) {
                    0 => From::Now,
                    1 => From::First,
                    _ => From::Last(self.rng.below(9)),
                };
                let channel = name(channel);
                self.feed(client, Input::Subscribe { channel, from });
            }
            self.feed(client, Input::Connect);
        }
        self.plan(1, Happening::Publish);
        self.plan(50, Happening::Fault);
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            if at > END {
                break;
            }
            self.now = at;
            self.happen(happening);
        }
    }

    pub(crate) fn observed(&self) -> Vec<Seen> {
        self.seen.clone()
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Timer(client) => {
                if self.clients[client]
                    .next_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    self.feed(client, Input::Timeout);
                }
            }
            Happening::Opened(client, link) => self.feed(client, Input::Opened { link }),
            Happening::Up(id, message) => self.up(id, message),
            Happening::Down(id, message) => {
                if let Some(wire) = self.wires.get(&id).filter(|wire| !wire.is_cut) {
                    let (client, link) = (wire.client, wire.link);
                    self.feed(client, Input::Message { link, message });
                }
            }
            Happening::Closed(id, code) => self.fail(id, Some(code)),
            Happening::Cut(id) => {
                self.server.end(id);
                self.fail(id, None);
            }
            Happening::Run(id) => self.finish_run(id),
            Happening::Work(id) => self.work(id),
            Happening::Broadcast(channel) => self.server.broadcast(channel),
            Happening::Publish => self.publish(),
            Happening::Fault => self.fault(),
        }
    }

    fn feed(&mut self, client: usize, input: Input) {
        let mut out = Vec::new();
        self.clients[client].handle(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Dial { link, .. } => self.dial(client, link),
                Output::Write { link, message } => self.write(wire_id(client, link), message),
                Output::CloseLink { link, .. } => {
                    let id = wire_id(client, link);
                    if let Some(wire) = self.wires.get_mut(&id) {
                        wire.is_cut = true;
                    }
                    self.plan(5, Happening::Cut(id));
                }
                Output::Event(event) => self.note(client, event),
                Output::Authorize => {}
            }
        }
        if let Some(at) = self.clients[client].next_timeout() {
            self.plan_at(at, Happening::Timer(client));
        }
    }

    fn write(&mut self, id: u64, message: ClientMessage) {
        let at = self.now + self.latency();
        let wire = self.wires.get_mut(&id);
        if let Some(wire) = wire.filter(|wire| !wire.loses_up && !wire.is_cut) {
            wire.up_at = wire.up_at.max(at);
            let at = wire.up_at;
            self.plan_at(at, Happening::Up(id, message));
        }
    }

    fn note(&mut self, client: usize, event: Event) {
        let number = |channel: &str| channel[1..].parse::<usize>().expect("c0, c1, …");
        let seen = &mut self.seen[client];
        let (channel, step) = match event {
            Event::Subscribed { channel, recovery } => {
                let offset = recovery.position.map(|position| position.offset);
                let resumed = recovery.recovered && recovery.reason.is_none();
                (channel, Step::Began { offset, resumed })
            }
            Event::Gap {
                channel, position, ..
            } => {
                let offset = position.map(|position| position.offset);
                (channel, Step::Gap { offset })
            }
            Event::Message(message) => {
                let offset = message.position.expect("channels keep history").offset;
                let data = message.data;
                (message.channel, Step::Message { offset, data })
            }
            Event::Acked { key } => return seen.end(key, Ended::Acked),
            Event::Dropped { key, fate, .. } => {
                let ended = match fate {
                    Fate::Refused => Ended::Refused,
                    Fate::Unknown => Ended::Unknown,
                };
                return seen.end(key, ended);
            }
            _ => return,
        };
        seen.channels
            .entry(number(&channel))
            .or_default()
            .push(step);
    }

    fn dial(&mut self, client: usize, link: u64) {
        let id = wire_id(client, link);
        let wire = Wire {
            client,
            link,
            is_cut: false,
            loses_up: false,
            loses_down: false,
            up_at: self.now,
            down_at: self.now,
            takes: 1 + usize::try_from(self.rng.below(12)).expect("small"),
        };
        self.wires.insert(id, wire);
        let latency = self.latency();
        self.plan_at(self.now + latency, Happening::Opened(client, link));
        self.plan(10, Happening::Work(id));
    }

    fn up(&mut self, id: u64, message: ClientMessage) {
        if self.wires.get(&id).is_none_or(|wire| wire.is_cut) {
            return;
        }
        if let ClientMessage::Hello(hello) = &message
            && let Some(session) = &hello.session
            && let Some(old) = self.server.is_running(session)
        {
            // R is final only once what the old link has accepted is done.
            self.finish_run(old);
        }
        let faulty = self.now < FAULTY;
        let refuse = (faulty && self.chance(4)).then_some(if self.chance(50) {
            Code::Forbidden
        } else {
            Code::RateLimited
        });
        let taken = self.server.take(self.now, id, message, &self.log, refuse);
        if let Err(closed) = taken {
            self.plan(3, Happening::Closed(id, closed.0));
        }
        if self.server.start_run(id) {
            let after = 1 + self.rng.below(15);
            self.plan(after, Happening::Run(id));
        }
    }

    fn finish_run(&mut self, id: u64) {
        let faulty = self.now < FAULTY;
        let fails_from = match faulty && self.chance(10) {
            true => usize::try_from(self.rng.below(3)).expect("small"),
            false => usize::MAX,
        };
        let lost_answer = faulty && self.chance(5);
        let stored = self
            .server
            .finish_run(id, &mut self.log, fails_from, lost_answer);
        for (channel, publication) in stored {
            self.tell(channel, &publication);
        }
        if self.server.start_run(id) {
            let after = 1 + self.rng.below(15);
            self.plan(after, Happening::Run(id));
        }
    }

    fn work(&mut self, id: u64) {
        if let Err(closed) = self.server.work(self.now, id, &self.log) {
            self.server.end(id);
            self.plan(3, Happening::Closed(id, closed.0));
            return;
        }
        let latency = self.latency();
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let takes = if self.now < FAULTY { wire.takes } else { 64 };
        for message in self.server.drain(self.now, id, takes) {
            if !wire.loses_down && !wire.is_cut {
                wire.down_at = wire.down_at.max(self.now + latency);
                self.planned += 1;
                let key = (wire.down_at, self.planned);
                self.agenda.insert(key, Happening::Down(id, message));
            }
        }
        self.plan(10, Happening::Work(id));
    }

    fn publish(&mut self) {
        if self.now >= FAULTY {
            return;
        }
        let channel = usize::try_from(self.rng.below(CHANNELS as u64)).expect("small");
        self.next_data += 1;
        let data = Data::Json(self.next_data.to_string().into());
        if self.chance(60) {
            // A backend publishes.
            let publication = self.log.append(channel, data);
            self.tell(channel, &publication);
        } else {
            let client = usize::try_from(self.rng.below(CLIENTS as u64)).expect("small");
            let key = self.seen[client].published.len() as u64;
            self.seen[client].published.push((channel, None));
            let data = Data::Json(format!("\"{client}-{key}\"").into());
            let channel = name(channel);
            let item = Item::Publish {
                channel,
                data,
                tag: None,
            };
            self.feed(client, Input::Queue { key, item });
        }
        // Bursts let retention overtake those who read slowly.
        let burst = self.now.as_millis() % 1_000 < 150;
        let after = 1 + self.rng.below(if burst { 3 } else { 30 });
        self.plan(after, Happening::Publish);
    }

    fn tell(&mut self, channel: usize, publication: &std::sync::Arc<bowline_proto::Publication>) {
        // Hints are lossy while there are faults.
        if self.now >= FAULTY || !self.chance(5) {
            self.server.published(channel, publication);
        }
        self.plan(1, Happening::Broadcast(channel));
    }

    fn fault(&mut self) {
        if self.now >= FAULTY {
            return self.heal();
        }
        self.faults += 1;
        let wires: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, wire)| !wire.is_cut)
            .map(|(id, _)| *id)
            .collect();
        let pick = usize::try_from(self.rng.below(wires.len().max(1) as u64)).expect("small");
        if let Some(id) = wires.get(pick).copied() {
            let kind = self.rng.below(6);
            let wire = self.wires.get_mut(&id).expect("listed");
            match kind {
                0 | 1 => self.plan(0, Happening::Cut(id)),
                2 => wire.loses_up = true,
                3 => wire.loses_down = true,
                4 => (wire.loses_up, wire.loses_down) = (true, true),
                _ => {
                    let client = wire.client;
                    // A session outlives every message that counts on it, so none may wait.
                    if self.chance(20) && self.clients[client].outbox().is_empty() {
                        self.log.forget(&format!("session-{client}"));
                    }
                    let hint = bowline_proto::client::Hint::Wake;
                    self.feed(client, Input::Hint(hint));
                }
            }
        }
        let after = 20 + self.rng.below(200);
        self.plan(after, Happening::Fault);
    }

    /// Nothing breaks any more; the links that are broken end, as all do at last.
    fn heal(&mut self) {
        let broken: Vec<u64> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.loses_up || wire.loses_down)
            .map(|(id, _)| *id)
            .collect();
        for id in broken {
            self.plan(1, Happening::Cut(id));
        }
        for channel in 0..CHANNELS {
            // The next publication tells of every hint that was lost.
            self.next_data += 1;
            let data = Data::Json(self.next_data.to_string().into());
            let publication = self.log.append(channel, data);
            self.tell(channel, &publication);
        }
    }

    fn fail(&mut self, id: u64, code: Option<Code>) {
        let Some(wire) = self.wires.remove(&id) else {
            return;
        };
        let evidence = match code {
            Some(code) => Evidence::Close {
                code: code.row().close.unwrap_or(4500),
                reason: close_reason(code.as_str(), None).into(),
            },
            None => Evidence::Opaque,
        };
        let link = wire.link;
        self.feed(wire.client, Input::Failed { link, evidence });
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(1 + self.rng.below(20))
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.rng.below(100) < percent
    }

    fn plan(&mut self, after_ms: u64, happening: Happening) {
        self.plan_at(self.now + Duration::from_millis(after_ms), happening);
    }

    fn plan_at(&mut self, at: Time, happening: Happening) {
        self.planned += 1;
        self.agenda
            .insert((at.max(self.now), self.planned), happening);
    }
}

impl Seen {
    fn end(&mut self, key: u64, ended: Ended) {
        let index = usize::try_from(key).expect("small");
        let fate = &mut self.published[index].1;
        *fate = Some(if fate.is_some() { Ended::Twice } else { ended });
    }
}

fn wire_id(client: usize, link: u64) -> u64 {
    link * 16 + client as u64
}
