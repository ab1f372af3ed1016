//! Messages to frames.
//!
//! Owns the writer's side of the codec. Fields stand in the order of PROTOCOL.md's tables, so that
//! one message has one text and golden vectors can compare texts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    codec::CLOSE_REASON_BYTES_MAX,
    message::{ClientMessage, ErrorInfo, Hello, Message, ServerMessage, Subject, Welcome},
    position::Position,
    publication::{Data, Publication},
    recovery::{From, Recovery},
};

/// One WebSocket message, ready to be framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message.
    Text(Bytes),
    /// A binary message: JSON header, LF, payload.
    Binary(Bytes),
}

impl Frame {
    /// The payload of the frame.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// Room for what a subscription of `welcome` says, so that it is not moved while it grows.
const INNER_BYTES: usize = 128;

/// Writes one JSON object, field by field; absent fields leave no trace.
struct Object {
    text: Vec<u8>,
    payload: Option<Bytes>,
}

impl Object {
    fn new(kind: &str, capacity: usize) -> Self {
        let mut text = Vec::with_capacity(capacity + 64);
        text.extend_from_slice(b"{\"type\":\"");
        text.extend_from_slice(kind.as_bytes());
        text.push(b'"');
        Self {
            text,
            payload: None,
        }
    }

    /// An object inside another, without a type.
    fn inner() -> Self {
        let mut text = Vec::with_capacity(INNER_BYTES);
        text.push(b'{');
        Self {
            text,
            payload: None,
        }
    }

    fn name(&mut self, name: &str) {
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }

    fn raw(mut self, name: &str, json: &[u8]) -> Self {
        self.name(name);
        self.text.extend_from_slice(json);
        self
    }

    fn value(mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        self.name(name);
        serde_json::to_writer(&mut self.text, value).expect("strings, numbers and enums serialize");
        self
    }

    fn maybe(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.value(name, &value),
            None => self,
        }
    }

    fn echo(self, name: &str, echo: Option<&crate::message::Echo>) -> Self {
        match echo {
            Some(echo) => self.raw(name, echo.as_json().as_bytes()),
            None => self,
        }
    }

    fn subject(self, subject: Option<&Subject>) -> Self {
        match subject {
            Some(Subject::Id(id)) => self.echo("id", Some(id)),
            Some(Subject::Seq(seq)) => self.value("seq", seq),
            None => self,
        }
    }

    /// JSON stands in the header; bytes follow it, which makes the frame a binary one.
    fn data(mut self, data: &Data) -> Self {
        match data {
            Data::Json(json) => self.raw("data", json),
            Data::Binary(bytes) => {
                self.payload = Some(bytes.clone());
                self
            }
        }
    }

    /// Data where no binary frame can carry it.
    fn data_inline(self, data: &Data) -> Self {
        match data {
            Data::Json(json) => self.raw("data", json),
            Data::Binary(bytes) => self.value("data_b64", &STANDARD.encode(bytes)),
        }
    }

    fn close(mut self) -> Vec<u8> {
        self.text.push(b'}');
        self.text
    }

    fn frame(self) -> Frame {
        let payload = self.payload.clone();
        let mut text = self.close();
        match payload {
            None => Frame::Text(text.into()),
            Some(payload) => {
                text.push(b'\n');
                text.extend_from_slice(&payload);
                Frame::Binary(text.into())
            }
        }
    }
}

