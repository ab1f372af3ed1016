//! What goes into the client's machine and what comes out of it.
//!
//! Owns the words between shell and machine. Must not know how the machine decides.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    backoff::BackoffConfig,
    classify::{Evidence, Verdict},
    client::outbox::OutboxConfig,
    health::Level,
    message::{
        ClientInfo, ClientMessage, ErrorInfo, GapReason, Message, ServerMessage, SessionReason,
    },
    position::Position,
    publication::Data,
    recovery::{From, Recovery},
};

/// What a client is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bounds of the delays between attempts.
    pub backoff: BackoffConfig,
    /// The bounds of unacknowledged messages.
    pub outbox: OutboxConfig,
    /// From dialling to `welcome`; past it the attempt has failed. Default 10 s.
    pub connect_timeout_ms: u64,
    /// How long the application may take to bring a token. Default 30 s.
    pub authorize_timeout_ms: u64,
    /// Failed attempts in a row until dormant; without it, `welcome`'s number, and 10 before one.
    pub attempts_max: Option<u64>,
    /// The first send after so long a silence probes the link too. Default 10 s.
    pub silence_ms: u64,
    /// The most subscriptions. Default 1,000.
    pub subscriptions_max: usize,
    /// The most requests that wait for their answer. Default 100.
    pub requests_max: usize,
    /// Whether the application is asked for a token before the first dial and after `auth` failures.
    pub authorize: bool,
    /// Messages that were written but not acknowledged when a session was lost are sent again in the
    /// new one, at the risk of a second effect, instead of reported as dropped.
    pub resend_unknown: bool,
    /// Send again what only `welcome.acked` confirms; the server refuses the duplicates.
    pub resend_stored: bool,
    /// The session's secret id, of at least 128 random bits; without it the server draws one.
    pub session: Option<Box<str>>,
    /// The highest link number that this session has used.
    pub link: u64,
    /// Told to the server.
    pub client: Option<ClientInfo>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backoff: BackoffConfig::default(),
            outbox: OutboxConfig::default(),
            connect_timeout_ms: 10_000,
            authorize_timeout_ms: 30_000,
            attempts_max: None,
            silence_ms: 10_000,
            subscriptions_max: 1_000,
            requests_max: 100,
            authorize: false,
            resend_unknown: false,
            resend_stored: false,
            session: None,
            link: 0,
            client: None,
        }
    }
}

/// A message for the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// To a channel.
    Publish {
        /// The channel.
        channel: Arc<str>,
        /// The payload.
        data: Data,
        /// Echoed in `message`.
        tag: Option<Arc<str>>,
    },
    /// To the application.
    Send {
        /// The payload.
        data: Data,
        /// What the application is to do.
        method: Option<Box<str>>,
    },
}

/// A request without a number: answered on this link or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Past publications.
    History {
        /// The channel.
        channel: Arc<str>,
        /// After this position; the newest ones where it is absent.
        after: Option<Position>,
        /// The most publications.
        limit: Option<u64>,
    },
    /// Who is there.
    Presence {
        /// The channel.
        channel: Arc<str>,
        /// The most users.
        limit: Option<u64>,
    },
    /// A publication that may be lost.
    Publish {
        /// The channel.
        channel: Arc<str>,
        /// The payload.
        data: Data,
    },
    /// A new token of the same user, which the next `hello` brings as well.
    Refresh {
        /// The token.
        token: Box<str>,
    },
}

/// What the environment says: reasons to look at the link, never proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// The machine slept.
    Wake,
    /// The page can be seen again.
    Visible,
    /// The page is hidden.
    Hidden,
    /// The network is said to be back.
    Online,
    /// The network is said to be gone.
    Offline,
    /// The way to the network changed.
    NetworkChange,
}

/// What the shell tells the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Connect, or try again now.
    Connect,
    /// Follow a channel.
    Subscribe {
        /// The channel.
        channel: Arc<str>,
        /// Where to begin.
        from: From,
    },
    /// Give a channel up.
    Unsubscribe {
        /// The channel.
        channel: Arc<str>,
    },
    /// Take nothing of a channel for now, because its reader is behind; its position is kept.
    Pause {
        /// The channel.
        channel: Arc<str>,
    },
    /// Go on with a paused channel from its position.
    Resume {
        /// The channel.
        channel: Arc<str>,
    },
    /// Queue a message with exactly one end: acked or dropped.
    Queue {
        /// The caller's name for it.
        key: u64,
        /// The message.
        item: Item,
    },
    /// Ask once, now.
    Request {
        /// The caller's name for it.
        key: u64,
        /// What is asked.
        request: Request,
    },
    /// Drop everything that waits in the outbox.
    ClearOutbox,
    /// End for good.
    Close {
        /// End the session as well; otherwise it can be resumed within its time to live.
        bye: bool,
    },
    /// What the application answers to [`Output::Authorize`].
    Token(Option<Box<str>>),
    /// The application can't bring a token.
    TokenFailed {
        /// Asking again may help.
        retry: bool,
    },
    /// The environment changed.
    Hint(Hint),
    /// A dialled link can be written to.
    Opened {
        /// Which.
        link: u64,
    },
    /// A message came.
    Message {
        /// Over which link.
        link: u64,
        /// What.
        message: ServerMessage,
    },
    /// Bytes came that are no whole message yet: proof of life.
    Received {
        /// Over which link.
        link: u64,
    },
    /// A link failed or was closed.
    Failed {
        /// Which.
        link: u64,
        /// How.
        evidence: Evidence,
    },
    /// The time of [`next_timeout`](crate::client::Client::next_timeout) has come.
    Timeout,
}

