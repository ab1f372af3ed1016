//! Protocol messages as WebSocket frames.
//!
//! Owns the step from `proto`'s codec to `ws`'s framing, for both modes of a link. Must not know
//! sockets.

use std::sync::{Arc, OnceLock};

use bowline_proto::{
    Data, Position, Publication,
    codec::{Frame, encode_message, encode_server},
    message::ServerMessage,
};
use bowline_ws::MessageKind;
use bytes::Bytes;

/// What a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Subprotocol `bowline.v1`.
    Bowline,
    /// No subprotocol: publications arrive as frames of their own.
    Plain,
}

/// A publication with the bytes that all subscribers of its channel share.
#[derive(Debug)]
pub(crate) struct Shared {
    publication: Arc<Publication>,
    message: Bytes,
    plain: OnceLock<Bytes>,
}

impl Shared {
    /// Encodes it once for all.
    pub(crate) fn new(channel: &str, epoch: u64, publication: Arc<Publication>) -> Self {
        let message = framed(&encode_message(channel, epoch, &publication));
        Self {
            publication,
            message,
            plain: OnceLock::new(),
        }
    }

    /// Its frame in this mode.
    pub(crate) fn frame(&self, mode: Mode) -> &Bytes {
        match mode {
            Mode::Bowline => &self.message,
            Mode::Plain => self
                .plain
                .get_or_init(|| data_frame(&self.publication.data)),
        }
    }

    /// The place just before it, where a subscription stands after a gap; none without history.
    pub(crate) fn position_before(&self, epoch: u64) -> Option<Position> {
        self.publication.position_before(epoch)
    }

    /// The size that counts against queues and tails.
    pub(crate) fn len(&self) -> usize {
        self.message.len()
    }
}

/// A message of the server as a WebSocket frame.
pub(crate) fn server_frame(message: &ServerMessage) -> Bytes {
    framed(&encode_server(message))
}

/// Data as a frame of its own: text for JSON, binary for bytes.
pub(crate) fn data_frame(data: &Data) -> Bytes {
    match data {
        Data::Json(json) => bowline_ws::encode_message(MessageKind::Text, json, None),
        Data::Binary(bytes) => bowline_ws::encode_message(MessageKind::Binary, bytes, None),
    }
}

fn framed(frame: &Frame) -> Bytes {
    match frame {
        Frame::Text(text) => bowline_ws::encode_message(MessageKind::Text, text, None),
        Frame::Binary(bytes) => bowline_ws::encode_message(MessageKind::Binary, bytes, None),
    }
}
