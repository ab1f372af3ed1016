//! The byte stream below a link.
//!
//! Owns the difference between a TCP socket and a simulated one. Must not know frames.

use std::{
    io::{IoSlice, Result},
    net::Shutdown,
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

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => std::future::poll_fn(|cx| stream.poll_readable(cx)).await,
        }
    }

    /// Waits until it may take something.
    pub(crate) async fn writable(&self) -> Result<()> {
        match self {
            Self::Tcp(socket) => socket.writable().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(stream) => std::future::poll_fn(|cx| stream.poll_writable(cx)).await,
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
