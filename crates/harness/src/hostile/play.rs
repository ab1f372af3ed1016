//! Plays a case against its server, and says whether the outcome is the one that is owed.
//!
//! Owns the attacker's connections. Must not know which cases there are, nor how innocents fare.

use std::{collections::VecDeque, fs, io, net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    case::{Act, Case, Outcome},
    deflate,
    template::{Names, expand},
    wire::{Answer, Frame, Wire, masked, masked_raw},
};
use crate::process::Server;

/// Far above what any outcome takes: a case that waits so long has failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a condition outside of the connections is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Dripping ends after so many bytes, whatever the peer makes of it.
const DRIPS_MAX: usize = 2_000;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const HEALTH: &str = "the attacker's own";

/// A connection that an attacker holds.
#[derive(Debug)]
struct Hand {
    wire: Wire,
    speech: Speech,
    /// How the upgrade was refused.
    refused: Option<Answer>,
    welcome: Option<Value>,
    /// Frames that were read and not looked at.
    unread: VecDeque<Frame>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Bytes,
    Plain,
    Bowline,
}

/// The attacker of one case.
pub(super) struct Player<'a> {
    server: &'a Server,
    names: Names<'a>,
    /// The server's log, and how long it was when the case began.
    log: &'a Path,
    log_bytes: usize,
    from: String,
    receive_bytes: Option<u32>,
    hands: Vec<Hand>,
    /// The index of the connection that is in hand.
    current: usize,
}

/// Why a case has failed, in words.
type Played<T> = Result<T, String>;

impl<'a> Player<'a> {
    /// `from` is the address that is the case's own.
    pub(super) fn new(server: &'a Server, names: Names<'a>, log: &'a Path, from: String) -> Self {
        let log_bytes = fs::metadata(log).map_or(0, |data| data.len());
        Self {
            server,
            names,
            log,
            log_bytes: usize::try_from(log_bytes).unwrap_or(0),
            from,
            receive_bytes: None,
            hands: Vec::new(),
            current: 0,
        }
    }

    /// Plays all acts and looks at the outcome.
    pub(super) async fn play(mut self, case: &Case) -> Played<()> {
        for act in case.acts {
            let done = timeout(DEADLINE * 2, self.act(act)).await;
            done.unwrap_or_else(|_| Err("not in time".to_owned()))
                .map_err(|problem| format!("at {act:?}: {problem}"))?;
        }
        let seen = timeout(DEADLINE, self.look(case.outcome)).await;
        seen.unwrap_or_else(|_| Err(format!("nothing within {DEADLINE:?}")))
            .map_err(|problem| format!("{problem}, instead of {:?}", case.outcome))
    }

    async fn act(&mut self, act: &Act) -> Played<()> {
        match act {
            Act::From(address) => (*address).clone_into(&mut self.from),
            Act::ReceiveBytes(bytes) => self.receive_bytes = Some(*bytes),
            Act::Dial => self.dial(Speech::Bytes).await?,
            Act::Plain(target) => self.upgrade(Speech::Plain, target, "").await?,
            Act::Deflated => {
                let offer = "Sec-WebSocket-Extensions: permessage-deflate\n";
                self.upgrade(Speech::Plain, "/ws/general", offer).await?;
            }
            Act::Protocol => self.upgrade(Speech::Bowline, "/ws", "").await?,
            Act::ProtocolWith(lines) => self.upgrade(Speech::Bowline, "/ws", lines).await?,
            Act::Hello(hello) => {
                self.upgrade(Speech::Bowline, "/ws", "").await?;
                self.hello(hello).await?;
            }
            Act::HangUp => drop(self.hands.pop()),
            Act::First => self.current = 0,
            Act::AwaitAnswer => drop(self.answer().await?),
            Act::Await(kind) => drop(self.message(kind).await?),
            Act::AwaitClose => drop(self.close().await?),
            Act::AwaitLog(text) => self.logged(text).await?,
            Act::Times(count, acts) => {
                for _ in 0..*count {
                    for act in *acts {
                        Box::pin(self.act(act)).await?;
                    }
                }
            }
            Act::Publish(channel, count, bytes) => self.publish(channel, *count, *bytes).await?,
            Act::Signal(name) => {
                self.server.signal(name).await;
            }
            Act::LoseFolder => {
                let folder = self.log.with_file_name("data");
                let lost = self.log.with_file_name("lost");
                fs::rename(folder, lost).map_err(|error| error.to_string())?;
            }
            Act::Drip(text, millis) => {
                let text = self.expand(text)?.replace('\n', "\r\n");
                self.drip(text.as_bytes(), Duration::from_millis(*millis))
                    .await?;
            }
            bytes => {
                let bytes = self.bytes(bytes)?;
                // The server may have closed already: what it said is what counts.
                let _ = self.hand()?.wire.write(&bytes).await;
            }
        }
        Ok(())
    }

