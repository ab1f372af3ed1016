//! What the command says to whoever mistyped it, and the code that it ends with.
#![expect(
    clippy::unwrap_used,
    reason = "clippy does not take helpers of integration tests for tests"
)]

#[path = "support/command.rs"]
mod command;
#[path = "words/log.rs"]
mod log;
#[path = "words/publish.rs"]
mod publish;
#[path = "words/tail.rs"]
mod tail;
#[path = "words/token.rs"]
mod token;

use std::process::Output;

use command::{bowline, exit_code, signal};

/// Its code, and both outputs as one text.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    ended(&bowline(arguments).output().unwrap())
}

fn ended(output: &Output) -> (Option<i32>, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}
