//! A certificate is renewed while connections live.

use bowline::Config;
use serde_json::json;

use super::client::{
    CHAIN, Client, KEY, NEW_CHAIN, NEW_KEY, World, certificate, hello, shown, until,
};

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_nobody_is_dropped() {
    let world = World::start(Config::default()).await;
    let stream = world.secure().await;
    assert_eq!(shown(&stream), certificate(CHAIN));
    let (mut old, _) = Client::welcomed(stream, hello("old", json!({"news": null}))).await;

    world.tls.replace(NEW_CHAIN, NEW_KEY).expect("it is good");
    let stream = world.secure().await;
    assert_eq!(shown(&stream), certificate(NEW_CHAIN));
    let (mut new, _) = Client::welcomed(stream, hello("new", json!({"news": null}))).await;

    // A bad one changes nothing.
    assert!(world.tls.replace(CHAIN, NEW_KEY).is_err());
    assert_eq!(shown(&world.secure().await), certificate(NEW_CHAIN));
    world.tls.replace(CHAIN, KEY).expect("it is good");
    assert_eq!(shown(&world.secure().await), certificate(CHAIN));

    old.send(&json!({"type": "publish", "id": 2, "channel": "news", "data": "still here"}))
        .await;
    for client in [&mut old, &mut new] {
        let mut message = client.next().await;
        while message["type"] != "message" {
            message = client.next().await;
        }
        assert_eq!(message["data"], "still here");
    }
    assert_eq!(world.server.connections(), 2);
    drop((old, new));
    // They went without a word, as a cut link does.
    until("both are gone", async || world.server.connections() == 0).await;
}
