//! Plain mode: any WebSocket client, without the subprotocol.
//!
//! Owns PROTOCOL.md, "Plain mode": channels from the URL, publications as frames of their own, the
//! JSON ping, and raw messages for the application. No resume; everything else holds.

use std::sync::Arc;

use bowline_proto::{Code, recovery::From};
use bowline_ws::{MessageKind, encode_message};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    End, Peer,
    desk::Desk,
    hello,
    reading::Reading,
    upstream::{Item, Origin, Work},
};
use crate::handler::{Incoming, Payload};

/// What the upgrade of a plain connection asks for.
#[derive(Debug)]
pub(crate) struct PlainRequest {
    /// `Authorization: Bearer`, or `?token=` where no header can be set.
    pub(crate) token: Option<String>,
    /// `?channels=a,b`, or the channel of the path.
    pub(crate) channels: Vec<Arc<str>>,
    /// By when the client must be welcomed.
    pub(crate) deadline: tokio::time::Instant,
}

/// The one message of plain mode that the server itself understands.
#[derive(Deserialize)]
struct Ping<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
}

/// A text longer than this is no ping and is not parsed as one.
const PING_BYTES_MAX: usize = 256;

impl Reading {
    /// Finds out who the client is and subscribes it.
    pub(super) async fn begin_plain(&mut self, request: PlainRequest) -> Result<Peer, End> {
        let node = self.node.clone();
        let token = request.token.as_deref();
        let identity = hello::authenticate(&node, &self.link, token).await?;
        let settled = self.link.pass.settle(identity.user.as_ref(), None);
        settled.map_err(|refusal| End::info(&refusal.info()))?;
        let personal = hello::personal(&node, &identity);
        let mut entries = Vec::new();
        let max = node.config.subscriptions_per_connection_max;
        for channel in request.channels.iter().chain(&personal) {
            let (named_before, count) = self.link.subscriptions(channel);
            if named_before {
                continue;
            }
            if count >= max {
                return Err(End::code(Code::TooManySubscriptions));
            }
            let followed = hello::follow(&node, &self.link, &identity, channel, From::Now).await;
            // There is no message to refuse a single channel with.
            let (channel, cursor, _) = followed.map_err(|error| End::info(&error))?;
            entries.push((channel, cursor));
        }
        self.link.subscribe(None, entries, node.clock.now());
        self.link.pass.welcomed();
        let took = node.clock.now() - self.link.opened;
        node.counters.handshakes.observe(took);
        Ok(Peer::new(&node, 0))
    }
}

impl Desk {
    /// Answers a ping; hands anything else to the application and its answer to the client.
    pub(super) fn take_plain(&mut self, text: bool, data: Bytes) -> Result<(), End> {
        if text && data.len() <= PING_BYTES_MAX && self.answer_ping(&data) {
            return Ok(());
        }
        // A frame may be larger for the sake of what `bowline.v1` has around the data.
        if data.len() > self.node.config.message_bytes_max {
            return Err(End::code(Code::MessageTooBig));
        }
        if self.node.handler.is_none() {
            return Ok(());
        }
        // There is no message to refuse with, so whoever outruns the application is closed.
        if self.peer.pipeline.len() >= self.node.config.inflight_max {
            return Err(End::code(Code::RateLimited));
        }
        let (kind, payload) = if text {
            let text = String::from_utf8_lossy(&data).into_owned();
            (MessageKind::Text, Payload::Text(text))
        } else {
            (MessageKind::Binary, Payload::Bytes(data))
        };
        let incoming = Incoming {
            session: None,
            seq: None,
            user: self.link.user(),
            method: None,
            payload,
        };
        let item = Item {
            origin: Origin::Raw(kind),
            work: Work::Handle(incoming),
        };
        self.peer.pipeline.push(&self.node, &self.link, item);
        Ok(())
    }

    fn answer_ping(&self, data: &[u8]) -> bool {
        // serde would take an array for a struct.
        if !data.trim_ascii_start().starts_with(b"{") {
            return false;
        }
        let Ok(Ping {
            kind: "ping",
            timestamp,
        }) = serde_json::from_slice(data)
        else {
            return false;
        };
        let timestamp = timestamp.map_or("null", RawValue::get);
        let pong = format!("{{\"type\":\"pong\",\"timestamp\":{timestamp}}}");
        let frame = encode_message(MessageKind::Text, pong.as_bytes(), None);
        self.link.send_frame(frame, self.node.clock.now());
        true
    }
}
