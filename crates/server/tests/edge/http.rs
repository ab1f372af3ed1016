//! Plain HTTP at the edge: heads, idle sockets, and the verdict.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bowline::{
    AccessControl, BoxFuture, Code, Config, Credentials, Data, Identity, Operation, Server,
};
use bowline_engine::{ChannelPolicy, EngineConfig, Memory, Retention};
use bowline_ws::{ClientRequest, MessageKind, encode_message};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{pause, resume, timeout},
};

use super::{
    client::{Answer, DEADLINE, HERE, Reach, World, hello, strict, until},
    limits::Names,
    operate::Staff,
};

#[tokio::test]
async fn too_many_and_too_large_headers_are_refused() {
    let world = World::start(strict()).await;
    let many = |count: usize| (0..count).map(|n| format!("X-{n}: 1")).collect::<Vec<_>>();
    // Host and Connection are two of them.
    for (count, status) in [(126, 200), (127, 431), (250, 431), (300, 431)] {
        let lines = many(count);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let answer = world.get("/health/live", &lines).await;
        assert_eq!(answer.status, status, "{count}");
        if count == 127 {
            assert_eq!(answer.code(), (431, "headers_too_large".to_owned()));
        }
    }
    for (bytes, status) in [(8_000, 200), (8_300, 431), (16_384, 431)] {
        let line = format!("X-Long: {}", "a".repeat(bytes));
        assert_eq!(
            world.get("/health/live", &[&line]).await.status,
            status,
            "{bytes}"
        );
    }
    let target = format!("/ws?token={}", "a".repeat(8_300));
    assert_eq!(world.get(&target, &[]).await.status, 431);
    // Each line within its bound, and together above that of the head; also of an upgrade.
    let long = "a".repeat(5_000);
    for (lines, status) in [(3, 101), (4, 431)] {
        let names = ["X-A", "X-B", "X-C", "X-D"];
        let headers: Vec<_> = names[..lines].iter().map(|&name| (name, &*long)).collect();
        let entered = world
            .dial_with(HERE, "/ws", &["bowline.v1"], &headers)
            .await;
        let found = entered.err().map_or(101, |answer| answer.status);
        assert_eq!(found, status, "{lines}");
    }
}

