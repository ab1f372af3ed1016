//! A WebSocket client that stays connected and loses nothing.
//!
//! The decisions are `bowline_proto::client`'s; this crate owns sockets, time and entropy.
#![forbid(unsafe_code)]

mod endpoint;
mod socket;

pub use endpoint::{Endpoint, EndpointError};
pub use socket::{DialError, Received, SocketError, WebSocket};
