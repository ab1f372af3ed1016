//! Key sets from a URL: fetched when they are needed, seldom, from one place, within bounds.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline::{
    Config, FetchError, Issuer, JwksSource, KeySet, Server, StaticAccess, TokenAlgorithm,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

use super::client::{Closed, DEADLINE, HERE, World, strict, until};

#[path = "../support/jwks.rs"]
mod keys;
use keys::signed;

/// A server of key sets that counts who asks, and answers what it is told to.
struct Issuance {
    url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Issuance {
    async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(Mutex::new(answer));
        let (count, told) = (asked.clone(), answer.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = told.lock().expect("nobody panicked").clone();
                tokio::spawn(async move {
                    let mut request = [0; 1_024];
                    let _ = socket.read(&mut request).await;
                    let _ = socket.write_all(&answer).await;
                    // Open until the other side has had enough.
                    let _ = socket.read(&mut request).await;
                });
            }
        });
        Self {
            url: format!("http://{address}/keys"),
            asked,
            answer,
        }
    }

    fn answers(&self, answer: Vec<u8>) {
        *self.answer.lock().expect("nobody panicked") = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn keys(&self, refetch: Duration, max_age: Duration) -> KeySet {
        let mut source = JwksSource::new(&self.url);
        source.refetch_interval = refetch;
        source.max_age = max_age;
        KeySet::jwks_url(TokenAlgorithm::Es256, &source).expect("it is on loopback")
    }
}

