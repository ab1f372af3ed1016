//! The server: the machines of `bowline_proto::server`, one set per connection, over one log.
//!
//! Holds no decision of its own; what it does with an answer of a machine is what the server's
//! connections do with it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bowline_proto::{
    Code, Data, Publication, Time,
    message::{ClientMessage, ErrorInfo, Hello, Message, ServerMessage, Subject, Welcome},
    recovery::{From, recover},
    server::{
        Beat, Claim, Cursors, Delivery, Heartbeat, Incoming, Intake, Pipeline, Sessions,
        Subscription, Tail, Upstream, resume_session,
    },
};

use crate::log::Log;

/// Small bounds, so that they are reached.
const QUEUE_MAX: usize = 12;
const PAGE_MAX: usize = 8;
const TAIL_MAX: usize = 16;
const INFLIGHT_MAX: u64 = 6;
pub(crate) const PING_INTERVAL: Duration = Duration::from_millis(400);
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_millis(200);

#[derive(Default)]
pub(crate) struct Server {
    channels: BTreeMap<usize, Channel>,
    connections: BTreeMap<u64, Connection>,
    sessions: Sessions<String, u64>,
    fresh: u64,
    pub(crate) takeovers: u64,
    pub(crate) falls: u64,
    pub(crate) gaps: u64,
    pub(crate) duplicates: u64,
    pub(crate) refusals: u64,
}

struct Channel {
    incoming: Incoming<Arc<Publication>>,
    tail: Tail<Arc<Publication>>,
}

/// One connection; every queued message counts as one byte.
struct Connection {
    session: String,
    cursors: Cursors<usize>,
    upstream: Upstream,
    pipeline: Pipeline<(u64, Option<(usize, Data)>)>,
    running: Vec<(u64, Option<(usize, Data)>)>,
    heart: Heartbeat,
    queue: VecDeque<ServerMessage>,
    fenced: bool,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed(pub(crate) Code);

impl Server {
    /// Takes a message of a client.
    pub(crate) fn take(
        &mut self,
        now: Time,
        id: u64,
        message: ClientMessage,
        log: &Log,
        refuse: Option<Code>,
    ) -> Result<(), Closed> {
        if let ClientMessage::Hello(hello) = message {
            return self.hello(now, id, &hello, log);
        }
        let Some(connection) = self.connections.get_mut(&id).filter(|one| !one.fenced) else {
            return Ok(());
        };
        connection.heart.received(now);
        match message {
            ClientMessage::Ping { ts } => connection.queue.push_back(ServerMessage::Pong { ts }),
            ClientMessage::Subscribe(asked) => {
                let channel = number(&asked.channel);
                let recovery = self.follow(id, channel, asked.from, log);
                let answer = ServerMessage::Subscribed {
                    id: asked.id,
                    channel: asked.channel,
                    recovery: recovery.1,
                };
                let connection = self.connections.get_mut(&id).expect("found above");
                connection.queue.push_back(answer);
                connection.cursors.begin(&channel, recovery.0);
            }
            ClientMessage::Unsubscribe { id, channel } => {
                connection.cursors.leave(&number(&channel));
                connection.queue.push_back(ServerMessage::Unsubscribed {
                    id,
                    channel,
                    code: None,
                });
            }
            ClientMessage::Publish(publish) => {
                let seq = publish.seq.expect("clients number what they publish");
                let refusal = refuse.map(ErrorInfo::new);
                match connection.upstream.receive(seq, refusal) {
                    Intake::Accept => {
                        let work = (seq, Some((number(&publish.channel), publish.data)));
                        connection.pipeline.push(Some(seq), true, work);
                    }
                    Intake::Duplicate => self.duplicates += 1,
                    Intake::Discard | Intake::Refused => {}
                }
            }
            ClientMessage::Skip { seq } => {
                if connection.upstream.skip(seq) == Intake::Accept {
                    connection.pipeline.push(Some(seq), true, (seq, None));
                }
            }
            _ => {}
        }
        self.answer(id);
        Ok(())
    }

