//! The client's state machine: commands and timers.
//!
//! Owns the states. When to dial is in `dialing`, what happens on a link in `links`. Must not know
//! sockets, clocks or entropy.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    backoff::Backoff,
    classify::Evidence,
    client::{
        contract::{Event, Fate, Input, Item, Options, Output, Request, State},
        outbox::{Outbox, Refused, Resolved, is_too_big},
        subscriptions::Subscriptions,
    },
    close,
    code::Code,
    health::{Health, Level},
    message::{ClientMessage, ErrorInfo, History, Publish},
    recovery::From,
    rng::Rng,
    time::Time,
};

/// The attempts until dormant before a `welcome` has named a number.
const ATTEMPTS_MAX: u64 = 10;

/// A link that is not yet welcomed.
#[derive(Debug)]
pub(super) struct Dialing {
    pub(super) link: u64,
    /// When `hello` was written.
    pub(super) hello_at: Option<Time>,
    pub(super) deadline: Time,
    /// Channels given up or subscribed to since `hello`: of these `welcome` does not tell what is wanted.
    pub(super) changed: BTreeSet<Arc<str>>,
}

/// The link that was welcomed.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) link: u64,
    /// No advice leaves it sooner.
    pub(super) stays_until: Time,
    pub(super) received_at: Time,
    /// Silence for so long is death: ping interval plus pong timeout.
    pub(super) silence_max: Duration,
    pub(super) pong_timeout: Duration,
    pub(super) inflight_max: u64,
    pub(super) probe: Option<Probe>,
    /// A newer link has written `hello`: nothing numbered goes out here any more, and nothing is asked for.
    pub(super) fenced: bool,
}

/// A ping that waits for any sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) ts: u64,
    pub(super) sent_at: Time,
    pub(super) deadline: Time,
}

/// The client's side of `bowline.v1`, sans-IO.
///
/// Feed it with [`handle`](Self::handle), do what the outputs say in their order, and feed
/// [`Input::Timeout`] when [`next_timeout`](Self::next_timeout) has come.
#[derive(Debug)]
pub struct Client {
    pub(super) options: Options,
    pub(super) rng: Rng,
    pub(super) backoff: Backoff,
    pub(super) health: Health,
    pub(super) outbox: Outbox,
    pub(super) subscriptions: Subscriptions,
    pub(super) session: Option<Box<str>>,
    pub(super) token: Option<Box<str>>,
    pub(super) auth_failures: u32,
    /// The highest link number given.
    pub(super) link: u64,
    pub(super) dialing: Option<Dialing>,
    pub(super) active: Option<Active>,
    /// Requests that wait for an answer: id to the caller's key.
    pub(super) requests: BTreeMap<u64, u64>,
    pub(super) next_id: u64,
    pub(super) attempts_max: u64,
    pub(super) message_bytes_max: Option<u64>,
    pub(super) redial_at: Option<Time>,
    pub(super) redial_url: Option<Box<str>>,
    pub(super) restart_over_ms: Option<u64>,
    pub(super) authorize_until: Option<Time>,
    /// When a token is asked for anew, as long as the link lives.
    pub(super) ask_again_at: Option<Time>,
    pub(super) hidden: bool,
    pub(super) offline: bool,
    state: State,
    level: Level,
}

impl Client {
    /// A client in state idle. The same seed, options and inputs give the same outputs.
    pub fn new(seed: u32, options: Options) -> Self {
        Self {
            rng: Rng::new(seed),
            backoff: Backoff::new(options.backoff),
            health: Health::default(),
            outbox: Outbox::new(options.outbox),
            subscriptions: Subscriptions::new(options.subscriptions_max),
            session: options.session.clone(),
            token: None,
            auth_failures: 0,
            link: options.link,
            dialing: None,
            active: None,
            requests: BTreeMap::new(),
            next_id: 1,
            attempts_max: options.attempts_max.unwrap_or(ATTEMPTS_MAX),
            message_bytes_max: None,
            redial_at: None,
            redial_url: None,
            restart_over_ms: None,
            authorize_until: None,
            ask_again_at: None,
            hidden: false,
            offline: false,
            state: State::Idle,
            level: Level::Good,
            options,
        }
    }

