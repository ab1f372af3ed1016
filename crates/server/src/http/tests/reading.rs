//! Pages of history, and the statistics.

use serde_json::json;

use super::world::World;

async fn fill(world: &World, channel: &str, count: u64) -> Vec<String> {
    let mut positions = Vec::new();
    for n in 1..=count {
        let body = json!({"channel": channel, "data": n}).to_string();
        let answer = world.publish(&body).await;
        positions.push(answer.body["position"].as_str().unwrap().to_owned());
    }
    positions
}

#[tokio::test]
async fn pages_follow_each_other_and_end() {
    let world = World::start().await;
    let positions = fill(&world, "a", 5).await;
    let newest = world.get("/api/channels/a/history?limit=2").await;
    assert_eq!(newest.body["publications"][0]["data"], 4);
    assert_eq!(newest.body["more"], false);
    let path = |after: &str| format!("/api/channels/a/history?after={after}&limit=3");
    let page = world.get(&path(&positions[0])).await.body;
    assert_eq!(page["publications"].as_array().unwrap().len(), 3);
    assert_eq!(page["publications"][0]["data"], 2);
    assert_eq!(
        (&page["recovered"], &page["more"]),
        (&json!(true), &json!(true))
    );
    let page = world
        .get(&path(page["position"].as_str().unwrap()))
        .await
        .body;
    assert_eq!(page["publications"].as_array().unwrap().len(), 1);
    assert_eq!(page["more"], false);
    assert_eq!(page["position"], positions[4]);
    let page = world.get(&path(&positions[4])).await.body;
    assert_eq!(page["publications"], json!([]));
    assert_eq!(page["position"], positions[4]);
}

#[tokio::test]
async fn a_gap_is_told() {
    let world = World::start().await;
    let positions = fill(&world, "tiny:a", 6).await;
    let path = format!("/api/channels/tiny:a/history?after={}", positions[0]);
    let page = world.get(&path).await.body;
    assert_eq!(page["recovered"], false);
    assert_eq!(page["reason"], "expired");
    assert_eq!(page["publications"][0]["data"], 4);
    let foreign = "/api/channels/tiny:a/history?after=00000000000000ff.4.00000001";
    let page = world.get(foreign).await.body;
    assert_eq!(page["reason"], "unknown_epoch");
}

#[tokio::test]
async fn a_channel_without_a_record_is_empty_not_absent() {
    let world = World::start().await;
    let page = world.get("/api/channels/none/history").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body["publications"], json!([]));
    assert!(page.body["position"].is_string(), "it can be resumed from");
    for query in ["after=1", "after="] {
        let answer = world.get(&format!("/api/channels/a/history?{query}")).await;
        assert_eq!(answer.code(), (400, "bad_position"), "{query}");
    }
    for query in [
        "limit=0",
        "limit=x",
        "limit=-1",
        "limit=",
        "limit=1&limit=2",
    ] {
        let answer = world.get(&format!("/api/channels/a/history?{query}")).await;
        assert_eq!(answer.code(), (400, "malformed"), "{query}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_percent_encoding_is_no_channel() {
    let world = World::start().await;
    for name in ["%zz", "%", "a%4", "%ff", "%C3"] {
        for of in ["history", "presence"] {
            let answer = world.get(&format!("/api/channels/{name}/{of}")).await;
            assert_eq!(answer.code(), (400, "bad_channel"), "{name} {of}");
        }
    }
    let plus = world.get("/api/channels/a+b%2F%25zz/history").await;
    assert_eq!(plus.status, 200, "{plus:?}");
}

#[tokio::test]
async fn whom_to_disconnect_is_one_of_three_and_what_is_unknown_is_ignored() {
    let world = World::start().await;
    let ask = async |body: &str| {
        let (path, media) = ("/api/disconnect", "application/json");
        world.post(path, media, "", body.as_bytes()).await
    };
    for body in [
        r#"{"user":"nobody","reason":{"of":"tomorrow"}}"#,
        r#"{"user":null,"connection":"999"}"#,
    ] {
        assert_eq!(ask(body).await.body, json!({"disconnected": 0}), "{body}");
    }
    for body in [
        "{}",
        "null",
        r#"["a"]"#,
        r#"{"user":null}"#,
        r#"{"user":7}"#,
    ] {
        assert_eq!(ask(body).await.code(), (400, "malformed"), "{body}");
    }
}

#[tokio::test]
async fn statistics_show_the_engine_too() {
    let world = World::start().await;
    fill(&world, "a", 2).await;
    let stats = world.get("/ws/stats").await.body;
    assert_eq!(stats["connections"], 0);
    assert_eq!(stats["engine"]["appended"], 2);
    assert_eq!(world.get("/health/ready").await.status, 200);
}
