//! What a client makes of what it sees, against `vectors/judgements.json`: failures, the health of a
//! link, delays.
//!
//! Owns the replay in Rust. With `BLESS=1` the answers in the file are written anew from what they
//! answer; the difference is then for a reviewer to judge.

use std::{fs, time::Duration};

use bowline_proto::{Backoff, BackoffConfig, Evidence, Health, Rng, Time, classify};
use serde_json::{Value, json};

/// The longest deadline of a probe in the vectors: the default `pong_timeout`.
const MOST: Duration = Duration::from_secs(10);

#[test]
fn judgements_are_those_of_the_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/judgements.json");
    let text = fs::read_to_string(path).expect("the file is part of the repository");
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let judged = json!({
        "verdicts": each(&told["verdicts"], judge),
        "health": each(&told["health"], measure),
        "backoff": each(&told["backoff"], delay),
    });
    if std::env::var_os("BLESS").is_some() {
        let text = serde_json::to_string_pretty(&judged).expect("JSON");
        fs::write(path, text + "\n").expect("writable");
        return;
    }
    for part in ["verdicts", "health", "backoff"] {
        let (told, judged) = (
            each(&told[part], Value::clone),
            each(&judged[part], Value::clone),
        );
        assert!(told.len() >= 8, "{part}: too few to hold anything in step");
        for (told, judged) in told.iter().zip(&judged) {
            assert_eq!(told, judged, "{part}");
        }
    }
}

fn judge(told: &Value) -> Value {
    let evidence: Evidence = serde_json::from_value(told["evidence"].clone()).expect("evidence");
    let verdict = classify(&evidence);
    json!({"evidence": told["evidence"], "verdict": verdict, "strategy": verdict.strategy()})
}

fn measure(told: &Value) -> Value {
    let mut health = Health::default();
    let steps = each(&told["steps"], |step| {
        if let Some(us) = step["measured_us"].as_u64() {
            health.measured(Duration::from_micros(us));
        } else if step["missed"] == true {
            health.missed();
        } else if step["alive"] == true {
            health.alive();
        }
        let errors = u32::try_from(step["errors_permille"].as_u64().unwrap_or(0)).expect("small");
        let rtt_us = health.rtt().map(|rtt| rtt.as_micros());
        let mut step = step.clone();
        step["then"] = json!({
            "rtt_us": rtt_us.map(|us| u64::try_from(us).expect("small")),
            "jitter_us": u64::try_from(health.jitter().as_micros()).expect("small"),
            "probe_timeout_us": u64::try_from(health.probe_timeout(MOST).as_micros()).expect("small"),
            "level": health.level(errors),
        });
        step
    });
    json!({"name": told["name"], "steps": steps})
}

fn delay(told: &Value) -> Value {
    let usual = BackoffConfig::default();
    let config = &told["config"];
    let mut backoff = Backoff::new(BackoffConfig {
        min_ms: config["min_ms"].as_u64().unwrap_or(usual.min_ms),
        max_ms: config["max_ms"].as_u64().unwrap_or(usual.max_ms),
        min_uptime_ms: config["min_uptime_ms"]
            .as_u64()
            .unwrap_or(usual.min_uptime_ms),
    });
    let seed = told["seed"].as_u64().expect("a seed");
    let mut rng = Rng::new(u32::try_from(seed).expect("32 bits"));
    let calls = each(&told["calls"], |call| {
        let now = Time::from_millis(call["at_ms"].as_u64().expect("a time"));
        let delay = match call["call"].as_str() {
            Some("opened") => {
                backoff.opened(now);
                None
            }
            Some("proved") => {
                backoff.proved();
                None
            }
            Some("hinted") => Some(backoff.hinted(&mut rng)),
            _ => Some(backoff.failed(now, call["advice_ms"].as_u64(), &mut rng)),
        };
        let mut call = call.clone();
        call["then"] = json!({
            "delay_ms": delay.map(|delay| u64::try_from(delay.as_millis()).expect("small")),
            "failures": backoff.failures(),
            "errors_permille": backoff.errors_permille(),
        });
        call
    });
    json!({"name": told["name"], "seed": told["seed"], "config": config, "calls": calls})
}

fn each(list: &Value, call: impl FnMut(&Value) -> Value) -> Vec<Value> {
    list.as_array().expect("a list").iter().map(call).collect()
}
