//! The server's decisions: what is delivered, accepted, resumed and given up.
//!
//! Each machine here is plain data: the shell hands in what happened and does what is answered.
//! - [`Incoming`] and [`Tail`]: what of a channel is at hand for live delivery.
//! - [`Subscription`], and [`Cursors`] for all of a link: which publications it gets, live or from
//!   pages, and which subscription is read a page next.
//! - [`Upstream`]: which numbered messages of a session are taken, and what is owed for the others.
//! - [`Pipeline`]: in which order the accepted ones reach the log and the application.
//! - [`Sessions`] and [`resume_session`]: who holds a session, and whether its numbers go on.
//! - [`Heartbeat`]: when to ping and when silence means death.

mod cursors;
mod heartbeat;
mod incoming;
mod pipeline;
mod sessions;
mod subscription;
mod tail;
mod upstream;

pub use cursors::Cursors;
pub use heartbeat::{Beat, Heartbeat};
pub use incoming::{INCOMING_MAX, Incoming};
pub use pipeline::Pipeline;
pub use sessions::{Claim, Resumption, Sessions, judge_session, resume_session};
pub use subscription::{Delivery, Missed, PageView, Subscription};
pub use tail::{Pushed, Tail};
pub use upstream::{Intake, Owed, Upstream};
