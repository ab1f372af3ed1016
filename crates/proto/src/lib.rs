//! The protocol `bowline.v1`: messages, codec, code table, and the state machines of both sides.
//!
//! Everything here is sans-IO: no clock, no entropy, no socket, no thread. The server, the clients
//! and the simulation drive the same types; no delivery decision stands anywhere else.
#![forbid(unsafe_code)]

mod code;
pub mod codec;
pub mod message;
mod position;
mod publication;
pub mod recovery;
pub mod server;
mod time;

pub use code::{Action, Class, Code, CodeRow, close};
pub use position::{OFFSET_MAX, Position, PositionError};
pub use publication::{Data, Publication};
pub use time::Time;

/// The WebSocket subprotocol that this crate speaks.
pub const SUBPROTOCOL: &str = "bowline.v1";