#[tokio::test]
async fn idle_sockets_are_closed_and_their_number_is_bounded() {
    let world = World::start(Config {
        http_connections_max: 2,
        ..strict()
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut socket = world.socket(HERE).await;
        socket
            .write_all(b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n")
            .await
            .expect("it is taken");
        let mut answer = vec![0; 512];
        let read = socket.read(&mut answer).await.expect("an answer");
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{answer:?}");
        idle.push(socket);
    }
    let refused = world.get("/health/live", &[]).await;
    assert_eq!(refused.code(), (503, "overloaded".to_owned()));
    pause();
    for socket in &mut idle {
        let mut rest = Vec::new();
        let end = timeout(DEADLINE, socket.read_to_end(&mut rest));
        end.await.expect("it is closed").expect("it is closed");
    }
    resume();
    until("there is room again", async || {
        world.get("/health/live", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_frees_its_place_among_http_sockets() {
    let world = World::start(Config {
        http_connections_max: 1,
        ..strict()
    })
    .await;
    let _first = world.welcomed(HERE, hello("a", 1)).await.expect("room");
    until("the place is free", async || {
        world.get("/health/live", &[]).await.status == 200
    })
    .await;
}

/// Asks for an upgrade and says hello in one write, and reads up to the welcome: the answer's headers.
async fn enter(socket: &mut TcpStream, host: &str, session: &str) -> BTreeSet<String> {
    let request = ClientRequest {
        host,
        target: "/ws",
        key: [7; 16],
        protocols: &["bowline.v1"],
        headers: &[],
    };
    let (mut bytes, _) = request
        .encode_offering_deflate()
        .expect("it is well formed");
    let hello = hello(session, 1).to_string();
    let mask = Some([1, 2, 3, 4]);
    bytes.extend(encode_message(MessageKind::Text, hello.as_bytes(), mask));
    socket.write_all(&bytes).await.expect("it is taken");
    let answer = read_until(socket, r#""type":"welcome""#).await;
    let answer = Answer::parse(&answer);
    assert_eq!(answer.status, 101);
    let lines = answer.head.lines().skip(1);
    let lines = lines.filter(|line| !line.starts_with("date:"));
    lines.map(str::to_owned).collect()
}

async fn read_until(socket: &mut TcpStream, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(text) {
        let read = timeout(DEADLINE, socket.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("in time").expect("bytes"), 0, "{bytes:?}");
    }
    bytes
}

#[tokio::test]
async fn a_first_request_and_a_later_one_enter_alike() {
    // Compressed, the welcome could not be looked for.
    let config = Config {
        compression_bytes_min: 1 << 20,
        ..strict()
    };
    let world = World::start(config).await;
    let host = world.address.to_string();
    let first = enter(&mut world.socket(HERE).await, &host, "a").await;
    assert!(
        first
            .iter()
            .any(|line| line.starts_with("sec-websocket-extensions: permessage-deflate")),
        "{first:?}"
    );
    let mut socket = world.socket(HERE).await;
    let asked = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n");
    socket
        .write_all(asked.as_bytes())
        .await
        .expect("it is taken");
    read_until(&mut socket, r#"{"status":"live"}"#).await;
    assert_eq!(enter(&mut socket, &host, "b").await, first);
}

#[tokio::test]
async fn sockets_of_one_address_are_bounded_before_they_say_anything() {
    let world = World::start(Config {
        connections_per_ip_max: 2,
        verified_connections_per_ip_max: 2,
        ..strict()
    })
    .await;
    let _first = world.socket(HERE).await;
    let _second = world.socket(HERE).await;
    until("both are accepted", async || {
        world.get("/health/live", &[]).await.status == 503
    })
    .await;
    assert_eq!(
        world
            .get_from("127.0.0.2", "/health/live", &[])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_verdict_says_what_would_become_of_an_upgrade() {
    let config = Config {
        connections_per_ip_max: 1,
        ..strict()
    };
    let world = World::with(Server::builder().config(config).access(Names)).await;
    let verdict = world.get("/ws", &[]).await;
    assert_eq!(
        (verdict.status, verdict.text.as_str()),
        (200, r#"{"code":"ok"}"#)
    );
    assert_eq!(
        verdict.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
    assert!(!verdict.head.contains("set-cookie"));
    let foreign = world.get("/ws", &["Origin: https://evil.example"]).await;
    assert_eq!(foreign.code(), (403, "origin_not_allowed".to_owned()));
    assert_eq!(
        foreign.header("access-control-allow-origin").as_deref(),
        Some("*")
    );
    for target in [
        "/ws?token=bad",
        "/ws/general?token=bad",
        "/ws/session/x?token=bad",
    ] {
        assert_eq!(
            world.get(target, &[]).await.code(),
            (401, "unauthorized".to_owned())
        );
    }
    let header = world.get("/ws", &["Authorization: Bearer bad"]).await;
    assert_eq!(header.code(), (401, "unauthorized".to_owned()));
    assert_eq!(
        world
            .get("/ws", &["Authorization: Bearer ana"])
            .await
            .status,
        200
    );
    let _open = world.welcomed(HERE, hello("s", 1)).await.expect("room");
    assert_eq!(
        world.get("/ws", &[]).await.code(),
        (429, "too_many_connections".to_owned())
    );
}

/// Nobody comes in without a token, and nothing is granted to those who do.
struct Members;

impl AccessControl for Members {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        match credentials.token {
            None => Box::pin(std::future::ready(Err(Code::Unauthorized))),
            Some(_) => Names.authenticate(credentials),
        }
    }

    fn authorize<'a>(&'a self, _: &'a Identity, _: Operation, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }
}

#[tokio::test]
async fn the_verdict_on_plain_mode_is_that_of_its_upgrade_but_for_grants() {
    let world = World::with(Server::builder().config(strict()).access(Members)).await;
    assert_eq!(world.get("/ws", &[]).await.status, 200, "it says hello yet");
    let long = "x".repeat(256);
    let too_long = |path: &str| format!("{path}{long}");
    for (target, status, code, close) in [
        ("/ws?channels=a", 401, "unauthorized", 4401),
        ("/ws/general", 401, "unauthorized", 4401),
        ("/ws/session/x", 401, "unauthorized", 4401),
        (&too_long("/ws?channels="), 401, "unauthorized", 4401),
    ] {
        let verdict = world.get(target, &[]).await;
        assert_eq!(verdict.code(), (status, code.to_owned()), "{target}");
        let upgraded = world.plain(HERE, target).await;
        let closed = upgraded.expect("101, to be told").closed().await;
        assert_eq!(closed.code(), (close, code), "{target}");
    }
    // Who is known hears of names, and of nothing that is granted.
    for target in [
        "/ws?token=ana&channels=a",
        "/ws?token=ana",
        "/ws/session/x?token=ana",
    ] {
        assert_eq!(world.get(target, &[]).await.status, 200, "{target}");
    }
    for target in [
        too_long("/ws?token=ana&channels=a,"),
        too_long("/ws/session/") + "?token=ana",
    ] {
        let verdict = world.get(&target, &[]).await;
        assert_eq!(verdict.code(), (400, "bad_channel".to_owned()), "{target}");
    }
}

#[tokio::test]
async fn beyond_the_budget_a_bad_token_is_plain_http() {
    let config = Config {
        refusals_max: 0,
        ..strict()
    };
    let world = World::with(Server::builder().config(config).access(Members)).await;
    for target in ["/ws?token=bad&channels=a", "/ws", "/ws/general"] {
        let refused = world.plain(HERE, target).await.err();
        let refused = refused.expect("plain HTTP");
        assert_eq!(refused.code(), (401, "unauthorized".to_owned()), "{target}");
    }
    let member = world.plain(HERE, "/ws?token=ana&channels=a").await;
    let _member = member.expect("101");
    // The token of bowline.v1 comes behind the upgrade.
    let mut late = world.dial(HERE).await.expect("101");
    late.send(&hello("s", 1)).await;
    assert_eq!(late.closed().await.code(), (4401, "unauthorized"));
}

#[tokio::test]
async fn a_parameter_that_is_repeated_or_unreadable_is_refused_and_not_dropped() {
    let world = World::with(Server::builder().config(strict()).access(Names)).await;
    for target in [
        "/ws?channels=a&channels=b",
        "/ws/general?token=a&token=b",
        "/ws?channels=public:%ff",
        "/ws?channels=a%2",
        "/ws/general?token=%zz",
    ] {
        let verdict = world.get(target, &[]).await;
        assert_eq!(verdict.code(), (400, "malformed".to_owned()), "{target}");
        let readable_by = verdict.header("access-control-allow-origin");
        assert_eq!(readable_by.as_deref(), Some("*"), "{target}");
        let refused = world.plain(HERE, target).await;
        let refused = refused.err().expect("400");
        assert_eq!(refused.code(), (400, "malformed".to_owned()), "{target}");
    }
}

#[tokio::test]
async fn a_token_that_is_repeated_or_unreadable_is_nobody_s() {
    let world = World::with(Server::builder().config(strict()).access(Names)).await;
    for headers in [
        &["Authorization: Bearer ana", "Authorization: Bearer bob"][..],
        &["Authorization: Bearer an\u{e4}"],
        &["Authorization: Bearer\tbad"],
    ] {
        let header = world.get("/ws", headers).await;
        assert_eq!(header.code(), (401, "unauthorized".to_owned()));
    }
    let unreadable = world.get("/ws/session/%FF", &[]).await;
    assert_eq!(unreadable.code(), (400, "bad_channel".to_owned()));
    let two = [
        ("Authorization", "Bearer ana"),
        ("Authorization", "Bearer bob"),
    ];
    let refused = world.dial_with(HERE, "/ws", &[], &two).await;
    let refused = refused.err().expect("401");
    assert_eq!(refused.code(), (401, "unauthorized".to_owned()));
    let two = two.map(|(name, value)| format!("{name}: {value}"));
    let two = two.each_ref().map(String::as_str);
    let refused = world.get("/api/channels/news/history", &two).await;
    assert_eq!(refused.code(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn the_verdict_has_a_bucket_of_its_own_and_its_preflight_is_cached() {
    let world = World::start(strict()).await;
    let mut limited = None;
    for _ in 0..20 {
        let verdict = world.get("/ws", &[]).await;
        if verdict.status != 200 {
            limited = Some(verdict);
        }
    }
    let limited = limited.expect("twenty in a row are too many");
    assert_eq!(limited.code(), (429, "rate_limited".to_owned()));
    assert_eq!(world.get_from("127.0.0.2", "/ws", &[]).await.status, 200);
    world
        .welcomed(HERE, hello("s", 1))
        .await
        .expect("asking costs no attempts");
    let head = format!(
        "OPTIONS /ws HTTP/1.1\r\nHost: {}\r\nOrigin: https://a.example",
        world.address
    );
    let preflight = world.raw(HERE, &head, b"").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-max-age").as_deref(),
        Some("86400")
    );
    assert_eq!(
        preflight.header("access-control-allow-headers").as_deref(),
        Some("authorization")
    );
    let head = format!(
        "POST /ws HTTP/1.1\r\nHost: {}\r\nContent-Length: 0",
        world.address
    );
    assert_eq!(
        world.raw(HERE, &head, b"").await.code(),
        (405, "method_not_allowed".to_owned())
    );
}

#[tokio::test]
async fn a_shutdown_finishes_requests_and_ends_idle_sockets() {
    let server = Server::builder()
        .config(strict())
        .build()
        .expect("it is built");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.clone();
    let serving =
        tokio::spawn(async move { serving.serve(listener, async { drop(stopped.await) }).await });
    let world = World {
        server,
        reach: Reach { address },
    };
    let mut idle = world.socket(HERE).await;
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n")
        .await
        .expect("taken");
    let mut answer = vec![0; 512];
    assert!(idle.read(&mut answer).await.expect("an answer") > 0);
    let begun = tokio::time::Instant::now();
    stop.send(()).expect("it runs");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("it ends");
    serving.await.expect("it ends").expect("it ends");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

/// The next answer on a connection that stays open.
async fn next_answer(socket: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let read = timeout(DEADLINE, socket.read_buf(&mut bytes)).await;
        assert!(read.expect("an answer in time").expect("an answer") > 0);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let answer = Answer::parse(format!("{head}\r\n\r\n{body}").as_bytes());
        let length = answer.header("content-length").expect("it is told");
        if body.len() == length.parse::<usize>().expect("a number") {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_refusal_is_heard_by_a_client_that_is_still_writing_and_so_is_its_next_request() {
    let world = World::with(Server::builder().config(strict()).access(Names)).await;
    let mut socket = world.socket(HERE).await;
    let long = format!("X-Long: {}", "a".repeat(8_300));
    for (request, header, expected) in [
        (
            "POST /api/publish",
            "Authorization: Bearer bad",
            "unauthorized",
        ),
        (
            "POST /api/publish",
            "Content-Type: text/plain",
            "unsupported_media_type",
        ),
        ("PUT /api/publish", "X-A: 1", "method_not_allowed"),
        ("POST /api/disconnect", "X-A: 1", "forbidden"),
        ("POST /nowhere", "X-A: 1", "not_found"),
        ("POST /nowhere", &long, "headers_too_large"),
        ("GET /ws", "Upgrade: websocket", "malformed"),
        ("GET /ws/general", "Upgrade: websocket", "malformed"),
    ] {
        let head = format!(
            "{request} HTTP/1.1\r\nHost: here\r\n{header}\r\nContent-Length: 900000\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("it is read");
        socket
            .write_all(&[b' '; 900_000])
            .await
            .expect("it is read");
        let refused = next_answer(&mut socket).await;
        assert_eq!(refused.code().1, expected, "{request} {refused:?}");
        assert_eq!(refused.header("connection"), None, "{request}");
        let next = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n";
        socket.write_all(next).await.expect("it is read");
        assert_eq!(next_answer(&mut socket).await.status, 200, "{request}");
    }
}

#[tokio::test]
async fn a_refusal_that_ends_the_connection_says_so() {
    let config = Config {
        http_body_bytes_max: 70_000,
        message_bytes_max: 1_000,
        connection_timeout: Duration::from_millis(300),
        access_timeout: Duration::from_millis(300),
        ..strict()
    };
    let world = World::with(Server::builder().config(config).access(Names)).await;
    for (headers, sent, expected) in [
        // Four times the limit are thrown away.
        ("Authorization: Bearer bad", 280_001, (401, "unauthorized")),
        (
            "Content-Type: application/json",
            280_001,
            (413, "message_too_big"),
        ),
        // This one never comes.
        ("Authorization: Bearer bad", 1, (401, "unauthorized")),
        (
            "Content-Type: application/json\r\nTransfer-Encoding: chunked",
            0,
            (408, "hello_timeout"),
        ),
        // This client waits to be asked for it.
        (
            "Authorization: Bearer bad\r\nExpect: 100-continue",
            0,
            (401, "unauthorized"),
        ),
    ] {
        let length = if headers.contains("chunked") {
            "X-A: 1"
        } else {
            "Content-Length: 900000"
        };
        let head =
            format!("POST /api/publish HTTP/1.1\r\nHost: here\r\n{headers}\r\n{length}\r\n\r\n");
        let mut socket = world.socket(HERE).await;
        socket.write_all(head.as_bytes()).await.expect("it is read");
        socket
            .write_all(&vec![b' '; sent])
            .await
            .expect("it is read");
        let refused = next_answer(&mut socket).await;
        assert_eq!(refused.code(), (expected.0, expected.1.to_owned()));
        assert_eq!(
            refused.header("connection").as_deref(),
            Some("close"),
            "{headers}"
        );
    }
}

#[tokio::test]
async fn slow_bodies_of_users_leave_places_to_the_backend() {
    let config = Config {
        http_requests_max: 2,
        ..Config::default()
    };
    let world = World::with(Server::builder().config(config).access(Staff)).await;
    let publish = |token: &str, bytes: usize| {
        format!(
            "POST /api/publish?channel=c HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\nx"
        )
    };
    let mut slow = world.socket(HERE).await;
    slow.write_all(publish("ana", 2).as_bytes())
        .await
        .expect("taken");
    let answered = async |token: &str| {
        let mut socket = world.socket(HERE).await;
        socket
            .write_all(publish(token, 1).as_bytes())
            .await
            .expect("taken");
        next_answer(&mut socket).await.status
    };
    until("a user's place is taken", async || {
        answered("ana").await == 503
    })
    .await;
    assert_eq!(answered("boss").await, 200);
}

#[tokio::test]
async fn pages_of_history_that_nobody_reads_are_bounded() {
    const BYTES: usize = 32 << 20;
    let config = Config {
        http_requests_max: 1,
        history_bytes_max: BYTES,
        send_timeout: DEADLINE * 10,
        ..Config::default()
    };
    let engine = EngineConfig {
        policies: vec![ChannelPolicy {
            pattern: "*".to_owned(),
            history: Some(Retention {
                bytes: 2 * BYTES as u64,
                ..Retention::default()
            }),
        }],
        ..EngineConfig::default()
    };
    let engine = Arc::new(Memory::open(engine).expect("it opens"));
    let builder = Server::builder().config(config).access(Names);
    let world = World::with(builder.engine(engine)).await;
    let data = format!("\"{}\"", "x".repeat(60_000));
    // More than the kernel's buffers take.
    for _ in 0..BYTES / 2 / data.len() {
        let stored = world.server.publish("c", Data::Json(data.clone().into()));
        stored.await.expect("it is stored");
    }
    let mut slow = world.socket(HERE).await;
    slow.write_all(b"GET /api/channels/c/history?limit=1000 HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer ana\r\n\r\n")
        .await
        .expect("taken");
    read_until(&mut slow, "200 OK").await;
    let token = &["Authorization: Bearer ana"];
    let page = "/api/channels/c/history?limit=1";
    let refused = world.get(page, token).await;
    assert_eq!(refused.code(), (503, "overloaded".to_owned()));
    drop(slow);
    until("the place comes back", async || {
        world.get(page, token).await.status == 200
    })
    .await;
}
