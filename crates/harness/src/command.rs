//! Short commands of the system: what they are told, and what they answer.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
};

/// Runs it and answers its output. These commands answer within milliseconds, so that the calling task
/// may wait for them.
pub(crate) fn run(words: &[&str]) -> io::Result<String> {
    hear(Command::new(words[0]).args(&words[1..]), "")
}

/// The same with text for its stdin.
pub(crate) fn feed(words: &[&str], text: &str) -> io::Result<()> {
    hear(Command::new(words[0]).args(&words[1..]), text).map(|_| ())
}

/// The same with whatever else was set. The error says what was run, and what it said.
pub(crate) fn hear(command: &mut Command, text: &str) -> io::Result<String> {
    let words = format!("{command:?}").replace('"', "");
    let named = |problem: &dyn std::fmt::Display| io::Error::other(format!("{words}: {problem}"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| named(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is told says why on stderr.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| named(&error))?;
    if !output.status.success() {
        return Err(named(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
