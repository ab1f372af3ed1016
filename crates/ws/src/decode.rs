//! Received bytes to events. It owns the order of frames, the limits and the memory of one
//! direction of a connection; it must not know what is answered, nor when.

mod message;

use std::borrow::Cow;
use std::mem;

use crate::close::CloseFrame;
use crate::deflate::Inflater;
use crate::encode::ControlPayload;
use crate::error::ProtocolError;
use crate::extensions::Extensions;
use crate::frame::{HEADER_BYTES_MAX, Header, MessageKind, Opcode, Role};
use crate::mask::{MaskKey, apply_mask};

use message::Message;

/// What each further fragment of a message costs, in bytes of [`FRAGMENT_CREDIT_MAX`].
///
/// A frame costs the receiver a header parse and a dispatch, whatever it carries; a payload of 16
/// bytes is deemed to pay for that. So fragments of 16 bytes or more are never refused.
pub const FRAGMENT_OVERHEAD: u32 = 16;

/// The credit, in bytes, that each message starts with and that its payload refills up to this
/// bound.
///
/// Each continuation frame first earns its payload length and then pays [`FRAGMENT_OVERHEAD`]; a
/// message that can't pay is refused with 1008. So a message may hold 1,024 empty fragments in a
/// row, and never more than 1,024 + `message_bytes_max` / 16 frames in all, while a 4 MB message
/// in fragments of 64 bytes (Autobahn 9.3.1) never comes near the bound.
pub const FRAGMENT_CREDIT_MAX: u32 = 16 * 1024;

/// What a compressed message may take on the wire beyond 9/8 of the limit: even the empty one has a
/// byte.
const COMPRESSED_SLACK_BYTES: u64 = 64;

/// The bounds that a [`Decoder`] holds its peer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest message in payload bytes, over all of its fragments and after inflation; above
    /// it: 1009. This is also the most that a decoder ever buffers for a message, beside the state
    /// of an inflater while a long compressed message arrives in parts.
    pub message_bytes_max: usize,
}

/// What a peer sent. It borrows the received bytes where a frame lay whole in them, and owns its
/// data where it had to be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message.
    Text(Cow<'a, str>),
    /// A whole binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping: answer with a pong of the same payload.
    Ping(ControlPayload<'a>),
    /// A pong, asked for or not.
    Pong(ControlPayload<'a>),
    /// The peer's close frame, or `None` if it had no body. Nothing after it is decoded.
    Close(Option<CloseFrame<'a>>),
}

impl Event<'_> {
    /// The same event without borrows.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Self::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
            Self::Binary(bytes) => Event::Binary(Cow::Owned(bytes.into_owned())),
            Self::Ping(payload) => Event::Ping(payload.into_owned()),
            Self::Pong(payload) => Event::Pong(payload.into_owned()),
            Self::Close(frame) => Event::Close(frame.map(CloseFrame::into_owned)),
        }
    }
}

/// Decodes the frames of one peer.
///
/// A decoder is small and holds heap memory only while a message or control frame has arrived in
/// part: as much as arrived (at most twice that, and never above the limit), and none as soon as
/// the message is handed out.
#[derive(Debug)]
pub struct Decoder {
    stage: Stage,
    /// The message whose frames have arrived in part.
    message: Option<Box<Message>>,
    /// The part of a control frame's payload that arrived, at most 125 bytes.
    control: Vec<u8>,
    limits: Limits,
    role: Role,
    extensions: Extensions,
}

/// Where in a frame the input stands.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// In a header of which `len` bytes arrived; a whole one is never kept here.
    Header {
        bytes: [u8; HEADER_BYTES_MAX - 1],
        len: u8,
    },
    /// In a payload.
    Payload(Frame),
    /// After a close frame or a violation.
    Ended,
}

impl Stage {
    const BETWEEN_FRAMES: Self = Self::Header {
        bytes: [0; HEADER_BYTES_MAX - 1],
        len: 0,
    };
}

/// A frame whose header was accepted and whose payload is (in part) still to come.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// It begins a compressed message.
    compressed: bool,
    /// The mask, rotated to the next byte to come.
    mask: Option<MaskKey>,
    remaining_bytes: usize,
}

impl Decoder {
    /// A decoder for what the peer of a `role` sends, without extensions.
    #[must_use]
    pub const fn new(role: Role, limits: Limits) -> Self {
        Self {
            stage: Stage::BETWEEN_FRAMES,
            message: None,
            control: Vec::new(),
            limits,
            role,
            extensions: Extensions::NONE,
        }
    }

