//! Queues and threads of the engine, and who waits for it.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Case;
use crate::{
    client::{HERE, Reach, hello},
    registries::{
        load::{
            FAR, FAR_MESSAGES, PATIENT, SLOW_COMMITS, crowd, evict, peak, read_history, scatter,
        },
        process::{EMBEDDED, Process, happens},
    },
};

/// How often something is tried that depends on how threads run.
const ROUNDS: usize = 4;

pub(super) fn case(name: &str) -> Option<Case> {
    const ONE_THREAD: (&str, &str) = ("engine.read_threads", "1");
    let (base, value, expected): (&[_], _, _) = match name {
        "server.publish_timeout" => (&[EMBEDDED, SLOW_COMMITS, PATIENT], "\"1ms\"", json!(true)),
        "engine.max_queued_requests" | "engine.max_queued_bytes" => {
            (&[EMBEDDED, SLOW_COMMITS, PATIENT], "1", json!("one"))
        }
        "engine.read_threads" => (&[EMBEDDED], "5", json!(true)),
        "engine.max_queued_reads" => (&[EMBEDDED, ONE_THREAD], "1", json!("one")),
        "websocket.catchup_slots" => {
            let base = &[
                EMBEDDED,
                ONE_THREAD,
                ("websocket.page_bytes", "1_048_576"),
                ("websocket.send_timeout", "60"),
            ];
            (base, "1", json!("one"))
        }
        _ => return None,
    };
    Some(Case::new(base, value, expected))
}

pub(super) async fn look(name: &str, process: &Process) -> Value {
    let reach = &process.reach;
    match name {
        "server.publish_timeout" => {
            let mut is_unknown = false;
            for _ in 0..ROUNDS {
                let answer = reach.batch(&["a"; 100], 1).await;
                is_unknown |= answer.text.contains("fate_unknown");
            }
            json!(is_unknown)
        }
        "engine.read_threads" => {
            // A thread has its name a moment after it was started.
            let named = async || process.threads("bowline-read") == 5;
            json!(happens(reach, 2, named).await)
        }
        "engine.max_queued_reads" => queued_reads(process, read_history).await,
        "websocket.catchup_slots" => queued_reads(process, catch_up).await,
        _ => {
            let metric = "bowline_log_requests_queued";
            // How long a batch must be depends on the disk.
            seen(async |round| peak(reach, metric, crowd(reach, 50 << round)).await).await
        }
    }
}

/// How many reads are seen to wait for a thread, under this load and with nothing in memory.
async fn queued_reads(process: &Process, load: impl AsyncFn(&Reach)) -> Value {
    let reach = &process.reach;
    scatter(reach).await;
    seen(async |_| {
        evict(process);
        peak(reach, "bowline_log_reads_queued", load(reach)).await
    })
    .await
}

/// Whether more than one are ever seen to wait.
async fn seen(peak: impl AsyncFn(usize) -> f64) -> Value {
    for round in 0..ROUNDS {
        if peak(round).await > 1.0 {
            return json!("several");
        }
    }
    json!("one")
}

/// A client for each of some channels, that begins before all that history has.
async fn catch_up(reach: &Reach) {
    let one = async |n: usize| {
        let mut asked = hello(&format!("behind-{n}"), 1);
        asked["subscribe"] = json!({ format!("far-{n}"): "first" });
        let client = reach.welcomed(HERE, asked).await;
        let mut client = client.expect("there is room");
        for _ in 0..FAR_MESSAGES {
            assert_eq!(client.next().await.expect("a message")["type"], "message");
        }
    };
    join_all((0..FAR).map(one)).await;
}
