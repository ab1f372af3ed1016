//! Bowline as a library: a realtime server that keeps WebSocket connections up and messages whole.
//!
//! It is for Linux. The binary `bowline` is a thin shell around it.
#![forbid(unsafe_code)]

mod accept;
mod access;
mod bucket;
mod channel;
mod cleanup;
mod clients;
mod clock;
mod config;
mod connection;
#[cfg(test)]
#[path = "../tests/support/delegate.rs"]
mod delegate;
mod drain;
mod entropy;
mod expiry;
mod frames;
mod handler;
mod history;
mod http;
mod hub;
#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
mod limits;
mod link;
mod node;
mod outbox;
mod pages;
mod presence;
mod server;
#[cfg(feature = "simulation")]
pub mod simulation;
mod socket;
mod stats;
mod sync;
mod tails;
mod tls;
mod upgrade;
mod walk;

pub use bowline_engine::{
    AppendError, Appended, BoxFuture, ChannelPolicy, Embedded, Engine, EngineConfig, LogConfig,
    Memory, OpenError, Retention, SessionKey,
};
pub use bowline_proto::{Code, Data, Position};

pub use access::{
    AccessControl, ApiKey, ApiKeyError, Credentials, Entrance, FetchError, Grant, Identity, Issuer,
    JwksSource, KeyError, KeySet, OpenAccess, Operation, RESERVED_PREFIXES, Role, StaticAccess,
    TokenAlgorithm, personal_channel,
};
pub use config::{AllowedOrigins, Config, ConfigProblem, is_loopback_host};
pub use handler::{Incoming, MessageHandler, Payload, Rejection, Reply};
pub use limits::{Network, NetworkError};
pub use server::{
    BuildError, Full, PUBLISHES_INFLIGHT_MAX, PublishError, Published, Server, ServerBuilder,
};
pub use tls::{Tls, TlsError};
