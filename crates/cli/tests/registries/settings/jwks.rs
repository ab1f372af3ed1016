//! Keys of tokens from a URL, and who waits for them: an issuer over TLS that counts who asks.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::Case;
use crate::{
    client::{HERE, Reach, until},
    registries::process::happens,
};

#[path = "../../../../server/tests/support/jwks.rs"]
mod keys;
use keys::signed;

const CHAIN: &[u8] = include_bytes!("../../../../server/tests/keys/tls.pem");
const CHAIN_KEY: &[u8] = include_bytes!("../../../../server/tests/keys/tls.key.pem");
const AUTHORITY: (&str, &str) = (
    "access.jwks_ca_file",
    concat!(
        "\"",
        env!("CARGO_MANIFEST_DIR"),
        "/../server/tests/keys/tls-ca.pem\""
    ),
);

/// How often each path was asked for.
type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// A server of one key set. Below `/websocket.access_timeout` it never answers.
pub(super) struct Issuer {
    address: SocketAddr,
    asked: Asked,
}

impl Issuer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let chain = CertificateDer::pem_slice_iter(CHAIN);
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(CHAIN_KEY).expect("a key");
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("they belong together")));
        let asked = Asked::default();
        let told = asked.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(acceptor.clone(), socket, told.clone()));
            }
        });
        Self { address, asked }
    }

    /// Where the case of this setting finds its keys.
    fn url(&self, name: &str) -> String {
        format!("\"https://{}/{name}\"", self.address)
    }

    /// How often the keys of this setting's case were asked for.
    fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().expect("nobody panicked");
        asked.get(name).copied().unwrap_or_default()
    }

    /// Counts anew.
    pub(super) fn forget(&self, name: &str) {
        self.asked.lock().expect("nobody panicked").remove(name);
    }
}

/// One request. Who does not believe the certificate never sends one.
async fn answer(acceptor: TlsAcceptor, socket: TcpStream, asked: Asked) {
    let Ok(mut stream) = acceptor.accept(socket).await else {
        return;
    };
    let mut request = [0; 1_024];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let name = path.trim_start_matches('/').to_owned();
    *asked
        .lock()
        .expect("nobody panicked")
        .entry(name.clone())
        .or_default() += 1;
    if name != "websocket.access_timeout" {
        let body = keys::set(&["one"]);
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
    // Open until the other side has had enough.
    let _ = stream.read(&mut [0; 1]).await;
}

pub(super) fn case(name: &str, issuer: &Issuer) -> Option<Case> {
    const NO_SECRET: (&str, &str) = ("access.jwt_secret", "");
    const ES256: (&str, &str) = ("access.jwt_algorithm", "\"ES256\"");
    const SOON: (&str, &str) = ("access.jwks_refetch_interval", "1");
    let url = issuer.url(name);
    let source = ("access.jwks_url", url.as_str());
    let (more, value, expected): (&[_], _, _) = match name {
        "access.jwks_url" => (&[AUTHORITY, SOON], url.as_str(), json!("ana")),
        "access.jwks_ca_file" => (&[source, SOON], AUTHORITY.1, json!("ana")),
        "access.jwks_max_age" => (&[source, AUTHORITY, SOON], "1", json!(true)),
        "access.jwks_refetch_interval" => (&[source, AUTHORITY], "1", json!(true)),
        "websocket.access_timeout" => (
            &[
                source,
                AUTHORITY,
                SOON,
                ("websocket.connection_timeout", "60"),
                ("websocket.access_timeout", "60"),
            ],
            "\"100ms\"",
            json!("The access control did not answer in time."),
        ),
        _ => return None,
    };
    let base = [&[NO_SECRET, ES256], more].concat();
    Some(Case::new(&base, value, expected))
}

pub(super) async fn look(name: &str, reach: &Reach, issuer: &Issuer) -> Value {
    match name {
        "access.jwks_max_age" => json!(asks_again(name, reach, issuer, "one").await),
        // Nobody has ever heard of that key.
        "access.jwks_refetch_interval" => json!(asks_again(name, reach, issuer, "two").await),
        "websocket.access_timeout" => {
            // Not before the keys may be asked for again, so that it is waited for them.
            until("it is time", async || {
                reach.stat("/uptime_s").await.as_u64() >= Some(2)
            })
            .await;
            // The code is the same where the keys can't be fetched.
            let bearer = format!("Authorization: Bearer {}", signed("one", |_| {}));
            let refused = reach.get("/api/channels/a/history", &[&bearer]).await;
            refused.json()["message"].clone()
        }
        // At the start they may not have come yet.
        _ => {
            let mut answer = told(reach, "one").await;
            happens(reach, 4, async || {
                answer = told(reach, "one").await;
                answer == "ana"
            })
            .await;
            answer
        }
    }
}

/// Whether the keys are fetched a second time while a token of this key comes again and again.
async fn asks_again(name: &str, reach: &Reach, issuer: &Issuer, kid: &str) -> bool {
    until("they were fetched", async || issuer.asked(name) > 0).await;
    happens(reach, 4, async || {
        told(reach, kid).await;
        issuer.asked(name) > 1
    })
    .await
}

/// Who a token of this key is taken for, or how it is refused.
async fn told(reach: &Reach, kid: &str) -> Value {
    let hello = json!({"type": "hello", "id": 1, "token": signed(kid, |_| {}), "subscribe": {}});
    match reach.dial(HERE).await.expect("101").hello(hello).await {
        Ok(welcome) => welcome["user"].clone(),
        Err(closed) => json!(closed.code().1),
    }
}
