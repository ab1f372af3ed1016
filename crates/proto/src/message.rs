//! The messages of `bowline.v1`, both directions, as both sides hold them in memory.
//!
//! Owns the shapes of PROTOCOL.md, "Messages". Must not know their text: that is `codec`.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    code::Code,
    position::Position,
    publication::Data,
    recovery::{From, Recovery},
};

/// The longest `id` and `ts`, in bytes of JSON: they are echoed, so they must stay small.
pub const ECHO_BYTES_MAX: usize = 128;

/// The longest `tag`, in bytes: it is kept with the message and echoed to every subscriber.
pub const TAG_BYTES_MAX: usize = 255;

/// A value that its sender chose and the answer echoes: the JSON text of a string or a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Echo(Box<str>);

impl Echo {
    /// Takes the JSON text of a string or number of at most [`ECHO_BYTES_MAX`] bytes.
    pub fn from_json(text: &str) -> Option<Self> {
        let scalar = text.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        (scalar && text.len() <= ECHO_BYTES_MAX).then(|| Self(text.into()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

impl std::convert::From<u64> for Echo {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

/// Which request an answer belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The request with this `id`.
    Id(Echo),
    /// The numbered message with this `seq`.
    Seq(u64),
}

/// From client to server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first message of a connection.
    Hello(Box<Hello>),
    /// Asks for a channel.
    Subscribe(Subscribe),
    /// Gives a channel up.
    Unsubscribe {
        /// Echoed in the answer.
        id: Option<Echo>,
        /// The channel.
        channel: Arc<str>,
    },
    /// Publishes to a channel.
    Publish(Publish),
    /// Hands a message to the application.
    Send(Send),
    /// Takes every number up to this one that is not stored.
    Skip {
        /// The last number given up.
        seq: u64,
    },
    /// Asks for past publications.
    History(History),
    /// Asks who is there.
    Presence {
        /// Echoed in the answer.
        id: Option<Echo>,
        /// The channel.
        channel: Arc<str>,
        /// The most users to list.
        limit: Option<u64>,
    },
    /// Brings a new token.
    Refresh {
        /// Echoed in the answer.
        id: Option<Echo>,
        /// The token.
        token: Box<str>,
    },
    /// Asks for a `pong`.
    Ping {
        /// Echoed in the `pong`.
        ts: Option<Echo>,
    },
    /// Answers a `ping`.
    Pong {
        /// The `ts` of the `ping`.
        ts: Option<Echo>,
        /// How far the client's handlers are, per channel: receipts, for statistics only.
        positions: Vec<(Arc<str>, Position)>,
    },
    /// Ends the session.
    Bye,
}

impl ClientMessage {
    /// The `id` that its answer would echo.
    pub fn id(&self) -> Option<Echo> {
        match self {
            Self::Hello(hello) => hello.id.clone(),
            Self::Subscribe(Subscribe { id, .. })
            | Self::Unsubscribe { id, .. }
            | Self::Publish(Publish { id, .. })
            | Self::Send(Send { id, .. })
            | Self::History(History { id, .. })
            | Self::Presence { id, .. }
            | Self::Refresh { id, .. } => id.clone(),
            Self::Skip { .. } | Self::Ping { .. } | Self::Pong { .. } | Self::Bye => None,
        }
    }
}

/// `hello`: who the client is and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Echoed in `welcome`.
    pub id: Option<Echo>,
    /// Proves the user.
    pub token: Option<Box<str>>,
    /// The session's secret id; a fresh one is given where it is absent.
    pub session: Option<Box<str>>,
    /// Greater at each dial of the session; absent counts as the highest.
    pub link: Option<u64>,
    /// The lowest unresolved seq.
    pub first: Option<u64>,
    /// The next unused seq.
    pub next: Option<u64>,
    /// The channels, each with where to begin; none where the position has no valid form.
    pub subscribe: Vec<(Arc<str>, Option<From>)>,
    /// Which program this is.
    pub client: Option<ClientInfo>,
}

/// What a client says of its own program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientInfo {
    /// Its name.
    pub name: Box<str>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Box<str>>,
}

/// `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Echoed in the answer.
    pub id: Option<Echo>,
    /// The channel.
    pub channel: Arc<str>,
    /// Where to begin.
    pub from: From,
}

/// `publish`; numbered where it has a `seq`, volatile where not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Its number in the session.
    pub seq: Option<u64>,
    /// Echoed in the answer of a volatile one.
    pub id: Option<Echo>,
    /// The channel.
    pub channel: Arc<str>,
    /// The payload.
    pub data: Data,
    /// Echoed in `message`.
    pub tag: Option<Arc<str>>,
}

/// `send`: a message for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Its number in the session.
    pub seq: Option<u64>,
    /// Echoed in the answer of one without a number.
    pub id: Option<Echo>,
    /// The payload.
    pub data: Data,
    /// What the application is to do with it.
    pub method: Option<Box<str>>,
}

/// `history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Echoed in the answer.
    pub id: Option<Echo>,
    /// The channel.
    pub channel: Arc<str>,
    /// The publications after this position; the newest ones where it is absent.
    pub after: Option<Position>,
    /// The most publications to answer.
    pub limit: Option<u64>,
}

