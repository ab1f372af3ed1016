//! A server that speaks TLS on a loopback port, and clients of it without any logic.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bowline::{Config, Server, Tls};
use bowline_ws::{
    ClientRequest, Decoder, Event, Limits, MessageKind, Response, Role, encode_message,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Far above what anything here takes: a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const AUTHORITY: &[u8] = include_bytes!("../keys/tls-ca.pem");
pub(crate) const CHAIN: &[u8] = include_bytes!("../keys/tls.pem");
pub(crate) const KEY: &[u8] = include_bytes!("../keys/tls.key.pem");
pub(crate) const NEW_CHAIN: &[u8] = include_bytes!("../keys/tls-new.pem");
pub(crate) const NEW_KEY: &[u8] = include_bytes!("../keys/tls-new.key.pem");

/// A running server.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) tls: Tls,
    pub(crate) address: SocketAddr,
}

impl World {
    pub(crate) async fn start(config: Config) -> Self {
        let tls = Tls::from_pem(CHAIN, KEY).expect("they go together");
        let builder = Server::builder().config(config).tls(tls.clone());
        let server = builder.build().expect("it is built");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        Self {
            server,
            tls,
            address,
        }
    }

    /// A socket that has said nothing.
    pub(crate) async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    pub(crate) async fn secure(&self) -> TlsStream<TcpStream> {
        shake_hands(self.socket().await).await
    }

    pub(crate) async fn dial(&self, hello: Value) -> (Client, Value) {
        Client::welcomed(self.secure().await, hello).await
    }

    /// One whose kernel takes little before its reader does.
    pub(crate) async fn dial_narrow(&self, hello: Value) -> (Client, Value) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 << 10).expect("it is set");
        let socket = socket.connect(self.address).await.expect("it listens");
        Client::welcomed(shake_hands(socket).await, hello).await
    }
}

pub(crate) async fn shake_hands(socket: TcpStream) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(AUTHORITY).expect("a certificate");
    roots.add(authority).expect("it is one of an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, socket);
    timeout(DEADLINE, connecting)
        .await
        .expect("a handshake in time")
        .expect("a handshake")
}

/// The certificate that the server has shown.
pub(crate) fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream
        .get_ref()
        .1
        .peer_certificates()
        .expect("it was shown");
    chain[0].clone()
}

pub(crate) fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).expect("a certificate")
}

/// A client without any logic.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Client {
    pub(crate) async fn welcomed(stream: TlsStream<TcpStream>, hello: Value) -> (Self, Value) {
        let mut client = Self::upgrade(stream).await;
        client.send(&hello).await;
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome)
    }

    async fn upgrade(mut stream: TlsStream<TcpStream>) -> Self {
        let request = ClientRequest {
            host: "localhost",
            target: "/ws",
            key: [7; 16],
            protocols: &["bowline.v1"],
            headers: &[],
        };
        let (request, handshake) = request.encode().expect("it is well formed");
        stream.write_all(&request).await.expect("it is read");
        let mut input = Vec::new();
        loop {
            match handshake.parse(&input).expect("an HTTP answer") {
                Some(Response::Accepted { head_bytes, .. }) => {
                    input.drain(..head_bytes);
                    let limits = Limits {
                        message_bytes_max: 1 << 24,
                    };
                    return Self {
                        stream,
                        decoder: Decoder::new(Role::Client, limits),
                        input,
                    };
                }
                Some(Response::Refused(refusal)) => panic!("refused: {refusal:?}"),
                None => {
                    let read = timeout(DEADLINE, stream.read_buf(&mut input)).await;
                    assert!(read.expect("in time").expect("an answer") > 0);
                }
            }
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let frame = encode_message(MessageKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.stream.write_all(&frame).await.expect("it is taken");
        self.stream.flush().await.expect("it is taken");
    }

    /// The next message; pings are passed over.
    pub(crate) async fn next(&mut self) -> Value {
        let next = timeout(DEADLINE, async {
            loop {
                let text = self.text().await.expect("the link lives");
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["type"] != "ping" {
                    return message;
                }
            }
        });
        next.await.expect("a message in time")
    }

    /// The next text; the code with which the server closes; or none where the link breaks.
    pub(crate) async fn text(&mut self) -> Result<String, Option<u16>> {
        loop {
            let mut input = self.input.as_mut_slice();
            let event = self.decoder.decode(&mut input).expect("it is correct");
            let event = event.map(Event::into_owned);
            let left = input.len();
            self.input.drain(..self.input.len() - left);
            match event {
                Some(Event::Text(text)) => return Ok(text.into_owned()),
                Some(Event::Close(frame)) => {
                    return Err(frame.map(|frame| frame.code().as_u16()));
                }
                Some(_) => {}
                None => match self.stream.read_buf(&mut self.input).await {
                    Ok(read) if read > 0 => {}
                    _ => return Err(None),
                },
            }
        }
    }
}

pub(crate) fn hello(session: &str, subscribe: Value) -> Value {
    json!({"type": "hello", "id": 1, "session": session, "link": 1, "subscribe": subscribe})
}

/// Polls until it holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let polled = timeout(DEADLINE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    polled
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}