/// What the machine tells the shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the application for a token; answer with `Token` or `TokenFailed`.
    Authorize,
    /// Dial; answer with `Opened` or `Failed`.
    Dial {
        /// The number of the link, greater at each dial.
        link: u64,
        /// Elsewhere, for this time: the shell checks that it may carry the token there.
        url: Option<Box<str>>,
    },
    /// Write a message.
    Write {
        /// Over which link.
        link: u64,
        /// What.
        message: ClientMessage,
    },
    /// Close a link; nothing that it still says matters.
    CloseLink {
        /// Which.
        link: u64,
        /// The close code.
        code: u16,
    },
    /// Tell the application.
    Event(Event),
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Made, not asked to connect.
    Idle,
    /// Waits for the application's token.
    Authorizing,
    /// Dials.
    Connecting,
    /// Waits for `welcome`.
    Handshaking,
    /// Welcomed and healthy.
    Open,
    /// Welcomed; a probe is out.
    Probing,
    /// Waits for the backoff.
    Waiting,
    /// The environment says that there is no network.
    Offline,
    /// Attempts are used up, or nobody looks: a dial per 60–120 s and on any hint.
    Dormant,
    /// Needs the application or the user.
    Blocked,
    /// Ended for good.
    Closed,
}

/// Whether a message that is dropped may have been stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It certainly was not.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Why a message is dropped: a code of the table, or one of the client's own words `outbox_full`,
/// `expired`, `cleared`, `session_lost`, `client_rewound`, `closed`.
pub type DropReason = Cow<'static, str>;

/// What the application is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state changed.
    State(State),
    /// The health changed.
    Health(Level),
    /// A handshake was completed.
    Welcome {
        /// The session goes on with its numbers.
        resumed: bool,
        /// Why not.
        reason: Option<SessionReason>,
        /// Every numbered message up to this one is stored.
        acked: u64,
        /// The connection's id.
        connection: Box<str>,
        /// The session's secret id, to be kept by those who resume it after a restart.
        session: Box<str>,
    },
    /// A subscription begins, or goes on.
    Subscribed {
        /// The channel.
        channel: Arc<str>,
        /// From where, and whether anything is missing.
        recovery: Recovery,
    },
    /// A subscription was refused; where `error.retry` it is asked for again.
    SubscribeFailed {
        /// The channel.
        channel: Arc<str>,
        /// Why.
        error: ErrorInfo,
    },
    /// A subscription ended.
    Unsubscribed {
        /// The channel.
        channel: Arc<str>,
        /// Why, where nobody asked for it.
        code: Option<Cow<'static, str>>,
    },
    /// A publication: once, in order.
    Message(Message),
    /// Publications are missing here.
    Gap {
        /// The channel.
        channel: Arc<str>,
        /// Where it goes on.
        position: Option<Position>,
        /// Why.
        reason: GapReason,
        /// How many.
        missed: Option<u64>,
    },
    /// The message is stored.
    Acked {
        /// The caller's name for it.
        key: u64,
    },
    /// The message won't be sent again.
    Dropped {
        /// The caller's name for it.
        key: u64,
        /// Whether it may have been stored.
        fate: Fate,
        /// Why.
        reason: DropReason,
    },
    /// The application's answer to a `send`.
    Reply {
        /// The caller's name for it.
        key: u64,
        /// The answer.
        data: Data,
    },
    /// The `send` is stored; its answer was lost with the link.
    ReplyLost {
        /// The caller's name for it.
        key: u64,
    },
    /// What became of a request.
    Answer {
        /// The caller's name for it.
        key: u64,
        /// The answer.
        result: Result<Data, ErrorInfo>,
    },
    /// Anything else that the server or the machine has to say.
    Error(ErrorInfo),
    /// A link is gone.
    LinkClosed {
        /// Which.
        link: u64,
        /// What was seen.
        evidence: Evidence,
        /// What it means.
        verdict: Verdict,
    },
}
