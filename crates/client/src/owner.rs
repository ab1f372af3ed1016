//! The task that owns the machine: it feeds inputs, does what the outputs say, and keeps time.
//!
//! Owns everything of one client but the sockets. It never waits for a link or a reader: a link
//! whose queue is full has failed, a reader whose queue is full is paused.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline_proto::{
    Data, Evidence, Position, Time, Verdict, classify,
    client::{self, Event, Fate, Input, Item, Output, Request, State},
    codec::encode_client,
    message::{ClientMessage, ErrorInfo},
    recovery::From,
};
use tokio::{
    sync::{
        Notify, broadcast,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    ack::PublishError,
    client::{HealthReport, TokenSource},
    endpoint::Endpoint,
    link::{self, LinkCommand},
    subscription::{Delivery, Handled, Subscription},
};

/// Messages from the links that wait for the owner; past it the links stop reading.
const INPUTS_MAX: usize = 256;
/// Messages that wait for a link; a link that is further behind has failed.
const LINK_COMMANDS_MAX: usize = 4_096;
/// Room for what is no message in a stream's queue.
const NOTICES_MAX: usize = 16;
/// Where no timer runs, the loop looks again after so long.
const IDLE: Duration = Duration::from_secs(3_600);

/// Positions in one pong: 64 of them are some 8 KB, well below every server's message limit. What
/// finds no room goes with a later one.
const RECEIPTS_MAX: usize = 64;

/// How long the links may take to close: above the bound that each of them has.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// What a handle asks for.
pub(crate) enum Command {
    Subscribe {
        channel: Arc<str>,
        from: From,
        reply: oneshot::Sender<Subscription>,
    },
    Queue {
        item: Item,
        stored: oneshot::Sender<Result<(), PublishError>>,
        /// Only of a `send`.
        reply: Option<oneshot::Sender<Data>>,
    },
    Request {
        request: Request,
        reply: oneshot::Sender<Result<Data, ErrorInfo>>,
    },
    Input(Input),
}

struct Reader {
    deliveries: mpsc::Sender<Delivery>,
    paused: Arc<AtomicBool>,
    handled: Handled,
    /// The last position that a pong has told.
    receipted: Option<Position>,
}

struct Waiter {
    stored: Option<oneshot::Sender<Result<(), PublishError>>>,
    reply: Option<oneshot::Sender<Data>>,
}

/// Everything of one client but the sockets.
pub(crate) struct Owner {
    machine: client::Client,
    endpoint: Endpoint,
    /// Where the server may send this client, besides the endpoint's host.
    allow_hosts: Vec<Box<str>>,
    token: Option<TokenSource>,
    queue_messages: usize,
    receipts: bool,
    compress_from: Option<usize>,
    started: Instant,
    links: BTreeMap<u64, mpsc::Sender<LinkCommand>>,
    tasks: JoinSet<()>,
    /// The question for a token; one that hangs ends with the next.
    asking: Option<AbortHandle>,
    readers: HashMap<Arc<str>, Reader>,
    /// By key; bounded by the machine's outbox and its replies.
    waiters: HashMap<u64, Waiter>,
    /// By key; bounded by the machine's requests.
    requests: HashMap<u64, oneshot::Sender<Result<Data, ErrorInfo>>>,
    next_key: u64,
    wake: Arc<Notify>,
}

struct Faces {
    state: watch::Sender<State>,
    health: watch::Sender<HealthReport>,
    verdict: watch::Sender<Option<Verdict>>,
    events: broadcast::Sender<Event>,
    inputs: mpsc::Sender<Input>,
}

impl Owner {
    pub(crate) fn new(
        machine: client::Client,
        endpoint: Endpoint,
        token: Option<TokenSource>,
        queue_messages: usize,
        receipts: bool,
        compress_from: Option<usize>,
        allow_hosts: Vec<Box<str>>,
    ) -> Self {
        Self {
            machine,
            endpoint,
            allow_hosts,
            token,
            queue_messages,
            receipts,
            compress_from,
            started: Instant::now(),
            links: BTreeMap::new(),
            tasks: JoinSet::new(),
            asking: None,
            readers: HashMap::new(),
            waiters: HashMap::new(),
            requests: HashMap::new(),
            next_key: 1,
            wake: Arc::new(Notify::new()),
        }
    }

    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        state: watch::Sender<State>,
        health: watch::Sender<HealthReport>,
        verdict: watch::Sender<Option<Verdict>>,
        events: broadcast::Sender<Event>,
    ) {
        let (inputs, mut from_links) = mpsc::channel(INPUTS_MAX);
        let faces = Faces {
            state,
            health,
            verdict,
            events,
            inputs,
        };
        self.feed(Input::Connect, &faces);
        while self.machine.state() != State::Closed {
            let due = match self.machine.next_timeout() {
                Some(at) => self.started + Duration::from_micros(at.as_micros()),
                None => Instant::now() + IDLE,
            };
            let wake = self.wake.clone();
            // Fair, not biased: no arm may starve another, and each handles one thing.
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command, &faces),
                    None => self.feed(Input::Close { bye: true }, &faces),
                },
                Some(input) = from_links.recv() => self.feed(input, &faces),
                () = wake.notified() => self.look_at_readers(&faces),
                () = sleep_until(due) => self.feed(Input::Timeout, &faces),
                Some(_) = self.tasks.join_next() => {}
            }
        }
        drop(from_links);
        self.end(commands, &faces).await;
    }

    /// Lets the links write what they have and close, each within a bound of its own, and refuses
    /// what is asked for meanwhile.
    async fn end(mut self, mut commands: mpsc::Receiver<Command>, faces: &Faces) {
        self.readers.clear();
        self.links.clear();
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
        let mut tasks = std::mem::take(&mut self.tasks);
        let ended = async { while tasks.join_next().await.is_some() {} };
        // What is left after that is aborted.
        let ended = timeout(END_TIMEOUT, ended);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                _ = &mut ended => break,
                Some(command) = commands.recv() => self.refuse(command, faces),
            }
        }
        // Callers wait for this to know that the links are closed.
        commands.close();
        while let Some(command) = commands.recv().await {
            self.refuse(command, faces);
        }
    }

    /// The machine has ended: it says of a message that it was never written. Who asked for anything
    /// else learns from the end of its channel that the client is closed.
    fn refuse(&mut self, command: Command, faces: &Faces) {
        if matches!(command, Command::Queue { .. }) {
            self.command(command, faces);
        }
    }

    fn command(&mut self, command: Command, faces: &Faces) {
        let key = self.next_key;
        self.next_key += 1;
        match command {
            Command::Subscribe {
                channel,
                from,
                reply,
            } => {
                let (deliveries, received) = mpsc::channel(self.queue_messages + NOTICES_MAX);
                let paused = Arc::new(AtomicBool::new(false));
                let handled = Handled::default();
                let reader = Reader {
                    deliveries,
                    paused: paused.clone(),
                    handled: handled.clone(),
                    receipted: None,
                };
                if self.readers.insert(channel.clone(), reader).is_some() {
                    let channel = channel.clone();
                    self.feed_keeping_reader(Input::Unsubscribe { channel }, faces);
                }
                let subscription = Subscription {
                    channel: channel.clone(),
                    deliveries: received,
                    paused,
                    wake: self.wake.clone(),
                    handled,
                    in_hand: None,
                };
                // A caller that is gone drops the subscription, which wakes the owner to end it.
                let _ = reply.send(subscription);
                self.feed(Input::Subscribe { channel, from }, faces);
            }
            Command::Queue {
                item,
                stored,
                reply,
            } => {
                let waiter = Waiter {
                    stored: Some(stored),
                    reply,
                };
                self.waiters.insert(key, waiter);
                self.feed(Input::Queue { key, item }, faces);
            }
            Command::Request { request, reply } => {
                self.requests.insert(key, reply);
                self.feed(Input::Request { key, request }, faces);
            }
            Command::Input(input) => self.feed(input, faces),
        }
    }

    /// The reader of the channel is a new one, which must not hear of the old one's end.
    fn feed_keeping_reader(&mut self, input: Input, faces: &Faces) {
        let mut out = Vec::new();
        self.machine.handle(self.now(), input, &mut out);
        out.retain(|output| !matches!(output, Output::Event(Event::Unsubscribed { .. })));
        self.perform(out, faces);
    }

    fn feed(&mut self, input: Input, faces: &Faces) {
        let mut out = Vec::new();
        self.machine.handle(self.now(), input, &mut out);
        self.perform(out, faces);
        let health = self.machine.health();
        faces.health.send_if_modified(|report| {
            let rtt = health.rtt();
            std::mem::replace(&mut report.rtt, rtt) != rtt
        });
    }

    fn perform(&mut self, out: Vec<Output>, faces: &Faces) {
        let mut failed = None;
        for output in out {
            match output {
                Output::Authorize => self.authorize(faces),
                Output::Dial { link, url } => self.dial(link, url, faces),
                Output::Write { link, mut message } => {
                    if let ClientMessage::Pong { positions, .. } = &mut message {
                        *positions = self.receipts();
                    }
                    let command = LinkCommand::Write(encode_client(&message));
                    let queued = self.links.get(&link).map(|queue| queue.try_send(command));
                    if let Some(Err(TrySendError::Full(_))) = queued {
                        self.links.remove(&link);
                        failed = Some(link);
                    }
                }
                Output::CloseLink { link, code } => {
                    if let Some(queue) = self.links.remove(&link) {
                        // A full queue is dropped with its link.
                        let _ = queue.try_send(LinkCommand::Close(code));
                    }
                }
                Output::Event(event) => self.event(event, faces),
            }
        }
        if let Some(link) = failed {
            self.feed(
                Input::Failed {
                    link,
                    evidence: Evidence::Silence,
                },
                faces,
            );
        }
    }

    fn authorize(&mut self, faces: &Faces) {
        let (Some(source), inputs) = (self.token.clone(), faces.inputs.clone()) else {
            return;
        };
        let asking = self.tasks.spawn(async move {
            let input = match source().await {
                Ok(token) => Input::Token(Some(token)),
                Err(error) => Input::TokenFailed { retry: error.retry },
            };
            // Fails only when the client has ended.
            let _ = inputs.send(input).await;
        });
        if let Some(hanging) = self.asking.replace(asking) {
            hanging.abort();
        }
    }

    fn dial(&mut self, link: u64, url: Option<Box<str>>, faces: &Faces) {
        // The URL gets the token, so it must lead to a host that the application named.
        let endpoint = url
            .and_then(|url| self.endpoint.redirected(&url, &self.allow_hosts))
            .unwrap_or_else(|| self.endpoint.clone());
        let (queue, commands) = mpsc::channel(LINK_COMMANDS_MAX);
        self.links.insert(link, queue);
        let inputs = faces.inputs.clone();
        self.tasks.spawn(link::run(
            link,
            endpoint,
            self.compress_from,
            commands,
            inputs,
        ));
    }

    fn event(&mut self, event: Event, faces: &Faces) {
        match &event {
            Event::Message(message) => {
                let channel = message.channel.clone();
                let delivery = Delivery::Message(message.clone());
                return self.deliver(&channel, delivery, faces);
            }
            Event::State(state) => {
                if let Some(evidence) = token_failure(*faces.state.borrow(), *state) {
                    faces.verdict.send_replace(Some(classify(&evidence)));
                }
                faces.state.send_replace(*state);
            }
            Event::Welcome { .. } => {
                faces.verdict.send_replace(None);
            }
            Event::Health(level) => {
                faces.health.send_modify(|report| report.level = *level);
            }
            Event::Subscribed { channel, recovery } => {
                self.deliver(channel, Delivery::Subscribed(*recovery), faces);
            }
            Event::Gap {
                channel,
                position,
                reason,
                missed,
            } => {
                let (position, reason, missed) = (*position, *reason, *missed);
                self.deliver(
                    channel,
                    Delivery::Gap {
                        position,
                        reason,
                        missed,
                    },
                    faces,
                );
            }
            Event::SubscribeFailed { channel, error } => {
                self.deliver(channel, Delivery::Refused(error.clone()), faces);
                if !error.retry {
                    self.readers.remove(channel);
                }
            }
            Event::Unsubscribed { channel, code } => {
                let code = code.as_ref().map(ToString::to_string);
                self.deliver(channel, Delivery::Ended { code }, faces);
                self.readers.remove(channel);
            }
            Event::LinkClosed { link, verdict, .. } => {
                self.links.remove(link);
                faces.verdict.send_replace(Some(verdict.clone()));
            }
            _ => self.resolve(&event),
        }
        // Nobody listens: that is fine.
        let _ = faces.events.send(event);
    }

    /// Tells those who wait for a message or a request.
    fn resolve(&mut self, event: &Event) {
        match event {
            Event::Acked { key } => {
                if let Some(waiter) = self.waiters.get_mut(key) {
                    if let Some(stored) = waiter.stored.take() {
                        let _ = stored.send(Ok(()));
                    }
                    if waiter.reply.is_none() {
                        self.waiters.remove(key);
                    }
                }
            }
            Event::Dropped { key, fate, reason } => {
                let error = PublishError {
                    fate: *fate,
                    reason: reason.to_string(),
                };
                self.reject(*key, error);
            }
            Event::Reply { key, data } => {
                if let Some(waiter) = self.waiters.get_mut(key) {
                    if let Some(reply) = waiter.reply.take() {
                        let _ = reply.send(data.clone());
                    }
                    if waiter.stored.is_none() {
                        self.waiters.remove(key);
                    }
                }
            }
            // Dropping the sender says it.
            Event::ReplyLost { key } => {
                self.waiters.remove(key);
            }
            Event::Answer { key, result } => {
                if let Some(reply) = self.requests.remove(key) {
                    let _ = reply.send(result.clone());
                }
            }
            _ => {}
        }
    }

    fn reject(&mut self, key: u64, error: PublishError) {
        debug_assert!(matches!(error.fate, Fate::Refused | Fate::Unknown));
        if let Some(stored) = self.waiters.remove(&key).and_then(|waiter| waiter.stored) {
            let _ = stored.send(Err(error));
        }
    }

    /// Hands an item to its reader, and pauses the channel when the reader's queue is full.
    fn deliver(&mut self, channel: &Arc<str>, delivery: Delivery, faces: &Faces) {
        let Some(reader) = self.readers.get(channel) else {
            return;
        };
        // Full only when nobody reads and notices pile up: messages stop before that. Where one finds no
        // room all the same, the stream ends: it must not go on with a hole.
        if let Err(TrySendError::Full(Delivery::Message(_) | Delivery::Gap { .. })) =
            reader.deliveries.try_send(delivery)
        {
            let channel = channel.clone();
            return self.feed(Input::Unsubscribe { channel }, faces);
        }
        if reader.deliveries.capacity() <= NOTICES_MAX && !reader.paused.load(Ordering::Acquire) {
            reader.paused.store(true, Ordering::Release);
            let channel = channel.clone();
            self.feed(Input::Pause { channel }, faces);
            // The reader may have drained its queue before it could see that it is paused.
            self.wake.notify_one();
        }
    }

    /// Goes on with drained channels and ends dropped ones.
    fn look_at_readers(&mut self, faces: &Faces) {
        let mut inputs = Vec::new();
        for (channel, reader) in &self.readers {
            let channel = channel.clone();
            if reader.deliveries.is_closed() {
                inputs.push(Input::Unsubscribe { channel });
            } else if reader.paused.load(Ordering::Acquire)
                && reader.deliveries.capacity() == reader.deliveries.max_capacity()
            {
                reader.paused.store(false, Ordering::Release);
                inputs.push(Input::Resume { channel });
            }
        }
        for input in inputs {
            self.feed(input, faces);
        }
    }

    /// How far the readers are that went on since the last pong.
    fn receipts(&mut self) -> Vec<(Arc<str>, Position)> {
        if !self.receipts {
            return Vec::new();
        }
        let mut receipts = Vec::new();
        for (channel, reader) in &mut self.readers {
            if receipts.len() == RECEIPTS_MAX {
                break;
            }
            let handled = reader.handled.position();
            if let Some(position) = handled
                && handled != reader.receipted
            {
                reader.receipted = handled;
                receipts.push((channel.clone(), position));
            }
        }
        receipts
    }

    fn now(&self) -> Time {
        let micros = self.started.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// From waiting for a token only one that does not come leads back to rest.
const fn token_failure(before: State, after: State) -> Option<Evidence> {
    match (before, after) {
        (State::Authorizing, State::Blocked) => Some(Evidence::Token { retry: false }),
        (State::Authorizing, State::Waiting | State::Dormant | State::Offline) => {
            Some(Evidence::Token { retry: true })
        }
        _ => None,
    }
}
