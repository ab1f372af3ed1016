//! `[engine]`: what is kept, where, and how much of it.

use std::path::Path;

use serde_json::{Value, json};

use super::{Case, process::Process};
use crate::client::{HERE, hello, until};

pub(super) fn case(name: &str) -> Option<Case> {
    const EMBEDDED: (&str, &str) = ("engine.kind", "\"embedded\"");
    let (base, value, expected): (&[_], _, _) = match name {
        "engine.kind" => (&[], "\"embedded\"", json!(true)),
        "engine.data_dir" => (&[EMBEDDED], "\"elsewhere\"", json!(true)),
        "engine.max_channels" => (&[], "1", json!("too_many_channels")),
        "engine.max_messages" => (&[], "1", json!("storage_full")),
        "engine.max_sessions" => (&[], "1", json!("storage_unavailable")),
        "engine.max_keys" => (&[], "1", json!([false, 1])),
        "engine.key_window" => (&[], "\"50ms\"", json!(true)),
        "engine.segment_bytes" => (&[EMBEDDED], "1_048_576", json!(true)),
        "engine.max_log_bytes" => {
            let base = &[EMBEDDED, ("engine.segment_bytes", "1_048_576")];
            (base, "4_194_304", json!("storage_full"))
        }
        _ => return None,
    };
    Some(Case {
        base,
        value,
        expected,
    })
}

pub(super) async fn look(name: &str, process: &mut Process) -> Value {
    let reach = &process.reach;
    let keyed = async |key: &str| {
        let body = json!({"channel": "a", "data": 1, "key": key}).to_string();
        reach.send("/api/publish", &body).await.json()["duplicate"].clone()
    };
    match name {
        "engine.kind" => json!(has_segment(&process.folder.join("bowline-data"))),
        "engine.data_dir" => json!(has_segment(&process.folder.join("elsewhere"))),
        "engine.max_channels" | "engine.max_messages" => {
            reach.fill("a", 1, 10).await;
            let body = json!({"channel": "b", "data": 1}).to_string();
            reach.send("/api/publish", &body).await.json()["code"].clone()
        }
        "engine.max_sessions" => sessions(process).await,
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

/// What the second session is told that numbers a message.
async fn sessions(process: &Process) -> Value {
    let reach = &process.reach;
    let mut last = Value::Null;
    for session in ["one", "two"] {
        let client = reach.welcomed(HERE, hello(session, 1)).await;
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
