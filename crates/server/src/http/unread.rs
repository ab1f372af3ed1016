//! The bodies of requests that were answered before anybody read them.
//!
//! Owns what becomes of the connection: the answer goes at once, and what still comes is read and
//! thrown away within bounds behind it, so that a client that is still writing gets the answer and
//! its next request is heard. Where nothing is waited for, the answer says that the connection ends.
//! Must not know why a request was answered.

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

    /// Throws away what was not read, behind the answer, or lets the answer say that the connection
    /// ends.
    pub(crate) fn settle(self, config: &Config, response: &mut Response) {
        let Some(body) = lock(&self.slot).take() else {
            return;
        };
        let bytes_max = config.http_body_bytes_max.saturating_mul(DISCARD_FACTOR);
        let is_too_much = body.size_hint().lower() > bytes_max as u64;
        // Whoever was too slow once is not waited for again.
        let is_late = response.status() == StatusCode::REQUEST_TIMEOUT;
        let is_left = is_late || self.is_expected;
        if !is_left {
            let discarding = discard(body, bytes_max);
            tokio::spawn(timeout(config.connection_timeout, discarding));
        }
        if (is_left || is_too_much) && self.is_sequential {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
}

/// Reads to the end, or until it is too much: the connection is cut then.
async fn discard(mut body: Body, bytes_max: usize) {
    let mut left = bytes_max;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        if read > left {
            return;
        }
        left -= read;
    }
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
