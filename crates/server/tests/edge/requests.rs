//! Requests of a welcomed client that are refused with advice.

use bowline::{Config, Incoming, Rejection, Reply, Server};
use serde_json::json;
use tokio::sync::watch;

use super::client::{HERE, World, hello};

#[tokio::test]
async fn volatile_messages_beyond_the_queue_are_told_when_to_come_again() {
    let open = watch::Sender::new(false);
    let gate = open.clone();
    let handler = move |_: Incoming| {
        let mut gate = gate.subscribe();
        async move {
            gate.wait_for(|open| *open).await.expect("the test lives");
            Ok::<_, Rejection>(Reply::Empty)
        }
    };
    let config = Config::default();
    let (inflight, burst) = (config.inflight_max, config.messages_burst_max as usize);
    assert!(burst > inflight + 2, "else the rate would refuse first");
    let world = World::with(Server::builder().config(config).on_message(handler)).await;
    let mut client = world.dial(HERE).await.expect("it is let in");
    client.hello(hello("s", 1)).await.expect("it is welcomed");
    // One is handled, so many wait, and the next is refused.
    for n in 0..inflight + 2 {
        client
            .send(&json!({"type": "send", "id": n, "data": n}))
            .await;
    }
    let refused = client.next().await.expect("an answer");
    assert_eq!(
        (&refused["type"], &refused["id"], &refused["code"]),
        (
            &json!("error"),
            &json!(inflight + 1),
            &json!("rate_limited")
        )
    );
    assert_eq!(
        (&refused["retry"], &refused["retry_after_ms"]),
        (&json!(true), &json!(100))
    );
    open.send_replace(true);
    for n in 0..=inflight {
        let reply = client.next().await.expect("an answer");
        assert_eq!((&reply["type"], &reply["id"]), (&json!("reply"), &json!(n)));
    }
}
