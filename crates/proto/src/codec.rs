//! The text of `bowline.v1`: frames to messages and back.
//!
//! Owns PROTOCOL.md, "Frames": several JSON objects in a text frame, header and payload in a binary
//! one, and the bounds that are judged before anything is kept. Must not know what messages mean.

mod decode;
mod encode;

pub use decode::{
    ClientMessages, DecodeError, ServerMessages, decode_client, decode_server, json_data,
};
pub use encode::{Frame, close_reason, encode_client, encode_message, encode_server, history_data};

/// The deepest nesting of arrays and objects in a message of a client.
pub const NESTING_MAX: usize = 128;

/// The deepest nesting of `data`: a message has one level around it.
pub const DATA_NESTING_MAX: usize = NESTING_MAX - 1;

/// The deepest nesting in a message of a server: the answer to `history` has four levels around
/// `data`.
pub const ANSWER_NESTING_MAX: usize = DATA_NESTING_MAX + 4;

/// How much larger than the message limit a frame may be, for everything around `data`.
pub const FRAME_OVERHEAD_BYTES: usize = 4096;

/// The longest close reason, in bytes (RFC 6455, 5.5: a control frame's 125 less the code).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// What arrived in one WebSocket message.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

#[cfg(test)]
mod tests;
