//! A program that ends TLS by itself and merges the routes into its own.

use std::sync::Arc;

use bowline::{Server, Tls};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::client::{CHAIN, KEY, World, hello};

#[tokio::test]
async fn its_connections_are_served_like_others() {
    let server = Server::builder().build().expect("it is built");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let chain = CertificateDer::from_pem_slice(CHAIN).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("they go together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = server.router();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let stream = acceptor.accept(socket).await.expect("a handshake");
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let http = auto::Builder::new(TokioExecutor::new());
                let io = TokioIo::new(stream);
                http.serve_connection_with_upgrades(io, service).await
            });
        }
    });
    let world = World {
        server,
        tls: Tls::from_pem(CHAIN, KEY).expect("they go together"),
        address,
    };
    let (mut client, _) = world.dial(hello("s", json!({"a": null}))).await;
    client
        .send(&json!({"type": "publish", "id": 2, "channel": "a", "data": 1}))
        .await;
    let (first, second) = (client.next().await, client.next().await);
    let kinds = [&first["type"], &second["type"]];
    assert!(
        kinds.contains(&&json!("reply")) && kinds.contains(&&json!("message")),
        "{kinds:?}"
    );
}
