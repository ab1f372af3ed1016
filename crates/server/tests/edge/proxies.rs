//! Clients behind proxies: only named ones are believed.

use bowline::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Client, HERE, World, hello, strict};

fn trusting() -> Config {
    Config {
        connections_per_ip_max: 1,
        trusted_proxies: vec![HERE.parse().expect("an address")],
        ..strict()
    }
}

async fn forwarded(world: &World, from: &str, chain: &str) -> Option<Client> {
    let headers = [("X-Forwarded-For", chain)];
    let mut client = world
        .dial_with(from, "/ws", &["bowline.v1"], &headers)
        .await
        .expect("101");
    client.send(&hello(&format!("s-{chain}"), 1)).await;
    client.text().await.is_ok().then_some(client)
}

#[tokio::test]
async fn a_named_proxy_tells_who_the_client_is() {
    let world = World::start(trusting()).await;
    let _first = forwarded(&world, HERE, "198.51.100.1").await.expect("room");
    let _second = forwarded(&world, HERE, "198.51.100.2")
        .await
        .expect("another client");
    assert!(forwarded(&world, HERE, "198.51.100.1").await.is_none());
    // What the client itself wrote stands further left, and is not believed.
    assert!(
        forwarded(&world, HERE, "203.0.113.9, 198.51.100.1")
            .await
            .is_none()
    );
    // Rotation within an IPv6 /64 is no other client.
    let _v6 = forwarded(&world, HERE, "2001:db8:0:1::1")
        .await
        .expect("room");
    assert!(forwarded(&world, HERE, "2001:db8:0:1:9::2").await.is_none());
    let _next = forwarded(&world, HERE, "2001:db8:0:2::1")
        .await
        .expect("another /64");
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let world = World::start(trusting()).await;
    let _first = forwarded(&world, "127.0.0.2", "198.51.100.1")
        .await
        .expect("room");
    assert!(
        forwarded(&world, "127.0.0.2", "198.51.100.2")
            .await
            .is_none()
    );
}

async fn behind_balancer(world: &World, from: [u8; 4]) -> Option<Client> {
    let mut socket = world.socket(HERE).await;
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(from);
    header.extend([10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    socket.write_all(&header).await.expect("it is taken");
    let host = world.address.to_string();
    let mut client = Client::upgrade(socket, &host, "/ws", &["bowline.v1"], &[])
        .await
        .expect("101");
    client.send(&hello(&format!("s-{}", from[3]), 1)).await;
    client.text().await.is_ok().then_some(client)
}

#[tokio::test]
async fn the_proxy_protocol_tells_who_the_client_is() {
    let world = World::start(Config {
        proxy_protocol: true,
        ..trusting()
    })
    .await;
    let _first = behind_balancer(&world, [198, 51, 100, 1])
        .await
        .expect("room");
    let _second = behind_balancer(&world, [198, 51, 100, 2])
        .await
        .expect("another client");
    // A trusted proxy that leaves the header out is dropped.
    let mut socket = world.socket(HERE).await;
    socket
        .write_all(b"GET /ws HTTP/1.1\r\nHost: here\r\n\r\n")
        .await
        .expect("it is taken");
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer).await;
    assert!(
        read.is_err() || answer.is_empty(),
        "a trusted proxy without the header is dropped"
    );
    // Others are not asked for the header.
    world
        .welcomed("127.0.0.2", hello("t", 1))
        .await
        .expect("room");
}
