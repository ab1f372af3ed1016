//! The bytes that wait for one socket.
//!
//! Owns the order of what is written: a partial write's tail goes first, and what is queued is
//! coalesced into one vectored write. Must not know what the bytes mean. Its bound is judged by
//! its owner, who asks for [`room`](Outbox::room) before queueing publications.

use std::{
    collections::VecDeque,
    io::{ErrorKind, IoSlice, Result},
};

use bytes::{Buf, Bytes};

use crate::socket::Socket;

/// The most buffers that one `writev` takes; well below the system's IOV_MAX of 1,024, since a
/// socket buffer is full long before.
const WRITE_BUFFERS_MAX: usize = 64;

/// What one attempt to write has brought about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many bytes the socket took.
    pub(crate) bytes: usize,
    /// Whether anything is on its way now, be it only what the socket held.
    pub(crate) moved: bool,
    /// It took everything, and holds nothing.
    pub(crate) all: bool,
}

/// Bytes on their way to one socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Queues a frame.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Writes a frame at once where nothing is before it, without a queue for what the socket takes
    /// whole; else queues it and writes what there is.
    ///
    /// # Errors
    /// The socket's own; the link is then dead.
    pub(crate) fn write(&mut self, frame: &Bytes, socket: &Socket) -> Result<Written> {
        if !self.is_empty() || !socket.writes_through() {
            self.push(frame.clone());
            return self.flush(socket);
        }
        let bytes = taken(socket.try_write(frame))?.unwrap_or(0);
        if bytes < frame.len() {
            self.push(frame.slice(bytes..));
        }
        Ok(Written {
            bytes,
            moved: bytes > 0,
            all: bytes == frame.len(),
        })
    }

    /// Writes what the socket takes without waiting.
    ///
    /// # Errors
    /// The socket's own; the link is then dead.
    pub(crate) fn flush(&mut self, socket: &Socket) -> Result<Written> {
        let mut written = Written::default();
        loop {
            // What the socket holds goes first, so that it never holds more than one turn's.
            let flushed = socket.flush()?;
            written.moved |= flushed.moved;
            if !flushed.all {
                return Ok(written);
            }
            let outcome = match self.queue.len() {
                0 => break,
                1 => socket.try_write(&self.queue[0]),
                _ => self.write_several(socket),
            };
            let Some(bytes) = taken(outcome)? else {
                return Ok(written);
            };
            written.bytes += bytes;
            written.moved = true;
            self.advance(bytes);
        }
        // An idle link holds no buffer.
        self.queue = VecDeque::new();
        written.all = true;
        Ok(written)
    }

    /// How many bytes may be queued within `bound`.
    pub(crate) fn room(&self, bound: usize) -> usize {
        bound.saturating_sub(self.bytes)
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn write_several(&self, socket: &Socket) -> Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_BUFFERS_MAX];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        socket.try_write_vectored(&slices[..count])
    }

    fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while bytes > 0 {
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if front.len() > bytes {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.queue.pop_front();
        }
    }
}

/// How many bytes a socket took; none where it must be waited for.
fn taken(outcome: Result<usize>) -> Result<Option<usize>> {
    match outcome {
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
