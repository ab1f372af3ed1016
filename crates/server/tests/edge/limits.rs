//! Limits on connections: by address, by user, in all, by rate; and the forms of a refusal.

use std::time::Duration;

use bowline::{AccessControl, BoxFuture, Code, Config, Credentials, Identity, Operation, Server};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, pause, resume, sleep, timeout},
};

use super::{
    client::{Client, DEADLINE, HERE, Reach, World, hello, strict, until},
    clock::{Still, pass},
};

/// Any token is a user's name; `bad` is nobody's.
pub(crate) struct Names;

impl AccessControl for Names {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        let outcome = match credentials.token {
            None => Ok(Identity::anonymous()),
            Some("bad") => Err(Code::Unauthorized),
            Some(name) => Ok(Identity::user(name)),
        };
        Box::pin(std::future::ready(outcome))
    }

    fn authorize<'a>(&'a self, _: &'a Identity, _: Operation, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}

async fn named(config: Config) -> World {
    World::with(Server::builder().config(config).access(Names)).await
}

fn hello_as(user: &str, session: &str, link: u64) -> Value {
    json!({"type": "hello", "id": 1, "token": user, "session": session, "link": link, "subscribe": {}})
}

#[tokio::test]
async fn the_default_lets_ten_guests_of_one_address_in() {
    let world = World::start(strict()).await;
    let mut guests = Vec::new();
    for n in 0..10 {
        let session = format!("s-{n}");
        guests.push(
            world
                .welcomed(HERE, hello(&session, 1))
                .await
                .expect("there is room"),
        );
    }
    let refused = world.welcomed(HERE, hello("s-10", 1)).await;
    let refused = refused.err().expect("the eleventh");
    assert_eq!(refused.code(), (4429, "too_many_connections"));
    assert!(
        (1_000..5_001).contains(&refused.retry_after_ms()),
        "{refused:?}"
    );
    let mut plain = world.plain(HERE, "/ws?channels=a").await.expect("101");
    assert_eq!(plain.closed().await.code(), (4429, "too_many_connections"));
    let _elsewhere = world
        .welcomed("127.0.0.2", hello("s-11", 1))
        .await
        .expect("another address");
    guests.pop();
    until("a place comes back", async || {
        world.welcomed(HERE, hello("s-12", 1)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn silent_connections_take_the_places_of_their_address_only() {
    let world = World::start(strict()).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(world.dial(HERE).await.expect("it is upgraded"));
    }
    let mut next = world.dial(HERE).await.expect("it is upgraded, to be told");
    assert_eq!(next.closed().await.code(), (4429, "too_many_connections"));
    let _elsewhere = world
        .welcomed("127.0.0.2", hello("s", 1))
        .await
        .expect("another address");
}

#[tokio::test]
async fn a_takeover_takes_the_place_of_its_old_link() {
    let world = World::start(Config {
        connections_per_ip_max: 2,
        ..strict()
    })
    .await;
    let mut first = world.welcomed(HERE, hello("a", 1)).await.expect("room");
    let _other = world.welcomed(HERE, hello("b", 1)).await.expect("room");
    let _second = world
        .welcomed(HERE, hello("a", 2))
        .await
        .expect("its own place");
    assert_eq!(first.closed().await.code(), (4409, "replaced"));
    assert!(world.welcomed(HERE, hello("c", 1)).await.is_err());
    let _third = world
        .welcomed(HERE, hello("a", 3))
        .await
        .expect("its own place");
    let elsewhere = world.welcomed("127.0.0.2", hello("a", 4)).await;
    assert!(elsewhere.is_ok());
}

#[tokio::test]
async fn verified_users_count_by_user_and_not_by_address() {
    let world = named(Config {
        connections_per_ip_max: 2,
        connections_per_user_max: 3,
        verified_connections_per_ip_max: 20,
        rate_limit_attempts_max: 5,
        ..strict()
    })
    .await;
    let mut open = Vec::new();
    for n in 0..12 {
        let (user, session) = (format!("u{}", n / 3), format!("s{n}"));
        open.push(
            world
                .welcomed(HERE, hello_as(&user, &session, 1))
                .await
                .expect("room"),
        );
    }
    let fourth = world.welcomed(HERE, hello_as("u0", "s-more", 1)).await;
    assert_eq!(
        fourth.err().expect("three per user").code(),
        (4429, "too_many_connections")
    );
    let again = world.welcomed(HERE, hello_as("u0", "s0", 2)).await;
    open.push(again.expect("a takeover keeps its place"));
    let mut plain = world.plain(HERE, "/ws?token=u0").await.expect("101");
    assert_eq!(plain.closed().await.code(), (4429, "too_many_connections"));
    // Guests fill their places; users still come in.
    for n in 0..2 {
        open.push(
            world
                .welcomed(HERE, hello(&format!("g{n}"), 1))
                .await
                .expect("room"),
        );
    }
    let guest = world.welcomed(HERE, hello("g2", 1)).await;
    assert_eq!(
        guest.err().expect("two guests").code(),
        (4429, "too_many_connections")
    );
    open.push(
        world
            .welcomed(HERE, hello_as("u9", "s99", 1))
            .await
            .expect("a user"),
    );
    // In plain mode, too, by either way of a token.
    let bearer = [("Authorization", "Bearer u7")];
    for (target, headers) in [("/ws?token=u8", &[][..]), ("/ws", &bearer[..])] {
        let client = world.dial_with(HERE, target, &[], headers).await;
        let mut client = client.expect("101");
        client.send(&json!({"type": "ping", "timestamp": 1})).await;
        let pong = client.next().await.expect("it stays open");
        assert_eq!(pong["type"], "pong", "{pong}");
        let guest = world.plain(HERE, "/ws").await.expect("101").closed().await;
        assert_eq!(guest.code(), (4429, "too_many_connections"));
    }
}

#[tokio::test]
async fn attempts_are_counted_in_a_sliding_window_unless_verified() {
    let world = named(Config {
        rate_limit_attempts_max: 3,
        rate_limit_window: Duration::from_secs(2),
        ..strict()
    })
    .await;
    for n in 0..6 {
        let session = format!("v{n}");
        world
            .welcomed(HERE, hello_as("u", &session, 1))
            .await
            .expect("verified ones are free");
    }
    until("all of them are gone", async || {
        world.server.connections() == 0
    })
    .await;
    for _ in 0..3 {
        let mut failed = world.dial(HERE).await.expect("101");
        let closed = failed
            .hello(hello_as("bad", "s", 1))
            .await
            .expect_err("nobody");
        assert_eq!(closed.code(), (4401, "unauthorized"));
    }
    until("the last attempt is over", async || {
        let mut blocked = world.dial(HERE).await.expect("101");
        let closed = blocked.closed().await;
        assert!(closed.retry_after_ms() <= 2_001, "{closed:?}");
        closed.code() == (4429, "too_many_attempts")
    })
    .await;
    let verdict = world.get("/ws", &[]).await;
    assert_eq!(verdict.code(), (429, "too_many_attempts".to_owned()));
    world
        .welcomed("127.0.0.2", hello("s", 1))
        .await
        .expect("another address");
    until("the window has passed", async || {
        let mut client = world.dial(HERE).await.expect("101");
        client.send(&hello("s", 1)).await;
        client.text().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn handshakes_are_admitted_at_a_rate_and_told_their_turn() {
    let world = World::start(Config {
        handshakes_per_second: 2,
        ..strict()
    })
    .await;
    let enter = async |session: String| {
        let mut client = world.dial(HERE).await.expect("101");
        client.send(&hello(&session, 1)).await;
        let told = client.text().await.map_err(|closed| {
            assert_eq!(closed.code(), (4503, "overloaded"));
            closed.retry_after_ms()
        });
        told.err()
    };
    let still = Still::begin();
    let mut turns = Vec::new();
    for n in 0..6 {
        turns.push(enter(format!("s{n}")).await);
    }
    drop(still);
    // Two at once, and then each has a turn of its own.
    let later = [1_000, 1_500, 2_000, 2_500].map(Some);
    assert_eq!(turns[..2], [None, None]);
    assert_eq!(turns[2..], later);
    pass(Duration::from_millis(500)).await;
    assert_eq!(enter("next".to_owned()).await, None);
}

#[tokio::test]
async fn handshakes_in_flight_are_bounded_and_cut_at_their_deadline() {
    let world = World::start(Config {
        handshakes_max: 2,
        ..strict()
    })
    .await;
    let mut first = world.dial(HERE).await.expect("101");
    let mut second = world.dial(HERE).await.expect("101");
    let mut third = world.dial(HERE).await.expect("101");
    assert_eq!(third.closed().await.code(), (4503, "overloaded"));
    assert_eq!(
        world.get("/ws", &[]).await.code(),
        (503, "overloaded".to_owned())
    );
    pause();
    for slow in [&mut first, &mut second] {
        assert_eq!(slow.closed().await.code(), (4408, "hello_timeout"));
    }
    resume();
    until("their places are free", async || {
        world.welcomed(HERE, hello("s", 1)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_deadline_runs_from_the_accept() {
    let config = strict();
    let limit = config.connection_timeout;
    let expected = limit..limit * 3 / 2;
    let world = World::start(config).await;
    // A head that dribbles is cut.
    let begun = Instant::now();
    let mut socket = world.socket(HERE).await;
    let dribble = async {
        for byte in b"GET /ws HTTP/1.1\r\nHost: here\r\n".iter().cycle() {
            socket.write_all(&[*byte]).await?;
            sleep(limit / 20).await;
        }
        Ok::<(), std::io::Error>(())
    };
    pause();
    let cut = timeout(DEADLINE, dribble).await.expect("it is cut");
    resume();
    cut.expect_err("its end breaks");
    let took = begun.elapsed();
    assert!(expected.contains(&took), "{took:?}");
    // What the head took is missing afterwards.
    let begun = Instant::now();
    let mut socket = world.socket(HERE).await;
    socket.write_all(b"GET /w").await.expect("it is taken");
    // Accepted for sure once a later one has been answered.
    world.get("/health/live", &[]).await;
    pass(limit / 2).await;
    let rest = format!(
        "s HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: bowline.v1\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        world.address
    );
    socket
        .write_all(rest.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = Vec::new();
    let mut answered = async |text: &str| {
        while !String::from_utf8_lossy(&answer).contains(text) {
            let read = timeout(DEADLINE, socket.read_buf(&mut answer)).await;
            let read = read.expect("an answer in time").expect("an answer");
            assert!(read > 0, "{answer:?}");
        }
    };
    answered(" 101 ").await;
    pause();
    answered("hello_timeout").await;
    resume();
    let took = begun.elapsed();
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test]
async fn beyond_the_budget_a_refusal_is_plain_http() {
    let world = World::start(Config {
        connections_per_ip_max: 1,
        refusals_max: 1,
        ..strict()
    })
    .await;
    let _open = world.dial(HERE).await.expect("room");
    // This one does not answer the close frame, so it holds the budget for a while.
    let told = world.dial(HERE).await.expect("accepted, to be told");
    let refused = world.dial(HERE).await.err().expect("plain HTTP");
    assert_eq!(refused.code(), (429, "too_many_connections".to_owned()));
    drop(told);
    until("the budget is back", async || {
        world.dial(HERE).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn the_bound_of_all_connections_says_when_to_come_back() {
    // It is that of loopback, too, which other limits spare.
    for config in [strict(), Config::default()] {
        let world = World::start(Config {
            connections_max: 1,
            ..config
        })
        .await;
        let _open = world.welcomed(HERE, hello("s", 1)).await.expect("room");
        let mut next = world.dial("127.0.0.2").await.expect("101");
        let closed = next.closed().await;
        assert_eq!(closed.code(), (4503, "overloaded"));
        assert!((1_000..5_001).contains(&closed.retry_after_ms()));
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_told_so() {
    let world = World::start(strict()).await;
    let headers = [("Origin", "https://evil.example")];
    let mut evil: Client = world
        .dial_with(HERE, "/ws", &["bowline.v1"], &headers)
        .await
        .expect("101, to be told");
    assert_eq!(evil.closed().await.code(), (4403, "origin_not_allowed"));
    let own = format!("http://{}", world.address);
    // What can't be read, or says two things, is no permission.
    for lines in [
        &[("Origin", own.as_str()), ("Origin", "https://evil.example")][..],
        &[("Origin", "https://\u{e9}vil.example")],
    ] {
        let mut evil: Client = world
            .dial_with(HERE, "/ws", &["bowline.v1"], lines)
            .await
            .expect("101, to be told");
        assert_eq!(evil.closed().await.code(), (4403, "origin_not_allowed"));
    }
    let mut own = world
        .dial_with(HERE, "/ws", &["bowline.v1"], &[("Origin", &own)])
        .await
        .expect("101");
    own.hello(hello("s", 1)).await.expect("its own page");
}

#[tokio::test]
async fn development_mode_tells_a_foreign_page_so_and_shows_it_nothing() {
    let config = Config {
        dev: true,
        ..strict()
    };
    let world = World::start(config).await;
    let headers = [("Origin", "https://evil.example")];
    for target in ["/ws", "/ws/general", "/ws/session/x"] {
        let mut evil = world
            .dial_with(HERE, target, &["bowline.v1"], &headers)
            .await
            .expect("101, to be told");
        assert_eq!(evil.closed().await.code(), (4403, "origin_not_allowed"));
        let verdict = world.get(target, &["Origin: https://evil.example"]).await;
        assert_eq!(verdict.code(), (403, "origin_not_allowed".to_owned()));
        let readable_by = verdict.header("access-control-allow-origin");
        assert_eq!(readable_by.as_deref(), Some("*"), "{target}");
    }
    for target in ["/ws/stats", "/health/live"] {
        let hidden = world.get(target, &["Origin: https://evil.example"]).await;
        assert_eq!(hidden.code(), (403, "origin_not_allowed".to_owned()));
        assert_eq!(hidden.header("access-control-allow-origin"), None);
    }
    // A foreign name that resolves to loopback is not even told why.
    let head = "GET /ws HTTP/1.1\r\nHost: evil.example";
    let hidden = world.raw(HERE, head, b"").await;
    assert_eq!(hidden.code(), (403, "origin_not_allowed".to_owned()));
    assert_eq!(hidden.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn attempts_of_an_embedding_program_that_tells_no_addresses_are_limited() {
    let server = Server::builder()
        .config(Config {
            connections_per_ip_max: 1,
            ..strict()
        })
        .build()
        .expect("it is built");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let router = server.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let world = World {
        server,
        reach: Reach { address },
    };
    let _open = world.dial(HERE).await.expect("room");
    let mut refused = world.dial(HERE).await.expect("101, to be told");
    assert_eq!(
        refused.closed().await.code(),
        (4429, "too_many_connections")
    );
    let _elsewhere = world
        .welcomed("127.0.0.2", hello("s", 1))
        .await
        .expect("another address");
}
