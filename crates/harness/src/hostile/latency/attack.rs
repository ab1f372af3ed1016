//! The attack of the comparison: the same bytes at the same pace, whoever takes them.
//!
//! Owns who attacks how. Attackers wait for no answer, since a discarding process gives none, and throw
//! away what comes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::super::{
    deflate,
    wire::{Wire, masked, masked_raw},
};

/// How often each attacker strikes.
const TICK: Duration = Duration::from_millis(20);
/// A write that the peer does not take within it is given up: the attacker dials anew.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);
const UPGRADE: &str = "GET /ws/general HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// What one attacker does.
struct Attacker {
    /// What stands behind the head of the upgrade.
    lines: &'static str,
    /// What it writes at each tick.
    strike: Vec<u8>,
    /// It keeps its connection for so many ticks.
    ticks: u32,
}

/// Attackers at work.
pub(super) struct Attackers {
    tasks: JoinSet<()>,
    bytes: Arc<AtomicU64>,
}

impl Attackers {
    /// Ends them; the bytes that they have written.
    pub(super) async fn end(mut self) -> u64 {
        self.tasks.shutdown().await;
        self.bytes.load(Relaxed)
    }
}

/// Begins to attack.
pub(super) fn begin(target: SocketAddr) -> Attackers {
    let bytes = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for (number, attacker) in attackers().into_iter().enumerate() {
        let from = format!("127.88.0.{}", number + 1);
        tasks.spawn(attack(target, from, attacker, bytes.clone()));
    }
    Attackers { tasks, bytes }
}

fn attackers() -> Vec<Attacker> {
    let text = |text: &str| masked(0x81, text.as_bytes());
    let mut fragments = masked(0x02, b"a");
    fragments.extend(masked(0x00, b"").repeat(2_000));
    let deep = format!(
        r#"{{"type":"publish","channel":"c","data":{}"#,
        "[".repeat(30_000)
    );
    let protocol = "Sec-WebSocket-Protocol: bowline.v1\r\n\r\n";
    let mut hello_then_deep = text(r#"{"type":"hello"}"#);
    hello_then_deep.extend(text(&deep));
    let long = |lines, strike| Attacker {
        lines,
        strike,
        ticks: 50,
    };
    let once = |lines, strike| Attacker {
        lines,
        strike,
        ticks: 1,
    };
    vec![
        // 25,000 pings a second on one connection, and on another 2,500 messages.
        long("\r\n", masked(0x89, b"p").repeat(500)),
        long("\r\n", masked(0x8a, b"p").repeat(500)),
        long(protocol, text(r#"{"type":"ping"}"#).repeat(50)),
        // Connections that end with a violation, fifty a second each.
        once("\r\n", fragments),
        once("\r\n", masked(0xff, b"")),
        once(
            "\r\n",
            masked_raw(0x82, &[127, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),
        ),
        once("\r\n", masked(0x81, b"\xff\xff\xff\xff")),
        once(
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            masked(0xc1, &deflate::bomb(b"0", 1 << 20)),
        ),
        once(protocol, hello_then_deep),
        once(protocol, text(r#"{"type":"publish"}"#)),
        // Requests that are none.
        once("X-Bad : 1\r\n\r\n", Vec::new()),
        once("X-Slow: ", Vec::new()),
    ]
}

async fn attack(target: SocketAddr, from: String, attacker: Attacker, bytes: Arc<AtomicU64>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut head = UPGRADE.as_bytes().to_vec();
    head.extend(attacker.lines.as_bytes());
    loop {
        let Ok(mut wire) = Wire::dial(target, &from, None).await else {
            ticks.tick().await;
            continue;
        };
        let mut next: &[u8] = &head;
        for strike in 0..=attacker.ticks {
            if strike > 0 {
                next = &attacker.strike;
                ticks.tick().await;
            }
            match timeout(WRITE_DEADLINE, wire.write(next)).await {
                Ok(Ok(())) => bytes.fetch_add(next.len() as u64, Relaxed),
                _ => break,
            };
            if wire.has_ended() {
                break;
            }
        }
    }
}
