//! Frames to messages.
//!
//! Owns the reader's side of the codec: every bound is judged here, and every failure keeps the
//! `id` or `seq` it belongs to, so that the answer can name it.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    code::Code,
    codec::{ANSWER_NESTING_MAX, DATA_NESTING_MAX, Incoming, NESTING_MAX},
    message::{
        ClientInfo, ClientMessage, Echo, ErrorInfo, GapReason, Hello, History, Message, Publish,
        ReconnectReason, Send, ServerMessage, SessionReason, Subject, Subscribe, TAG_BYTES_MAX,
        Welcome,
    },
    position::{OFFSET_MAX, Position},
    publication::Data,
    recovery::{From, Recovery, RecoveryReason},
};

/// A message that could not be taken: the answer that it is owed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct DecodeError {
    /// Which request it belongs to, where that much could be read.
    pub to: Option<Subject>,
    /// What is wrong.
    pub error: ErrorInfo,
    /// Nothing after it in the frame can be read.
    pub ends_frame: bool,
}

/// The messages of one frame from a client, in order.
pub struct ClientMessages<'a>(Objects<'a>);

/// The messages of one frame from a server, in order.
pub struct ServerMessages<'a>(Objects<'a>);

/// Reads a frame from a client.
pub fn decode_client(frame: Incoming<'_>) -> ClientMessages<'_> {
    ClientMessages(Objects::new(frame, NESTING_MAX))
}

/// Reads a frame from a server.
pub fn decode_server(frame: Incoming<'_>) -> ServerMessages<'_> {
    ServerMessages(Objects::new(frame, ANSWER_NESTING_MAX))
}

impl Iterator for ClientMessages<'_> {
    type Item = Result<ClientMessage, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(client_message)
    }
}

impl Iterator for ServerMessages<'_> {
    type Item = Result<ServerMessage, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(server_message)
    }
}

/// One JSON value as [`Data`]: checked, within [`DATA_NESTING_MAX`], its line breaks made spaces.
///
/// # Errors
/// [`Code::Malformed`] or [`Code::TooDeep`].
pub fn json_data(text: &[u8]) -> Result<Data, Code> {
    if is_deeper_than(DATA_NESTING_MAX, text) {
        return Err(Code::TooDeep);
    }
    let raw: &RawValue = serde_json::from_slice(text).map_err(|_| Code::Malformed)?;
    Ok(data_of(raw))
}

/// Reads one object, with the payload that a binary frame has behind it.
type Read<T> = fn(&Head<'_>, &RawValue, Option<&[u8]>) -> Result<T, ErrorInfo>;

/// The objects of a frame: several in text, one with a payload behind it in binary.
struct Objects<'a> {
    stream: Option<serde_json::StreamDeserializer<'a, serde_json::de::SliceRead<'a>, &'a RawValue>>,
    json: &'a [u8],
    nesting_max: usize,
    payload: Option<&'a [u8]>,
    refused: Option<DecodeError>,
}

impl<'a> Objects<'a> {
    fn new(frame: Incoming<'a>, nesting_max: usize) -> Self {
        let (json, payload) = match frame {
            Incoming::Text(text) => (text.as_bytes(), None),
            Incoming::Binary(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
                None => {
                    return Self::refuse("a binary frame is a JSON header, LF, then the payload");
                }
            },
        };
        if json.iter().all(u8::is_ascii_whitespace) {
            return Self::refuse("a frame holds at least one JSON object");
        }
        let stream = serde_json::Deserializer::from_slice(json).into_iter();
        Self {
            stream: Some(stream),
            json,
            nesting_max,
            payload,
            refused: None,
        }
    }

    fn refuse(message: &'static str) -> Self {
        let error = ErrorInfo::new(Code::Malformed).with_message(message);
        let refused = DecodeError {
            to: None,
            error,
            ends_frame: true,
        };
        Self {
            stream: None,
            json: &[],
            nesting_max: 0,
            payload: None,
            refused: Some(refused),
        }
    }

