//! Every setting changes what a server does.
//!
//! Owns the walk over the names that `bowline config print` knows: two real servers are started for
//! each, with and without it, and what they are seen to do must differ as expected.

mod access;
pub(crate) mod disk;
mod engine;
mod http;
mod jwks;
mod limits;
mod queues;
mod tails;
mod websocket;

use std::{panic::AssertUnwindSafe, process::Command};

use futures_util::{FutureExt, StreamExt, stream};
use serde_json::Value;

use super::process::Process;
use jwks::Issuer;

/// What a setting is set to, beside what, and what it is seen to change.
pub(crate) struct Case {
    /// Settings that both servers have.
    base: Vec<(&'static str, String)>,
    /// The value, as TOML.
    value: String,
    /// What the server with it is seen to do; the other one must do something else.
    expected: Value,
}

impl Case {
    fn new(base: &[(&'static str, &str)], value: &str, expected: Value) -> Self {
        let owned = |&(name, value): &(&'static str, &str)| (name, value.to_owned());
        Self {
            base: base.iter().map(owned).collect(),
            value: value.to_owned(),
            expected,
        }
    }
}

/// Settings that the process can't show, and where it is shown what they change:
///
/// - `websocket.handler_timeout`: `bowline serve` has no handler of messages, only programs that embed
///   the server have one. `codes.rs` has a handler that takes longer, and what its client is told.
const ELSEWHERE: [(&str, &str, &str); 1] = [(
    "websocket.handler_timeout",
    include_str!("codes.rs"),
    "handler_timeout: SHORT",
)];

/// Cases at once: many of them wait more than they work.
const AT_ONCE: usize = 4;

#[tokio::test]
async fn every_setting_changes_what_a_server_does() {
    let names = names();
    assert!(names.len() > 70, "{names:?}");
    for (name, test, uses) in ELSEWHERE {
        assert!(names.iter().any(|known| known == name), "{name} is none");
        assert!(test.contains(uses), "{name} is shown nowhere");
    }
    let issuer = Issuer::start().await;
    let shown = names
        .iter()
        .filter(|name| ELSEWHERE.iter().all(|(elsewhere, ..)| name != elsewhere));
    let failures: Vec<String> = stream::iter(shown)
        .map(async |name| {
            // A panic does not tell of which setting it is.
            let tried = AssertUnwindSafe(failure(name, &issuer)).catch_unwind();
            tried
                .await
                .unwrap_or_else(|_| Some(format!("{name}: a panic")))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(failures.is_empty(), "{failures:#?}");
}

/// What is wrong with a setting.
async fn failure(name: &str, issuer: &Issuer) -> Option<String> {
    let case = case(name, issuer).unwrap_or_else(|| panic!("{name} has no case"));
    let base: Vec<_> = case
        .base
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let seen = async |change| {
        issuer.forget(name);
        let mut process = Process::start(&base, change).await;
        look(name, &mut process, issuer).await
    };
    let before = seen(None).await;
    let after = seen(Some((name, case.value.as_str()))).await;
    let holds = after == case.expected && before != case.expected;
    (!holds).then(|| format!("{name} = {}: {before} became {after}", case.value))
}

/// All names, as `section.name`.
fn names() -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_bowline"))
        .args(["config", "print"])
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let mut section = "";
    let mut names = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name;
        } else if let Some(name) = line.trim_start_matches("# ").split([' ', ':']).next()
            && !name.is_empty()
        {
            names.push(format!("{section}.{name}"));
        }
    }
    names
}

fn case(name: &str, issuer: &Issuer) -> Option<Case> {
    jwks::case(name, issuer)
        .or_else(|| queues::case(name))
        .or_else(|| tails::case(name))
        .or_else(|| disk::case(name))
        .or_else(|| http::case(name))
        .or_else(|| access::case(name))
        .or_else(|| limits::case(name))
        .or_else(|| websocket::case(name))
        .or_else(|| engine::case(name))
}

async fn look(name: &str, process: &mut Process, issuer: &Issuer) -> Value {
    if jwks::case(name, issuer).is_some() {
        return jwks::look(name, &process.reach, issuer).await;
    }
    if queues::case(name).is_some() {
        return queues::look(name, process).await;
    }
    match name.split_once('.') {
        _ if tails::case(name).is_some() => tails::look(name, &process.reach).await,
        _ if disk::case(name).is_some() => disk::look(name, process).await,
        Some(("server" | "log", _)) => http::look(name, process).await,
        Some(("access", _)) => access::look(process).await,
        Some(("engine", _)) => engine::look(name, process).await,
        _ if limits::case(name).is_some() => limits::look(name, &process.reach).await,
        _ => websocket::look(name, &process.reach).await,
    }
}