    fn hello(&mut self, now: Time, id: u64, hello: &Hello, log: &Log) -> Result<(), Closed> {
        let asked = hello.session.as_deref().expect("clients bring a session");
        let claim = self.sessions.claim(asked.to_owned(), hello.link, id);
        let taken_over = match claim {
            Claim::Refused => return Err(Closed(Code::Replaced)),
            Claim::Free => false,
            Claim::TakesOver(old) => {
                self.takeovers += 1;
                if let Some(old) = self.connections.get_mut(&old) {
                    old.fenced = true;
                }
                true
            }
        };
        let record = log.session(asked);
        let judged = resume_session(record, taken_over, hello.first, hello.next);
        let (session, reason) = match judged {
            Ok(_) => (asked.to_owned(), None),
            Err(reason) => {
                self.sessions.release(&asked.to_owned(), id);
                self.fresh += 1;
                let fresh = format!("fresh-{}", self.fresh);
                self.sessions.claim(fresh.clone(), hello.link, id);
                (fresh, Some(reason))
            }
        };
        let acked = judged.map_or(0, |judged| judged.acked);
        self.connections.insert(
            id,
            Connection {
                session: session.clone(),
                cursors: Cursors::new(),
                upstream: Upstream::new(acked, INFLIGHT_MAX),
                pipeline: Pipeline::new(),
                running: Vec::new(),
                heart: Heartbeat::new(now),
                queue: VecDeque::new(),
                fenced: false,
            },
        );
        let mut subscriptions = Vec::new();
        let mut begun = Vec::new();
        for (name, from) in &hello.subscribe {
            let channel = number(name);
            let (cursor, recovery) =
                self.follow(id, channel, from.expect("clients know the form"), log);
            subscriptions.push((name.clone(), Ok(recovery)));
            begun.push((channel, cursor));
        }
        let connection = self.connections.get_mut(&id).expect("just inserted");
        connection
            .queue
            .push_back(ServerMessage::Welcome(Box::new(Welcome {
                id: None,
                connection: id.to_string().into(),
                session: session.into(),
                resumed: judged.is_ok_and(|judged| judged.resumed),
                reason,
                user: None,
                node: "sim".into(),
                acked,
                inflight_max: INFLIGHT_MAX,
                session_ttl_ms: 86_400_000,
                ping_interval_ms: PING_INTERVAL.as_millis() as u64,
                pong_timeout_ms: PONG_TIMEOUT.as_millis() as u64,
                message_bytes_max: 65_536,
                max_reconnect_attempts: 1_000_000,
                subscriptions,
            })));
        for (channel, cursor) in begun {
            connection.cursors.begin(&channel, cursor);
        }
        Ok(())
    }

    fn follow(
        &mut self,
        id: u64,
        channel: usize,
        from: From,
        log: &Log,
    ) -> (Subscription, bowline_proto::recovery::Recovery) {
        let connection = self.connections.get_mut(&id).expect("it is welcomed");
        connection.cursors.join(channel);
        let tail_head = self.channel(channel).tail.head();
        let state = log.state(channel);
        let recovery = recover(from, &state, log.clock());
        (Subscription::begin(&state, &recovery, tail_head), recovery)
    }

    /// A publication was stored: told to the channel's next broadcast, unless the hint is lost.
    pub(crate) fn published(&mut self, channel: usize, publication: &Arc<Publication>) {
        let epoch = crate::log::epoch(channel);
        let incoming = &mut self.channel(channel).incoming;
        incoming.push(epoch, publication.offset, publication.clone());
    }

    /// Every connection is offered what the tail has.
    pub(crate) fn broadcast(&mut self, channel: usize) {
        self.channel(channel);
        let hub = self.channels.get_mut(&channel).expect("just made");
        hub.take_incoming();
        for connection in self.connections.values_mut().filter(|one| !one.fenced) {
            let room = QUEUE_MAX.saturating_sub(connection.queue.len());
            let delivery = connection.cursors.deliver(&channel, &hub.tail, room);
            let Some(delivery) = delivery else { continue };
            self.falls += u64::from(delivery.fell);
            let items = hub.tail.from(delivery.first).map(|(item, _)| item.clone());
            let items: Vec<_> = items.take(delivery.count).collect();
            self.gaps += connection.queue_publications(channel, delivery, &items);
        }
    }

    /// Lets a connection do what is due: one page, its heartbeat. Answers why it must end.
    pub(crate) fn work(&mut self, now: Time, id: u64, log: &Log) -> Result<(), Closed> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        if connection.fenced {
            return Err(Closed(Code::Replaced));
        }
        match connection.heart.poll(now, PING_INTERVAL, PONG_TIMEOUT) {
            Beat::Wait(_) => {}
            Beat::Stale => return Err(Closed(Code::Stale)),
            Beat::Ping => connection.queue.push_back(ServerMessage::Ping {
                ts: Some(now.as_micros().into()),
            }),
        }
        let behind = connection.cursors.behind(connection.queue.len(), QUEUE_MAX);
        let Some((channel, after)) = behind else {
            return Ok(());
        };
        let hub = self.channels.get_mut(&channel).expect("it is joined");
        hub.take_incoming();
        if connection.cursors.rise(&channel, &hub.tail).is_some() {
            self.broadcast(channel);
            return Ok(());
        }
        let Some((view, page)) = log.page(channel, after, PAGE_MAX) else {
            connection.cursors.pass_turn(&channel);
            return Ok(());
        };
        let delivery = connection.cursors.page(&channel, after, view);
        if let Some(delivery) = delivery {
            let within = delivery.within(view.first.unwrap_or(delivery.first));
            let items = page.get(within).unwrap_or_default();
            self.gaps += connection.queue_publications(channel, delivery, items);
        }
        hub.tail.reach(view.epoch, view.head);
        Ok(())
    }

