//! What a server says.
//!
//! Owns the reading of each [`ServerMessage`] from its object.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{DecodeError, Head, Objects, SeqFields, data, fields, malformed, ping};
use crate::{
    code::Code,
    codec::{ANSWER_NESTING_MAX, Incoming},
    message::{
        ErrorInfo, GapReason, Message, ReconnectReason, ServerMessage, SessionReason, Welcome,
    },
    position::Position,
    recovery::{Recovery, RecoveryReason},
};

/// The messages of one frame from a server, in order.
pub struct ServerMessages<'a>(Objects<'a>);

/// Reads a frame from a server.
pub fn decode_server(frame: Incoming<'_>) -> ServerMessages<'_> {
    ServerMessages(Objects::new(frame, ANSWER_NESTING_MAX))
}

impl Iterator for ServerMessages<'_> {
    type Item = Result<ServerMessage, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(server_message)
    }
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
            Some(seq) => ServerMessage::Acked { seq: seq.into() },
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