/// The frame of a message to the server.
pub fn encode_client(message: &ClientMessage) -> Frame {
    match message {
        ClientMessage::Hello(hello) => encode_hello(hello),
        ClientMessage::Subscribe(subscribe) => Object::new("subscribe", 64)
            .echo("id", subscribe.id.as_ref())
            .value("channel", &subscribe.channel)
            .raw("position", &from_json(subscribe.from)),
        ClientMessage::Unsubscribe { id, channel } => Object::new("unsubscribe", 64)
            .echo("id", id.as_ref())
            .value("channel", channel),
        ClientMessage::Publish(publish) => Object::new("publish", publish.data.len())
            .maybe("seq", publish.seq)
            .echo("id", publish.id.as_ref())
            .value("channel", &publish.channel)
            .data(&publish.data)
            .maybe("tag", publish.tag.as_ref()),
        ClientMessage::Send(send) => Object::new("send", send.data.len())
            .maybe("seq", send.seq)
            .echo("id", send.id.as_ref())
            .data(&send.data)
            .maybe("method", send.method.as_ref()),
        ClientMessage::Skip { seq } => Object::new("skip", 0).value("seq", seq),
        ClientMessage::History(history) => Object::new("history", 64)
            .echo("id", history.id.as_ref())
            .value("channel", &history.channel)
            .maybe("after", history.after)
            .maybe("limit", history.limit),
        ClientMessage::Presence { id, channel, limit } => Object::new("presence", 64)
            .echo("id", id.as_ref())
            .value("channel", channel)
            .maybe("limit", *limit),
        ClientMessage::Refresh { id, token } => Object::new("refresh", token.len())
            .echo("id", id.as_ref())
            .value("token", token),
        ClientMessage::Ping { ts } => Object::new("ping", 0).echo("ts", ts.as_ref()),
        ClientMessage::Pong { ts, positions } => {
            let pong = Object::new("pong", 0).echo("ts", ts.as_ref());
            if positions.is_empty() {
                pong
            } else {
                let positions = positions
                    .iter()
                    .fold(Object::inner(), |map, (channel, at)| {
                        keyed(map, channel, &quoted(*at))
                    });
                pong.raw("positions", &positions.close())
            }
        }
        ClientMessage::Bye => Object::new("bye", 0),
    }
    .frame()
}

fn encode_hello(hello: &Hello) -> Object {
    let channels = hello
        .subscribe
        .iter()
        .fold(Object::inner(), |map, (channel, from)| {
            keyed(
                map,
                channel,
                &from.map_or_else(|| b"null".to_vec(), from_json),
            )
        });
    Object::new("hello", 256)
        .echo("id", hello.id.as_ref())
        .maybe("token", hello.token.as_ref())
        .maybe("session", hello.session.as_ref())
        .maybe("link", hello.link)
        .maybe("first", hello.first)
        .maybe("next", hello.next)
        .raw("subscribe", &channels.close())
        .maybe("client", hello.client.as_ref())
}

/// The frame of a message to a client.
pub fn encode_server(message: &ServerMessage) -> Frame {
    match message {
        ServerMessage::Welcome(welcome) => encode_welcome(welcome),
        ServerMessage::Subscribed {
            id,
            channel,
            recovery,
        } => recovery_fields(
            Object::new("subscribed", 96)
                .echo("id", id.as_ref())
                .value("channel", channel),
            recovery,
        ),
        ServerMessage::Unsubscribed { id, channel, code } => Object::new("unsubscribed", 64)
            .echo("id", id.as_ref())
            .value("channel", channel)
            .maybe("code", code.as_ref()),
        ServerMessage::Message(message) => message_object(message),
        ServerMessage::Acked { seq } => Object::new("acked", 0).value("seq", seq),
        ServerMessage::Reply { to, data } => Object::new("reply", data.len())
            .subject(Some(to))
            .data(data),
        ServerMessage::Error { to, error } => {
            error_fields(Object::new("error", 96).subject(to.as_ref()), error)
        }
        ServerMessage::Gap {
            channel,
            position,
            reason,
            missed,
        } => Object::new("gap", 96)
            .value("channel", channel)
            .maybe("position", *position)
            .value("reason", reason)
            .maybe("missed", *missed),
        ServerMessage::Reconnect {
            after_ms,
            reason,
            url,
        } => Object::new("reconnect", 64)
            .value("after_ms", after_ms)
            .value("reason", reason)
            .maybe("url", url.as_ref()),
        ServerMessage::Expiring { in_ms } => Object::new("expiring", 0).value("in_ms", in_ms),
        ServerMessage::Ping { ts } => Object::new("ping", 0).echo("ts", ts.as_ref()),
        ServerMessage::Pong { ts } => Object::new("pong", 0).echo("ts", ts.as_ref()),
    }
    .frame()
}