    /// Begins the next run of a connection, if one waits; true where one has begun.
    pub(crate) fn start_run(&mut self, id: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&id).filter(|one| !one.fenced) else {
            return false;
        };
        match connection.pipeline.start() {
            Some(run) => {
                connection.running = run;
                true
            }
            None => false,
        }
    }

    /// The log has done a connection's run, or refused it from an entry on; answers what was stored.
    pub(crate) fn finish_run(
        &mut self,
        id: u64,
        log: &mut Log,
        fails_from: usize,
        lost_answer: bool,
    ) -> Vec<(usize, Arc<Publication>)> {
        let mut stored = Vec::new();
        let Some(connection) = self.connections.get_mut(&id) else {
            return stored;
        };
        connection.pipeline.finish();
        for (index, (seq, work)) in std::mem::take(&mut connection.running)
            .into_iter()
            .enumerate()
        {
            let takes_effect = index < fails_from;
            if takes_effect
                && log.advance(&connection.session, seq)
                && let Some((channel, data)) = work
            {
                stored.push((channel, log.append(channel, data)));
            }
            let outcome = match (takes_effect, lost_answer) {
                (true, false) => Ok(()),
                (true, true) => Err(Code::FateUnknown.into()),
                (false, _) => Err(Code::StorageFull.into()),
            };
            connection
                .pipeline
                .settle(&mut connection.upstream, seq, outcome);
        }
        self.answer(id);
        stored
    }

    /// The connections whose run is with the log, when a takeover waits for it.
    pub(crate) fn is_running(&self, session: &str) -> Option<u64> {
        let running = |connection: &&Connection| {
            connection.session == session && connection.pipeline.is_running()
        };
        self.connections
            .iter()
            .find(|(_, connection)| running(connection))
            .map(|(id, _)| *id)
    }

    fn answer(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let owed = connection.upstream.poll();
        if let Some(seq) = owed.acked {
            connection.queue.push_back(ServerMessage::Acked { seq });
        }
        if let Some((seq, error)) = owed.refused {
            self.refusals += 1;
            let to = Some(Subject::Seq(seq));
            connection
                .queue
                .push_back(ServerMessage::Error { to, error });
        }
    }

    /// What the connection's socket takes now.
    pub(crate) fn drain(&mut self, now: Time, id: u64, count: usize) -> Vec<ServerMessage> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Vec::new();
        };
        let count = count.min(connection.queue.len());
        if count > 0 {
            connection.heart.sent(now);
        }
        connection.queue.drain(..count).collect()
    }

    /// The connection is gone; what was accepted is finished all the same.
    pub(crate) fn end(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.fenced = true;
            connection.cursors.leave_all();
            connection.queue.clear();
            if !connection.pipeline.is_running() {
                let session = connection.session.clone();
                self.sessions.release(&session, id);
                self.connections.remove(&id);
            }
        }
    }

    fn channel(&mut self, channel: usize) -> &mut Channel {
        self.channels.entry(channel).or_insert_with(|| Channel {
            incoming: Incoming::new(),
            tail: Tail::new(TAIL_MAX, TAIL_MAX),
        })
    }
}

impl Channel {
    fn take_incoming(&mut self) {
        let incoming = self.incoming.take();
        incoming.move_into(&mut self.tail, |_, publication| (publication, 1));
    }
}

impl Connection {
    /// Queues a delivery; 1 where a gap precedes it.
    fn queue_publications(
        &mut self,
        channel: usize,
        delivery: Delivery,
        items: &[Arc<Publication>],
    ) -> u64 {
        let name = name(channel);
        let epoch = crate::log::epoch(channel);
        if let Some(missed) = delivery.missed {
            let position = items.first().and_then(|next| next.position_before(epoch));
            self.queue.push_back(missed.gap(name.clone(), position));
        }
        for publication in items {
            self.queue.push_back(ServerMessage::Message(Message {
                channel: name.clone(),
                position: publication.position(epoch),
                data: publication.data.clone(),
                user: None,
                tag: None,
            }));
        }
        u64::from(delivery.missed.is_some())
    }
}

pub(crate) fn name(channel: usize) -> Arc<str> {
    format!("c{channel}").into()
}

fn number(name: &str) -> usize {
    name[1..].parse().expect("channels are c0, c1, …")
}
