//! RFC 6455, the WebSocket protocol, and RFC 7692, its compression, for both roles and without IO.
//!
//! The crate owns what stands on the wire: the opening handshake ([`accept`],
//! [`ClientHandshake`]), frames ([`Decoder`], `encode_*`) and the rules of the closing handshake
//! ([`Closing`]), compressed messages ([`Inflater`], [`Deflater`]). It knows no socket, no clock, no entropy and nothing of what messages mean; mask
//! keys and handshake keys are given by the caller.
//!
//! It is made for many idle connections: a [`Decoder`] between two messages is a few words and
//! holds no heap, a message that lies whole in the received bytes is unmasked in place and
//! borrowed, and nothing is ever reserved because a peer announced it.
//!
//! ```
//! use bowline_ws::{Closing, Decoder, Event, Limits, MessageKind, Role};
//! use bowline_ws::{encode_close, encode_message, encode_pong};
//!
//! // What a client sent: the frame is masked with a key that the client drew.
//! let mut received = encode_message(MessageKind::Text, b"hello", Some([1, 2, 3, 4])).to_vec();
//!
//! let mut decoder = Decoder::new(Role::Server, Limits { message_bytes_max: 65_536 });
//! let mut closing = Closing::new(Role::Server);
//! let mut input = received.as_mut_slice();
//! let mut output = Vec::new();
//! loop {
//!     match decoder.decode(&mut input) {
//!         Ok(Some(Event::Text(text))) => {
//!             output.push(encode_message(MessageKind::Text, text.as_bytes(), None));
//!         }
//!         Ok(Some(Event::Binary(bytes))) => {
//!             output.push(encode_message(MessageKind::Binary, &bytes, None));
//!         }
//!         Ok(Some(Event::Ping(payload))) => output.push(encode_pong(&payload, None)),
//!         Ok(Some(Event::Pong(_))) => {}
//!         Ok(Some(Event::Close(frame))) => {
//!             if let Some(answer) = closing.received(frame.as_ref()) {
//!                 output.push(encode_close(answer.as_ref(), None));
//!             }
//!         }
//!         Ok(None) => break,
//!         Err(error) => {
//!             if let Some(frame) = closing.fail(&error) {
//!                 output.push(encode_close(Some(&frame), None));
//!             }
//!         }
//!     }
//! }
//! assert_eq!(output, [&b"\x81\x05hello"[..]]);
//! ```

#![forbid(unsafe_code)]

mod close;
mod closing;
mod decode;
mod deflate;
mod encode;
mod error;
mod extensions;
mod frame;
mod handshake;
mod mask;

pub use close::{CloseCode, CloseFrame};
pub use closing::{Closing, Initiator, Outcome, Step};
pub use decode::{Decoder, Event, FRAGMENT_CREDIT_MAX, FRAGMENT_OVERHEAD, Limits};
pub use deflate::{Deflater, Inflater};
pub use encode::{
    ControlPayload, ControlTooLong, append_message, encode_close, encode_fragment, encode_message,
    encode_ping, encode_pong,
};
pub use error::ProtocolError;
pub use extensions::Extensions;
pub use frame::{CONTROL_PAYLOAD_MAX, FrameHeader, MessageKind, Opcode, Role, frame_header};
pub use handshake::{
    Accepted, ClientHandshake, ClientRequest, HandshakeError, RESPONSE_BYTES_MAX,
    RESPONSE_HEADERS_MAX, Refusal, RequestError, Response, ResponseError, UpgradeRequest, accept,
};
pub use mask::{MaskKey, apply_mask};
