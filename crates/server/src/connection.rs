//! The life of one connection after its upgrade.
//!
//! Owns the connection's task: first the handshake, then two halves that it polls together. The writing half flushes, beats
//! and catches up; the reading half decodes and serves requests. Whichever ends first ends the
//! connection, with a closing handshake. Decisions are made by `bowline_proto::server`.

mod closing;
mod desk;
mod grants;
mod hello;
mod plain;
mod reading;
mod requests;
mod upstream;
mod writing;

use std::{
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use bowline_engine::BoxFuture;
use bowline_proto::{Code, codec::close_reason, message::ErrorInfo, server::Upstream};
use bowline_ws::{CloseCode, CloseFrame};
use futures_util::FutureExt;
use tokio::time::Sleep;

use crate::{
    bucket::Bucket,
    frames::Mode,
    link::{Ending, Link},
    node::{Node, count},
    stats::Disconnects,
};
use desk::Service;
pub(crate) use plain::PlainRequest;
use reading::Reading;
use upstream::Pipeline;
use writing::Writing;

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

    /// The close code that the connection ends with, and the refusal behind it.
    fn codes(&self) -> (u16, Option<Code>) {
        let frame = match self {
            Self::Broken => return (Disconnects::ABNORMAL, None),
            // RFC 6455, 7.1.5: the peer's close frame had no code.
            Self::Answer(None) => return (1005, None),
            Self::Close(frame) | Self::Answer(Some(frame)) | Self::Fail(frame) => frame,
        };
        (frame.code().as_u16(), reason_code(frame.reason()))
    }
}

impl From<Ending> for End {
    fn from(ending: Ending) -> Self {
        Self::code(match ending {
            Ending::Replaced => Code::Replaced,
            Ending::Draining => Code::Draining,
            Ending::Disconnected => Code::Disconnected,
            Ending::Stale => Code::Stale,
        })
    }
}

/// The code in a reason that this side has written.
fn reason_code(reason: &str) -> Option<Code> {
    #[derive(serde::Deserialize)]
    struct Reason<'a> {
        code: &'a str,
    }
    let reason: Reason<'_> = serde_json::from_str(reason).ok()?;
    Code::from_name(reason.code)
}

/// RFC 6455, 7.4.1: the message violates a policy.
const POLICY: u16 = 1008;

/// What a connection has once its client is known.
struct Peer {
    upstream: Upstream,
    bucket: Bucket,
    pipeline: Pipeline,
}

/// A connection whose client is welcomed: what it keeps while nothing happens.
pub(crate) struct Connection {
    reading: Reading,
    service: Service,
    writing: Writing,
}

/// What a connection is before its client is known: on the heap, so that nothing of it stays in
/// the memory of an idle one. It answers none where the connection has ended.
pub(crate) type Opening = BoxFuture<'static, Option<Connection>>;

/// Serves a connection until it ends, and leaves nothing of it behind; a panic ends this one only.
pub(crate) async fn serve(opening: Opening) {
    let Some(mut connection) = opening.await else {
        return;
    };
    // This future is memory in every idle connection. So its halves are polled by hand, and what
    // runs only now and then is on the heap.
    let mut timer = pin!(writing::timer(&connection.reading.node));
    let run = poll_fn(|cx| connection.poll(cx, timer.as_mut()));
    let ended = AssertUnwindSafe(run).catch_unwind().await;
    // Neither is polled any more: a `bye` that waits for the link's work would keep its place before those
    // who wait now, and a page that is read its slot, and those who share its reading.
    drop((connection.service, connection.writing));
    let ending: BoxFuture<'_, ()> = match ended {
        Ok(end) => Box::pin(connection.reading.close(end)),
        Err(_) => Box::pin(connection.reading.crash()),
    };
    if AssertUnwindSafe(ending).catch_unwind().await.is_err() {
        panicked(&connection.reading.node, connection.reading.link.id);
    }
}

/// Counts and logs a panic.
pub(crate) fn panicked(node: &Node, id: u64) {
    count(&node.counters.connections_panicked, 1);
    node.counters.disconnects.add(Disconnects::ABNORMAL);
    tracing::error!(connection = id, "the connection's task panicked");
}

/// Finds out who the client is, and welcomes it.
pub(crate) async fn open(
    node: Arc<Node>,
    link: Arc<Link>,
    received: Vec<u8>,
    plain: PlainRequest,
) -> Option<Connection> {
    let mut reading = Reading::new(node.clone(), link.clone());
    let opened = tokio::select! {
        biased;
        // The writing half first: what is owed goes out before more is taken in.
        end = writing::run(&node, &link) => Err(end),
        opened = reading.open(received, plain) => opened,
    };
    match opened {
        Ok(peer) => Some(Connection {
            reading,
            service: Service::Idle(peer),
            writing: Writing::default(),
        }),
        Err(end) => {
            reading.close(end).await;
            None
        }
    }
}

impl Connection {
    /// Both halves, the writing one first; ready once one of them has ended.
    fn poll(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Sleep>) -> Poll<End> {
        let Self {
            reading,
            service,
            writing,
        } = self;
        match writing.poll(cx, timer, &reading.node, &reading.link) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => reading.poll(cx, service),
        }
    }
}

impl Peer {
    /// Whose numbers go on behind `stored`.
    fn new(node: &Node, stored: u64) -> Self {
        let config = &node.config;
        Self {
            upstream: Upstream::new(stored, config.inflight_max as u64),
            bucket: Bucket::full(config.messages_burst_max, node.clock.now()),
            pipeline: Pipeline::default(),
        }
    }
}

/// Ends a connection that never was one, with a code that its client can see.
pub(crate) async fn refuse(node: &Node, link: &Link, error: &ErrorInfo) {
    node.counters.errors.note(error);
    closing::run(node, link, Some(Vec::new()), End::info(error)).await;
}

/// Whether this is the mode in which JSON messages are spoken.
fn speaks_bowline(link: &Link) -> bool {
    link.mode == Mode::Bowline
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // tokio keeps about 104 bytes beside a future, and rounds up to a multiple of 128.
        let task = size_of_val(&serve(Box::pin(async { None })));
        assert!(task <= 512 - 104, "{task} bytes");
    }
}