    /// Takes an input and appends what is to be done, in order.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Opened { link } => self.opened(now, link, out),
            Input::Message { link, message } => self.message(now, link, message, out),
            Input::Received { link } => self.received(now, link),
            Input::Failed { link, evidence } => self.failed(now, link, evidence, out),
            Input::Token(token) => self.token(now, token, out),
            Input::TokenFailed { retry } => self.token_failed(now, retry, out),
            Input::Hint(hint) => self.hint(now, hint, out),
            Input::Timeout => self.timeout(now, out),
            command => self.command(now, command, out),
        }
        self.flush(now, out);
        self.settle(out);
    }

    /// When [`Input::Timeout`] is due.
    pub fn next_timeout(&self) -> Option<Time> {
        if self.state == State::Closed {
            return None;
        }
        let active = self.active.as_ref();
        let writable = active.is_some_and(|active| !active.fenced);
        [
            self.dialing.as_ref().map(|dialing| dialing.deadline),
            active.map(|active| active.received_at + active.silence_max),
            active
                .and_then(|active| active.probe)
                .map(|probe| probe.deadline),
            self.redial_at,
            self.authorize_until,
            self.ask_again_at.filter(|_| active.is_some()),
            self.outbox.expires_at(),
            self.outbox.paused_until().filter(|_| writable),
            self.subscriptions.retry_at().filter(|_| writable),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where it stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The estimate of the link.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// The outbox.
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The subscriptions.
    pub const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    fn command(&mut self, now: Time, command: Input, out: &mut Vec<Output>) {
        match command {
            Input::Connect if self.active.is_none() && self.dialing.is_none() => {
                self.auth_failures = 0;
                self.offline = false;
                // Who asks by hand does not wait for an answer that may never come.
                self.authorize_until = None;
                self.start(now, out);
            }
            Input::Subscribe { channel, from } => self.subscribe(channel, from, out),
            Input::Unsubscribe { channel } if self.subscriptions.remove(&channel) => {
                self.write_unsubscribe(&channel, out);
                self.changed(channel.clone());
                out.push(Output::Event(Event::Unsubscribed {
                    channel,
                    code: None,
                }));
            }
            Input::Pause { channel } if self.subscriptions.pause(&channel) => {
                self.write_unsubscribe(&channel, out);
            }
            // A `welcome` that is on its way knows nothing of its cursor: `hello` was without it.
            Input::Resume { channel } if self.subscriptions.resume(&channel) => {
                self.changed(channel);
            }
            Input::Queue { key, item } => self.queue(now, key, item, out),
            Input::Request { key, request } => self.request(key, request, out),
            Input::ClearOutbox => {
                let resolved = self.outbox.clear(None, "cleared");
                report(resolved, out);
            }
            Input::Close { bye } => self.close(bye, out),
            _ => {}
        }
    }

    fn subscribe(&mut self, channel: Arc<str>, mut from: From, out: &mut Vec<Output>) {
        if let Some(cursor) = self.subscriptions.remove_by_server(&channel) {
            self.write_unsubscribe(&channel, out);
            // Somebody may have read it until there.
            if let (From::Now, Some(cursor)) = (from, cursor) {
                from = From::After(cursor);
            }
        }
        if self.subscriptions.is_full() {
            let error = ErrorInfo::new(Code::TooManySubscriptions);
            out.push(Output::Event(Event::SubscribeFailed { channel, error }));
        } else if self.subscriptions.add(channel.clone(), from) {
            self.changed(channel);
        }
    }

    fn queue(&mut self, now: Time, key: u64, item: Item, out: &mut Vec<Output>) {
        let refused = if self.state == State::Closed {
            "closed"
        } else {
            match self.outbox.push(now, key, item, self.message_bytes_max) {
                Ok(()) => return self.probe_after_silence(now, out),
                Err(Refused::Full) => "outbox_full",
                Err(Refused::TooBig) => Code::MessageTooBig.as_str(),
            }
        };
        let reason = refused.into();
        report(vec![Resolved::Dropped(key, Fate::Refused, reason)], out);
    }

    fn request(&mut self, key: u64, request: Request, out: &mut Vec<Output>) {
        if let Request::Refresh { token } = &request {
            // Whatever becomes of the request: a link that is lost before the answer says nothing of the
            // token, and one that the server refuses ends the link with 4401, after which it is forgotten.
            self.token = Some(token.clone());
        }
        let max = self.message_bytes_max;
        let refusal = match &self.active {
            None => own_error("not_connected"),
            Some(_) if self.requests.len() >= self.options.requests_max => {
                own_error("too_many_requests")
            }
            Some(_)
                if matches!(&request, Request::Publish { channel, data }
                    if is_too_big(data.len(), [Some(channel), None, None], max)) =>
            {
                ErrorInfo::new(Code::MessageTooBig)
            }
            Some(active) => {
                let id = Some(self.next_id.into());
                let message = match request {
                    Request::History {
                        channel,
                        after,
                        limit,
                    } => ClientMessage::History(History {
                        id,
                        channel,
                        after,
                        limit,
                    }),
                    Request::Presence { channel, limit } => {
                        ClientMessage::Presence { id, channel, limit }
                    }
                    Request::Publish { channel, data } => ClientMessage::Publish(Publish {
                        seq: None,
                        id,
                        channel,
                        data,
                        tag: None,
                    }),
                    Request::Refresh { token } => ClientMessage::Refresh { id, token },
                };
                self.requests.insert(self.next_id, key);
                self.next_id += 1;
                out.push(Output::Write {
                    link: active.link,
                    message,
                });
                return;
            }
        };
        let result = Err(refusal);
        out.push(Output::Event(Event::Answer { key, result }));
    }

    fn close(&mut self, bye: bool, out: &mut Vec<Output>) {
        if let Some(active) = &self.active
            && bye
        {
            let message = ClientMessage::Bye;
            out.push(Output::Write {
                link: active.link,
                message,
            });
        }
        self.drop_links(out);
        let mut resolved = self.outbox.relink();
        resolved.extend(self.outbox.clear(None, "closed"));
        report(resolved, out);
        self.redial_at = None;
        self.authorize_until = None;
        self.move_to(State::Closed, out);
    }

    fn timeout(&mut self, now: Time, out: &mut Vec<Output>) {
        if let Some(dialing) = &self.dialing
            && dialing.deadline <= now
        {
            let link = dialing.link;
            out.push(Output::CloseLink {
                link,
                code: close::GOING_AWAY,
            });
            self.failed(now, link, Evidence::HandshakeTimeout, out);
        }
        self.check_silence(now, out);
        if self.authorize_until.is_some_and(|until| until <= now) {
            self.token_failed(now, true, out);
        }
        if self.active.is_some() && self.ask_again_at.is_some_and(|at| at <= now) {
            self.authorize(now, out);
        }
        if self.redial_at.is_some_and(|at| at <= now) {
            self.start(now, out);
        }
        let resolved = self.outbox.expire(now);
        report(resolved, out);
    }

    pub(super) fn drop_links(&mut self, out: &mut Vec<Output>) {
        let dialing = self.dialing.take().map(|dialing| dialing.link);
        let active = self.active.take().map(|active| active.link);
        for link in [dialing, active].into_iter().flatten() {
            out.push(Output::CloseLink {
                link,
                code: close::NORMAL,
            });
        }
        self.fail_requests(out);
        self.subscriptions.unlink();
    }

    pub(super) fn fail_requests(&mut self, out: &mut Vec<Output>) {
        for key in std::mem::take(&mut self.requests).into_values() {
            let result = Err(own_error("connection_lost"));
            out.push(Output::Event(Event::Answer { key, result }));
        }
    }

    pub(super) fn changed(&mut self, channel: Arc<str>) {
        if let Some(dialing) = &mut self.dialing
            && dialing.hello_at.is_some()
            && dialing.changed.len() < self.options.subscriptions_max
        {
            dialing.changed.insert(channel);
        }
    }

    pub(super) fn write_unsubscribe(&self, channel: &Arc<str>, out: &mut Vec<Output>) {
        if let Some(active) = &self.active {
            let channel = channel.clone();
            let message = ClientMessage::Unsubscribe { id: None, channel };
            out.push(Output::Write {
                link: active.link,
                message,
            });
        }
    }

    pub(super) fn move_to(&mut self, state: State, out: &mut Vec<Output>) {
        if self.state != state {
            self.state = state;
            out.push(Output::Event(Event::State(state)));
        }
    }

    /// Tells what follows from the rest: healthy or probing, and the level.
    fn settle(&mut self, out: &mut Vec<Output>) {
        if let Some(active) = &self.active {
            let state = match active.probe {
                Some(_) => State::Probing,
                None => State::Open,
            };
            self.move_to(state, out);
        }
        let level = self.health.level(self.backoff.errors_permille());
        if self.level != level {
            self.level = level;
            out.push(Output::Event(Event::Health(level)));
        }
    }
}

/// An error of the client's own, which the code table does not have.
fn own_error(code: &'static str) -> ErrorInfo {
    let message = match code {
        "not_connected" => "There is no connection; ask again when there is one.",
        "too_many_requests" => "Too many requests wait for their answer.",
        _ => "The connection was lost before the answer came.",
    };
    ErrorInfo {
        code: Cow::Borrowed(code),
        message: Cow::Borrowed(message),
        retry: true,
        retry_after_ms: None,
    }
}

/// Tells the application what left the outbox.
pub(super) fn report(resolved: Vec<Resolved>, out: &mut Vec<Output>) {
    out.extend(resolved.into_iter().map(|resolved| {
        Output::Event(match resolved {
            Resolved::Acked(key) => Event::Acked { key },
            Resolved::ReplyLost(key) => Event::ReplyLost { key },
            Resolved::Dropped(key, fate, reason) => Event::Dropped { key, fate, reason },
        })
    }));
}
