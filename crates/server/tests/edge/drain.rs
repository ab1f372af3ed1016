//! A server that goes lets its clients go first, also where another program serves its router.

use std::time::Duration;

use bowline::{Config, Server};
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

use super::client::{DEADLINE, HERE, Reach, World, hello};

const CLIENTS: usize = 200;

#[tokio::test]
async fn clients_are_told_before_they_are_closed_and_spread_over_time() {
    let world = World::start(Config::default()).await;
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let session = format!("s-{n}");
        clients.push(
            world
                .welcomed(HERE, hello(&session, 1))
                .await
                .expect("room"),
        );
    }
    let server = world.server.clone();
    let drained = tokio::spawn(async move { server.drain().await });
    let mut closed = Vec::new();
    for mut client in clients {
        closed.push(tokio::spawn(async move {
            let advice = client.next().await.expect("it is told first");
            assert_eq!(advice["type"], "reconnect", "{advice}");
            assert_eq!(advice["reason"], "restart");
            assert!(
                advice["after_ms"]
                    .as_u64()
                    .is_some_and(|after| after >= 200)
            );
            let told = tokio::time::Instant::now();
            assert_eq!(client.closed().await.code(), (4503, "draining"));
            told.elapsed()
        }));
    }
    for client in closed {
        // 200 clients are told over 200 ms, and each is closed as much later.
        let waited = client.await.expect("no panic");
        assert!(waited >= Duration::from_millis(100), "{waited:?}");
    }
    timeout(DEADLINE, drained)
        .await
        .expect("it ends")
        .expect("no panic");
    let late = world.welcomed(HERE, hello("late", 1)).await;
    assert_eq!(
        late.err().expect("it is refused").code(),
        (4503, "draining")
    );
}

#[tokio::test]
async fn an_embedding_program_drains_by_itself() {
    let server = Server::builder().build().expect("it is built");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let app = server.router();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let world = World {
        server: server.clone(),
        reach: Reach { address },
    };
    let mut client = world.welcomed(HERE, hello("s", 1)).await.expect("room");
    let drained = timeout(DEADLINE, server.drain());
    let (advice, drained) = tokio::join!(client.next(), drained);
    drained.expect("it ends in time");
    assert_eq!(advice.expect("it is told")["reason"], json!("restart"));
    assert_eq!(client.closed().await.code(), (4503, "draining"));
    assert_eq!(server.connections(), 0);
}
