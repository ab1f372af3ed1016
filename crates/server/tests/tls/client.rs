//! A server that speaks TLS on a loopback port, and clients of it without any logic.

#[path = "../support/peer.rs"]
mod peer;
#[path = "../support/soon.rs"]
#[expect(dead_code, reason = "here it is polled")]
mod soon;

use std::{net::SocketAddr, sync::Arc};

use bowline::{Config, Server, Tls};
use bowline_ws::{ClientRequest, Event, MessageKind};
use peer::{Peer, serve};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) use peer::DEADLINE;
pub(crate) use soon::until;

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
        let (server, address) = serve(builder).await;
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
pub(crate) struct Client(Peer<TlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn welcomed(stream: TlsStream<TcpStream>, hello: Value) -> (Self, Value) {
        let request = ClientRequest {
            host: "localhost",
            target: "/ws",
            key: [7; 16],
            protocols: &["bowline.v1"],
            headers: &[],
        };
        let refused = |answer: Vec<u8>| panic!("{}", String::from_utf8_lossy(&answer));
        let upgraded = Peer::upgrade(stream, request).await;
        let mut client = Self(upgraded.unwrap_or_else(refused));
        client.send(&hello).await;
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome)
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        let text = message.to_string();
        self.0.send(MessageKind::Text, text.as_bytes()).await;
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
            match self.0.event().await {
                Some(Event::Text(text)) => return Ok(text.into_owned()),
                Some(Event::Close(frame)) => {
                    return Err(frame.map(|frame| frame.code().as_u16()));
                }
                Some(_) => {}
                None => return Err(None),
            }
        }
    }
}

pub(crate) fn hello(session: &str, subscribe: Value) -> Value {
    json!({"type": "hello", "id": 1, "session": session, "link": 1, "subscribe": subscribe})
}
