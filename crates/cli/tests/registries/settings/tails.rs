//! `[websocket]`: what is kept in memory for those who are live.

use serde_json::{Value, json};

use super::Case;
use crate::client::{Client, HERE, Reach, hello, until};

pub(super) fn case(name: &str) -> Option<Case> {
    let (base, value, expected): (&[_], _, _) = match name {
        "websocket.tail_channel_bytes" => (&[], "1_000", json!(true)),
        "websocket.tail_bytes" => {
            let base = &[("websocket.tail_channel_bytes", "100_000")];
            (base, "100_000", json!(true))
        }
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

/// Whether the log is read for what the tail of a channel could have.
pub(super) async fn look(name: &str, reach: &Reach) -> Value {
    let is_read = async || reach.stat("/pages_read").await != 0;
    let mut first = subscriber(reach, "first", json!({"c": null})).await;
    receive_one(reach, &mut first, "c").await;
    if name == "websocket.tail_channel_bytes" {
        return json!(is_read().await);
    }
    let mut other = subscriber(reach, "other", json!({"d": null})).await;
    receive_one(reach, &mut other, "d").await;
    // The room may be made only now, so that who comes too early is still served from the tail.
    for n in 0..50 {
        let newest = json!({"c": {"last": 1}});
        let mut late = subscriber(reach, &format!("late-{n}"), newest).await;
        late.next().await.expect("the newest");
        if is_read().await {
            return json!(true);
        }
    }
    json!(false)
}

async fn subscriber(reach: &Reach, session: &str, channels: Value) -> Client {
    let mut asked = hello(session, 1);
    asked["subscribe"] = channels;
    let client = reach.welcomed(HERE, asked).await.expect("there is room");
    let subscribed = async || reach.stat("/channels").await != 0;
    until("it is subscribed", subscribed).await;
    client
}

async fn receive_one(reach: &Reach, client: &mut Client, channel: &str) {
    reach.fill(channel, 1, 60_000).await;
    assert_eq!(client.next().await.expect("a message")["type"], "message");
}
