//! One event of a driver, as `DRIVERS.md` has it.

use serde::Deserialize;

/// A line of a driver's output. Fields that an event doesn't have are `None`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Event {
    /// The kind of event.
    pub event: String,
    /// The client that it concerns.
    pub client: Option<String>,
    /// The channel that it concerns.
    pub channel: Option<String>,
    /// A position, exactly as the server gave it.
    pub position: Option<String>,
    /// A message id.
    pub m: Option<String>,
    /// The length of the padding that was delivered.
    pub pad_len: Option<u64>,
    /// Of `subscribed`.
    pub recovered: Option<bool>,
    /// Of `welcome`.
    pub resumed: Option<bool>,
    /// Of `subscribed`, `gap`, `dropped`, `welcome`.
    pub reason: Option<String>,
    /// Of `dropped`.
    pub fate: Option<String>,
    /// A code: text, or a number for `closed`.
    pub code: Option<serde_json::Value>,
}