    /// The same decoder with what the handshake agreed on.
    #[must_use]
    pub const fn with_extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Sets the limits from the next frame header on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes bytes from the front of `input` until one event is whole.
    ///
    /// Call it until it answers `Ok(None)`: then all of `input` is consumed and more bytes are
    /// needed. Payloads are unmasked in place, so `input` is scratch memory afterwards. After a
    /// close frame or an error the connection has ended for this decoder: it discards whatever
    /// else it is given and answers `Ok(None)`.
    ///
    /// Where compressed messages were agreed on, each of them costs the making of an inflater here;
    /// [`decode_with`](Self::decode_with) takes one that is kept.
    ///
    /// # Errors
    /// The peer violated RFC 6455 or the limits; [`ProtocolError::close_code`] is owed to it.
    pub fn decode<'i>(
        &mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        self.decode_with(input, &mut Inflater::new())
    }

    /// The same with an inflater of the caller's, which any number of decoders can use in turn.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), for RFC 7692 as well.
    pub fn decode_with<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let result = self.advance(input, inflater);
        if matches!(result, Err(_) | Ok(Some(Event::Close(_)))) {
            self.stage = Stage::Ended;
            self.message = None;
            self.control = Vec::new();
            *input = &mut [];
        }
        result
    }

    /// The heap memory, in bytes, that the decoder holds for what arrived in part.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.message
            .as_ref()
            .map_or(0, |message| size_of::<Message>() + message.buffered_bytes())
            + self.control.capacity()
    }

    /// Whether no frame and no message is in progress, so that the bytes up to here are whole.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        matches!(self.stage, Stage::Header { len: 0, .. }) && self.message.is_none()
    }

    fn advance<'i>(
        &mut self,
        input: &mut &'i mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        // Each turn consumes input or moves a frame on, so the loop is bounded by the input.
        loop {
            match self.stage {
                Stage::Header { bytes, len } => {
                    let Some(header) = self.read_header(bytes, usize::from(len), input)? else {
                        return Ok(None);
                    };
                    self.stage = Stage::Payload(self.judge(header)?);
                }
                Stage::Payload(frame) => {
                    let event = self.read_payload(frame, input, inflater)?;
                    if event.is_some() || matches!(self.stage, Stage::Payload(_)) {
                        return Ok(event);
                    }
                }
                Stage::Ended => {
                    *input = &mut [];
                    return Ok(None);
                }
            }
        }
    }

    /// Reads a header that may have begun in an earlier input: `held[..held_bytes]`.
    fn read_header(
        &mut self,
        held: [u8; HEADER_BYTES_MAX - 1],
        held_bytes: usize,
        input: &mut &mut [u8],
    ) -> Result<Option<Header>, ProtocolError> {
        let (header, consumed) = if held_bytes == 0 {
            match Header::parse(input, self.role, self.extensions)? {
                Some((header, header_bytes)) => (Some(header), header_bytes),
                None => (None, input.len()),
            }
        } else {
            let mut joined = [0; HEADER_BYTES_MAX];
            let joined_bytes = HEADER_BYTES_MAX.min(held_bytes + input.len());
            joined[..held_bytes].copy_from_slice(&held[..held_bytes]);
            joined[held_bytes..joined_bytes].copy_from_slice(&input[..joined_bytes - held_bytes]);
            match Header::parse(&joined[..joined_bytes], self.role, self.extensions)? {
                Some((header, header_bytes)) => (Some(header), header_bytes - held_bytes),
                None => (None, input.len()),
            }
        };
        let part = take_front(input, consumed);
        if header.is_none() {
            let mut bytes = held;
            let len = held_bytes + part.len();
            bytes[held_bytes..len].copy_from_slice(part);
            self.stage = Stage::Header {
                bytes,
                len: len as u8,
            };
        }
        Ok(header)
    }

    /// Judges a header by what came before it, before any memory is spent on its payload.
    fn judge(&mut self, header: Header) -> Result<Frame, ProtocolError> {
        let Header {
            opcode,
            fin,
            compressed,
            payload_bytes,
            mask,
        } = header;
        let limit_bytes = self.limits.message_bytes_max;
        let (message_bytes, wire_bytes_max) = match (opcode, &mut self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => (0, u64::MAX),
            (Opcode::Continuation, None) => return Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Continuation, Some(message)) => {
                message.charge_fragment(payload_bytes)?;
                let wire_bytes_max = wire_bytes_max(limit_bytes, message.is_compressed());
                (message.wire_bytes(), wire_bytes_max)
            }
            (Opcode::Text | Opcode::Binary, None) => (0, wire_bytes_max(limit_bytes, compressed)),
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(ProtocolError::ExpectedContinuation);
            }
        };
        let announced_bytes = payload_bytes.saturating_add(message_bytes as u64);
        if announced_bytes > wire_bytes_max {
            return Err(ProtocolError::MessageTooBig {
                announced_bytes,
                limit_bytes,
            });
        }
        let remaining_bytes = usize::try_from(payload_bytes)
            .expect("a payload is within the message limit or within 125 bytes");
        Ok(Frame {
            opcode,
            fin,
            compressed,
            mask,
            remaining_bytes,
        })
    }

    /// Takes what `input` has of a payload. Leaves `Stage::Payload` once the frame is whole.
    fn read_payload<'i>(
        &mut self,
        mut frame: Frame,
        input: &mut &'i mut [u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let part = take_front(input, frame.remaining_bytes.min(input.len()));
        frame.mask = frame.mask.map(|key| apply_mask(part, key));
        frame.remaining_bytes -= part.len();
        let is_whole = frame.remaining_bytes == 0;
        self.stage = if is_whole {
            Stage::BETWEEN_FRAMES
        } else {
            Stage::Payload(frame)
        };
        if part.is_empty() && !is_whole {
            return Ok(None);
        }
        match frame.opcode {
            Opcode::Text => self.take_data(frame, MessageKind::Text, part, inflater),
            Opcode::Binary => self.take_data(frame, MessageKind::Binary, part, inflater),
            Opcode::Continuation => {
                let message = self
                    .message
                    .take()
                    .expect("judge refuses a stray continuation");
                self.extend_message(frame, message, part, inflater)
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong if !is_whole => {
                self.control.extend_from_slice(part);
                Ok(None)
            }
            Opcode::Close => CloseFrame::parse(self.take_control(part))
                .map(Event::Close)
                .map(Some),
            Opcode::Ping => Ok(Some(Event::Ping(ControlPayload::received(
                self.take_control(part),
            )))),
            Opcode::Pong => Ok(Some(Event::Pong(ControlPayload::received(
                self.take_control(part),
            )))),
        }
    }

    /// The first or only frame of a message: borrowed if it is all there and all of the message.
    fn take_data<'i>(
        &mut self,
        frame: Frame,
        kind: MessageKind,
        part: &'i [u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        match self.message.take() {
            Some(message) => self.extend_message(frame, message, part, inflater),
            None if frame.is_last_part() && !frame.compressed => match kind {
                MessageKind::Text => match simdutf8::basic::from_utf8(part) {
                    Ok(text) => Ok(Some(Event::Text(Cow::Borrowed(text)))),
                    Err(_) => Err(ProtocolError::InvalidUtf8),
                },
                MessageKind::Binary => Ok(Some(Event::Binary(Cow::Borrowed(part)))),
            },
            None => {
                let message = Box::new(Message::new(kind, frame.compressed));
                self.extend_message(frame, message, part, inflater)
            }
        }
    }

    fn extend_message<'i>(
        &mut self,
        frame: Frame,
        mut message: Box<Message>,
        part: &[u8],
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'i>>, ProtocolError> {
        let limit_bytes = self.limits.message_bytes_max;
        if message.is_compressed() {
            message.inflate(part, frame.is_last_part(), limit_bytes, inflater)?;
        } else {
            // The last frame's header says how long the message is at most; before it, only the
            // limit does. Neither is reserved ahead: they cap what growing would overshoot.
            let bytes_max = if frame.fin {
                message.wire_bytes() + part.len() + frame.remaining_bytes
            } else {
                limit_bytes
            };
            message.extend(part, bytes_max)?;
        }
        if frame.is_last_part() {
            return message.finish().map(Some);
        }
        self.message = Some(message);
        Ok(None)
    }

    /// A control payload of which `part` is the end.
    fn take_control<'i>(&mut self, part: &'i [u8]) -> Cow<'i, [u8]> {
        if self.control.is_empty() {
            return Cow::Borrowed(part);
        }
        self.control.extend_from_slice(part);
        Cow::Owned(mem::take(&mut self.control))
    }
}

impl Frame {
    /// Whether nothing of the message is still to come.
    const fn is_last_part(&self) -> bool {
        self.fin && self.remaining_bytes == 0
    }
}

/// What a message may take on the wire. A compressed one may be longer there than it is: DEFLATE's
/// fixed codes take up to nine bits for a byte, and each block has a few bits of its own.
const fn wire_bytes_max(limit_bytes: usize, compressed: bool) -> u64 {
    let limit_bytes = limit_bytes as u64;
    if compressed {
        limit_bytes + limit_bytes / 8 + COMPRESSED_SLACK_BYTES
    } else {
        limit_bytes
    }
}

/// Splits `count` bytes off the front of `input`.
fn take_front<'i>(input: &mut &'i mut [u8], count: usize) -> &'i mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(count);
    *input = rest;
    front
}

#[cfg(test)]
mod tests;
