//! Clients who do nothing wrong, beside every attack: none is cut, and none misses a message.
//!
//! Owns their connections and what they have seen. Must not know which attack is going on.

use std::{net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    wire::{Wire, masked},
    worlds::INNOCENT_CHANNEL,
};
use crate::process::Server;

/// A handshake may be told to come back later, once or twice.
const WELCOME_DEADLINE: Duration = Duration::from_secs(20);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Within it each message must be there, on a loaded machine.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(10);
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The innocents of one server.
#[derive(Debug)]
pub(super) struct Innocents {
    states: Vec<watch::Receiver<State>>,
    /// They end with this.
    _tasks: JoinSet<()>,
    /// The last number that was published.
    published: u64,
}

/// What one innocent has seen.
#[derive(Clone, Debug, Default)]
struct State {
    last: u64,
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bowline,
    Plain,
}

impl Kind {
    /// No attacker uses these.
    const fn address(self) -> &'static str {
        match self {
            Self::Bowline => "127.0.0.250",
            Self::Plain => "127.0.0.251",
        }
    }
}

impl Innocents {
    /// Connects one of each kind.
    pub(super) async fn connect(server: &Server, token: Option<&str>) -> Result<Self, String> {
        let (mut states, mut tasks) = (Vec::new(), JoinSet::new());
        for kind in [Kind::Bowline, Kind::Plain] {
            let wire = welcomed(server.address(), kind, token).await?;
            let (sender, receiver) = watch::channel(State::default());
            tasks.spawn(listen(wire, kind, sender));
            states.push(receiver);
        }
        Ok(Self {
            states,
            _tasks: tasks,
            published: 0,
        })
    }

    /// How many messages they have received in all.
    pub(super) fn received(&self) -> u64 {
        self.states.iter().map(|state| state.borrow().last).sum()
    }

    /// None of them has been cut.
    pub(super) fn are_there(&self) -> Result<(), String> {
        let fault = self
            .states
            .iter()
            .find_map(|state| state.borrow().fault.clone());
        fault.map_or(Ok(()), |fault| Err(format!("an innocent: {fault}")))
    }

    /// Publishes the next number and waits until all have it.
    pub(super) async fn check(&mut self, server: &Server) -> Result<(), String> {
        self.published += 1;
        let body = json!({"channel": INNOCENT_CHANNEL, "data": self.published});
        let answer = server.http().post("/api/publish", body.to_string()).await;
        let (status, body) = answer.map_err(|error| format!("a publish: {error}"))?;
        if !status.is_success() {
            return Err(format!("a publish is answered {status} {body:?}"));
        }
        for state in &mut self.states {
            let wanted = self.published;
            let reached = state.wait_for(|state| state.last >= wanted || state.fault.is_some());
            match timeout(DELIVERY_DEADLINE, reached).await {
                Ok(Ok(state)) => match &state.fault {
                    None => {}
                    Some(fault) => return Err(format!("an innocent: {fault}")),
                },
                Ok(Err(_)) => return Err("an innocent is gone".to_owned()),
                Err(_) => return Err(format!("an innocent misses message {wanted}")),
            }
        }
        Ok(())
    }
}

/// Dials until it is let in.
async fn welcomed(to: SocketAddr, kind: Kind, token: Option<&str>) -> Result<Wire, String> {
    let deadline = Instant::now() + WELCOME_DEADLINE;
    loop {
        match dial(to, kind, token).await {
            Ok(wire) => return Ok(wire),
            Err(problem) if Instant::now() >= deadline => {
                return Err(format!("an innocent is not let in: {problem}"));
            }
            Err(_) => sleep(RETRY_INTERVAL).await,
        }
    }
}

async fn dial(to: SocketAddr, kind: Kind, token: Option<&str>) -> Result<Wire, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut wire = Wire::dial(to, kind.address(), None).await.map_err(told)?;
    let (target, protocol) = match kind {
        Kind::Bowline => ("/ws".to_owned(), "Sec-WebSocket-Protocol: bowline.v1\r\n"),
        Kind::Plain => {
            let token = token.map(|token| format!("&token={token}"));
            let token = token.unwrap_or_default();
            (format!("/ws?channels={INNOCENT_CHANNEL}{token}"), "")
        }
    };
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{protocol}\r\n"
    );
    wire.write(head.as_bytes()).await.map_err(told)?;
    let answer = wire.answer().await.map_err(told)?;
    if answer.status != 101 {
        return Err(format!("{} {}", answer.status, answer.body));
    }
    let first = match kind {
        Kind::Bowline => {
            let mut hello =
                json!({"type": "hello", "id": 1, "subscribe": {INNOCENT_CHANNEL: null}});
            if let Some(token) = token {
                hello["token"] = token.into();
            }
            hello.to_string()
        }
        // Its pong says that the subscription has begun.
        Kind::Plain => r#"{"type":"ping","timestamp":1}"#.to_owned(),
    };
    wire.write(&masked(TEXT, first.as_bytes()))
        .await
        .map_err(told)?;
    loop {
        let frame = wire.frame().await.map_err(told)?;
        let message: Value = serde_json::from_str(&frame.text()).unwrap_or_default();
        match message["type"].as_str() {
            Some("welcome" | "pong") => return Ok(wire),
            _ if frame.is_close() => return Err(format!("{:?}", frame.close())),
            _ => {}
        }
    }
}

/// Takes what comes until something is wrong.
async fn listen(mut wire: Wire, kind: Kind, seen: watch::Sender<State>) {
    let fault = loop {
        let frame = match wire.frame().await {
            Ok(frame) => frame,
            Err(error) => break format!("cut: {error}"),
        };
        if frame.is_close() {
            break format!("closed with {:?}", frame.close());
        }
        if frame.first == PING {
            let _ = wire.write(&masked(PONG, &frame.payload)).await;
            continue;
        }
        for line in frame.text().lines() {
            let Ok(message) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if message["type"] == "ping" {
                let pong = json!({"type": "pong", "ts": message["ts"]}).to_string();
                let _ = wire.write(&masked(TEXT, pong.as_bytes())).await;
                continue;
            }
            let number = match kind {
                Kind::Bowline => message["data"].as_u64(),
                Kind::Plain => message.as_u64(),
            };
            if let Some(number) = number {
                seen.send_modify(|state| state.take(number));
            }
        }
    };
    seen.send_modify(|state| {
        state.fault.get_or_insert(fault);
    });
}

impl State {
    fn take(&mut self, number: u64) {
        if number == self.last + 1 {
            self.last = number;
        } else {
            let fault = format!("got {number} after {}", self.last);
            self.fault.get_or_insert(fault);
        }
    }
}
