//! A bounded queue from many tasks to few threads.
//!
//! Owns its bounds: a thread waits while it is empty, a task while it is full. Must not know what
//! passes through.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The queue. Each item has a weight in bytes.
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    items_max: usize,
    bytes_max: usize,
}

struct Inner<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// Of tasks that found no room; each holds its own item, so there are as many as tasks wait.
    waiting: Vec<Waker>,
    is_closed: bool,
}

/// What a push came to.
enum Push<T> {
    Done,
    /// There is no room now.
    Full(T),
    /// There never will be.
    Closed(T),
}

impl<T> Queue<T> {
    pub(crate) fn new(items_max: usize, bytes_max: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                bytes: 0,
                waiting: Vec::new(),
                is_closed: false,
            }),
            filled: Condvar::new(),
            items_max,
            bytes_max,
        }
    }

    /// Adds the item, as soon as there is room; it is none afterwards. Answers it if the queue is
    /// closed.
    pub(crate) fn poll_push(
        &self,
        context: &mut Context<'_>,
        item: &mut Option<T>,
        bytes: usize,
    ) -> Poll<Option<T>> {
        let Some(taken) = item.take() else {
            return Poll::Ready(None);
        };
        match self.try_push(taken, bytes, context.waker()) {
            Push::Done => Poll::Ready(None),
            Push::Closed(back) => Poll::Ready(Some(back)),
            Push::Full(back) => {
                *item = Some(back);
                Poll::Pending
            }
        }
    }

    /// Takes everything, waiting for at most `wait` while there is nothing. False once it is closed
    /// and empty.
    pub(crate) fn take_all(&self, into: &mut VecDeque<T>, wait: Duration) -> bool {
        let mut inner = self.lock();
        if inner.items.is_empty() && !inner.is_closed {
            inner = self
                .filled
                .wait_timeout_while(inner, wait, |inner| {
                    inner.items.is_empty() && !inner.is_closed
                })
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let goes_on = !(inner.is_closed && inner.items.is_empty());
        into.extend(inner.items.drain(..).map(|(item, _)| item));
        inner.bytes = 0;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
        goes_on
    }

    /// Takes the oldest item, waiting while there is none. None once it is closed and empty.
    pub(crate) fn take(&self) -> Option<T> {
        let mut inner = self
            .filled
            .wait_while(self.lock(), |inner| {
                inner.items.is_empty() && !inner.is_closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        let (item, bytes) = inner.items.pop_front()?;
        inner.bytes -= bytes;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        waiting.into_iter().for_each(Waker::wake);
        Some(item)
    }

    /// Takes no more items. What is in it is still handed out.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.is_closed = true;
        let waiting = std::mem::take(&mut inner.waiting);
        drop(inner);
        self.filled.notify_all();
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    fn try_push(&self, item: T, bytes: usize, waker: &Waker) -> Push<T> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Push::Closed(item);
        }
        // Whatever is larger than the bound passes alone.
        let fits = inner.items.is_empty()
            || (inner.items.len() < self.items_max && inner.bytes + bytes <= self.bytes_max);
        if !fits {
            inner.waiting.push(waker.clone());
            return Push::Full(item);
        }
        inner.bytes += bytes;
        inner.items.push_back((item, bytes));
        drop(inner);
        self.filled.notify_one();
        Push::Done
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