    /// What the act writes.
    fn bytes(&self, act: &Act) -> Played<Vec<u8>> {
        Ok(match act {
            Act::Bytes(bytes) => bytes.to_vec(),
            Act::Raw(first, length, payload) => masked_raw(*first, length, payload),
            Act::Frame(first, payload) => masked(*first, payload),
            Act::Fill(first, count, byte) => masked(*first, &vec![*byte; *count]),
            Act::Text(text) => masked(TEXT, self.expand(text)?.as_bytes()),
            Act::Binary(text) => masked(BINARY, self.expand(text)?.as_bytes()),
            Act::Lines(text) => self.expand(text)?.replace('\n', "\r\n").into_bytes(),
            Act::Post(head, body) => {
                let body = self.expand(body)?;
                let head = format!("POST {head}Content-Length: {}\n\n", body.len());
                self.expand(&head)?
                    .replace('\n', "\r\n")
                    .into_bytes()
                    .into_iter()
                    .chain(body.into_bytes())
                    .collect()
            }
            Act::Body(text) => self.expand(text)?.into_bytes(),
            Act::Bomb(count) => masked(TEXT | 0x40, &deflate::bomb(b"0", *count)),
            other => return Err(format!("{other:?} writes nothing")),
        })
    }

    fn expand(&self, text: &str) -> Played<String> {
        expand(text, self.names)
    }

    fn hand(&mut self) -> Played<&mut Hand> {
        let hand = self.hands.get_mut(self.current);
        hand.ok_or_else(|| "there is no connection".to_owned())
    }

    async fn dial(&mut self, speech: Speech) -> Played<()> {
        let address: SocketAddr = self.server.address();
        let wire = Wire::dial(address, &self.from, self.receive_bytes).await;
        let wire = wire.map_err(|error| format!("can't dial from {}: {error}", self.from))?;
        self.current = self.hands.len();
        self.hands.push(Hand {
            wire,
            speech,
            refused: None,
            welcome: None,
            unread: VecDeque::new(),
        });
        Ok(())
    }

    async fn upgrade(&mut self, speech: Speech, target: &str, lines: &str) -> Played<()> {
        self.dial(speech).await?;
        let protocol = match speech {
            Speech::Bowline => "Sec-WebSocket-Protocol: bowline.v1\n",
            Speech::Plain | Speech::Bytes => "",
        };
        let head = format!(
            "GET {target} HTTP/1.1\nHost: {{{{host}}}}\nConnection: Upgrade\nUpgrade: websocket\n\
             Sec-WebSocket-Version: 13\nSec-WebSocket-Key: {KEY}\n{protocol}{lines}\n"
        );
        let head = self.expand(&head)?.replace('\n', "\r\n");
        let hand = self.hand()?;
        let failed = |error: io::Error| format!("no answer to the upgrade: {error}");
        hand.wire.write(head.as_bytes()).await.map_err(failed)?;
        let answer = hand.wire.answer().await.map_err(failed)?;
        if answer.status != 101 {
            hand.refused = Some(answer);
        }
        Ok(())
    }

    async fn hello(&mut self, fields: &str) -> Played<()> {
        let mut hello: Value = serde_json::from_str(&self.expand(fields)?)
            .map_err(|error| format!("the hello of the case: {error}"))?;
        (hello["type"], hello["id"]) = ("hello".into(), 1.into());
        let hand = self.hand()?;
        if hand.refused.is_some() {
            return Ok(());
        }
        let _ = hand
            .wire
            .write(&masked(TEXT, hello.to_string().as_bytes()))
            .await;
        loop {
            let frame = hand.frame().await?;
            let message: Value = serde_json::from_str(&frame.text()).unwrap_or_default();
            if message["type"] == "welcome" {
                hand.welcome = Some(message);
                return Ok(());
            }
            if frame.is_close() {
                hand.unread.push_front(frame);
                return Ok(());
            }
        }
    }

    /// The next message of this type.
    async fn message(&mut self, kind: &str) -> Played<Value> {
        let hand = self.hand()?;
        loop {
            let frame = hand.frame().await?;
            if frame.is_close() {
                return Err(format!("closed with {:?}", frame.close()));
            }
            for line in frame.text().lines() {
                let message: Value = serde_json::from_str(line).unwrap_or_default();
                if message["type"] == kind {
                    return Ok(message);
                }
            }
        }
    }

    async fn close(&mut self) -> Played<(u16, String)> {
        let hand = self.hand()?;
        if let Some(answer) = &hand.refused {
            return Err(format!("the upgrade was refused: {}", shown(answer)));
        }
        loop {
            let frame = hand.frame().await?;
            if frame.is_close() {
                return Ok(frame.close());
            }
        }
    }

