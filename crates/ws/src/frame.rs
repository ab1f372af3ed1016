//! The frame header (RFC 6455 section 5.2), read and written. It owns every rule that can be
//! judged on a header alone; it must not know payloads or which message is in progress.

use std::ops::Deref;

use crate::error::ProtocolError;
use crate::extensions::Extensions;
use crate::mask::MaskKey;

/// The longest payload of a control frame in bytes (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_MAX: usize = 125;
/// The longest header: two bytes, eight of length, four of mask.
pub(crate) const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
/// The bit by which permessage-deflate marks a compressed message (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
/// Values of the 7-bit length that announce a longer one.
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;

/// Which end of the connection this side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives masked frames, sends unmasked ones.
    Server,
    /// Receives unmasked frames, sends masked ones.
    Client,
}

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

impl MessageKind {
    /// The opcode of the first frame of such a message.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text => Opcode::Text,
            Self::Binary => Opcode::Binary,
        }
    }
}

/// What a frame is for (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further frame of a fragmented message.
    Continuation,
    /// The first or only frame of a text message.
    Text,
    /// The first or only frame of a binary message.
    Binary,
    /// The end of the connection.
    Close,
    /// A probe that is owed a pong.
    Ping,
    /// The answer to a ping, or an unasked sign of life.
    Pong,
}

impl Opcode {
    /// Whether this is a close, ping or pong, which may stand between the frames of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            reserved => return Err(ProtocolError::ReservedOpcode(reserved)),
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// A received header that passed every rule that needs no context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    /// This frame begins a compressed message (RFC 7692 section 6.1).
    pub(crate) compressed: bool,
    pub(crate) payload_bytes: u64,
    /// Present exactly if the peer is a client.
    pub(crate) mask: Option<MaskKey>,
}

impl Header {
    /// Reads a header from the front of `bytes`, and says how long it was; `None` if more bytes
    /// are needed. A violation in the first two bytes is found as soon as they are there.
    pub(crate) fn parse(
        bytes: &[u8],
        role: Role,
        extensions: Extensions,
    ) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        let opcode = Opcode::from_bits(first & !(FIN | RSV))?;
        let starts_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        let rsv_allowed = if starts_message {
            extensions.rsv_bits()
        } else {
            0
        };
        if first & RSV & !rsv_allowed != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let masked = second & MASKED != 0;
        match role {
            Role::Server if !masked => return Err(ProtocolError::Unmasked),
            Role::Client if masked => return Err(ProtocolError::Masked),
            Role::Server | Role::Client => {}
        }
        let short_length = second & !MASKED;
        if opcode.is_control() {
            if !fin {
                return Err(ProtocolError::FragmentedControl);
            }
            if usize::from(short_length) > CONTROL_PAYLOAD_MAX {
                return Err(ProtocolError::ControlTooLong);
            }
        }
        let Some((payload_bytes, rest)) = parse_length(short_length, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        Ok(Some((
            Self {
                fin,
                opcode,
                compressed: first & RSV1 != 0,
                payload_bytes,
                mask,
            },
            bytes.len() - rest.len(),
        )))
    }
}

/// Reads the extended payload length; `None` if more bytes are needed.
fn parse_length(short: u8, bytes: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (length, shortest, rest) = match short {
        LENGTH_IS_U16 => match bytes.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
            None => return Ok(None),
        },
        LENGTH_IS_U64 => match bytes.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
            None => return Ok(None),
        },
        _ => (u64::from(short), 0, bytes),
    };
    if length < shortest {
        return Err(ProtocolError::NonMinimalLength);
    }
    if length > i64::MAX as u64 {
        return Err(ProtocolError::LengthOutOfRange);
    }
    Ok(Some((length, rest)))
}

/// An encoded frame header, 2 to 14 bytes; it derefs to them.
#[derive(Debug, Clone, Copy)]
pub struct FrameHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl FrameHeader {
    /// The same header with the bit that marks a compressed message (RFC 7692 section 6); it stands
    /// on the first frame of a message and on no other.
    #[must_use]
    pub const fn compressed(mut self) -> Self {
        self.bytes[0] |= RSV1;
        self
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl Deref for FrameHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Encodes a frame header for a payload that is written beside it, for vectored writes.
///
/// `mask` is `None` on a server and a fresh key on a client; the payload must then be masked with
/// [`apply_mask`](crate::apply_mask). For whole frames see
/// [`encode_message`](crate::encode_message) and its siblings.
#[must_use]
pub fn frame_header(
    opcode: Opcode,
    fin: bool,
    payload_bytes: usize,
    mask: Option<MaskKey>,
) -> FrameHeader {
    let mut header = FrameHeader {
        bytes: [0; HEADER_BYTES_MAX],
        len: 0,
    };
    let masked = if mask.is_some() { MASKED } else { 0 };
    header.push(&[opcode.bits() | if fin { FIN } else { 0 }]);
    if payload_bytes < usize::from(LENGTH_IS_U16) {
        header.push(&[masked | payload_bytes as u8]);
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        header.push(&[masked | LENGTH_IS_U16]);
        header.push(&length.to_be_bytes());
    } else {
        header.push(&[masked | LENGTH_IS_U64]);
        header.push(&(payload_bytes as u64).to_be_bytes());
    }
    if let Some(key) = mask {
        header.push(&key);
    }
    header
}

#[cfg(test)]
mod tests;
