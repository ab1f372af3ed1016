//! The protocol `bowline.v1`: messages, codec, code table, and the state machines of both sides.
//!
//! Everything here is sans-IO: no clock, no entropy, no socket, no thread. The server, the clients
//! and the simulation drive the same types; no delivery decision stands anywhere else.
#![forbid(unsafe_code)]

mod backoff;
mod channel;
mod classify;
pub mod client;
mod code;
pub mod codec;
mod health;
pub mod message;
mod position;
mod publication;
pub mod recovery;
mod rng;
pub mod server;
mod time;

pub use backoff::{Backoff, BackoffConfig};
pub use channel::{CHANNEL_BYTES_LIMIT, is_channel};
pub use classify::{Advice, Confidence, Evidence, Strategy, Verdict, advice, classify};
pub use code::{Action, Class, Code, CodeRow, close};
pub use health::{Health, Level};
pub use position::{OFFSET_MAX, Position, PositionError};
pub use publication::{Data, Publication};
pub use rng::{BOUND_MAX, Rng};
pub use time::Time;

/// The WebSocket subprotocol that this crate speaks.
pub const SUBPROTOCOL: &str = "bowline.v1";