    fn next_with<T>(&mut self, read: Read<T>) -> Option<Result<T, DecodeError>> {
        if let Some(refused) = self.refused.take() {
            return Some(Err(refused));
        }
        let raw = match self.stream.as_mut()?.next()? {
            Ok(raw) => raw,
            Err(error) => {
                self.stream = None;
                let error = match is_deeper_than(self.nesting_max, self.json) {
                    true => Code::TooDeep.into(),
                    false => malformed(&error),
                };
                return Some(Err(DecodeError {
                    to: None,
                    error,
                    ends_frame: true,
                }));
            }
        };
        // serde would take an array for a struct, its elements for the fields in their order.
        if !raw.get().starts_with('{') {
            let error = ErrorInfo::new(Code::Malformed).with_message("a message is a JSON object");
            return Some(Err(DecodeError {
                to: None,
                error,
                ends_frame: false,
            }));
        }
        let head = match serde_json::from_str::<Head<'a>>(raw.get()) {
            Ok(head) => head,
            Err(error) => {
                let error = malformed(&error);
                return Some(Err(DecodeError {
                    to: None,
                    error,
                    ends_frame: false,
                }));
            }
        };
        let payload = self.payload.take();
        let outcome = match is_deeper_than(self.nesting_max, raw.get().as_bytes()) {
            true => Err(Code::TooDeep.into()),
            false => read(&head, raw, payload),
        };
        Some(outcome.map_err(|error| DecodeError {
            to: head.subject(),
            error,
            ends_frame: false,
        }))
    }
}

/// What every message has: read first, so that a failure further on can name its request.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    seq: Option<&'a RawValue>,
}

impl Head<'_> {
    fn subject(&self) -> Option<Subject> {
        let seq = self
            .seq
            .and_then(|seq| seq.get().parse().ok())
            .filter(|seq| *seq <= OFFSET_MAX)
            .map(Subject::Seq);
        seq.or_else(|| {
            self.id
                .and_then(|id| Echo::from_json(id.get()))
                .map(Subject::Id)
        })
    }

    fn id(&self) -> Result<Option<Echo>, ErrorInfo> {
        echo(
            self.id,
            "id must be a string or a number of at most 128 bytes",
        )
    }
}

fn malformed(error: &serde_json::Error) -> ErrorInfo {
    // serde's sentence names the field and what was expected; it quotes at most one scalar of the
    // input, which a hostile peer can make long.
    let mut sentence = error.to_string();
    if let Some((cut, _)) = sentence.char_indices().nth(160) {
        sentence.truncate(cut);
    }
    ErrorInfo::new(Code::Malformed).with_message(sentence)
}

fn fields<T: DeserializeOwned>(raw: &RawValue) -> Result<T, ErrorInfo> {
    serde_json::from_str(raw.get()).map_err(|error| malformed(&error))
}

fn echo(raw: Option<&RawValue>, sentence: &'static str) -> Result<Option<Echo>, ErrorInfo> {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) => Echo::from_json(text)
            .map(Some)
            .ok_or_else(|| ErrorInfo::new(Code::Malformed).with_message(sentence)),
    }
}

fn seq(seq: Option<u64>) -> Result<Option<u64>, ErrorInfo> {
    match seq {
        Some(0) => Err(ErrorInfo::new(Code::Malformed).with_message("seq counts from 1")),
        Some(beyond) if beyond > OFFSET_MAX => {
            Err(ErrorInfo::new(Code::Malformed).with_message("a number is at most 2^53 - 1"))
        }
        seq => Ok(seq),
    }
}

#[derive(Deserialize)]
struct DataFields<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    data_b64: Option<Cow<'a, str>>,
}

fn data(raw: &RawValue, payload: Option<&[u8]>) -> Result<Data, ErrorInfo> {
    let found: DataFields<'_> =
        serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
    match (found.data, found.data_b64, payload) {
        (Some(json), None, None) => Ok(data_of(json)),
        (None, None, Some(payload)) => Ok(Data::Binary(Bytes::copy_from_slice(payload))),
        (None, Some(base64), None) => STANDARD
            .decode(base64.as_bytes())
            .map(|bytes| Data::Binary(bytes.into()))
            .map_err(|_| ErrorInfo::new(Code::Malformed).with_message("data_b64 is not base64")),
        // serde reads an explicit null as absent: it is a JSON value like any other.
        (None, None, None) => Ok(Data::Json(Bytes::from_static(b"null"))),
        _ => Err(ErrorInfo::new(Code::Malformed)
            .with_message("data stands in data, in data_b64 or behind the header, once")),
    }
}

