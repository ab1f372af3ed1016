//! What the server counts, and what it says of itself.
//!
//! Owns every total, the one table of metrics, and the shapes of `/ws/stats` and its parts. Must
//! not know HTTP: `http` asks and answers.

mod counters;
mod detail;
mod histogram;
mod metrics;
mod moment;
mod recent;
mod report;

pub(crate) use counters::{Counters, Disconnects, count};
pub(crate) use detail::{Connections, Filter};
pub(crate) use metrics::exposition;
pub(crate) use moment::rfc3339;
pub(crate) use recent::RecentErrors;
pub(crate) use report::Stats;
