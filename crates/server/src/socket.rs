//! The byte stream below a link.
//!
//! Owns the difference between a TCP socket and a simulated one. Must not know frames.

use std::{
    future::poll_fn,
    io::{IoSlice, Result},
    net::Shutdown,
    task::{Context, Poll},
};

use tokio::net::TcpStream;

#[cfg(feature = "simulation")]
use crate::simulation::Stream;

/// A socket that is read and written without waiting, and waited for without reading or writing.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn Stream>),
}

impl Socket {
    /// Reads what is there; 0 at the end of the stream.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buffer),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.try_read(buffer),
        }
    }

    /// Writes what it takes.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.try_write(bytes),
        }
    }

    /// Writes what it takes of several buffers, in order.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(slices),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => {
                let slices: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
                stream.try_write(&slices.concat())
            }
        }
    }

    /// Waits until there may be something to read. One task at a time may wait: the socket keeps
    /// one waker for this, so that the wait itself needs no memory in the connection's task.
    pub(crate) async fn readable(&self) -> Result<()> {
        poll_fn(|cx| match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.poll_readable(cx),
        })
        .await
    }

    /// Waits until it may take something; the same holds.
    pub(crate) async fn writable(&self) -> Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Ready where it may take something.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.poll_writable(cx),
        }
    }

    /// Ends this side's half.
    pub(crate) fn shut_down(&self) -> Result<()> {
        match self {
            Self::Tcp(socket) => socket2::SockRef::from(socket).shutdown(Shutdown::Write),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.shut_down(),
        }
    }
}
