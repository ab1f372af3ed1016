//! The scenario `hostile-memory`: what attacks cost the server, in memory of its own and of the kernel.
//!
//! Owns the order of a row: start a server, measure it idle, print the bound, attack, keep the highest
//! value. The rows and their bounds are `rows`, the measuring is `gauge`. Attackers have small receive
//! buffers, so that what the server sends stays on its side of the kernel, and are gone at once when
//! they go (RST): thousands that say goodbye together hold a page of the kernel each.

mod gauge;
mod rows;

use std::{fs, path::Path};

use super::{
    wire::{Wire, masked},
    worlds::start_with,
};
use crate::{
    process::Server,
    scenario::{RunError, RunOptions},
    verdict::Verdict,
};
use gauge::Gauge;
use rows::{ROWS, Row};

/// No row may cost more than this, except what is owed for each slow handshake.
const ROW_BYTES_MAX: u64 = 64 << 20;

/// What an attack works with.
#[derive(Debug)]
struct Arena {
    server: Server,
    /// How many attackers, messages or whatever the row counts.
    count: usize,
}

pub(super) async fn run(options: RunOptions) -> Result<Verdict, RunError> {
    let mut verdict = Verdict::default();
    for row in ROWS.iter().filter(|row| {
        options.faults.is_empty() || options.faults.iter().any(|name| name == row.name)
    }) {
        let folder = options.folder.join(row.name.replace(' ', "-"));
        fs::create_dir_all(&folder)?;
        match one(row, &options, &folder).await {
            Ok((above_idle, bound)) => {
                let name = format!("{}: KB above idle", row.name);
                verdict.at_most(&name, above_idle / 1_024, bound / 1_024);
            }
            Err(RunError::Failed(problem)) => {
                verdict.exactly(&format!("{}: failures", row.name), 1, 0);
                verdict.violations.push(format!("{}: {problem}", row.name));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(verdict)
}

/// The most that a row has cost above idle, and what it may.
async fn one(row: &Row, options: &RunOptions, folder: &Path) -> Result<(u64, u64), RunError> {
    let count = if options.short {
        row.short_count
    } else {
        row.count
    };
    let server = start_with(&options.server, folder, row.config).await?;
    let process = server
        .id()
        .ok_or_else(|| RunError::Failed("the server is gone".into()))?;
    warm_up(&server).await.map_err(RunError::Failed)?;
    let mut gauge = Gauge::start(process)?;
    let bound = row.bytes_each * count as u64 + row.bytes_in_all;
    assert!(
        bound <= ROW_BYTES_MAX.max(rows::HANDSHAKE_BYTES * count as u64),
        "a row's own bound"
    );
    println!(
        "{}: {count} {}; idle {} KB; bound: idle + {} KB ({})",
        row.name,
        row.counts,
        gauge.idle() / 1_024,
        bound / 1_024,
        row.reason
    );
    let mut arena = Arena { server, count };
    (row.attack)(&mut arena).await.map_err(RunError::Failed)?;
    let alive = arena.server.check_alive();
    alive.map_err(|error| RunError::Failed(format!("the server died: {error}")))?;
    warm_up(&arena.server).await.map_err(RunError::Failed)?;
    Ok((gauge.stop().await, bound))
}

/// One message each way, so that what is made once is there before anything is measured; afterwards
/// the same shows that the server lives.
async fn warm_up(server: &Server) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut wire = attacker(server, "127.0.0.200").await?;
    rows::upgrade(&mut wire, server, "Sec-WebSocket-Protocol: bowline.v1\r\n").await?;
    wire.write(&masked(
        0x81,
        br#"{"type":"hello","subscribe":{"warm":null}}"#,
    ))
    .await
    .map_err(told)?;
    rows::message(&mut wire, "welcome").await?;
    let answer = server
        .http()
        .post("/api/publish", r#"{"channel":"warm","data":1}"#.to_owned())
        .await;
    let (status, _) = answer.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("a publish is answered {status}"));
    }
    rows::message(&mut wire, "message").await
}

/// A connection whose receive buffer is small.
async fn attacker(server: &Server, from: &str) -> Result<Wire, String> {
    let wire = Wire::dial(server.address(), from, Some(rows::RECEIVE_BYTES)).await;
    let wire = wire.map_err(|error| format!("can't dial: {error}"))?;
    wire.go_at_once().map_err(|error| error.to_string())?;
    Ok(wire)
}
