//! The stream of one channel.
//!
//! Owns the bounded queue between the owner task and the reader. Must not know why a subscription
//! goes on; it is told.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bowline_proto::{
    Position,
    message::{ErrorInfo, GapReason, Message},
    recovery::Recovery,
};
use futures_core::Stream;
use tokio::sync::{Notify, mpsc};

/// What a reader of a channel sees, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The subscription begins or goes on here. Where `recovered` is false, publications are missing
    /// before it: on a channel without history after every break.
    Subscribed(Recovery),
    /// A publication: once, in order.
    Message(Message),
    /// Publications are missing here.
    Gap {
        /// Where it goes on.
        position: Option<Position>,
        /// Why.
        reason: GapReason,
        /// How many.
        missed: Option<u64>,
    },
    /// The server refused; where `retry`, it is asked again, else this is the last item.
    Refused(ErrorInfo),
    /// The server withdrew the subscription; the last item.
    Ended {
        /// Why.
        code: Option<String>,
    },
}

/// The stream of one channel; dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) channel: Arc<str>,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) paused: Arc<AtomicBool>,
    /// Wakes the owner when a paused stream is drained or a stream is dropped.
    pub(crate) wake: Arc<Notify>,
    pub(crate) handled: Handled,
    /// Of the item that the reader has in its hands.
    pub(crate) in_hand: Option<Position>,
}

/// How far the reader of a stream is: it has come back for more after this.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handled(Arc<Mutex<Option<Position>>>);

impl Handled {
    pub(crate) fn position(&self) -> Option<Position> {
        // A position is written whole or not at all, so a panic elsewhere leaves a true one.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, position: Position) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
    }
}

impl Subscription {
    /// The channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The next item; none after the end.
    pub async fn next(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        if let Some(position) = self.in_hand.take() {
            self.handled.advance(position);
        }
        let polled = self.deliveries.poll_recv(context);
        if let Poll::Ready(Some(Delivery::Message(message))) = &polled {
            self.in_hand = message.position;
        }
        if self.deliveries.is_empty() && self.paused.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
        polled
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.deliveries.close();
        self.wake.notify_one();
    }
}
