//! TLS as users meet it: the binary with certificate files, its own commands and the Rust client
//! against it, and the renewal of a certificate by SIGHUP.
#![expect(
    clippy::unwrap_used,
    reason = "clippy does not take helpers of integration tests for tests"
)]

#[path = "support/command.rs"]
#[expect(dead_code, reason = "no test here waits for its end")]
mod command;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use bowline_client::{Client, Delivery, From, State, json};
use tokio::time::timeout;

use command::{PATIENCE, Process, bowline, output, serve};

fn keys(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../server/tests/keys")
        .join(name)
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bowline-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, from: &str, name: &str) -> String {
        let to = self.0.join(name);
        fs::copy(keys(from), &to).unwrap();
        to.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn secure(chain: &str, key: &str) -> Process {
    Process::start(&mut serve(&[
        "--dev",
        "--set",
        &format!("server.tls_certificate_file={chain}"),
        "--set",
        &format!("server.tls_key_file={key}"),
    ]))
}

struct Served {
    server: Process,
    /// `https://…`
    url: String,
    folder: Folder,
    authority: String,
}

impl Served {
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let (chain, key) = (
            folder.put("tls.pem", "chain"),
            folder.put("tls.key.pem", "key"),
        );
        let server = secure(&chain, &key);
        let url = server.url();
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        let authority = keys("tls-ca.pem").to_str().unwrap().to_owned();
        Self {
            server,
            url,
            folder,
            authority,
        }
    }

    fn ws_url(&self) -> String {
        format!("{}/ws", self.url.replace("https", "wss"))
    }

    fn client(&self) -> Client {
        let authority = fs::read(&self.authority).unwrap();
        let builder = Client::builder(&self.ws_url()).authorities(&authority);
        builder.connect().unwrap()
    }

    fn publish(&self, data: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["publish", "news", data, "--url", &self.url];
        arguments.extend(more);
        output(&mut bowline(&arguments))
    }
}

#[test]
fn publish_and_tail_go_over_tls_and_believe_nobody_unknown() {
    let served = Served::start("tls-commands");
    let (url, authority) = (served.ws_url(), served.authority.as_str());
    let mut tail = bowline(&["tail", "news", "--url", &url, "--ca", authority]);
    let tail = Process::start(&mut tail);
    tail.lines.with("subscribed");
    let published = served.publish("over TLS", &["--ca", authority]);
    let told = String::from_utf8_lossy(&published.stderr).into_owned();
    assert_eq!(published.status.code(), Some(0), "{told}");
    tail.lines.with(r#""data":"over TLS""#);

    let refused = served.publish("to anybody", &[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("TLS") || told.contains("authorities"),
        "{told}"
    );
    let nonsense = served.publish("x", &["--ca", "/nonexistent"]);
    assert_eq!(nonsense.status.code(), Some(2));
    // Unencrypted, it is told what is wrong.
    let plain = served.url.replace("https", "http");
    let plain = output(&mut bowline(&["publish", "news", "1", "--url", &plain]));
    let told = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(told.contains("https://"), "{told}");
}

/// Whoever changed the configuration is told that this was not the way.
#[test]
fn a_hangup_with_nothing_to_read_again_says_so() {
    let server = Process::start(&mut serve(&["--dev"]));
    server.url();
    for _ in 0..2 {
        server.signal("HUP");
        server.lines.with("nothing was read again");
        server.lines.with("a changed configuration needs a restart");
    }
}

/// What `openssl req -x509` makes is a certificate of an authority.
#[test]
fn a_certificate_that_is_its_own_authority_is_explained() {
    let own = |name: &str| format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let (chain, key) = (own("own-authority.pem"), own("own-authority.key.pem"));
    let server = secure(&chain, &key);
    let url = server.url();
    let mut publish = bowline(&["publish", "news", "1", "--url", &url, "--ca", &chain]);
    let refused = output(&mut publish);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    for expected in ["CA:TRUE", "basicConstraints=critical,CA:FALSE"] {
        assert!(told.contains(expected), "{told}");
    }
    assert!(!told.contains("names an authority of your own"), "{told}");
}

#[tokio::test]
async fn the_client_speaks_wss_and_a_renewed_certificate_drops_nobody() {
    let served = Served::start("tls-reload");
    let client = served.client();
    let mut news = client.subscribe("news", From::First).await.unwrap();
    let mut next = async |expected: &str| {
        let next = timeout(PATIENCE, async {
            loop {
                match news.next().await.expect("it goes on") {
                    Delivery::Message(message) => return message.data,
                    Delivery::Subscribed(recovery) => assert!(recovery.recovered),
                    other => panic!("{other:?}"),
                }
            }
        });
        let data = next.await.expect("a message in time");
        assert_eq!(data, json(expected).unwrap());
    };
    let publish = async |text: &str| {
        let mut ack = client.publish("news", json(text).unwrap()).await.unwrap();
        timeout(PATIENCE, ack.stored()).await.unwrap().unwrap();
    };
    publish("1").await;
    next("1").await;
    let large = format!("\"{}\"", "x".repeat(60_000));
    publish(&large).await;
    next(&large).await;

    // A bad file is refused, with the reason in the log.
    let (chain, key) = (served.folder.0.join("chain"), served.folder.0.join("key"));
    fs::write(&chain, "half a certif").unwrap();
    served.server.signal("HUP");
    let line = served.server.lines.with("the certificate stays as it is");
    assert!(line.contains("tls_certificate_file"), "{line}");
    let other = served.client();
    let connected = async |client: &Client| {
        let mut state = client.state();
        let open = state.wait_for(|state| matches!(state, State::Open));
        timeout(PATIENCE, open).await.unwrap().unwrap();
    };
    connected(&other).await;
    // A good one is taken; the mismatch between two copies is seen as a bad one, so they go in one
    // signal.
    fs::copy(keys("tls-new.pem"), chain).unwrap();
    fs::copy(keys("tls-new.key.pem"), key).unwrap();
    served.server.signal("HUP");
    served.server.lines.with("the certificate was read again");
    served
        .server
        .lines
        .with("a changed configuration needs a restart");
    let third = served.client();
    connected(&third).await;
    // Nobody noticed.
    publish("2").await;
    next("2").await;
    assert!(matches!(*client.state().borrow(), State::Open));
    for client in [client, other, third] {
        client.close(true).await;
    }
}