/// Line breaks inside a JSON value can only be white space between tokens, so a space is the same
/// value; without them a publication can be one line of a frame.
fn data_of(raw: &RawValue) -> Data {
    let mut text = raw.get().as_bytes().to_vec();
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Data::Json(text.into())
}

/// Whether brackets nest deeper; serde_json skips raw values without counting, and without a stack.
fn is_deeper_than(nesting_max: usize, json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > nesting_max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FromField {
    Text(String),
    Last {
        last: u64,
    },
    /// No form of a position; the channel is refused, not the message.
    Other(serde::de::IgnoredAny),
}

impl FromField {
    fn read(self) -> Option<From> {
        match self {
            Self::Text(text) if text == "first" => Some(From::First),
            Self::Text(text) => text.parse().ok().map(From::After),
            Self::Last { last } => Some(From::Last(last)),
            Self::Other(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct HelloFields {
    token: Option<Box<str>>,
    session: Option<Box<str>>,
    link: Option<u64>,
    first: Option<u64>,
    next: Option<u64>,
    #[serde(default)]
    subscribe: Option<BTreeMap<Arc<str>, Option<FromField>>>,
    client: Option<ClientInfo>,
}

#[derive(Deserialize)]
struct ChannelFields {
    channel: Arc<str>,
    position: Option<FromField>,
    after: Option<String>,
    limit: Option<u64>,
    seq: Option<u64>,
    tag: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct SeqFields {
    seq: Option<u64>,
    method: Option<Box<str>>,
}

#[derive(Deserialize)]
struct TokenField {
    token: Box<str>,
}

#[derive(Deserialize)]
struct PingFields<'a> {
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
    #[serde(default)]
    positions: Option<BTreeMap<Arc<str>, Option<Position>>>,
}

fn client_message(
    head: &Head<'_>,
    raw: &RawValue,
    payload: Option<&[u8]>,
) -> Result<ClientMessage, ErrorInfo> {
    Ok(match &*head.kind {
        "publish" => {
            let found: ChannelFields = fields(raw)?;
            let (channel, tag) = (found.channel, found.tag);
            if tag.as_ref().is_some_and(|tag| tag.len() > TAG_BYTES_MAX) {
                let sentence = "the tag has more than 255 bytes";
                return Err(ErrorInfo::new(Code::Malformed).with_message(sentence));
            }
            let data = data(raw, payload)?;
            ClientMessage::Publish(Publish {
                seq: seq(found.seq)?,
                id: head.id()?,
                channel,
                data,
                tag,
            })
        }
        "send" => {
            let found: SeqFields = fields(raw)?;
            let data = data(raw, payload)?;
            let (id, method) = (head.id()?, found.method);
            ClientMessage::Send(Send {
                seq: seq(found.seq)?,
                id,
                data,
                method,
            })
        }
        _ => return client_query(head, raw, payload),
    })
}

/// The messages that carry no data of the application, and so never come in binary frames.
fn client_query(
    head: &Head<'_>,
    raw: &RawValue,
    payload: Option<&[u8]>,
) -> Result<ClientMessage, ErrorInfo> {
    let query = client_text_query(head, raw)?;
    bare(payload)?;
    Ok(query)
}

fn client_text_query(head: &Head<'_>, raw: &RawValue) -> Result<ClientMessage, ErrorInfo> {
    Ok(match &*head.kind {
        "hello" => ClientMessage::Hello(Box::new(hello(head, raw)?)),
        "subscribe" => {
            let ChannelFields {
                channel, position, ..
            } = fields(raw)?;
            let from = match position {
                None => From::Now,
                Some(field) => field.read().ok_or(Code::BadPosition)?,
            };
            ClientMessage::Subscribe(Subscribe {
                id: head.id()?,
                channel,
                from,
            })
        }
        "unsubscribe" => {
            let ChannelFields { channel, .. } = fields(raw)?;
            ClientMessage::Unsubscribe {
                id: head.id()?,
                channel,
            }
        }
        "skip" => match seq(fields::<SeqFields>(raw)?.seq)? {
            Some(seq) => ClientMessage::Skip { seq },
            None => return Err(ErrorInfo::new(Code::Malformed).with_message("skip has a seq")),
        },
        "history" => {
            let ChannelFields {
                channel,
                after,
                limit,
                ..
            } = fields(raw)?;
            let after = after.map(|text| text.parse()).transpose();
            let after = after.map_err(|_| Code::BadPosition)?;
            ClientMessage::History(History {
                id: head.id()?,
                channel,
                after,
                limit,
            })
        }
        "presence" => {
            let ChannelFields { channel, limit, .. } = fields(raw)?;
            ClientMessage::Presence {
                id: head.id()?,
                channel,
                limit,
            }
        }
        "refresh" => {
            let TokenField { token } = fields(raw)?;
            ClientMessage::Refresh {
                id: head.id()?,
                token,
            }
        }
        "ping" => ClientMessage::Ping { ts: ping(raw)?.0 },
        "pong" => {
            let (ts, positions) = ping(raw)?;
            ClientMessage::Pong { ts, positions }
        }
        "bye" => ClientMessage::Bye,
        _ => return Err(Code::UnknownType.into()),
    })
}

/// A payload behind the header of a message that has no data is a mistake of its sender.
fn bare(payload: Option<&[u8]>) -> Result<(), ErrorInfo> {
    match payload {
        None => Ok(()),
        Some(_) => Err(ErrorInfo::new(Code::Malformed)
            .with_message("only messages that have data come in binary frames")),
    }
}

fn hello(head: &Head<'_>, raw: &RawValue) -> Result<Hello, ErrorInfo> {
    let found: HelloFields = fields(raw)?;
    let subscribe = found.subscribe.unwrap_or_default();
    Ok(Hello {
        id: head.id()?,
        token: found.token,
        session: found.session,
        link: found.link,
        first: seq(found.first)?,
        next: seq(found.next)?,
        subscribe: subscribe
            .into_iter()
            .map(|(channel, from)| (channel, from.map_or(Some(From::Now), FromField::read)))
            .collect(),
        client: found.client,
    })
}

type Receipts = Vec<(Arc<str>, Position)>;

fn ping(raw: &RawValue) -> Result<(Option<Echo>, Receipts), ErrorInfo> {
    let found: PingFields<'_> =
        serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
    let ts = echo(
        found.ts,
        "ts must be a string or a number of at most 128 bytes",
    )?;
    // A channel without history has no position: nothing depends on them.
    let positions = found.positions.unwrap_or_default().into_iter();
    let receipts = positions.filter_map(|(channel, position)| Some((channel, position?)));
    Ok((ts, receipts.collect()))
}

#[derive(Deserialize)]
struct RecoveryFields {
    position: Option<Position>,
    #[serde(default)]
    recovered: bool,
    reason: Option<RecoveryReason>,
    error: Option<ErrorInfo>,
}

impl RecoveryFields {
    fn read(self) -> Result<Recovery, ErrorInfo> {
        let Self {
            position,
            recovered,
            reason,
            error,
        } = self;
        match error {
            Some(error) => Err(error),
            None => Ok(Recovery {
                recovered,
                reason,
                position,
            }),
        }
    }
}

#[derive(Deserialize)]
struct WelcomeFields {
    #[serde(default)]
    connection: Box<str>,
    session: Box<str>,
    resumed: bool,
    reason: Option<SessionReason>,
    user: Option<Arc<str>>,
    #[serde(default)]
    node: Box<str>,
    acked: u64,
    inflight_max: u64,
    session_ttl_ms: u64,
    ping_interval_ms: u64,
    pong_timeout_ms: u64,
    message_bytes_max: u64,
    max_reconnect_attempts: u64,
    #[serde(default)]
    subscriptions: BTreeMap<Arc<str>, RecoveryFields>,
}

#[derive(Deserialize)]
struct DeliveryFields {
    channel: Arc<str>,
    position: Option<Position>,
    #[serde(default)]
    recovered: bool,
    reason: Option<String>,
    code: Option<Cow<'static, str>>,
    missed: Option<u64>,
    user: Option<Arc<str>>,
    tag: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct ReconnectFields {
    after_ms: u64,
    reason: ReconnectReason,
    url: Option<Box<str>>,
}

#[derive(Deserialize)]
struct ExpiringFields {
    in_ms: u64,
}

fn server_message(
    head: &Head<'_>,
    raw: &RawValue,
    payload: Option<&[u8]>,
) -> Result<ServerMessage, ErrorInfo> {
    Ok(match &*head.kind {
        "welcome" => ServerMessage::Welcome(Box::new(welcome(head, raw)?)),
        "subscribed" => {
            let found: DeliveryFields = fields(raw)?;
            let reason = found.reason.as_deref().map(name).transpose()?;
            let recovery = Recovery {
                recovered: found.recovered,
                reason,
                position: found.position,
            };
            ServerMessage::Subscribed {
                id: head.id()?,
                channel: found.channel,
                recovery,
            }
        }
        "unsubscribed" => {
            let DeliveryFields { channel, code, .. } = fields(raw)?;
            ServerMessage::Unsubscribed {
                id: head.id()?,
                channel,
                code,
            }
        }
        "message" => {
            let DeliveryFields {
                channel,
                position,
                user,
                tag,
                ..
            } = fields(raw)?;
            let data = data(raw, payload)?;
            ServerMessage::Message(Message {
                channel,
                position,
                data,
                user,
                tag,
            })
        }
        "acked" => match fields::<SeqFields>(raw)?.seq {
            Some(seq) => ServerMessage::Acked { seq },
            None => return Err(Code::Malformed.into()),
        },
        "reply" => {
            let to = head.subject().ok_or(Code::Malformed)?;
            ServerMessage::Reply {
                to,
                data: data(raw, payload)?,
            }
        }
        "error" => ServerMessage::Error {
            to: head.subject(),
            error: fields(raw)?,
        },
        _ => return server_notice(head, raw),
    })
}

/// The messages about the connection itself.
fn server_notice(head: &Head<'_>, raw: &RawValue) -> Result<ServerMessage, ErrorInfo> {
    Ok(match &*head.kind {
        "gap" => {
            let DeliveryFields {
                channel,
                position,
                reason,
                missed,
                ..
            } = fields(raw)?;
            let reason: GapReason = name(reason.as_deref().unwrap_or_default())?;
            ServerMessage::Gap {
                channel,
                position,
                reason,
                missed,
            }
        }
        "reconnect" => {
            let ReconnectFields {
                after_ms,
                reason,
                url,
            } = fields(raw)?;
            ServerMessage::Reconnect {
                after_ms,
                reason,
                url,
            }
        }
        "expiring" => ServerMessage::Expiring {
            in_ms: fields::<ExpiringFields>(raw)?.in_ms,
        },
        "ping" => ServerMessage::Ping { ts: ping(raw)?.0 },
        "pong" => ServerMessage::Pong { ts: ping(raw)?.0 },
        _ => return Err(Code::UnknownType.into()),
    })
}

fn welcome(head: &Head<'_>, raw: &RawValue) -> Result<Welcome, ErrorInfo> {
    let found: WelcomeFields = fields(raw)?;
    Ok(Welcome {
        id: head.id()?,
        connection: found.connection,
        session: found.session,
        resumed: found.resumed,
        reason: found.reason,
        user: found.user,
        node: found.node,
        acked: found.acked,
        inflight_max: found.inflight_max,
        session_ttl_ms: found.session_ttl_ms,
        ping_interval_ms: found.ping_interval_ms,
        pong_timeout_ms: found.pong_timeout_ms,
        message_bytes_max: found.message_bytes_max,
        max_reconnect_attempts: found.max_reconnect_attempts,
        subscriptions: found
            .subscriptions
            .into_iter()
            .map(|(channel, outcome)| (channel, outcome.read()))
            .collect(),
    })
}

/// A value of one of the wire's closed lists.
fn name<T: DeserializeOwned>(text: &str) -> Result<T, ErrorInfo> {
    serde_json::from_value(text.into()).map_err(|error| malformed(&error))
}
