//! Replays the traces of the client's machine in `vectors/client/`.
//!
//! With `BLESS=1` the outputs and timers in the files are written anew from their inputs; the
//! difference is then for a reviewer to judge.

use std::{fs, path::PathBuf};

use bowline_proto::{Time, client::Client};
use serde_json::{Value, json};

#[path = "traces/format.rs"]
mod format;

/// Behaviour that is not covered by at least so many traces is not held in step.
const TRACES_MIN: usize = 140;

fn traces() -> Vec<(PathBuf, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/client");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            let trace = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            (path, trace)
        })
        .collect()
}

/// The trace as the machine plays it. `bless` fires each timeout when the machine wants it, and
/// moves what would lie before it.
fn play(trace: &Value, bless: bool) -> Value {
    let seed = trace["seed"].as_u64().expect("a seed");
    let seed = u32::try_from(seed).expect("32 bits");
    let mut client = Client::new(seed, format::options(&trace["options"]));
    let mut now_ms = 0;
    let mut steps = Vec::new();
    for step in trace["steps"].as_array().expect("steps") {
        let due = client
            .next_timeout()
            .map(|at| at.as_micros().div_ceil(1_000));
        // A new trace may say `after_ms`, or nothing for "at the same time"; blessing makes it absolute.
        let after_ms = step["after_ms"].as_u64().unwrap_or(0);
        let told_ms = step["at_ms"].as_u64().unwrap_or(now_ms + after_ms);
        now_ms = match due {
            Some(due) if bless && step["in"]["type"] == "timeout" => due.max(now_ms),
            _ => told_ms.max(now_ms),
        };
        let mut out = Vec::new();
        client.handle(
            Time::from_millis(now_ms),
            format::input(&step["in"]),
            &mut out,
        );
        let timer_ms = client
            .next_timeout()
            .map(|at| at.as_micros().div_ceil(1_000));
        steps.push(json!({
            "at_ms": now_ms,
            "in": step["in"],
            "out": out.iter().map(format::output).collect::<Vec<_>>(),
            "timer_ms": timer_ms,
        }));
    }
    let mut played = trace.clone();
    played["steps"] = steps.into();
    played
}

/// What differs, step by step.
fn differences(told: &Value, played: &Value) -> Vec<String> {
    let steps = |trace: &Value| trace["steps"].as_array().cloned().unwrap_or_default();
    steps(told)
        .iter()
        .zip(steps(played))
        .enumerate()
        .filter(|(_, (told, played))| *told != played)
        .map(|(index, (told, played))| {
            let name = &told["in"]["type"];
            format!("step {index} ({name}):\n  told   {told}\n  played {played}")
        })
        .collect()
}

#[test]
fn every_trace_is_played_as_told() {
    let bless = std::env::var_os("BLESS").is_some();
    let traces = traces();
    assert!(traces.len() >= TRACES_MIN, "only {} traces", traces.len());
    let mut failures = Vec::new();
    for (path, trace) in &traces {
        let played = play(trace, bless);
        if bless {
            let text = serde_json::to_string_pretty(&played).expect("it serializes");
            fs::write(path, text + "\n").expect("writable");
        }
        let name = path.file_stem().and_then(|stem| stem.to_str());
        assert_eq!(trace["name"].as_str(), name, "the name is that of the file");
        failures.extend(
            differences(trace, &played)
                .into_iter()
                .map(|difference| format!("{}: {difference}", path.display())),
        );
    }
    assert!(bless || failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_planted_difference_is_found() {
    for (path, trace) in traces() {
        for field in ["out", "timer_ms"] {
            let mut planted = trace.clone();
            planted["steps"][0][field] = json!(["planted"]);
            let found = differences(&planted, &play(&planted, false));
            assert_eq!(found.len(), 1, "{path:?}: {found:?}");
        }
    }
}
