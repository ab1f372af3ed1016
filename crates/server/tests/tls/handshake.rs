//! Before anything is encrypted: who is cut, and who is told what he does wrong.

use std::time::Duration;

use bowline::{Config, Server, Tls};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{Instant, pause, resume, timeout},
};

use super::{
    client::{CHAIN, DEADLINE, KEY, World, hello, shake_hands},
    clock::pass,
};

async fn ends(mut socket: impl AsyncRead + Unpin) -> Duration {
    let begun = Instant::now();
    let mut sink = Vec::new();
    // An end and a reset are both one.
    let _ = timeout(DEADLINE, socket.read_to_end(&mut sink))
        .await
        .expect("it is cut");
    begun.elapsed()
}

#[tokio::test]
async fn a_handshake_that_is_slow_is_cut_and_counts_from_the_accept() {
    let config = Config::default();
    let limit = config.connection_timeout;
    let world = World::start(config).await;
    let silent = world.socket().await;
    let mut half = world.socket().await;
    // The beginning of a record that says that 512 bytes follow.
    let record = [22, 3, 1, 2, 0, 1];
    half.write_all(&record).await.expect("it is taken");
    // Accepted for sure once a later one has been answered.
    drop(world.secure().await);
    pause();
    let (silent, half) = tokio::join!(ends(silent), ends(half));
    resume();
    for took in [silent, half] {
        assert!((limit / 2..limit * 3 / 2).contains(&took), "{took:?}");
    }
    // What the handshake took is missing afterwards.
    let begun = Instant::now();
    let socket = world.socket().await;
    drop(world.secure().await);
    pass(limit / 2).await;
    let stream = shake_hands(socket).await;
    pause();
    ends(stream).await;
    resume();
    let took = begun.elapsed();
    assert!((limit..limit * 3 / 2).contains(&took), "{took:?}");
    // And everybody else comes in.
    world.dial(hello("s", json!({}))).await;
}

#[tokio::test]
async fn http_without_tls_is_told_so() {
    let world = World::start(Config::default()).await;
    for request in [
        &b"GET /ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\r\n"[..],
        b"P",
    ] {
        let mut socket = world.socket().await;
        socket.write_all(request).await.expect("it is taken");
        let mut answer = String::new();
        let read = timeout(DEADLINE, socket.read_to_string(&mut answer)).await;
        read.expect("an end in time").expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], "malformed");
        assert_eq!(body["retry"], false);
        assert!(body["message"].as_str().expect("words").contains("wss://"));
    }
}

#[tokio::test]
async fn where_there_is_no_room_nothing_is_said_unencrypted() {
    let world = World::start(Config {
        http_connections_max: 1,
        ..Config::default()
    })
    .await;
    let _first = world.secure().await;
    let mut second = world.socket().await;
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, second.read_to_end(&mut answer)).await;
    let _ = read.expect("an end in time");
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_who_has_said_nothing() {
    let long = DEADLINE * 10;
    let tls = Tls::from_pem(CHAIN, KEY).expect("they go together");
    let config = Config {
        connection_timeout: long,
        shutdown_timeout: long,
        ..Config::default()
    };
    let server = Server::builder().config(config).tls(tls).build();
    let server = server.expect("it is built");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving =
        tokio::spawn(async move { server.serve(listener, async { drop(stopped.await) }).await });
    let mut silent = TcpStream::connect(address).await.expect("it listens");
    // Accepted for sure once a later one has been answered.
    let later = TcpStream::connect(address).await.expect("it listens");
    drop(shake_hands(later).await);
    stop.send(()).expect("it runs");
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, silent.read_to_end(&mut rest))
        .await
        .expect("it is let go");
    let served = timeout(DEADLINE, serving).await.expect("it ends in time");
    served.expect("no panic").expect("it ends in order");
}

#[tokio::test]
async fn what_is_neither_is_let_go() {
    let world = World::start(Config::default()).await;
    for bytes in [&b"\0\0\0\0"[..], &[22, 3, 1, 0, 4, 1, 2, 3, 4], &[22; 600]] {
        let mut socket = world.socket().await;
        socket.write_all(bytes).await.expect("it is taken");
        socket.shutdown().await.expect("it is told");
        ends(socket).await;
    }
    world.dial(hello("s", json!({}))).await;
}

#[tokio::test]
async fn http_goes_over_it_as_well() {
    let world = World::start(Config::default()).await;
    let mut stream = world.secure().await;
    let request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it is taken");
    let mut answer = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time")
        .expect("an end that is no truncation");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with(r#"{"status":"live"}"#), "{answer}");
}