fn set(kids: &[&str]) -> Vec<u8> {
    ok(&keys::set(kids))
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

async fn serve(keys: KeySet) -> World {
    let access = StaticAccess::new(Vec::new(), Vec::new()).with_issuers(vec![Issuer {
        name: None,
        audience: None,
        keys,
        leeway: Duration::ZERO,
    }]);
    let config = Config {
        rate_limit_attempts_max: 1_000,
        ..strict()
    };
    World::with(Server::builder().config(config).access(access)).await
}

async fn hello(world: &World, token: &str) -> Result<Value, Closed> {
    let hello = json!({"type": "hello", "id": 1, "token": token, "subscribe": {}});
    world.dial(HERE).await.expect("101").hello(hello).await
}

async fn refused(world: &World, token: &str) -> (u16, String) {
    let closed = hello(world, token).await.expect_err("it is refused");
    let (close, code) = closed.code();
    (close, code.to_owned())
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn keys_are_fetched_once_for_all_who_need_them() {
    let issuance = Issuance::start(set(&["one"])).await;
    let world = serve(issuance.keys(LONG, LONG)).await;
    assert_eq!(
        issuance.asked(),
        0,
        "nothing is fetched before it is needed"
    );
    let token = signed("one", |_| {});
    let (a, b, c) = tokio::join!(
        hello(&world, &token),
        hello(&world, &token),
        hello(&world, &token)
    );
    for welcome in [a, b, c] {
        assert_eq!(welcome.expect("welcome")["user"], "ana");
    }
    assert_eq!(issuance.asked(), 1);
    // Names that nobody knows, in whatever number, cause no more than the interval allows.
    for n in 0..20 {
        let made_up = signed(&format!("made-up-{n}"), |_| {});
        let refusal = refused(&world, &made_up).await;
        assert_eq!(refusal, (4401, "unauthorized".to_owned()));
    }
    assert_eq!(issuance.asked(), 1);
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_and_an_old_one_forgotten() {
    let issuance = Issuance::start(set(&["one"])).await;
    let short = Duration::from_millis(50);
    let world = serve(issuance.keys(short, LONG)).await;
    hello(&world, &signed("one", |_| {}))
        .await
        .expect("welcome");
    issuance.answers(set(&["two"]));
    until("the new key is found", async || {
        hello(&world, &signed("two", |_| {})).await.is_ok()
    })
    .await;
    let refusal = refused(&world, &signed("one", |_| {})).await;
    assert_eq!(refusal, (4401, "unauthorized".to_owned()));

    // Keys that are taken out are forgotten with time, without anybody who asks for others.
    let world = serve(issuance.keys(short, short)).await;
    hello(&world, &signed("two", |_| {}))
        .await
        .expect("welcome");
    issuance.answers(set(&["three"]));
    until("the old key is forgotten", async || {
        hello(&world, &signed("two", |_| {})).await.is_err()
    })
    .await;
    // One that has none any more is believed as well, and one that has them again.
    issuance.answers(set(&[]));
    until("no key is left", async || {
        hello(&world, &signed("three", |_| {})).await.is_err()
    })
    .await;
    issuance.answers(set(&["three"]));
    until("the key is back", async || {
        hello(&world, &signed("three", |_| {})).await.is_ok()
    })
    .await;
    // Where the issuer is down, what is there stays.
    issuance.answers(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec());
    let before = issuance.asked();
    until("it was asked in vain", async || {
        hello(&world, &signed("three", |_| {}))
            .await
            .expect("welcome");
        issuance.asked() > before + 2
    })
    .await;
}

#[tokio::test]
async fn an_old_key_is_not_believed_for_the_first_token_after_a_silence() {
    let issuance = Issuance::start(set(&["one"])).await;
    let short = Duration::from_millis(1);
    let world = serve(issuance.keys(short, short)).await;
    hello(&world, &signed("one", |_| {}))
        .await
        .expect("welcome");
    issuance.answers(set(&["two"]));
    // Nobody asks for twice as long as keys are believed.
    tokio::time::sleep(short * 5).await;
    let refusal = refused(&world, &signed("one", |_| {})).await;
    assert_eq!(refusal, (4401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn nothing_in_a_token_leads_anywhere() {
    let elsewhere = Issuance::start(set(&["evil"])).await;
    let issuance = Issuance::start(set(&["one", "two"])).await;
    let world = serve(issuance.keys(Duration::from_millis(1), LONG)).await;
    let url = elsewhere.url.clone();
    let token = signed("evil", |header| {
        header.jku = Some(url.clone());
        header.x5u = Some(url.clone());
    });
    assert_eq!(
        refused(&world, &token).await,
        (4401, "unauthorized".to_owned())
    );
    for kid in [url.as_str(), "../keys", "one\r\nHost: evil", ""] {
        let token = signed(kid, |_| {});
        assert_eq!(
            refused(&world, &token).await,
            (4401, "unauthorized".to_owned()),
            "{kid}"
        );
    }
    // Nor does the issuer's own word: a redirection is no answer.
    let moved = format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n");
    issuance.answers(moved.into_bytes());
    assert_eq!(
        refused(&world, &token).await,
        (4401, "unauthorized".to_owned())
    );
    hello(&world, &signed("one", |_| {}))
        .await
        .expect("welcome");
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn before_any_keys_have_come_it_is_nobody_s_fault() {
    let issuance = Issuance::start(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let world = serve(issuance.keys(Duration::from_millis(10), LONG)).await;
    let token = signed("one", |_| {});
    assert_eq!(
        refused(&world, &token).await,
        (4503, "overloaded".to_owned())
    );
    issuance.answers(set(&["one"]));
    until("the keys have come", async || {
        hello(&world, &token).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn what_comes_is_bounded_in_size_and_time() {
    let huge = format!(r#"{{"keys":[],"pad":"{}"}}"#, "x".repeat(300 << 10));
    let issuance = Issuance::start(ok(&huge)).await;
    let keys = issuance.keys(LONG, LONG);
    let outcome = keys.fetch_now().await;
    assert!(matches!(outcome, Err(FetchError::Answer(_))), "{outcome:?}");
    issuance.answers(ok("[]"));
    let outcome = keys.fetch_now().await;
    assert!(matches!(outcome, Err(FetchError::Keys(_))), "{outcome:?}");
    issuance.answers(b"SSH-2.0-x\r\n".to_vec());
    let outcome = keys.fetch_now().await;
    assert!(matches!(outcome, Err(FetchError::Answer(_))), "{outcome:?}");
    // It begins an answer, and does not go on.
    issuance.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec());
    let outcome = timeout(DEADLINE, keys.fetch_now()).await.expect("an end");
    assert!(matches!(outcome, Err(FetchError::TooSlow)), "{outcome:?}");
    let secrets = KeySet::jwks_url(TokenAlgorithm::Hs256, &JwksSource::new(&issuance.url));
    assert!(matches!(secrets, Err(FetchError::Keys(_))));
}
