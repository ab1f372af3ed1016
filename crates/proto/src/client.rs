//! The client's machines: one [`Client`] that a shell feeds with time, commands and link events.
//!
//! Owns everything that decides what a client does. Must not know sockets, clocks or entropy; the
//! clients in Rust and TypeScript are shells around the same behaviour.

mod contract;
mod dialing;
mod links;
mod machine;
mod outbox;
mod subscriptions;

pub use contract::{DropReason, Event, Fate, Hint, Input, Item, Options, Output, Request, State};
pub use machine::Client;
pub use outbox::{Outbox, OutboxConfig, Refused, Resolved};
pub use subscriptions::{Judgement, Subscriptions};

#[cfg(test)]
mod tests;