/// From server to client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// Answers `hello`.
    Welcome(Box<Welcome>),
    /// A subscription begins.
    Subscribed {
        /// The `id` of the request.
        id: Option<Echo>,
        /// The channel.
        channel: Arc<str>,
        /// Where it begins.
        recovery: Recovery,
    },
    /// A subscription has ended.
    Unsubscribed {
        /// The `id` of the request, where there was one.
        id: Option<Echo>,
        /// The channel.
        channel: Arc<str>,
        /// Why, where nobody asked for it.
        code: Option<Cow<'static, str>>,
    },
    /// A publication.
    Message(Message),
    /// Every numbered message up to this one is stored.
    Acked {
        /// The last stored number.
        seq: u64,
    },
    /// A request has succeeded.
    Reply {
        /// Which request.
        to: Subject,
        /// What it brought.
        data: Data,
    },
    /// A request has failed, or something that belongs to no request.
    Error {
        /// Which request.
        to: Option<Subject>,
        /// What is wrong.
        error: ErrorInfo,
    },
    /// This subscriber has missed publications.
    Gap {
        /// The channel.
        channel: Arc<str>,
        /// Where the subscription stands now.
        position: Option<Position>,
        /// Why.
        reason: GapReason,
        /// How many, where it is known.
        missed: Option<u64>,
    },
    /// Advice to connect again.
    Reconnect {
        /// When: see PROTOCOL.md, "reconnect".
        after_ms: u64,
        /// Why.
        reason: ReconnectReason,
        /// Where, if elsewhere.
        url: Option<Box<str>>,
    },
    /// The token ends soon.
    Expiring {
        /// In how many milliseconds.
        in_ms: u64,
    },
    /// Asks for a `pong`.
    Ping {
        /// Echoed in the `pong`.
        ts: Option<Echo>,
    },
    /// Answers a `ping`.
    Pong {
        /// The `ts` of the `ping`.
        ts: Option<Echo>,
    },
}

/// `welcome`: the answer to `hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The `id` of `hello`.
    pub id: Option<Echo>,
    /// This connection's id, as logs and statistics show it.
    pub connection: Box<str>,
    /// The session from now on; a fresh one where the asked one is lost.
    pub session: Box<str>,
    /// The session goes on with its numbers.
    pub resumed: bool,
    /// Why it does not, where the client's numbered messages are affected.
    pub reason: Option<SessionReason>,
    /// The verified user; none where it is anonymous.
    pub user: Option<Arc<str>>,
    /// The server process.
    pub node: Box<str>,
    /// Every numbered message up to this one is stored.
    pub acked: u64,
    /// The most unacknowledged numbered messages.
    pub inflight_max: u64,
    /// How long the session outlives its last connection.
    pub session_ttl_ms: u64,
    /// The server pings when a direction was silent for this long.
    pub ping_interval_ms: u64,
    /// How long after a ping silence means death.
    pub pong_timeout_ms: u64,
    /// The bound of `data`, in bytes.
    pub message_bytes_max: u64,
    /// The client's default bound of reconnect attempts.
    pub max_reconnect_attempts: u64,
    /// What became of `hello.subscribe`, channel by channel, and of what the server added.
    pub subscriptions: Vec<(Arc<str>, Result<Recovery, ErrorInfo>)>,
}

/// Why a session begins anew although the client asked to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionReason {
    /// The server's record is older than the client's: it expired or was lost.
    SessionLost,
    /// The client's numbers are older than the server's record: its state was lost or copied.
    ClientRewound,
}

/// `message`: a publication on its way to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The channel.
    pub channel: Arc<str>,
    /// Its place; none on channels without history.
    pub position: Option<Position>,
    /// The payload.
    pub data: Data,
    /// Who published it, where it was a client with a verified user.
    pub user: Option<Arc<str>>,
    /// The publisher's mark.
    pub tag: Option<Arc<str>>,
}

/// The body of every refusal, over WebSocket and HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// A name of the code table; a reader must bear with names that it does not know.
    pub code: Cow<'static, str>,
    /// A sentence for the developer.
    #[serde(default)]
    pub message: Cow<'static, str>,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retry: bool,
    /// Not before so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorInfo {
    /// The code with its own sentence and advice.
    pub fn new(code: Code) -> Self {
        let row = code.row();
        Self {
            code: row.code.into(),
            message: row.meaning.into(),
            retry: row.retry,
            retry_after_ms: None,
        }
    }

    /// Says more precisely what is wrong.
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// Says when to try again.
    pub fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
}

impl std::convert::From<Code> for ErrorInfo {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Why a subscriber missed publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Retention overtook the subscriber.
    Expired,
    /// The channel has no history and the queue was full.
    Slow,
    /// The log lost what the subscriber had seen.
    Rewound,
    /// The channel was forgotten and created anew.
    UnknownEpoch,
}

/// Why a client is advised to connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReconnectReason {
    /// This node goes; others are there. Connect before this link closes.
    Drain,
    /// Another node should carry this client. Connect before this link closes.
    Rebalance,
    /// The server restarts. Wait for the close, then dial after a jitter over `after_ms`.
    Restart,
}
