//! Whole frames to be sent. A server passes no mask and may share the bytes among all
//! subscribers; a client passes a fresh mask for each frame. It must not know when or to whom.

use std::borrow::Cow;
use std::ops::Deref;

use bytes::Bytes;
use thiserror::Error;

use crate::close::CloseFrame;
use crate::frame::{CONTROL_PAYLOAD_MAX, MessageKind, Opcode, frame_header};
use crate::mask::{MaskKey, apply_mask};

/// Encodes an unfragmented message as one frame.
///
/// The result is exactly as large as the frame, so it is fit to be kept and shared.
#[must_use]
pub fn encode_message(kind: MessageKind, payload: &[u8], mask: Option<MaskKey>) -> Bytes {
    encode_frame(kind.opcode(), true, payload, mask)
}

/// Appends an unfragmented message to bytes that are to be written, to coalesce small frames.
pub fn append_message(out: &mut Vec<u8>, kind: MessageKind, payload: &[u8], mask: Option<MaskKey>) {
    append_frame(out, kind.opcode(), true, payload, mask);
}

/// Encodes one frame of a fragmented message (RFC 6455 section 5.4): `first` is the message's kind
/// on its first frame and `None` on all others, `last` is set on its last frame.
#[must_use]
pub fn encode_fragment(
    first: Option<MessageKind>,
    last: bool,
    payload: &[u8],
    mask: Option<MaskKey>,
) -> Bytes {
    let opcode = first.map_or(Opcode::Continuation, MessageKind::opcode);
    encode_frame(opcode, last, payload, mask)
}

/// Encodes a ping, which the peer owes a pong with the same payload.
#[must_use]
pub fn encode_ping(payload: &ControlPayload<'_>, mask: Option<MaskKey>) -> Bytes {
    encode_frame(Opcode::Ping, true, payload, mask)
}

/// Encodes a pong: the answer to a ping with the payload of that ping.
#[must_use]
pub fn encode_pong(payload: &ControlPayload<'_>, mask: Option<MaskKey>) -> Bytes {
    encode_frame(Opcode::Pong, true, payload, mask)
}

/// Encodes a close frame; without a body the peer sees code 1005.
#[must_use]
pub fn encode_close(frame: Option<&CloseFrame<'_>>, mask: Option<MaskKey>) -> Bytes {
    let mut payload = Vec::new();
    if let Some(frame) = frame {
        payload.extend_from_slice(&frame.code().as_u16().to_be_bytes());
        payload.extend_from_slice(frame.reason().as_bytes());
    }
    encode_frame(Opcode::Close, true, &payload, mask)
}

fn encode_frame(opcode: Opcode, fin: bool, payload: &[u8], mask: Option<MaskKey>) -> Bytes {
    let mut out = Vec::new();
    append_frame(&mut out, opcode, fin, payload, mask);
    Bytes::from(out)
}

fn append_frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    fin: bool,
    payload: &[u8],
    mask: Option<MaskKey>,
) {
    let header = frame_header(opcode, fin, payload.len(), mask);
    // A new vector becomes exact, so that it is shared without slack; one that collects many
    // frames must grow by factors instead, or appending would be quadratic.
    if out.is_empty() {
        out.reserve_exact(header.len() + payload.len());
    }
    out.extend_from_slice(&header);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[start..], key);
    }
}

/// The payload of a ping or pong: at most 125 bytes. It derefs to them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlPayload<'a>(Cow<'a, [u8]>);

impl<'a> ControlPayload<'a> {
    /// Wraps a payload, if it fits a control frame.
    pub fn new(payload: impl Into<Cow<'a, [u8]>>) -> Result<Self, ControlTooLong> {
        let payload = payload.into();
        if payload.len() > CONTROL_PAYLOAD_MAX {
            return Err(ControlTooLong {
                payload_bytes: payload.len(),
            });
        }
        Ok(Self(payload))
    }

    /// Wraps what a header, already judged, limited to 125 bytes.
    pub(crate) const fn received(payload: Cow<'a, [u8]>) -> Self {
        Self(payload)
    }

    /// The same payload without borrows.
    #[must_use]
    pub fn into_owned(self) -> ControlPayload<'static> {
        ControlPayload(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for ControlPayload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A payload that is too long for a ping or pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{payload_bytes} bytes don't fit a control frame, which carries at most 125")]
pub struct ControlTooLong {
    /// How long it was.
    pub payload_bytes: usize,
}
