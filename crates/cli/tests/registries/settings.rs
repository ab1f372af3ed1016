//! Every setting changes what a server does.
//!
//! Owns the walk over the names that `bowline config print` knows: two real servers are started for
//! each, with and without it, and what they are seen to do must differ as expected.

mod access;
mod engine;
mod http;
mod limits;
mod process;
mod websocket;

use std::process::Command;

use serde_json::Value;

use process::Process;

/// What a setting is set to, beside what, and what it is seen to change.
pub(crate) struct Case {
    /// Settings that both servers have.
    pub(crate) base: &'static [(&'static str, &'static str)],
    /// The value, as TOML.
    pub(crate) value: &'static str,
    /// What the server with it is seen to do; the other one must do something else.
    pub(crate) expected: Value,
}

/// Settings whose effect is a pace or a bound inside the engine or the server, which no client can
/// tell from a busy machine. The tests of these parts hold them.
const INNER: [&str; 21] = [
    "websocket.max_hello_size",
    "websocket.max_large_hellos",
    "server.publish_timeout",
    "websocket.handler_timeout",
    "websocket.access_timeout",
    "websocket.catchup_slots",
    "websocket.tail_channel_bytes",
    "websocket.tail_bytes",
    "engine.channel_forget_after",
    "engine.open_check_bytes",
    "engine.max_commit_bytes",
    "engine.max_queued_requests",
    "engine.max_queued_bytes",
    "engine.read_threads",
    "engine.max_queued_reads",
    "engine.trim_grace",
    "engine.probe_interval",
    "engine.maintenance_interval",
    "engine.compact_dead_percent",
    "engine.compact_bytes_per_second",
    "engine.max_bytes",
];

/// Settings that need another server beside: the server's tests of key sets (`tests/edge/jwks.rs`) and
/// those of the settings show what they change.
const ELSEWHERE: [&str; 4] = [
    "access.jwks_url",
    "access.jwks_ca_file",
    "access.jwks_max_age",
    "access.jwks_refetch_interval",
];

#[tokio::test]
async fn every_setting_changes_what_a_server_does() {
    let names = names();
    assert!(names.len() > 70, "{names:?}");
    for inner in INNER.iter().chain(&ELSEWHERE) {
        assert!(
            names.iter().any(|name| name == inner),
            "{inner} is no setting"
        );
    }
    let mut failures = Vec::new();
    for name in names.iter().filter(|name| {
        let name = name.as_str();
        !INNER.contains(&name) && !ELSEWHERE.contains(&name)
    }) {
        let case = case(name).unwrap_or_else(|| panic!("{name} has no case"));
        let mut without = Process::start(case.base, None);
        let before = look(name, &mut without).await;
        let mut with = Process::start(case.base, Some((name, case.value)));
        let after = look(name, &mut with).await;
        if after != case.expected || before == case.expected {
            let value = case.value;
            failures.push(format!("{name} = {value}: {before} became {after}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
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

fn case(name: &str) -> Option<Case> {
    http::case(name)
        .or_else(|| access::case(name))
        .or_else(|| limits::case(name))
        .or_else(|| websocket::case(name))
        .or_else(|| engine::case(name))
}

async fn look(name: &str, process: &mut Process) -> Value {
    match name.split_once('.') {
        Some(("server" | "log", _)) => http::look(name, process).await,
        Some(("access", _)) => access::look(process).await,
        Some(("engine", _)) => engine::look(name, process).await,
        _ if limits::case(name).is_some() => limits::look(name, &process.reach).await,
        _ => websocket::look(name, &process.reach).await,
    }
}
