//! A WebSocket client that stays connected and loses nothing.
//!
//! What a client does is decided by `bowline_proto::client`, which knows no IO; this crate owns the
//! sockets, the time and the entropy. [`Client`] is the handle, [`Subscription`] a channel's
//! stream, [`Ack`] the end of a message. [`WebSocket`] is the plain connection beneath.
//!
//! ```no_run
//! use bowline_client::{Client, Delivery, From, json};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("ws://127.0.0.1:8000/ws").connect()?;
//! let mut room = client.subscribe("room:1", From::Now).await?;
//! client.publish("room:1", json("{\"text\":\"hello\"}")?).await?.stored().await?;
//! while let Some(delivery) = room.next().await {
//!     if let Delivery::Message(message) = delivery {
//!         println!("{:?}", message.data);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The application decides by [`Builder`] what the protocol leaves to it: among the rest whether
//! what a lost session may have stored is sent again ([`Builder::resend_unknown`]), and to which
//! hosts a server may send the client ([`Builder::allow_hosts`]). What need not be delivered any more
//! it gives up by [`Client::clear_outbox`].
#![forbid(unsafe_code)]

mod ack;
mod client;
mod endpoint;
mod link;
mod owner;
mod payload;
mod socket;
mod subscription;
mod tls;
mod transport;

pub use ack::{Ack, PublishError, ReplyError, RequestError};
pub use bowline_proto::{
    Advice, BackoffConfig, Class, Code, Confidence, Data, Evidence, Level, Position, Verdict,
    advice,
    client::{Event, Fate, Hint, OutboxConfig, State},
    message::{ErrorInfo, GapReason, Message},
    recovery::{From, Recovery},
};
pub use client::{Builder, Client, ClosedError, HealthReport, TokenError};
pub use endpoint::{Endpoint, EndpointError};
pub use payload::{JsonError, json};
pub use socket::{DialError, Received, SocketError, WebSocket};
pub use subscription::{Delivery, Subscription};
pub use tls::{Trust, TrustError};
