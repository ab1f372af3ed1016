//! Damage all over a log, by the engine's own example, which stands beside the server's binary.

use std::{path::PathBuf, process::Stdio};

use serde_json::{Map, Value};
use tokio::process::Command;

use crate::{
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};

const ROUNDS: u64 = 10_000;
const ROUNDS_SHORT: u64 = 12;
const MESSAGES_MIN: u64 = 100_000;
const SEGMENTS_MIN: u64 = 10;

pub(super) async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    let rounds = options
        .sizes
        .rounds
        .unwrap_or(if options.short { ROUNDS_SHORT } else { ROUNDS });
    let example = options.server.with_file_name("examples").join("damage");
    if !example.exists() {
        let build = "cargo build -p bowline-engine --example damage";
        return Err(RunError::NotRun(format!(
            "there is no {}: `{build}`",
            example.display()
        )));
    }
    let totals = ask(&example, &options, rounds).await?;
    let total = |name: &str| totals.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut verdict = Verdict::default();
    verdict.exactly("damages", total("damages"), rounds);
    verdict.at_least("messages", total("messages"), MESSAGES_MIN);
    verdict.at_least(
        "segments with hint files",
        total("segments_with_hints"),
        SEGMENTS_MIN,
    );
    for (name, value) in &totals {
        let is_outcome = ["detected", "harmless", "tail", "trusting"]
            .iter()
            .any(|beginning| name.starts_with(beginning));
        if is_outcome {
            verdict.inform(name, value.as_u64().unwrap_or(0));
        }
    }
    verdict.exactly("wrong", total("wrong"), 0);
    verdict.exactly("panics", total("panics"), 0);
    Ok(verdict)
}

/// Its last line is an object of totals.
async fn ask(
    example: &PathBuf,
    options: &RunOptions,
    rounds: u64,
) -> Result<Map<String, Value>, RunError> {
    let output = Command::new(example)
        .arg(options.folder.join("log"))
        .args([options.seed.to_string(), rounds.to_string()])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    match serde_json::from_str(last) {
        Ok(Value::Object(totals)) => Ok(totals),
        _ => Err(RunError::Failed(format!("{}: {last}", output.status))),
    }
}
