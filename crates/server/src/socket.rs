//! The byte stream below a link.
//!
//! Owns the difference between a TCP socket, a TLS connection and a simulated one. Must not know
//! frames.

mod tls;

use std::{
    future::poll_fn,
    io::{ErrorKind, IoSlice, Result},
    net::Shutdown,
    task::{Context, Poll},
};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

#[cfg(feature = "simulation")]
use crate::simulation::Stream;
use tls::TlsSocket;

/// A socket that is read and written without waiting, and waited for without reading or writing.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    /// On the heap: a plain connection must not pay for it.
    Tls(Box<TlsSocket>),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn Stream>),
}

/// What an attempt to pass on what the socket itself holds has brought about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Some of it is on its way now.
    pub(crate) moved: bool,
    /// It holds nothing any more.
    pub(crate) all: bool,
}

impl Socket {
    pub(crate) fn secured(tcp: TcpStream, session: ServerConnection) -> Self {
        Self::Tls(Box::new(TlsSocket::new(tcp, session)))
    }

    /// Reads what is there; 0 at the end of the stream.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buffer),
            Self::Tls(socket) => socket.try_read(buffer),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.try_read(buffer),
        }
    }

    /// Takes what it can, and may hold it until it is flushed.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => try_send(socket, bytes),
            Self::Tls(socket) => socket.try_write_vectored(&[IoSlice::new(bytes)]),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.try_write(bytes),
        }
    }

    /// The same with several buffers, in order.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(slices),
            Self::Tls(socket) => socket.try_write_vectored(slices),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => {
                let slices: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
                stream.try_write(&slices.concat())
            }
        }
    }

    /// Passes on what it holds.
    pub(crate) fn flush(&self) -> Result<Flushed> {
        match self {
            Self::Tls(socket) => socket.flush(),
            _ => Ok(Flushed {
                moved: false,
                all: true,
            }),
        }
    }

    /// Whether it holds bytes that it has taken.
    pub(crate) fn holds_bytes(&self) -> bool {
        match self {
            Self::Tls(socket) => socket.holds_bytes(),
            _ => false,
        }
    }

    /// Whether what it takes is always on its way at once.
    pub(crate) const fn writes_through(&self) -> bool {
        !matches!(self, Self::Tls(_))
    }

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Ready where there may be something to read. One task at a time may wait: the socket keeps
    /// one waker for this, so that the wait itself needs no memory in the connection's task.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Tls(socket) => socket.poll_readable(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.poll_readable(cx),
        }
    }

    /// Waits until it may take something; the same holds.
    pub(crate) async fn writable(&self) -> Result<()> {
        poll_fn(|cx| self.poll_writable(cx)).await
    }

    /// Ready where it may take something.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            Self::Tls(socket) => socket.poll_writable(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.poll_writable(cx),
        }
    }

    /// Ends this side's half.
    pub(crate) fn shut_down(&self) -> Result<()> {
        match self {
            Self::Tcp(socket) => SockRef::from(socket).shutdown(Shutdown::Write),
            Self::Tls(socket) => socket.shut_down(),
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => stream.shut_down(),
        }
    }
}

/// Asks the kernel at once. What tokio has noted of a socket lies in memory of its own, which is cold
/// when each of many sockets is written once; only where the kernel takes nothing must it be noted.
fn try_send(socket: &TcpStream, bytes: &[u8]) -> Result<usize> {
    match SockRef::from(socket).send(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => socket.try_write(bytes),
        outcome => outcome,
    }
}
