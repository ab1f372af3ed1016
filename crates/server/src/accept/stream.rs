//! The socket as HTTP sees it: a peer that takes no bytes does not hold it for ever, and one that takes
//! its time with a request costs no more than what it has sent.
//!
//! Owns the write timeout of plain HTTP, and the bytes of a request's head until it is whole.
//! Connections that are upgraded leave it behind.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};
use tokio_rustls::server::TlsStream;

/// What HTTP is spoken over.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream whose writing fails where the peer has taken nothing for a while.
#[derive(Debug)]
pub(crate) struct Stream {
    transport: Transport,
    patience: Duration,
    /// Runs while bytes wait.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What was read ahead and HTTP has not taken yet.
    head: Vec<u8>,
}

/// Room for an ordinary head at once; larger ones grow it.
const HEAD_BYTES: usize = 1 << 10;

impl Stream {
    pub(crate) const fn new(transport: Transport, patience: Duration) -> Self {
        Self {
            transport,
            patience,
            stalled: None,
            head: Vec::new(),
        }
    }

    /// Reads ahead until the head of the first request is whole, larger than allowed, or no head at all;
    /// the latter two are HTTP's to refuse. HTTP's own buffers are made only then: a slow head costs what
    /// it has.
    ///
    /// # Errors
    /// The socket's own; that it ends is one.
    pub(crate) async fn read_head(&mut self, bytes_max: usize) -> io::Result<()> {
        self.head.reserve_exact(HEAD_BYTES);
        // Behind the empty lines that may come first (RFC 9112, 2.2).
        let mut begin = 0;
        loop {
            let seen = self.head.len();
            if self.transport.read_buf(&mut self.head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let is_empty_line = |byte: &u8| matches!(byte, b'\r' | b'\n');
            while self.head.get(begin).is_some_and(is_empty_line) {
                begin += 1;
            }
            // The end may have begun in what was seen before.
            let new = &self.head[seen.saturating_sub(2).max(begin)..];
            let ends = new.windows(2).any(|two| two == b"\n\n")
                || new.windows(3).any(|three| three == b"\n\r\n");
            let begins = self.head.get(begin).copied().is_none_or(may_begin);
            if ends || !begins || self.head.len() > bytes_max {
                return Ok(());
            }
        }
    }

    /// What was read ahead and not taken yet.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What carries it, and what HTTP has not taken of what was read ahead.
    pub(crate) fn into_parts(self) -> (Transport, Vec<u8>) {
        (self.transport, self.head)
    }

    fn watch<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        stalled
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Whether a request's method may begin so.
const fn may_begin(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.head.is_empty() {
            let taken = self.head.len().min(buffer.remaining());
            buffer.put_slice(&self.head[..taken]);
            self.head.drain(..taken);
            if self.head.is_empty() {
                self.head = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.transport).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.transport).poll_write(context, bytes);
        self.watch(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.transport).poll_write_vectored(context, slices);
        self.watch(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS bytes that were taken wait here.
        let outcome = Pin::new(&mut self.transport).poll_flush(context);
        self.watch(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS has a last word of its own.
        let outcome = Pin::new(&mut self.transport).poll_shutdown(context);
        self.watch(outcome, context)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn heads(bytes: &[u8]) -> io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        client.write_all(bytes).await?;
        client.shutdown().await?;
        let (socket, _) = listener.accept().await?;
        let mut stream = Stream::new(Transport::Tcp(socket), Duration::from_secs(5));
        stream.read_head(1_024).await?;
        Ok(stream.head().len())
    }

    #[tokio::test]
    async fn empty_lines_before_a_request_are_no_head_of_one() {
        let whole = b"\r\n\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(heads(whole).await.ok(), Some(whole.len()));
        for half in [&b"\r\n\r\n"[..], b"\r\n\r\nGET / HT", b"\n\n\n"] {
            let ended = heads(half).await.map_err(|error| error.kind());
            assert_eq!(ended, Err(io::ErrorKind::UnexpectedEof), "{half:?}");
        }
        let no_method = b"\r\n\x16\x03";
        assert_eq!(heads(no_method).await.ok(), Some(no_method.len()));
    }
}
