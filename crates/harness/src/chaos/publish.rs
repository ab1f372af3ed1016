//! Publications over HTTP, through breaking links, with keys.
//!
//! A worker sends one publication at a time and repeats it under the same key until it is answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{ChaosOptions, ledger::Ledger};
use crate::{
    http::{HttpClient, HttpError},
    log::{Outcome, Record},
    progress::Progress,
    proxy::Link,
    rng::Rng,
    scenario::RunError,
};

const WORKERS: usize = 16;
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const RETRY_PAUSE_MS: u64 = 50;
const RETRY_PAUSE_MAX_MS: u64 = 1_000;
/// A link is down for seconds; this many attempts are minutes.
const ATTEMPTS_MAX: u32 = 500;
/// Of the span: the last faults must still meet publications under way.
const PACE_PERCENT: u32 = 95;
/// A second or two of these fill every buffer between the server and a client that is held up: that
/// is how subscriptions come to fall back to the log.
const FAT_CHARACTERS: (u64, u64) = (8_000, 32_000);
const LEAN_CHARACTERS: (u64, u64) = (0, 100);

#[derive(Clone, Copy, Debug)]
pub(super) struct Publisher<'a> {
    pub(super) server: SocketAddr,
    pub(super) links: &'a [Arc<Link>],
    pub(super) channels: &'a [String],
    pub(super) ledger: &'a Ledger,
    pub(super) progress: &'a Progress,
    /// For a server that does not let everybody in.
    pub(super) key: Option<&'a str>,
}

struct Message<'a> {
    m: String,
    channel: &'a str,
    pad_len: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    position: Option<String>,
    #[serde(default)]
    duplicate: bool,
    retry_after_ms: Option<u64>,
}

/// Publishes everything, paced over the span; or, where faults say how long they take, goes on at that pace
/// until they are over.
pub(super) async fn run(
    publisher: Publisher<'_>,
    options: &ChaosOptions,
    rng: Rng,
    is_over: &AtomicBool,
) -> Result<(), RunError> {
    let begun = Instant::now();
    let total = options.load.publications;
    let pace = options.span * PACE_PERCENT / 100;
    let next = AtomicUsize::new(0);
    let work = async |worker: usize| -> Result<(), RunError> {
        let link = &publisher.links[worker % publisher.links.len()];
        let mut client = HttpClient::new(link.address(), publisher.server, ANSWER_DEADLINE)
            .with_key(publisher.key);
        loop {
            let number = next.fetch_add(1, Relaxed);
            let enough = match options.theme.is_open_ended() {
                true => is_over.load(Relaxed),
                false => number >= total,
            };
            if enough {
                return Ok(());
            }
            sleep_until(begun + pace.mul_f64(number as f64 / total as f64)).await;
            let message = draw(publisher.channels, number, &mut rng.fork(number as u64));
            publisher.publish(&mut client, &message).await?;
        }
    };
    try_join_all((0..WORKERS).map(work)).await.map(|_| ())
}

/// Publishes a last message to every channel, not through the links.
pub(super) async fn last_messages(publisher: &Publisher<'_>) -> Result<(), RunError> {
    let mut client = HttpClient::new(publisher.server, publisher.server, ANSWER_DEADLINE)
        .with_key(publisher.key);
    for channel in publisher.channels {
        let message = Message {
            m: last_message(channel),
            channel,
            pad_len: 0,
        };
        publisher.publish(&mut client, &message).await?;
    }
    Ok(())
}

/// The id of a channel's last message.
pub(super) fn last_message(channel: &str) -> String {
    format!("last-{channel}")
}

/// Characters of padding for a message to this channel.
pub(super) fn pad_len(channel: &str, rng: &mut Rng) -> u64 {
    let (least, most) = match channel.starts_with("fat:") {
        true => FAT_CHARACTERS,
        false => LEAN_CHARACTERS,
    };
    least + rng.below(most - least)
}

/// Padding of this length.
pub(super) fn pad(length: u64) -> String {
    "x".repeat(usize::try_from(length).unwrap_or(0))
}

fn draw<'a>(channels: &'a [String], number: usize, rng: &mut Rng) -> Message<'a> {
    let channel = &channels[rng.index(channels.len())];
    Message {
        m: format!("p-{number:06}"),
        channel,
        pad_len: pad_len(channel, rng),
    }
}

impl Publisher<'_> {
    async fn publish(
        &self,
        client: &mut HttpClient,
        message: &Message<'_>,
    ) -> Result<(), RunError> {
        let body = json!({
            "channel": message.channel,
            "key": message.m,
            "data": {"m": message.m, "pad": pad(message.pad_len)},
        })
        .to_string();
        self.progress.issued.fetch_add(1, Relaxed);
        let mut outcome = Outcome::Unknown;
        let mut answer = Answer::default();
        let mut attempts = 0;
        while outcome == Outcome::Unknown && attempts < ATTEMPTS_MAX {
            attempts += 1;
            (outcome, answer) = judge(client.post("/api/publish", body.clone()).await);
            if outcome == Outcome::Unknown {
                let pause = answer.retry_after_ms.unwrap_or(RETRY_PAUSE_MS);
                sleep(Duration::from_millis(pause.min(RETRY_PAUSE_MAX_MS))).await;
            }
        }
        self.progress.settled.fetch_add(1, Relaxed);
        self.ledger.write(&Record::Published {
            m: message.m.clone(),
            channel: message.channel.to_owned(),
            outcome,
            position: answer.position,
            duplicate: answer.duplicate,
            attempts,
            pad_len: message.pad_len,
        })?;
        Ok(())
    }
}

/// What an answer means; unknown is to be tried again with the same key.
fn judge(answer: Result<(StatusCode, bytes::Bytes), HttpError>) -> (Outcome, Answer) {
    let Ok((status, body)) = answer else {
        return (Outcome::Unknown, Answer::default());
    };
    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    match (status.is_success(), serde_json::from_slice::<Answer>(&body)) {
        (true, Ok(answer)) => (Outcome::Acked, answer),
        // A body that is cut short or is no JSON answers nothing.
        (true, Err(_)) => (Outcome::Unknown, Answer::default()),
        (false, answer) if again => (Outcome::Unknown, answer.unwrap_or_default()),
        (false, answer) => (Outcome::Refused, answer.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_position_is_an_ack_and_only_a_client_error_is_a_refusal() {
        let outcome = |status: u16, body: &'static str| {
            judge(Ok((StatusCode::from_u16(status).unwrap(), body.into()))).0
        };
        assert_eq!(
            outcome(200, r#"{"position":"a.1.b","duplicate":false}"#),
            Outcome::Acked
        );
        assert_eq!(outcome(200, r#"{"posi"#), Outcome::Unknown);
        assert_eq!(
            outcome(503, r#"{"code":"overloaded","retry_after_ms":7}"#),
            Outcome::Unknown
        );
        assert_eq!(outcome(429, ""), Outcome::Unknown);
        assert_eq!(outcome(422, "{}"), Outcome::Refused);
        assert_eq!(judge(Err(HttpError::Timeout)).0, Outcome::Unknown);
    }
}
