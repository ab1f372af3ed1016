//! Where the logs of the channels live: the [`Engine`] trait, its conformance suite and the engines.
//!
//! Owns the contract between the server and its storage, and [`Memory`], the engine without a disk.
//! Must not know connections, subscriptions, frames or HTTP. Below the shell (`memory`) nothing
//! reads a clock or draws entropy: time and random bits are parameters of the log.
//!
//! ```
//! use std::sync::Arc;
//! use bowline_engine::{Append, Effect, Engine, EngineConfig, Memory};
//! use bowline_proto::Data;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let engine: Arc<dyn Engine> = Arc::new(Memory::open(EngineConfig::default())?);
//! let publish = Append {
//!     producer: None,
//!     effect: Effect::Publish {
//!         channel: "news".into(),
//!         data: Data::Json("\"hello\"".into()),
//!         user: None,
//!         tag: None,
//!         key: None,
//!     },
//! };
//! let outcomes = engine.append(vec![publish]).await;
//! assert_eq!(outcomes[0].as_ref().unwrap().position.unwrap().offset, 1);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod contract;
mod log;
mod memory;

pub use config::{ChannelPolicy, ConfigProblem, EngineConfig, POLICIES_MAX, Retention};
pub use contract::{
    Append, AppendError, Appended, BoxFuture, Effect, Engine, EngineHealth, EngineStats,
    IdempotencyKey, Listener, Page, PageLimit, Producer, ReadError, SessionKey,
};
pub use memory::{Clock, HINTS_PENDING_MAX, Memory, OpenError, SystemClock};
