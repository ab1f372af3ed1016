//! The bodies of requests that were answered before anybody read them.
//!
//! Owns what becomes of the connection: what still comes is read and thrown away within bounds, so
//! that the answer reaches a client that is still writing and its next request is heard; otherwise
//! the answer says that the connection ends. Must not know why a request was answered.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderValue, StatusCode, Version, header},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

use crate::{
    Config,
    sync::{Mutex, lock},
};

/// Of an unread body up to so many times `http_body_bytes_max` is thrown away; beyond, the
/// connection is cut.
const DISCARD_FACTOR: usize = 4;

/// A request's body, which comes back here if it is dropped before its end.
pub(crate) struct Unread {
    slot: Slot,
    /// The client waits to be told to send it, and so is better told to keep it.
    is_expected: bool,
    /// Whether a connection of this version serves one request after the other.
    is_sequential: bool,
}

type Slot = Arc<Mutex<Option<Body>>>;

/// The body, as the routes get it.
struct Lent {
    body: Body,
    is_over: bool,
    slot: Slot,
}

impl Unread {
    /// Watches the body of this request; none where it has none.
    pub(crate) fn watch(request: &mut Request) -> Option<Self> {
        if request.body().is_end_stream() {
            return None;
        }
        let slot = Slot::default();
        let lent = Lent {
            body: mem::take(request.body_mut()),
            is_over: false,
            slot: slot.clone(),
        };
        *request.body_mut() = Body::new(lent);
        Some(Self {
            slot,
            is_expected: request.headers().contains_key(header::EXPECT),
            is_sequential: request.version() <= Version::HTTP_11,
        })
    }

    /// Throws away what was not read, or lets the answer say that the connection ends.
    pub(crate) async fn settle(self, config: &Config, response: &mut Response) {
        let Some(mut body) = lock(&self.slot).take() else {
            return;
        };
        // Whoever was too slow once is not waited for again.
        let is_late = response.status() == StatusCode::REQUEST_TIMEOUT;
        let is_whole = !is_late && !self.is_expected && discard(&mut body, config).await;
        if !is_whole && self.is_sequential {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
}

/// Whether the body ended within the bounds.
async fn discard(body: &mut Body, config: &Config) -> bool {
    let mut left = config.http_body_bytes_max.saturating_mul(DISCARD_FACTOR);
    let reading = async {
        while let Some(frame) = body.frame().await {
            let read = frame.map(|frame| frame.data_ref().map_or(0, Bytes::len));
            match read {
                Ok(read) if read <= left => left -= read,
                _ => return false,
            }
        }
        true
    };
    timeout(config.connection_timeout, reading).await == Ok(true)
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.is_over |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_over && !self.body.is_end_stream() {
            *lock(&self.slot) = Some(mem::take(&mut self.body));
        }
    }
}
