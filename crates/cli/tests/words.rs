//! What the command says to whoever mistyped it, and the code that it ends with.

#[expect(dead_code, reason = "one signal ends whatever is ended here")]
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

use std::process::Command;

use command::{bowline, output};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    ended(&mut bowline(arguments))
}

/// Its code, and both outputs as one text.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = output(command);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}
