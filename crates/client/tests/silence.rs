//! What ends a connection on which nothing is written: a peer that takes nothing, never one that says
//! nothing. Over TCP and over TLS, in time that is paused once the connection is open.

use std::{sync::Arc, time::Duration};

use bowline_client::{Endpoint, SocketError, Trust, WebSocket};
use bowline_ws::{Limits, MessageKind, UpgradeRequest, accept};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, pause, resume, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use head::{dialled, head, headers};

#[path = "support/head.rs"]
mod head;

const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
};
/// Longer than any bound of a connection.
const LONG: Duration = Duration::from_secs(3_600);
/// Without progress for so long, a write has failed.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// An open connection and the server's end of it, which the caller keeps.
async fn connect(secure: bool) -> (WebSocket, Box<dyn Stream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let scheme = if secure { "wss" } else { "ws" };
    let mut endpoint = Endpoint::parse(&format!("{scheme}://{address}/ws")).expect("a URL");
    if secure {
        let authority = include_bytes!("../../server/tests/keys/tls-ca.pem");
        endpoint = endpoint.trusting(Trust::new(authority).expect("an authority"));
    }
    let answered = async {
        let tcp = dialled(&listener).await;
        let mut stream: Box<dyn Stream> = if secure {
            Box::new(acceptor().accept(tcp).await.expect("a handshake"))
        } else {
            Box::new(tcp)
        };
        upgrade(&mut stream).await;
        stream
    };
    let (socket, stream) = tokio::join!(WebSocket::dial(&endpoint, &[], LIMITS), answered);
    (socket.expect("a connection"), stream)
}

fn acceptor() -> TlsAcceptor {
    let certificate = include_bytes!("../../server/tests/keys/tls.pem");
    let key = include_bytes!("../../server/tests/keys/tls.key.pem");
    let certificates = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            certificates.expect("certificates"),
            PrivateKeyDer::from_pem_slice(key).expect("a key"),
        );
    TlsAcceptor::from(Arc::new(config.expect("a certificate and its key")))
}

async fn upgrade(stream: &mut Box<dyn Stream>) {
    let text = head(stream).await;
    let request = UpgradeRequest {
        method: "GET",
        is_http_1_1: true,
        headers: headers(&text),
    };
    let accepted = accept(request, &[]).expect("a valid upgrade");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        String::from_utf8_lossy(&accepted.accept)
    );
    stream.write_all(answer.as_bytes()).await.expect("written");
    stream.flush().await.expect("flushed");
}

#[tokio::test]
async fn silence_after_a_message_does_not_end_the_connection() {
    for secure in [false, true] {
        let (mut socket, _stream) = connect(secure).await;
        pause();
        for _ in 0..3 {
            socket.send(MessageKind::Text, b"hello").expect("entropy");
            let received = timeout(LONG, socket.receive()).await;
            assert!(received.is_err(), "secure: {secure}, {received:?}");
        }
        resume();
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up_in_time() {
    for secure in [false, true] {
        let (mut socket, _stream) = connect(secure).await;
        pause();
        // More than the system's buffers hold.
        let message = vec![b'x'; 64 << 20];
        socket.send(MessageKind::Text, &message).expect("entropy");
        let began = Instant::now();
        let received = timeout(LONG, socket.receive()).await;
        assert!(
            matches!(&received, Ok(Err(SocketError::Io(error)))
                if error.kind() == std::io::ErrorKind::TimedOut),
            "secure: {secure}, {received:?}"
        );
        assert!(began.elapsed() >= SEND_TIMEOUT && began.elapsed() < SEND_TIMEOUT * 2);
        assert!(socket.unwritten_bytes() > 0);
        resume();
    }
}

#[tokio::test]
async fn what_the_tls_layer_holds_back_counts_as_not_written() {
    let (mut socket, _stream) = connect(true).await;
    pause();
    let message = [b'x'; 16 << 10];
    // Each goes out at once until the system's buffers are full; 64 MB are more than they hold.
    for sent in 0..4_096 {
        socket.send(MessageKind::Text, &message).expect("entropy");
        let received = timeout(LONG, socket.receive()).await;
        assert_eq!(socket.unwritten_bytes(), 0, "the TLS layer takes it");
        if let Ok(received) = received {
            assert!(sent > 0, "the first one went out");
            let error = received.expect_err("nothing was said");
            assert!(
                matches!(&error, SocketError::Io(error)
                    if error.kind() == std::io::ErrorKind::TimedOut),
                "{error}"
            );
            return;
        }
    }
    panic!("a peer that takes nothing was never given up");
}
