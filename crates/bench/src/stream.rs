//! The byte stream to the server, encrypted or not.
//!
//! Owns TLS on the clients' side: rustls with aws-lc-rs, as Bowline's own client has it. Must not know what is
//! spoken.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// A connection to the server.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What makes streams of sockets.
#[derive(Clone, Debug)]
pub(crate) enum Dialect {
    Plain,
    Secure(Arc<ClientConfig>),
}

impl Dialect {
    /// TLS with a server that has the key of this certificate.
    pub(crate) fn secure(certificate: &[u8]) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(io::Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::Secure(Arc::new(config)))
    }

    /// A stream over a socket that is connected; the TLS handshake comes with the first bytes.
    pub(crate) fn over(&self, socket: TcpStream) -> io::Result<Stream> {
        let Self::Secure(config) = self else {
            return Ok(Stream::Plain(socket));
        };
        let name = ServerName::from(socket.peer_addr()?.ip());
        let session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        Ok(Stream::Secure(Box::new(StreamOwned::new(session, socket))))
    }
}

impl Stream {
    /// The socket itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    /// Reads as much as has come, as one `read` of a socket does: what TLS kept back would not wake anybody.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = match self {
            Self::Plain(socket) => return socket.read(buffer),
            Self::Secure(stream) => stream,
        };
        let mut read = stream.read(buffer)?;
        while read > 0 && read < buffer.len() && !stream.conn.wants_read() {
            match stream.read(&mut buffer[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}
