//! What a client says.
//!
//! Owns the reading of each [`ClientMessage`] from its object.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DecodeError, Head, Integer, Objects, SeqFields, data, fields, ping, seq};
use crate::{
    code::Code,
    codec::{Incoming, NESTING_MAX},
    message::{
        ClientInfo, ClientMessage, ErrorInfo, Hello, History, Publish, Send, Subscribe,
        TAG_BYTES_MAX,
    },
    recovery::From,
};

/// The messages of one frame from a client, in order.
pub struct ClientMessages<'a>(Objects<'a>);

/// Reads a frame from a client.
pub fn decode_client(frame: Incoming<'_>) -> ClientMessages<'_> {
    ClientMessages(Objects::new(frame, NESTING_MAX))
}

impl ClientMessages<'_> {
    /// In how many bytes of the frame the messages stand that were handed out: what follows in a text frame
    /// can be read as a frame of its own.
    pub fn read_bytes(&self) -> usize {
        self.0.read_bytes()
    }
}

impl Iterator for ClientMessages<'_> {
    type Item = Result<ClientMessage, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_with(client_message)
    }
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
            let from = from(position).ok_or(Code::BadPosition)?;
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
                limit: limit.map(u64::from),
            })
        }
        "presence" => {
            let ChannelFields { channel, limit, .. } = fields(raw)?;
            ClientMessage::Presence {
                id: head.id()?,
                channel,
                limit: limit.map(u64::from),
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
    let found: HelloFields<'_> = fields(raw)?;
    let subscribe = found.subscribe.unwrap_or_default();
    Ok(Hello {
        id: head.id()?,
        token: found.token,
        session: found.session,
        link: found.link.map(u64::from),
        first: seq(found.first)?,
        next: seq(found.next)?,
        subscribe: subscribe
            .into_iter()
            .map(|(channel, field)| (channel, from(field)))
            .collect(),
        client: found.client,
    })
}

/// None if it is no form of a *from* value: the channel is refused then, not the message.
fn from(field: Option<&RawValue>) -> Option<From> {
    #[derive(Deserialize)]
    struct Last {
        last: Integer,
    }
    let Some(text) = field.map(RawValue::get) else {
        return Some(From::Now);
    };
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).ok()?;
        return match &*text {
            "first" => Some(From::First),
            position => position.parse().ok().map(From::After),
        };
    }
    // serde would take an array for a struct, its element for the field.
    let text = Some(text).filter(|text| text.starts_with('{'))?;
    let Last { last } = serde_json::from_str(text).ok()?;
    Some(From::Last(last.into()))
}

#[derive(Deserialize)]
struct HelloFields<'a> {
    token: Option<Box<str>>,
    session: Option<Box<str>>,
    link: Option<Integer>,
    first: Option<Integer>,
    next: Option<Integer>,
    #[serde(borrow, default)]
    subscribe: Option<BTreeMap<Arc<str>, Option<&'a RawValue>>>,
    client: Option<ClientInfo>,
}

#[derive(Deserialize)]
struct ChannelFields<'a> {
    channel: Arc<str>,
    #[serde(borrow, default)]
    position: Option<&'a RawValue>,
    after: Option<String>,
    limit: Option<Integer>,
    seq: Option<Integer>,
    tag: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct TokenField {
    token: Box<str>,
}