fn encode_welcome(welcome: &Welcome) -> Object {
    let subscriptions =
        welcome
            .subscriptions
            .iter()
            .fold(Object::inner(), |map, (channel, outcome)| {
                let outcome = match outcome {
                    Ok(recovery) => recovery_fields(Object::inner(), recovery),
                    Err(error) => {
                        let error = error_fields(Object::inner(), error).close();
                        Object::inner().raw("error", &error)
                    }
                };
                keyed(map, channel, &outcome.close())
            });
    Object::new("welcome", 512)
        .echo("id", welcome.id.as_ref())
        .value("connection", &welcome.connection)
        .value("session", &welcome.session)
        .value("resumed", &welcome.resumed)
        .maybe("reason", welcome.reason)
        .value("user", &welcome.user)
        .value("node", &welcome.node)
        .value("acked", &welcome.acked)
        .value("inflight_max", &welcome.inflight_max)
        .value("session_ttl_ms", &welcome.session_ttl_ms)
        .value("ping_interval_ms", &welcome.ping_interval_ms)
        .value("pong_timeout_ms", &welcome.pong_timeout_ms)
        .value("message_bytes_max", &welcome.message_bytes_max)
        .value("max_reconnect_attempts", &welcome.max_reconnect_attempts)
        .raw("subscriptions", &subscriptions.close())
}

/// The frame that every subscriber of the channel shares.
pub fn encode_message(channel: &str, epoch: u64, publication: &Publication) -> Frame {
    message_fields(
        channel,
        publication.position(epoch),
        &publication.data,
        publication.user.as_deref(),
        publication.tag.as_deref(),
    )
    .frame()
}

fn message_object(message: &Message) -> Object {
    message_fields(
        &message.channel,
        message.position,
        &message.data,
        message.user.as_deref(),
        message.tag.as_deref(),
    )
}

fn message_fields(
    channel: &str,
    position: Option<Position>,
    data: &Data,
    user: Option<&str>,
    tag: Option<&str>,
) -> Object {
    Object::new("message", 96 + channel.len() + data.len())
        .value("channel", channel)
        .maybe("position", position)
        .data(data)
        .maybe("user", user)
        .maybe("tag", tag)
}

/// The reason of a close frame: JSON of at most [`CLOSE_REASON_BYTES_MAX`] bytes.
pub fn close_reason(code: &str, retry_after_ms: Option<u64>) -> String {
    let reason = Object::inner()
        .value("code", code)
        .maybe("retry_after_ms", retry_after_ms)
        .close();
    debug_assert!(
        reason.len() <= CLOSE_REASON_BYTES_MAX,
        "code names are short"
    );
    String::from_utf8(reason).expect("JSON is UTF-8")
}

/// The answer to `history`, over WebSocket and HTTP: `publications` in rising order, where they
/// leave the reader (`position`), whether `after` held, and whether there are more.
pub fn history_data(
    channel: &str,
    epoch: u64,
    publications: &[impl AsRef<Publication>],
    recovery: &Recovery,
    more: bool,
) -> Data {
    let mut list = vec![b'['];
    for publication in publications {
        if list.len() > 1 {
            list.push(b',');
        }
        list.extend_from_slice(&publication_json(publication.as_ref(), epoch));
    }
    list.push(b']');
    let object = Object::inner()
        .value("channel", channel)
        .raw("publications", &list);
    Data::Json(
        recovery_fields(object, recovery)
            .value("more", &more)
            .close()
            .into(),
    )
}

fn publication_json(publication: &Publication, epoch: u64) -> Vec<u8> {
    Object::inner()
        .maybe("position", publication.position(epoch))
        .data_inline(&publication.data)
        .maybe("user", publication.user.as_ref())
        .maybe("tag", publication.tag.as_ref())
        .close()
}

fn recovery_fields(object: Object, recovery: &Recovery) -> Object {
    object
        .maybe("position", recovery.position)
        .value("recovered", &recovery.recovered)
        .maybe("reason", recovery.reason)
}

fn error_fields(object: Object, error: &ErrorInfo) -> Object {
    object
        .value("code", &error.code)
        .value("message", &error.message)
        .value("retry", &error.retry)
        .maybe("retry_after_ms", error.retry_after_ms)
}

/// Adds a field whose name is data, and so must be escaped.
fn keyed(mut map: Object, name: &str, json: &[u8]) -> Object {
    if map.text.last() != Some(&b'{') {
        map.text.push(b',');
    }
    serde_json::to_writer(&mut map.text, name).expect("strings serialize");
    map.text.push(b':');
    map.text.extend_from_slice(json);
    map
}

fn quoted(position: Position) -> Vec<u8> {
    format!("\"{position}\"").into_bytes()
}

fn from_json(from: From) -> Vec<u8> {
    match from {
        From::Now => b"null".to_vec(),
        From::First => b"\"first\"".to_vec(),
        From::Last(count) => format!("{{\"last\":{count}}}").into_bytes(),
        From::After(position) => quoted(position),
    }
}
