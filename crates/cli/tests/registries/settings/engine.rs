//! `[engine]`: what is kept, where, and how much of it.

use std::path::Path;

use serde_json::{Value, json};

use super::{Case, disk::SHORT_SEGMENTS};
use crate::{
    client::{HERE, Reach, hello, until},
    registries::process::{EMBEDDED, Process, token},
};

pub(super) fn case(name: &str) -> Option<Case> {
    let (base, value, expected): (&[_], _, _) = match name {
        "engine.kind" => (&[], "\"embedded\"", json!(true)),
        "engine.data_dir" => (&[EMBEDDED], "\"elsewhere\"", json!(true)),
        "engine.max_channels" => (&[], "1", json!("too_many_channels")),
        "engine.max_messages" => (&[], "1", json!("storage_full")),
        "engine.max_bytes" => (&[], "12", json!("storage_full")),
        // Two days: more than a channel keeps its history for, less than three.
        "engine.channel_forget_after" => (&[], "172_800", json!("unknown_epoch")),
        "engine.max_sessions" => (&[], "1", json!("overloaded")),
        "engine.max_sessions_per_user" => (&[], "1", json!("overloaded")),
        "engine.max_keys" => (&[], "1", json!([false, 1])),
        "engine.key_window" => (&[], "\"50ms\"", json!(true)),
        "engine.segment_bytes" => (&[EMBEDDED], "1_048_576", json!(true)),
        "engine.max_log_bytes" => {
            let base = &[EMBEDDED, SHORT_SEGMENTS];
            (base, "4_194_304", json!("storage_full"))
        }
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

pub(super) async fn look(name: &str, process: &Process) -> Value {
    let reach = &process.reach;
    let keyed = async |key: &str| {
        let body = json!({"channel": "a", "data": 1, "key": key}).to_string();
        reach.send("/api/publish", &body).await.json()["duplicate"].clone()
    };
    match name {
        "engine.kind" => json!(has_segment(&process.folder.join("bowline-data"))),
        "engine.data_dir" => json!(has_segment(&process.folder.join("elsewhere"))),
        "engine.max_channels" | "engine.max_messages" | "engine.max_bytes" => {
            reach.fill("a", 1, 10).await;
            let body = json!({"channel": "b", "data": 1}).to_string();
            reach.send("/api/publish", &body).await.json()["code"].clone()
        }
        "engine.max_sessions" => sessions(process, [None; 2]).await,
        "engine.max_sessions_per_user" => {
            let of_others = sessions(process, [Some("ana"), Some("ben")]).await;
            assert_eq!(
                of_others,
                Value::Null,
                "each user has sessions of their own"
            );
            sessions(process, [Some("eve"); 2]).await
        }
        "engine.channel_forget_after" => three_days_later(&process.reach).await,
        "engine.max_keys" => {
            keyed("one").await;
            keyed("two").await;
            let repeated = keyed("one").await;
            json!([repeated, reach.stat("/engine/keys").await])
        }
        "engine.key_window" => {
            keyed("one").await;
            // Whether the key is forgotten before long; its window is 5 minutes else.
            let mut forgotten = false;
            for _ in 0..200 {
                forgotten |= keyed("one").await == false;
            }
            json!(forgotten)
        }
        "engine.segment_bytes" => {
            reach.fill("a", 40, 60_000).await;
            json!(reach.stat("/engine/segments").await.as_u64() >= Some(2))
        }
        _ => {
            let data = "x".repeat(60_000);
            for n in 0..200 {
                let body = json!({"channel": format!("c{n}"), "data": data}).to_string();
                let answer = reach.send("/api/publish", &body).await;
                if answer.status != 200 {
                    return answer.json()["code"].clone();
                }
            }
            Value::Null
        }
    }
}

fn has_segment(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// With which code the second session is refused that numbers a message.
async fn sessions(process: &Process, users: [Option<&str>; 2]) -> Value {
    let reach = &process.reach;
    let mut last = Value::Null;
    for (session, user) in ["one", "two"].into_iter().zip(users) {
        let mut asked = hello(session, 1);
        if let Some(user) = user {
            asked["token"] = json!(token(user, &json!({"channels": {"a": ["publish"]}})));
        }
        let client = reach.welcomed(HERE, asked).await;
        let mut client = client.expect("there is room");
        client
            .send(&json!({"type": "publish", "seq": 1, "channel": "a", "data": 1}))
            .await;
        let mut answer = client.next().await.expect("an answer");
        // A refusal comes behind what was stored before.
        while answer["type"] == "acked" && answer["seq"] == 0 {
            answer = client.next().await.expect("an answer");
        }
        last = answer["code"].clone();
        drop(client);
        until("it is gone", async || reach.stat("/connections").await == 0).await;
    }
    last
}

/// Why a position of a channel that nobody publishes to does not hold three days after it was told.
async fn three_days_later(reach: &Reach) -> Value {
    // Sessions of their own: the first connection may not be gone when the second speaks.
    let subscribe = async |session: &str, position: Value| {
        let mut client = reach.dial(HERE).await.expect("101");
        let mut asked = hello(session, 1);
        asked["subscribe"] = json!({ "silent": position });
        let welcome = client.hello(asked).await.expect("there is room");
        welcome["subscriptions"]["silent"].clone()
    };
    let told = subscribe("one", Value::Null).await["position"].clone();
    let told = told.as_str().expect("a position");
    // The last part of it is when it was told, in seconds.
    let (rest, seconds) = told.rsplit_once('.').expect("three parts");
    let seconds = u32::from_str_radix(seconds, 16).expect("hexadecimal");
    let earlier = seconds - 3 * 24 * 3_600;
    let held = json!(format!("{rest}.{earlier:08x}"));
    subscribe("two", held).await["reason"].clone()
}