    async fn logged(&self, text: &str) -> Played<()> {
        let text = self.expand(text)?;
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let log = fs::read(self.log).map_err(|error| error.to_string())?;
            let log = log.get(self.log_bytes..).unwrap_or_default();
            if String::from_utf8_lossy(log).contains(&text) {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(format!("the log has no {text:?}"))
    }

    async fn publish(&self, channel: &str, count: usize, bytes: usize) -> Played<()> {
        let channel = self.expand(channel)?;
        let mut http = self.server.http();
        for _ in 0..count {
            let body = json!({"channel": channel, "data": "x".repeat(bytes)});
            let answer = http.post("/api/publish", body.to_string()).await;
            let (status, body) = answer.map_err(|error| error.to_string())?;
            if !status.is_success() {
                return Err(format!("{status}: {body:?}"));
            }
        }
        Ok(())
    }

    async fn drip(&mut self, bytes: &[u8], pause: Duration) -> Played<()> {
        let wire = &mut self.hand()?.wire;
        for byte in bytes.iter().cycle().take(DRIPS_MAX) {
            if wire.write(&[*byte]).await.is_err() || wire.has_ended() {
                break;
            }
            sleep(pause).await;
        }
        Ok(())
    }

    async fn look(&mut self, outcome: Outcome) -> Played<()> {
        match outcome {
            Outcome::Status(status, code) => {
                let answer = self.answer().await?;
                let same = answer.status == status && code_of(&answer.body) == code;
                return same.then_some(()).ok_or_else(|| shown(&answer));
            }
            Outcome::Closes(wanted, code) => {
                let (close, reason) = self.close().await?;
                let same = close == wanted && code_of(&reason) == code;
                return same
                    .then_some(())
                    .ok_or_else(|| format!("closed with {close} {reason:?}"));
            }
            Outcome::Cut => {
                let ended = self.hand()?.wire.ends_silently().await;
                let ended = ended.map_err(|error| error.to_string())?;
                return ended
                    .then_some(())
                    .ok_or_else(|| "there is an answer".to_owned());
            }
            Outcome::Error(code) => same("code", &self.message("error").await?["code"], code)?,
            Outcome::Refuses(seq, code) => {
                let error = self.message("error").await?;
                same("code", &error["code"], code)?;
                same("seq", &error["seq"], seq)?;
            }
            Outcome::Denies(channel, code) => {
                let welcome = self.hand()?.welcome.take();
                let welcome = welcome.ok_or("there was no welcome")?;
                let entry = &welcome["subscriptions"][self.expand(channel)?];
                same("code", &entry["error"]["code"], code)?;
            }
            Outcome::Answers(kind) => drop(self.message(kind).await?),
            Outcome::Says(text) => {
                let wanted = self.expand(text)?;
                self.says(&wanted).await?;
            }
            Outcome::Delivers(count) => self.delivers(count).await?,
            Outcome::Ends => {
                // Whatever came before: a reset is an end as well.
                while self.hand()?.wire.frame().await.is_ok() {}
                return Ok(());
            }
            Outcome::Lives => {}
        }
        self.lives().await
    }

    async fn delivers(&mut self, count: u64) -> Played<()> {
        for wanted in 1..=count {
            let message = self.message("message").await?;
            let position = message["position"].as_str().unwrap_or_default();
            let offset = position
                .split('.')
                .nth(1)
                .and_then(|text| text.parse().ok());
            same("offset", &offset.unwrap_or(0_u64).into(), wanted)?;
        }
        Ok(())
    }

    async fn answer(&mut self) -> Played<Answer> {
        let hand = self.hand()?;
        match hand.refused.take() {
            Some(answer) => Ok(answer),
            None if hand.speech == Speech::Bytes => {
                hand.wire.answer().await.map_err(|error| error.to_string())
            }
            None => Err("the upgrade was accepted".to_owned()),
        }
    }

    async fn says(&mut self, wanted: &str) -> Played<()> {
        let hand = self.hand()?;
        loop {
            let frame = hand.frame().await?;
            if frame.is_close() {
                return Err(format!("closed with {:?}", frame.close()));
            }
            // Pings of the server's heartbeat come in between.
            if frame.first != PING {
                return same("text", &frame.text().into(), wanted);
            }
        }
    }

    /// A ping comes back, whatever else is on its way.
    async fn lives(&mut self) -> Played<()> {
        let hand = self.hand()?;
        if let Some(answer) = &hand.refused {
            return Err(format!("the upgrade was refused: {}", shown(answer)));
        }
        let _ = hand.wire.write(&masked(PING, HEALTH.as_bytes())).await;
        loop {
            let frame = hand.frame().await?;
            if frame.is_close() {
                return Err(format!("closed with {:?} in the end", frame.close()));
            }
            if frame.first == PONG && frame.payload == HEALTH.as_bytes() {
                return Ok(());
            }
        }
    }
}

impl Hand {
    async fn frame(&mut self) -> Played<Frame> {
        if let Some(answer) = &self.refused {
            return Err(format!("the upgrade was refused: {}", shown(answer)));
        }
        match self.unread.pop_front() {
            Some(frame) => Ok(frame),
            None => {
                let frame = self.wire.frame().await;
                frame.map_err(|error| format!("the connection broke: {error}"))
            }
        }
    }
}

/// The `code` of a JSON object; empty where there is none.
fn code_of(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    value["code"].as_str().unwrap_or_default().to_owned()
}

fn shown(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.body)
}

fn same<T>(what: &str, seen: &Value, wanted: T) -> Played<()>
where
    T: Into<Value>,
{
    if *seen == wanted.into() {
        return Ok(());
    }
    Err(format!("{what} is {seen}"))
}
