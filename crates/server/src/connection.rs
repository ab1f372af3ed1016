//! The life of one connection after its upgrade.
//!
//! Owns the connection's task: two halves that it polls together. The writing half flushes, beats
//! and catches up; the reading half decodes and serves requests. Whichever ends first ends the
//! connection, with a closing handshake. Decisions are made by `bowline_proto::server`.

mod closing;
mod hello;
mod plain;
mod reading;
mod requests;
mod upstream;
mod writing;

use std::sync::Arc;

use bowline_engine::SessionKey;
use bowline_proto::{Code, codec::close_reason, message::ErrorInfo, server::Upstream};
use bowline_ws::{CloseCode, CloseFrame, Decoder, Limits, Role};

use crate::{
    access::Identity,
    bucket::Bucket,
    frames::Mode,
    link::{Ending, Link},
    node::Node,
};
pub(crate) use plain::PlainRequest;

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// This side closes, for this reason.
    Close(CloseFrame<'static>),
    /// The peer has closed; this is the answer it is owed.
    Answer(Option<CloseFrame<'static>>),
    /// The peer has violated RFC 6455: it is told, and nothing more is expected of it.
    Fail(CloseFrame<'static>),
    /// There is nobody to tell.
    Broken,
}

impl End {
    /// Closes with a code of the table.
    fn code(code: Code) -> Self {
        Self::info(&ErrorInfo::new(code))
    }

    /// Closes with a refusal; one that has no close code of its own is a policy's.
    fn info(error: &ErrorInfo) -> Self {
        let close = Code::from_name(&error.code).and_then(|code| code.row().close);
        let reason = close_reason(&error.code, error.retry_after_ms);
        let close = CloseCode::new(close.unwrap_or(POLICY)).expect("the table's codes are legal");
        Self::Close(CloseFrame::new(close, reason))
    }
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        Self::code(match ending {
            Ending::Replaced => Code::Replaced,
            Ending::Draining => Code::Draining,
        })
    }
}

/// RFC 6455, 7.4.1: the message violates a policy.
const POLICY: u16 = 1008;

/// What a connection has once its client is known.
struct Peer {
    identity: Identity,
    /// The session's secret id and its key; none in plain mode.
    session: Option<(Box<str>, SessionKey)>,
    upstream: Upstream,
    bucket: Bucket,
}

/// Serves a connection until it ends, and leaves nothing of it behind.
pub(crate) async fn serve(
    node: Arc<Node>,
    link: Arc<Link>,
    received: Vec<u8>,
    plain: PlainRequest,
) {
    let guard = Guard {
        node: node.clone(),
        link: link.clone(),
        session: None,
    };
    let limits = Limits {
        message_bytes_max: node.config.message_bytes_max
            + bowline_proto::codec::FRAME_OVERHEAD_BYTES,
    };
    let mut reading = reading::Reading {
        node: node.clone(),
        link: link.clone(),
        decoder: Decoder::new(Role::Server, limits),
        received,
        guard,
        ending: None,
    };
    let end = tokio::select! {
        biased;
        // The writing half first: what is owed goes out before more is taken in.
        end = writing::run(&node, &link) => end,
        end = reading.run(plain) => end,
    };
    tracing::debug!(connection = link.id, ?end, "connection ends");
    // What runs once is boxed, here and below: else its state is memory in every idle connection.
    Box::pin(closing::run(&node, &link, &mut reading.decoder, end)).await;
    // The session is held until what was accepted is finished, so that its next link sees it.
    let _last = link.work.acquire().await;
}

/// Ends a connection that never was one, with a code that its client can see.
pub(crate) async fn refuse(node: &Node, link: &Link, error: &ErrorInfo) {
    let limits = Limits {
        message_bytes_max: 0,
    };
    let mut decoder = Decoder::new(Role::Server, limits);
    closing::run(node, link, &mut decoder, End::info(error)).await;
}

/// Takes a connection out of everything it is in, however its task ends.
struct Guard {
    node: Arc<Node>,
    link: Arc<Link>,
    session: Option<SessionKey>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        for channel in self.link.unsubscribe_all() {
            self.node.hub.leave(&channel, &self.link);
        }
        if let Some(session) = &self.session {
            crate::sync::lock(&self.node.sessions).release(session, self.link.id);
        }
        self.node.forget(&self.link);
    }
}

/// Whether this is the mode in which JSON messages are spoken.
fn speaks_bowline(link: &Link) -> bool {
    link.mode == Mode::Bowline
}
