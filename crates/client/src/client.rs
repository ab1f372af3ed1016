//! The handle and its builder.
//!
//! Owns the public face. Everything is done by the owner task, which it talks to over a bounded
//! queue.

use std::{pin::Pin, sync::Arc, time::Duration};

use bowline_proto::{
    BackoffConfig, Data, Level, Position, Verdict,
    client::{self, Event, Hint, Input, Item, Options, OutboxConfig, Request, State},
    message::ClientInfo,
    recovery::From,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    ack::{Ack, RequestError},
    endpoint::{Endpoint, EndpointError},
    owner::{Command, Owner},
    payload::sendable,
    subscription::Subscription,
    tls::Trust,
};

/// Commands that wait for the owner; past it callers wait.
const COMMANDS_MAX: usize = 256;
/// Events that a slow reader of [`Client::events`] may be behind; past it the oldest are lost.
const EVENTS_MAX: usize = 1_024;
/// The default of [`Builder::queue_messages`].
const QUEUE_MESSAGES: usize = 1_024;
/// The most that a stream may hold: a million, which is 64 GB of the largest messages that a server
/// takes by default.
const QUEUE_MESSAGES_MAX: usize = 1 << 20;

/// Why the application brings no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token can be had (asking again may help: {retry})")]
pub struct TokenError {
    /// Asking again may help, after a backoff. Otherwise the client blocks, and [`Client::verdict`]
    /// says that the user must sign in.
    pub retry: bool,
}

/// The client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is closed")]
pub struct ClosedError;

/// How the link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// In a word.
    pub level: Level,
    /// The smoothed round trip.
    pub rtt: Option<Duration>,
}

pub(crate) type TokenFuture = Pin<Box<dyn Future<Output = Result<Box<str>, TokenError>> + Send>>;
pub(crate) type TokenSource = Arc<dyn Fn() -> TokenFuture + Send + Sync>;

/// What a client is made with.
pub struct Builder {
    url: String,
    options: Options,
    token: Option<TokenSource>,
    queue_messages: usize,
    receipts: bool,
    compress_from: Option<usize>,
    authorities: Vec<u8>,
    allow_hosts: Vec<Box<str>>,
}

/// A connection that holds. Clones are handles to the same client; when the last one is dropped,
/// the client closes with `bye`.
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
    health: watch::Receiver<HealthReport>,
    verdict: watch::Receiver<Option<Verdict>>,
    events: broadcast::WeakSender<Event>,
}

