//! What a peer that does not read costs under TLS, measured in a process of its own.

#[path = "tls/client.rs"]
#[expect(dead_code, reason = "the other tests of TLS use the rest")]
mod client;
#[path = "support/clock.rs"]
#[expect(dead_code, reason = "nothing here needs it to stand still")]
mod clock;

use bowline::{Config, Data};
use serde_json::json;
use tokio::time::timeout;

use client::{DEADLINE, World, hello, until};
use clock::pass;

/// Bytes of this process in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = status.split(' ').nth(1).expect("the second field");
    pages.parse::<usize>().expect("a number") * 4_096
}

#[tokio::test]
async fn a_reader_that_never_reads_costs_its_bounds_and_is_dropped() {
    let config = Config {
        // Longer than a busy machine takes for what follows; then it passes at once.
        send_timeout: DEADLINE * 10,
        ping_interval: DEADLINE * 100,
        ..Config::default()
    };
    let limit = config.send_timeout;
    // The queue, a page above it, what is encrypted ahead, the channel's history and its tail.
    let bound = config.send_queue_bytes_max
        + config.page_bytes_max
        + (64 << 10)
        + (4 << 20)
        + config.tail_channel_bytes_max;
    // Twice, for what the allocator does not give back, and the test's own.
    let bound = 2 * bound + (8 << 20);
    let world = World::start(config).await;
    let (mut deaf, _) = world.dial_narrow(hello("deaf", json!({"a": null}))).await;
    let (mut keen, _) = world.dial(hello("keen", json!({"a": null}))).await;
    let data = Data::Json(json!("z".repeat(60_000)).to_string().into());
    let before = resident();
    for _ in 0..1_000 {
        world
            .server
            .publish("a", data.clone())
            .await
            .expect("stored");
        // One who reads is not held up.
        while keen.next().await["type"] != "message" {}
    }
    let grown = resident().saturating_sub(before);
    println!("60 MB were published: {grown} bytes more, bound {bound}");
    assert!(grown < bound, "{grown} bytes more, bound {bound}");
    pass(limit).await;
    until("the deaf one is dropped", async || {
        world.server.connections() == 1
    })
    .await;
    // It never saw a close frame: the link broke.
    let end = async { while deaf.text().await.is_ok() {} };
    timeout(DEADLINE, end).await.expect("it ends");
}
