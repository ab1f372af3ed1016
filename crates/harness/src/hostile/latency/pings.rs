//! Innocents who ask and measure how long the answer takes.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::super::wire::{Wire, masked};

const INNOCENTS: usize = 20;
const INTERVAL: Duration = Duration::from_millis(40);
/// An innocent that waits so long has been forgotten.
const DEADLINE: Duration = Duration::from_secs(20);
const TEXT: u8 = 0x81;

/// Round trips in microseconds, of all innocents.
pub(super) async fn measure(server: SocketAddr, span: Duration) -> Result<Vec<u64>, String> {
    let mut tasks = JoinSet::new();
    for number in 0..INNOCENTS {
        tasks.spawn(ask(server, number, span));
    }
    let mut samples = Vec::new();
    while let Some(asked) = tasks.join_next().await {
        samples.extend(asked.map_err(|error| error.to_string())??);
    }
    Ok(samples)
}

async fn ask(server: SocketAddr, number: usize, span: Duration) -> Result<Vec<u64>, String> {
    let told = |error: std::io::Error| format!("an innocent: {error}");
    let from = format!("127.0.1.{}", number + 1);
    let mut wire = Wire::dial(server, &from, None).await.map_err(told)?;
    let head = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
        Sec-WebSocket-Protocol: bowline.v1\r\n\r\n";
    wire.write(head.as_bytes()).await.map_err(told)?;
    let answer = wire.answer().await.map_err(told)?;
    if answer.status != 101 {
        return Err(format!(
            "an innocent is refused: {} {}",
            answer.status, answer.body
        ));
    }
    exchange(&mut wire, r#"{"type":"hello"}"#, "welcome").await?;
    let mut samples = Vec::new();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let until = Instant::now() + span;
    while Instant::now() < until {
        ticks.tick().await;
        let asked = Instant::now();
        exchange(&mut wire, r#"{"type":"ping"}"#, "pong").await?;
        samples.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(samples)
}

async fn exchange(wire: &mut Wire, question: &str, answer: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("an innocent is cut: {error}");
    let exchanged = async {
        wire.write(&masked(TEXT, question.as_bytes()))
            .await
            .map_err(told)?;
        loop {
            let frame = wire.frame().await.map_err(told)?;
            if frame.is_close() {
                return Err(format!("an innocent is closed with {:?}", frame.close()));
            }
            let message: Value = serde_json::from_str(&frame.text()).unwrap_or_default();
            if message["type"] == answer {
                return Ok(());
            }
        }
    };
    let exchanged = timeout(DEADLINE, exchanged).await;
    exchanged.unwrap_or_else(|_| Err("an innocent has no answer".to_owned()))
}
