//! A TLS connection below a link, once its handshake is over.
//!
//! Owns the record layer: plaintext is shared up to here, and encrypted straight into the one
//! buffer that the socket empties. Must not know frames. Nothing here waits.

use std::{
    io::{Error, ErrorKind, IoSlice, Read, Result, Write},
    net::Shutdown,
    task::{Context, Poll},
};

use rustls::ServerConnection;
use tokio::net::TcpStream;

use super::Flushed;
use crate::sync::{Mutex, lock};

/// The most plaintext that is encrypted ahead of the socket: two records. It bounds what a peer
/// that reads slowly costs beyond its link's own queue.
const AHEAD_BYTES_MAX: usize = 32 << 10;
/// How often one attempt reads from the socket: records without data must not hold the thread.
const READS_MAX: usize = 8;

/// A TCP stream and the secrets of its connection.
#[derive(Debug)]
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: Mutex<ServerConnection>,
}

/// The socket as rustls wants it, which never waits.
struct Wire<'a>(&'a TcpStream);

impl TlsSocket {
    pub(super) fn new(tcp: TcpStream, mut session: ServerConnection) -> Self {
        session.set_buffer_limit(Some(AHEAD_BYTES_MAX));
        Self {
            tcp,
            session: Mutex::new(session),
        }
    }

    pub(super) fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut session = lock(&self.session);
        for _ in 0..READS_MAX {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            session.read_tls(&mut Wire(&self.tcp))?;
            if let Err(error) = session.process_new_packets() {
                // The peer is owed the alert; that the connection has failed is known already.
                let _ = session.write_tls(&mut Wire(&self.tcp));
                return Err(Error::new(ErrorKind::InvalidData, error));
            }
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Encrypts what there is room for; it goes out with [`flush`](Self::flush).
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> Result<usize> {
        let mut session = lock(&self.session);
        match session.writer().write_vectored(slices)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    /// Writes what is encrypted.
    pub(super) fn flush(&self) -> Result<Flushed> {
        let mut session = lock(&self.session);
        let mut flushed = Flushed::default();
        while session.wants_write() {
            match session.write_tls(&mut Wire(&self.tcp)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => flushed.moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(flushed),
                Err(error) => return Err(error),
            }
        }
        flushed.all = true;
        Ok(flushed)
    }

    /// Whether encrypted bytes wait for the socket.
    pub(super) fn holds_bytes(&self) -> bool {
        lock(&self.session).wants_write()
    }

    /// Plaintext may be here while the socket is silent.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match lock(&self.session).process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {
                self.tcp.poll_read_ready(cx)
            }
            // There is something to read, if only the error.
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.tcp.poll_write_ready(cx)
    }

    /// Says that nothing follows, as far as the socket takes it, and ends this side's half.
    pub(super) fn shut_down(&self) -> Result<()> {
        lock(&self.session).send_close_notify();
        let _ = self.flush();
        socket2::SockRef::from(&self.tcp).shutdown(Shutdown::Write)
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
