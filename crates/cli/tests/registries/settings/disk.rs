//! `[engine]`: what it does with its files, and when.

use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use super::Case;
use crate::{
    client::until,
    registries::{
        load::SLOW_COMMITS,
        process::{EMBEDDED, Process, happens},
    },
};

/// Segments of 1 MiB: a few of them are full soon.
pub(crate) const SHORT_SEGMENTS: (&str, &str) = ("engine.segment_bytes", "1_048_576");

pub(super) fn case(name: &str) -> Option<Case> {
    // Nothing is trimmed unless something is published.
    const RARELY: (&str, &str) = ("engine.maintenance_interval", "3_600");
    let (base, value, expected): (&[_], _, _) = match name {
        "engine.trim_grace" => (&[EMBEDDED, RARELY], "\"1ms\"", json!(1)),
        "engine.maintenance_interval" => (&[EMBEDDED, RARELY], "\"10ms\"", json!(true)),
        "engine.probe_interval" => {
            let base = &[EMBEDDED, ("engine.probe_interval", "3_600")];
            (base, "\"10ms\"", json!(true))
        }
        "engine.open_check_bytes" => (&[EMBEDDED, SHORT_SEGMENTS], "1", json!(true)),
        "engine.max_commit_bytes" => (&[EMBEDDED], SLOW_COMMITS.1, json!(10)),
        "engine.compact_dead_percent" => {
            let base = &[
                EMBEDDED,
                SHORT_SEGMENTS,
                ("engine.compact_dead_percent", "100"),
            ];
            (base, "1", json!(true))
        }
        "engine.compact_bytes_per_second" => {
            let base = &[
                EMBEDDED,
                SHORT_SEGMENTS,
                ("engine.compact_bytes_per_second", "4_096"),
            ];
            (base, "1_073_741_824", json!(true))
        }
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

pub(super) async fn look(name: &str, process: &mut Process) -> Value {
    match name {
        "engine.trim_grace" => after_an_opening(process).await,
        "engine.maintenance_interval" => {
            process.reach.fill("brief", 1, 10).await;
            let kept = async || process.reach.stat("/engine/messages").await;
            json!(happens(&process.reach, 4, async || kept().await == 0).await)
        }
        "engine.probe_interval" => recovers(process).await,
        "engine.open_check_bytes" => starts_on_damage(process).await,
        "engine.max_commit_bytes" => {
            let commits = async || process.reach.stat("/engine/commits").await.as_u64();
            let before = commits().await.expect("a number");
            assert_eq!(process.reach.batch(&["a"; 10], 10).await.status, 200);
            json!(commits().await.expect("a number") - before)
        }
        "engine.compact_dead_percent" => {
            // In each of two full segments most publications are dead, and not all.
            for _ in 0..5 {
                process.reach.fill("a", 1, 60_000).await;
                process.reach.fill("last", 8, 60_000).await;
            }
            let engine = async |detail: &str| {
                let value = process.reach.stat(&format!("/engine/{detail}")).await;
                value.as_u64().expect("a number")
            };
            // What is not worth rewriting gets a hint file instead.
            until("both were looked at", async || {
                engine("compactions").await > 0 || engine("hint_files_written").await >= 2
            })
            .await;
            json!(engine("compactions").await > 0)
        }
        _ => {
            process.reach.fill("last", 40, 60_000).await;
            let rewritten = async || process.reach.stat("/engine/compactions").await != 0;
            json!(happens(&process.reach, 5, rewritten).await)
        }
    }
}

/// How many publications are kept once something was published after an opening: one had expired
/// when the log was closed.
async fn after_an_opening(process: &mut Process) -> Value {
    process.reach.fill("brief", 1, 10).await;
    process.restart().await.expect("it starts again");
    process.reach.fill("a", 1, 10).await;
    process.reach.stat("/engine/messages").await
}

/// Whether it takes messages again by itself once its disk has room again.
async fn recovers(process: &mut Process) -> Value {
    process.limit_files(1);
    let body = json!({"channel": "a", "data": 1}).to_string();
    let refused = process.reach.send("/api/publish", &body).await;
    assert_eq!(refused.code(), (503, "storage_full".to_owned()));
    process.limit_files(1 << 30);
    let ready = async || process.reach.get("/health/ready", &[]).await.status == 200;
    json!(happens(&process.reach, 4, ready).await)
}

/// Whether it starts although its oldest segment is damaged. That must show later at least.
async fn starts_on_damage(process: &mut Process) -> Value {
    fill_segments(process).await;
    process.end().await;
    damage(process, 1);
    if process.start_again().await.is_err() {
        return json!(false);
    }
    until("the damage is found", async || {
        process.reach.get("/health/ready", &[]).await.status == 503
    })
    .await;
    json!(true)
}

/// Fills segments until the first two have hint files.
pub(crate) async fn fill_segments(process: &Process) {
    process.reach.fill("a", 50, 60_000).await;
    until("the hints are written", async || {
        process
            .reach
            .stat("/engine/hint_files_written")
            .await
            .as_u64()
            >= Some(2)
    })
    .await;
}

/// Changes a byte in the middle of this segment.
pub(crate) fn damage(process: &Process, segment: u64) {
    let file = process.data(&format!("{segment:016x}.log"));
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .expect("it is there");
    let middle = file.metadata().expect("a length").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("it is read");
    file.write_all_at(&[!byte[0]], middle)
        .expect("it is written");
}
