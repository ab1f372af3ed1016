//! The TLS handshake of an accepted socket.
//!
//! Owns its deadline, and the recognition of peers that speak HTTP where TLS is expected. Must not
//! know certificates.

use std::{fmt, io};

use bowline_proto::Code;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::PlainRefusal;
use crate::tls::Tls;

/// RFC 8446, 5.1: the type of the record that a ClientHello comes in.
const HANDSHAKE: u8 = 22;

/// The answer to HTTP without TLS.
pub(super) const PLAINTEXT: PlainRefusal = PlainRefusal {
    status: "400 Bad Request",
    code: Code::Malformed,
    message: "This port speaks TLS: use https:// or wss://.",
    retry_after_secs: None,
};

/// Why no TLS connection came about.
#[derive(Debug)]
pub(super) enum Failure {
    /// The peer begins with a letter, as every HTTP request does.
    Plaintext(TcpStream),
    /// It was not finished in time.
    TooSlow,
    /// The peer is gone, or the two do not agree; it was sent an alert.
    Failed(io::Error),
}

/// Ends TLS for this socket until the deadline.
pub(super) async fn shake_hands(
    tls: &Tls,
    socket: TcpStream,
    deadline: Instant,
) -> Result<TlsStream<TcpStream>, Failure> {
    let mut first = [0];
    // Before it speaks, a peer costs nothing but its socket.
    match timeout_at(deadline, socket.peek(&mut first)).await {
        Err(_) => return Err(Failure::TooSlow),
        Ok(Ok(_)) if first[0] == HANDSHAKE => {}
        Ok(Ok(_)) if first[0].is_ascii_alphabetic() => return Err(Failure::Plaintext(socket)),
        Ok(Ok(_)) => return Err(Failure::Failed(io::ErrorKind::InvalidData.into())),
        Ok(Err(error)) => return Err(Failure::Failed(error)),
    }
    // The certificate of this moment: open connections keep theirs.
    let accepting = TlsAcceptor::from(tls.current()).accept(socket);
    match timeout_at(deadline, accepting).await {
        Err(_) => Err(Failure::TooSlow),
        Ok(outcome) => outcome.map_err(Failure::Failed),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext(_) => f.write_str("the peer speaks HTTP without TLS"),
            Self::TooSlow => f.write_str("the handshake was not finished in time"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
