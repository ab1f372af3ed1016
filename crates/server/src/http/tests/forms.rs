//! Every form of a publish request, and what repeats of it do.

use serde_json::{Value, json};

use super::world::World;

async fn history(world: &World, channel: &str) -> Vec<Value> {
    let page = world.get(&format!("/api/channels/{channel}/history")).await;
    assert_eq!(page.status, 200, "{page:?}");
    page.body["publications"].as_array().unwrap().clone()
}

#[tokio::test]
async fn json_passes_through_unparsed() {
    let world = World::start().await;
    let body =
        "{\"channel\":\"a\",\"data\":{ \"n\": 1.50000000000000000001,\n\"n\":2 },\"tag\":\"t\"}";
    let answer = world.publish(body).await;
    assert_eq!(
        (answer.status, &answer.body["duplicate"]),
        (200, &json!(false))
    );
    assert!(answer.head.contains("cache-control: no-store"));
    let raw = world.get("/api/channels/a/history").await;
    assert_eq!(
        raw.body["publications"][0]["position"],
        answer.body["position"]
    );
    assert_eq!(raw.body["publications"][0]["tag"], "t");
    assert_eq!(raw.body["position"], answer.body["position"]);
    let null = world.publish(r#"{"channel":"a","data":null}"#).await;
    assert_eq!(null.status, 200, "null is a payload");
    assert_eq!(history(&world, "a").await[1]["data"], Value::Null);
}

#[tokio::test]
async fn what_is_no_object_is_told_so() {
    let world = World::start().await;
    for body in ["null", "[]", "7", r#""a""#, " [1]"] {
        let answer = world.publish(body).await;
        assert_eq!(answer.code(), (400, "malformed"), "{body}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(
            message.ends_with("it must be an object."),
            "{body}: {message}"
        );
    }
}

#[tokio::test]
async fn bytes_come_in_two_forms() {
    let world = World::start().await;
    let body: Vec<u8> = (0..=255).collect();
    let posted = world
        .post(
            "/api/publish?channel=b%3Ax&tag=t",
            "application/octet-stream",
            "",
            &body,
        )
        .await;
    assert_eq!(posted.status, 200, "{posted:?}");
    assert_eq!(
        world
            .publish(r#"{"channel":"b:x","data_b64":"AAE="}"#)
            .await
            .status,
        200
    );
    let list = history(&world, "b%3Ax").await;
    assert_eq!(list.len(), 2);
    assert!(list[0]["data_b64"].as_str().unwrap().starts_with("AAECAwQ"));
    assert_eq!(list[1]["data_b64"], "AAE=");
}

#[tokio::test]
async fn a_repeated_key_answers_the_first_position_and_another_body_is_refused() {
    let world = World::start().await;
    let first = world.publish(r#"{"channel":"a","data":1,"key":"k"}"#).await;
    let again = world
        .post(
            "/api/publish",
            "application/json; charset=utf-8",
            "\r\nIdempotency-Key: k",
            br#"{"channel":"a","data":1}"#,
        )
        .await;
    assert_eq!(again.body["position"], first.body["position"]);
    assert_eq!(again.body["duplicate"], true);
    let other = world.publish(r#"{"channel":"a","data":2,"key":"k"}"#).await;
    assert_eq!(other.code(), (422, "key_reused"));
    let elsewhere = world.publish(r#"{"channel":"b","data":2,"key":"k"}"#).await;
    assert_eq!(
        elsewhere.body["duplicate"], false,
        "keys belong to a channel"
    );
    assert_eq!(history(&world, "a").await.len(), 1);
}

#[tokio::test]
async fn several_channels_each_have_a_result() {
    let world = World::start().await;
    let long = "x".repeat(256);
    let body = json!({"channels": ["a", "volatile:v", long, "b"], "data": 1}).to_string();
    let answer = world.publish(&body).await;
    assert_eq!(answer.status, 200);
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert!(results[0]["position"].is_string());
    assert_eq!(
        results[1],
        json!({"channel": "volatile:v", "duplicate": false})
    );
    assert_eq!(results[2]["error"]["code"], "bad_channel");
    assert_eq!(results[3]["channel"], "b");
    assert!(results[3]["position"].is_string(), "{results:?}");
}

#[tokio::test]
async fn a_batch_repeats_as_a_whole_under_one_key() {
    let world = World::start().await;
    let body = br#"{"messages":[{"channel":"a","data":1},{"channel":"a","data":1},
        {"channels":["a","b"],"data":3,"key":"own"}]}"#;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let more = "\r\nIdempotency-Key: batch-1";
        answers.push(
            world
                .post("/api/publish", "application/json", more, body)
                .await,
        );
    }
    let result = |answer: usize, index: usize| &answers[answer].body["results"][index];
    for index in 0..4 {
        assert_eq!(result(0, index)["duplicate"], false, "{index}");
        assert_eq!(result(1, index)["duplicate"], true, "{index}");
        assert_eq!(result(0, index)["position"], result(1, index)["position"]);
    }
    assert_eq!(history(&world, "a").await.len(), 3);
}

#[tokio::test]
async fn requests_that_make_no_sense_store_nothing() {
    let world = World::start().await;
    for body in [
        "",
        "{",
        "[]",
        r#"[null,"a",null,1]"#,
        r#"[[{"channel":"a","data":1}]]"#,
        r#"{"messages":[[null,"a",null,1]]}"#,
        r#"{"data":1}"#,
        r#"{"channel":"a"}"#,
        r#"{"channel":"a","channels":["b"],"data":1}"#,
        r#"{"channels":[],"data":1}"#,
        r#"{"channel":"a","data":1,"data_b64":"AA=="}"#,
        r#"{"channel":"a","data_b64":"?"}"#,
        r#"{"channel":"a","data":1,"key":""}"#,
        r#"{"channel":"a","data":1,"data":2}"#,
        r#"{"messages":[]}"#,
        r#"{"messages":[{"channel":"a","data":1},{"channel":"a"}]}"#,
        r#"{"messages":[{"channel":"a","data":1}],"channel":"b"}"#,
        r#"{"messages":[{"messages":[{"channel":"a","data":1}]}]}"#,
        "{\"channel\":\"a\",\"data\":\"\u{1}\"}",
    ] {
        assert_eq!(
            world.publish(body).await.code(),
            (400, "malformed"),
            "{body}"
        );
    }
    let deep = format!(
        r#"{{"channel":"a","data":{}{}}}"#,
        "[".repeat(129),
        "]".repeat(129)
    );
    assert_eq!(world.publish(&deep).await.code(), (400, "too_deep"));
    let differing = world
        .post(
            "/api/publish",
            "application/json",
            "\r\nIdempotency-Key: one",
            br#"{"channel":"a","data":1,"key":"two"}"#,
        )
        .await;
    assert_eq!(differing.code(), (400, "malformed"));
    assert_eq!(history(&world, "a").await.len(), 0);
}

#[tokio::test]
async fn bytes_go_to_no_other_channel_than_the_query_names() {
    let world = World::start().await;
    let publish = async |query: &str, more: &str| {
        let path = format!("/api/publish?{query}");
        let media = "application/octet-stream";
        world.post(&path, media, more, b"x").await
    };
    for query in [
        "",
        "key=k",
        "channel=bad%ff",
        "channel=bad%zz",
        "channel=bad%4",
        "channel=a&channel=b",
        "channel=a&key=%ff",
        "channel=a&tag=s&tag=t",
    ] {
        let refused = publish(query, "").await;
        assert_eq!(refused.code(), (400, "malformed"), "{query}");
    }
    for channel in ["bad%EF%BF%BD", "a", "b"] {
        assert_eq!(history(&world, channel).await.len(), 0, "{channel}");
    }
    let spaced = publish("&channel=one+%C3%A9%2b&tag", "").await;
    assert_eq!(spaced.status, 200, "{spaced:?}");
    assert_eq!(history(&world, "one%20%C3%A9%2B").await.len(), 1);
}

#[tokio::test]
async fn a_key_stands_in_one_header() {
    let world = World::start().await;
    let body = br#"{"channel":"a","data":1}"#;
    for more in [
        "\r\nIdempotency-Key: one\r\nIdempotency-Key: two",
        "\r\nIdempotency-Key: one\r\nIdempotency-Key: one",
    ] {
        let answer = world
            .post("/api/publish", "application/json", more, body)
            .await;
        assert_eq!(answer.code(), (400, "malformed"), "{more}");
    }
    assert_eq!(history(&world, "a").await.len(), 0);
}
