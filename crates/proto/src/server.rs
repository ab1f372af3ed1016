//! The server's decisions: what is delivered, accepted, resumed and given up.
//!
//! Each machine here is plain data: the shell hands in what happened and does what is answered.
//! - [`Tail`] and [`Subscription`]: which publications a subscriber gets, live or from pages.
//! - [`Upstream`]: which numbered messages of a session are taken, and what is owed for the others.
//! - [`Sessions`] and [`judge_session`]: who holds a session, and whether its numbers go on.
//! - [`Heartbeat`]: when to ping and when silence means death.

mod heartbeat;
mod sessions;
mod subscription;
mod tail;
mod upstream;

pub use heartbeat::{Beat, Heartbeat};
pub use sessions::{Claim, Sessions, judge_session};
pub use subscription::{Delivery, Missed, PageView, Subscription};
pub use tail::{Pushed, Tail};
pub use upstream::{Intake, Owed, Upstream};