impl Builder {
    /// The same token for every hello.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        let token: Box<str> = token.into();
        self.token_source(move || {
            let token = token.clone();
            async move { Ok(token) }
        })
    }

    /// Asked for a token before the first dial, when the server says that it expires, and after it
    /// was refused. An answer has 30 s.
    #[must_use]
    pub fn token_source<F, T>(mut self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Box<str>, TokenError>> + Send + 'static,
    {
        self.token = Some(Arc::new(move || Box::pin(source())));
        self.options.authorize = true;
        self
    }

    /// The bounds of the delays between attempts.
    #[must_use]
    pub const fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.options.backoff = backoff;
        self
    }

    /// The bounds of unacknowledged messages.
    #[must_use]
    pub const fn outbox(mut self, outbox: OutboxConfig) -> Self {
        self.options.outbox = outbox;
        self
    }

    /// Failed attempts in a row until only a hint, or one to two minutes, brings the next; without it,
    /// what the server says.
    #[must_use]
    pub const fn attempts_max(mut self, attempts_max: u64) -> Self {
        self.options.attempts_max = Some(attempts_max);
        self
    }

    /// From dialling to `welcome`. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Offers the server permessage-deflate (RFC 7692), and sends messages of `compress_from` bytes
    /// or more compressed where it agrees. Without it nothing is compressed in either direction.
    /// What is short gains little: 1,024 is a good bound.
    #[must_use]
    pub const fn compression(mut self, compress_from: usize) -> Self {
        self.compress_from = Some(compress_from);
        self
    }

    /// Believes servers of `wss://` whose certificates these authorities (in PEM) have signed, besides
    /// those of the system's.
    #[must_use]
    pub fn authorities(mut self, pem: &[u8]) -> Self {
        self.authorities.extend_from_slice(pem);
        self.authorities.push(b'\n');
        self
    }

    /// Hosts beside the URL's own, without ports, that may get the token when the server sends the
    /// client there (`reconnect{url}`). Default none: a URL of another host is left out, and the client
    /// dials its own again. From `wss://` none leads to `ws://`, whatever its host.
    #[must_use]
    pub fn allow_hosts<H: Into<Box<str>>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.allow_hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Messages that a stream holds before its channel falls back to the log: at least 1, at most
    /// 2^20, and what is beyond these counts as the nearest. Default 1,024.
    #[must_use]
    pub fn queue_messages(mut self, messages: usize) -> Self {
        self.queue_messages = messages.clamp(1, QUEUE_MESSAGES_MAX);
        self
    }

    /// Takes over the session of an earlier process, whose highest link number was at most `link`. One in which
    /// messages were numbered can't be gone on with, since this process has none of them: the server begins
    /// a fresh one instead (`client_rewound`).
    #[must_use]
    pub fn session(mut self, session: &str, link: u64) -> Self {
        self.options.session = Some(session.into());
        self.options.link = link;
        self
    }

    /// Sends again what only a `welcome` had acknowledged; the server refuses the duplicates.
    #[must_use]
    pub const fn resend_stored(mut self, resend: bool) -> Self {
        self.options.resend_stored = resend;
        self
    }

    /// Sends again in a new session what was written but not acknowledged when the old one was lost.
    /// Default off: such a message is dropped with [`Fate::Unknown`](crate::Fate::Unknown), for the
    /// new session can't know it as a duplicate. With it nothing is lost, but a message that the old
    /// session had stored takes effect twice: turn it on where that does no harm.
    #[must_use]
    pub const fn resend_unknown(mut self, resend: bool) -> Self {
        self.options.resend_unknown = resend;
        self
    }

    /// Tells the server with each pong how far the readers of the streams are: receipts for its
    /// statistics, about 100 bytes for each channel that went on. Default off.
    #[must_use]
    pub const fn receipts(mut self, receipts: bool) -> Self {
        self.receipts = receipts;
        self
    }

    /// Starts the client, within a tokio runtime. It connects in the background and goes on trying;
    /// watch [`Client::state`].
    ///
    /// # Errors
    /// The URL can't be dialled at all, or nobody is believed.
    pub fn connect(mut self) -> Result<Client, EndpointError> {
        let mut endpoint = Endpoint::parse(&self.url)?;
        // A server may send a client from `ws` to `wss`.
        if endpoint.is_secure() || !self.authorities.is_empty() {
            endpoint = endpoint.trusting(Trust::new(&self.authorities)?);
        }
        self.options.client = Some(ClientInfo {
            name: env!("CARGO_PKG_NAME").into(),
            version: Some(env!("CARGO_PKG_VERSION").into()),
        });
        if self.options.session.is_none() {
            self.options.session = Some(random_session());
        }
        let mut seed = [0; 4];
        getrandom::fill(&mut seed).expect("the system has entropy once it has given a session id");
        let machine = client::Client::new(u32::from_ne_bytes(seed), self.options);
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (state, watched_state) = watch::channel(State::Idle);
        let report = HealthReport {
            level: Level::Good,
            rtt: None,
        };
        let (health, watched_health) = watch::channel(report);
        let (verdict, watched_verdict) = watch::channel(None);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let weak = events.downgrade();
        let owner = Owner::new(
            machine,
            endpoint,
            self.token,
            self.queue_messages,
            self.receipts,
            self.compress_from,
            self.allow_hosts,
        );
        tokio::spawn(owner.run(received, state, health, verdict, events));
        Ok(Client {
            commands,
            state: watched_state,
            health: watched_health,
            verdict: watched_verdict,
            events: weak,
        })
    }
}

