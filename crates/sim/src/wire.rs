//! The byte stream between a simulated client and the server.
//!
//! Owns what the server has not read yet, what it has written, and how much more it may write
//! before the other end reads. Must not know frames, delays or faults: the world moves the bytes.

use std::{
    io::{Error, ErrorKind, Result},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bowline::simulation::Stream;

/// Tells the world which wires the server has touched, in the order in which it did.
#[derive(Debug, Default)]
pub(crate) struct Bell(Mutex<Rung>);

#[derive(Debug, Default)]
struct Rung {
    wires: Vec<u64>,
    waker: Option<Waker>,
}

/// Both ends' view of one stream.
#[derive(Debug)]
pub(crate) struct Wire {
    id: u64,
    bell: Arc<Bell>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    up: Vec<u8>,
    up_ended: Option<Ended>,
    readers: Vec<Waker>,
    down: Vec<u8>,
    window: usize,
    writers: Vec<Waker>,
    is_shut: bool,
    is_dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    InOrder,
    Reset,
}

/// What the server has done with a wire since the last look.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) bytes: Vec<u8>,
    /// Nothing follows.
    pub(crate) ended: bool,
}

/// The server's end; dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Pipe(Arc<Wire>);

impl Bell {
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.0).wires)
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut rung = lock(&self.0);
        if rung.wires.is_empty() {
            rung.waker = Some(cx.waker().clone());
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    fn ring(&self, wire: u64) {
        let mut rung = lock(&self.0);
        if !rung.wires.contains(&wire) {
            rung.wires.push(wire);
        }
        if let Some(waker) = rung.waker.take() {
            waker.wake();
        }
    }
}

impl Wire {
    pub(crate) fn new(id: u64, bell: Arc<Bell>, window: usize) -> Arc<Self> {
        let inner = Inner {
            window,
            ..Inner::default()
        };
        Arc::new(Self {
            id,
            bell,
            inner: Mutex::new(inner),
        })
    }

    pub(crate) fn server_end(self: &Arc<Self>) -> Box<Pipe> {
        Box::new(Pipe(self.clone()))
    }

    /// Bytes of the client have arrived.
    pub(crate) fn deliver(&self, bytes: &[u8]) {
        let mut inner = lock(&self.inner);
        inner.up.extend_from_slice(bytes);
        wake(&mut inner.readers);
    }

    /// The client has ended its half.
    pub(crate) fn end(&self) {
        self.end_as(Ended::InOrder);
    }

    /// The connection is reset: bytes that were not read are gone.
    pub(crate) fn reset(&self) {
        lock(&self.inner).up.clear();
        self.end_as(Ended::Reset);
    }

    fn end_as(&self, ended: Ended) {
        let mut inner = lock(&self.inner);
        inner.up_ended.get_or_insert(ended);
        wake(&mut inner.readers);
        if ended == Ended::Reset {
            inner.up_ended = Some(ended);
            wake(&mut inner.writers);
        }
    }

    /// The client has read: so many more bytes may be on their way.
    pub(crate) fn grant(&self, bytes: usize) {
        let mut inner = lock(&self.inner);
        inner.window += bytes;
        wake(&mut inner.writers);
    }

    pub(crate) fn take(&self) -> Touched {
        let mut inner = lock(&self.inner);
        Touched {
            bytes: std::mem::take(&mut inner.down),
            ended: inner.is_shut || inner.is_dropped,
        }
    }
}

impl Stream for Pipe {
    fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut inner = lock(&self.0.inner);
        if inner.up_ended == Some(Ended::Reset) {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let count = inner.up.len().min(buffer.len());
        if count == 0 && inner.up_ended.is_none() {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&inner.up[..count]);
        inner.up.drain(..count);
        Ok(count)
    }

    fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        let mut inner = lock(&self.0.inner);
        if inner.up_ended == Some(Ended::Reset) || inner.is_shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = inner.window.min(bytes.len());
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        inner.window -= count;
        inner.down.extend_from_slice(&bytes[..count]);
        drop(inner);
        self.0.bell.ring(self.0.id);
        Ok(count)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = lock(&self.0.inner);
        if !inner.up.is_empty() || inner.up_ended.is_some() {
            return Poll::Ready(Ok(()));
        }
        register(&mut inner.readers, cx);
        Poll::Pending
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = lock(&self.0.inner);
        if inner.up_ended == Some(Ended::Reset) {
            return Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe)));
        }
        if inner.window > 0 {
            return Poll::Ready(Ok(()));
        }
        register(&mut inner.writers, cx);
        Poll::Pending
    }

    fn shut_down(&self) -> Result<()> {
        lock(&self.0.inner).is_shut = true;
        self.0.bell.ring(self.0.id);
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        lock(&self.0.inner).is_dropped = true;
        self.0.bell.ring(self.0.id);
    }
}

fn register(wakers: &mut Vec<Waker>, cx: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
        wakers.push(cx.waker().clone());
    }
}

fn wake(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
