//! Where the logs of the channels live: the [`Engine`] trait, its conformance suite and the engines.
//!
//! Owns the contract between the server and its storage, [`Embedded`], the log on a disk, and
//! [`Memory`], the same log without one. Must not know connections, subscriptions or HTTP. Below the
//! shell nothing reads a clock or draws entropy: time and random bits are parameters of the log.
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

mod commit;
mod compact;
mod config;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod contract;
mod disk;
mod embedded;
mod format;
mod hint;
mod memory;
mod names;
pub mod offline;
mod open;
mod read;
mod scan;
mod shell;
mod state;
mod writer;

pub use commit::Entropy;
pub use config::{ChannelPolicy, ConfigProblem, EngineConfig, LogConfig, POLICIES_MAX, Retention};
pub use contract::{
    Append, AppendError, Appended, BoxFuture, Effect, Engine, EngineHealth, EngineStats,
    IdempotencyKey, Listener, Page, PageLimit, Producer, ReadError, SessionKey,
};
pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
#[cfg(any(test, feature = "simulation"))]
pub use disk::{SimCounts, SimDisk, SimPlan};
pub use embedded::Embedded;
pub use format::FORMAT_VERSION;
pub use memory::{Inline, Memory};
pub use open::OpenError;
pub use scan::Damage;
pub use shell::{
    HINTS_PENDING_MAX,
    clock::{Clock, SystemClock},
};