impl Client {
    /// A client of this `ws://` or `wss://` URL.
    pub fn builder(url: &str) -> Builder {
        Builder {
            url: url.to_owned(),
            options: Options::default(),
            token: None,
            queue_messages: QUEUE_MESSAGES,
            receipts: false,
            compress_from: None,
            authorities: Vec::new(),
            allow_hosts: Vec::new(),
        }
    }

    /// Follows a channel. A second subscription to the same channel takes the first one's place.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn subscribe(&self, channel: &str, from: From) -> Result<Subscription, ClosedError> {
        let (reply, subscription) = oneshot::channel();
        let channel = channel.into();
        self.command(Command::Subscribe {
            channel,
            from,
            reply,
        })
        .await?;
        subscription.await.map_err(|_| ClosedError)
    }

    /// Publishes with exactly one effect, in the order of the calls, now or when there is a
    /// connection. The ack tells of data that is no JSON (`unsupported_data`) or is nested too deep
    /// (`too_deep`): it is never queued.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn publish(&self, channel: &str, data: Data) -> Result<Ack, ClosedError> {
        let data = match sendable(data) {
            Ok(data) => data,
            Err(error) => return Ok(Ack::refused(&error.code, false)),
        };
        let channel = channel.into();
        self.queue(Item::Publish {
            channel,
            data,
            tag: None,
        })
        .await
    }

    /// Hands a message to the application behind the server; see [`Ack::reply`]. Data is refused as
    /// by [`publish`](Self::publish).
    ///
    /// # Errors
    /// The client has ended.
    pub async fn send(&self, method: Option<&str>, data: Data) -> Result<Ack, ClosedError> {
        let data = match sendable(data) {
            Ok(data) => data,
            Err(error) => return Ok(Ack::refused(&error.code, true)),
        };
        let method = method.map(Into::into);
        self.queue(Item::Send { data, method }).await
    }

    /// Past publications: those after a position, or the newest. The answer is the JSON of
    /// PROTOCOL.md, "history".
    ///
    /// # Errors
    /// There is no connection, it was lost, or the server refused.
    pub async fn history(
        &self,
        channel: &str,
        after: Option<Position>,
        limit: Option<u64>,
    ) -> Result<Data, RequestError> {
        let channel = channel.into();
        let request = Request::History {
            channel,
            after,
            limit,
        };
        self.request(request).await
    }

    /// Who is subscribed to a channel, at most `limit` users. The answer is the JSON of PROTOCOL.md,
    /// "presence".
    ///
    /// # Errors
    /// There is no connection, it was lost, or the server refused: presence has a grant of its own,
    /// and a server need not offer it.
    pub async fn presence(&self, channel: &str, limit: Option<u64>) -> Result<Data, RequestError> {
        let channel = channel.into();
        self.request(Request::Presence { channel, limit }).await
    }

    /// Publishes at most once: over the connection that there is, without a number, never again.
    /// Answers where the publication stands; none on a channel without history.
    ///
    /// # Errors
    /// The data is no JSON or is nested too deep, there is no connection, the server refused, or the
    /// connection was lost before the answer, and then nobody knows whether it was published.
    pub async fn publish_volatile(
        &self,
        channel: &str,
        data: Data,
    ) -> Result<Option<Position>, RequestError> {
        let data = sendable(data).map_err(RequestError)?;
        let channel = channel.into();
        let answer = self.request(Request::Publish { channel, data }).await?;
        let answer: serde_json::Value = serde_json::from_slice(answer.bytes()).unwrap_or_default();
        Ok(answer["position"]
            .as_str()
            .and_then(|text| text.parse().ok()))
    }

    /// Hands a new token of the same user to the server; the next hello brings it as well, whatever the
    /// answer. Once the server has refused it, the token source is asked again.
    ///
    /// # Errors
    /// There is no connection (the next one begins with this token), it was lost, or the server refused.
    pub async fn refresh(&self, token: &str) -> Result<(), RequestError> {
        let token = token.into();
        self.request(Request::Refresh { token }).await.map(|_| ())
    }

    /// Tells what the environment says, such as that the machine woke up.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn hint(&self, hint: Hint) -> Result<(), ClosedError> {
        self.command(Command::Input(Input::Hint(hint))).await
    }

    /// Drops everything that is not acknowledged, at once and with the reason `cleared`. What was never
    /// written is [`Fate::Refused`](crate::Fate::Refused). What was written may be stored already, so
    /// it is [`Fate::Unknown`](crate::Fate::Unknown); it keeps its place in the outbox until the server has
    /// acknowledged its number, which a `skip` takes where the server refuses it.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn clear_outbox(&self) -> Result<(), ClosedError> {
        self.command(Command::Input(Input::ClearOutbox)).await
    }

    /// Tries again now, after `blocked` for example.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn reconnect(&self) -> Result<(), ClosedError> {
        self.command(Command::Input(Input::Connect)).await
    }

    /// Ends the client. With `bye` the session ends too; without, it can be resumed. Returns when
    /// the links are closed.
    pub async fn close(&self, bye: bool) {
        // A client that has ended is what was asked for.
        let _ = self.command(Command::Input(Input::Close { bye })).await;
        self.commands.closed().await;
    }

    /// The state, to look at or to watch.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The health, to look at or to watch.
    pub fn health(&self) -> watch::Receiver<HealthReport> {
        self.health.clone()
    }

    /// What the last failure since the last `welcome` means, of a link or of the token source: why the
    /// state is what it is, what to tell the user, and what to do. It is there before the state that
    /// follows from it.
    pub fn verdict(&self) -> watch::Receiver<Option<Verdict>> {
        self.verdict.clone()
    }

    /// Everything but messages, for logs; a reader that is far behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            // A sender that is dropped at once: the receiver says that the client has ended.
            None => broadcast::channel(1).1,
        }
    }

    async fn queue(&self, item: Item) -> Result<Ack, ClosedError> {
        let (stored, stored_answer) = oneshot::channel();
        let (reply, reply_answer) = match item {
            Item::Publish { .. } => (None, None),
            Item::Send { .. } => {
                let (reply, answer) = oneshot::channel();
                (Some(reply), Some(answer))
            }
        };
        self.command(Command::Queue {
            item,
            stored,
            reply,
        })
        .await?;
        Ok(Ack::new(stored_answer, reply_answer))
    }

    async fn request(&self, request: Request) -> Result<Data, RequestError> {
        let (reply, answer) = oneshot::channel();
        let closed = || RequestError(closed_error());
        self.command(Command::Request { request, reply })
            .await
            .map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?.map_err(RequestError)
    }

    async fn command(&self, command: Command) -> Result<(), ClosedError> {
        self.commands.send(command).await.map_err(|_| ClosedError)
    }
}

/// 128 random bits as text: whoever knows them can take the session over.
fn random_session() -> Box<str> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("a system without entropy can't have secrets");
    format!("{:032x}", u128::from_ne_bytes(bytes)).into()
}

fn closed_error() -> bowline_proto::message::ErrorInfo {
    bowline_proto::message::ErrorInfo {
        code: "closed".into(),
        message: "The client is closed.".into(),
        retry: false,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn authorities_count_before_a_server_redirects_to_tls_too() {
        let builder = Client::builder("ws://127.0.0.1:1/ws").authorities(b"none");
        assert!(matches!(builder.connect(), Err(EndpointError::Trust(_))));
    }

    #[tokio::test]
    async fn a_stream_holds_a_bounded_number_of_messages_whatever_is_asked_for() {
        for (wanted, holds) in [(0, 1), (7, 7), (usize::MAX, QUEUE_MESSAGES_MAX)] {
            let builder = Client::builder("ws://127.0.0.1:9/ws").queue_messages(wanted);
            let client = builder.connect().expect("a valid URL");
            let stream = client.subscribe("room", From::Now).await.expect("open");
            let beside = stream.deliveries.max_capacity() - holds;
            assert!(beside < 100, "room for notices: {beside}");
        }
    }
}
