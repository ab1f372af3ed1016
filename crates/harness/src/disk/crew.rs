//! Publishers with one unanswered message each, and what they were answered.
//!
//! Owns the tracks that `check` compares with the server that came back. Half of a crew publish over
//! HTTP with idempotency keys, half over WebSockets with sequence numbers; half of the channels keep
//! everything, half only a few messages.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::socket::Socket;
use crate::http::HttpClient;

const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// A channel's history must fit into one page of 1,000.
const MESSAGES_MAX: u64 = 400;
const PAYLOAD_BYTES: usize = 200;

/// How a publisher makes its messages its own.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// An idempotency key: its name and number.
    Key,
    /// A sequence number in this session.
    Session(String),
}

/// Where a message stands: what of a position is not opaque to the harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: u64,
    pub(super) offset: u64,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// With its position where the answer had one.
    Acked(Option<Place>),
    /// It was answered that nothing was stored.
    Refused,
    Unknown,
}

/// One publisher's messages, numbered from 1.
#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) name: String,
    pub(super) channel: String,
    pub(super) mark: Mark,
    pub(super) fates: Vec<Fate>,
    /// Why it ended, for reports.
    pub(super) ended: String,
}

/// Publishers at work.
pub(super) struct Crew {
    tasks: JoinSet<Track>,
    is_over: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Place {
    /// The place in a position of the wire.
    pub(super) fn of(position: &Value) -> Option<Self> {
        let mut parts = position.as_str()?.split('.');
        Some(Self {
            epoch: u64::from_str_radix(parts.next()?, 16).ok()?,
            offset: parts.next()?.parse().ok()?,
        })
    }
}

impl Track {
    fn new(round: u64, number: usize) -> Self {
        let name = format!("r{round}-p{number}");
        let pair = number / 2;
        let channel = match pair % 2 {
            0 => format!("keep:r{round}:{pair}"),
            _ => format!("short:{pair}"),
        };
        let mark = match number % 2 {
            0 => Mark::Key,
            _ => Mark::Session(format!("session-of-{name}-0123456789")),
        };
        Self {
            name,
            channel,
            mark,
            fates: Vec::new(),
            ended: String::new(),
        }
    }

    /// What says which message it is.
    pub(super) fn id(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }

    pub(super) fn data(&self, number: usize) -> Value {
        json!({"m": self.id(number), "pad": "x".repeat(PAYLOAD_BYTES)})
    }

    pub(super) fn publish_body(&self, number: usize) -> Value {
        json!({"channel": self.channel, "data": self.data(number), "key": self.id(number)})
    }

    pub(super) fn acked(&self) -> usize {
        let acked = self.fates.iter();
        acked.filter(|fate| matches!(fate, Fate::Acked(_))).count()
    }

    /// What was refused may be there from here on.
    pub(super) fn forget_refusals(&mut self) {
        for fate in &mut self.fates {
            if *fate == Fate::Refused {
                *fate = Fate::Unknown;
            }
        }
    }

    /// The hello with which its session goes on.
    pub(super) fn hello(&self, session: &str, link: u64) -> Value {
        json!({
            "type": "hello", "id": 1, "session": session, "link": link,
            "first": self.acked() as u64 + 1, "next": self.fates.len() as u64 + 1,
            "subscribe": {},
        })
    }
}

impl Crew {
    /// Publishers begin at once. They go on until one is told that it is over, or gets no answer.
    pub(super) fn start(address: SocketAddr, round: u64, publishers: usize) -> Self {
        let (is_over, acked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut tasks = JoinSet::new();
        for number in 0..publishers {
            let track = Track::new(round, number);
            tasks.spawn(publish(address, track, is_over.clone(), acked.clone()));
        }
        Self {
            tasks,
            is_over,
            acked,
        }
    }

    /// From here on no answer counts as an ack.
    pub(super) fn end(&self) {
        self.is_over.store(true, SeqCst);
    }

    /// Acks until now.
    pub(super) fn acked(&self) -> u64 {
        self.acked.load(SeqCst)
    }

    /// What everybody was answered.
    pub(super) async fn tracks(mut self) -> Vec<Track> {
        let mut tracks = Vec::new();
        while let Some(track) = self.tasks.join_next().await {
            tracks.extend(track);
        }
        tracks.sort_by(|a, b| a.name.cmp(&b.name));
        tracks
    }
}

/// One after the other, over HTTP and over a link in turn, so that a workload is the same each time.
pub(super) async fn in_turn(address: SocketAddr, round: u64, messages: u64) -> Vec<Track> {
    let mut tracks = vec![Track::new(round, 0), Track::new(round, 1)];
    let mut voices = Vec::new();
    for track in &mut tracks {
        match Voice::open(address, track).await {
            Ok(voice) => voices.push(voice),
            Err(problem) => {
                track.ended = problem;
                return tracks;
            }
        }
    }
    for _ in 0..messages {
        for (voice, track) in voices.iter_mut().zip(&mut tracks) {
            if !voice.say(track, || false).await {
                return tracks;
            }
        }
    }
    tracks
}

async fn publish(
    address: SocketAddr,
    mut track: Track,
    is_over: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
) -> Track {
    let mut voice = match Voice::open(address, &track).await {
        Ok(voice) => voice,
        Err(problem) => {
            track.ended = problem;
            return track;
        }
    };
    // Also when it is over: whatever ends this ends it in the middle of something.
    for _ in 0..MESSAGES_MAX {
        if !voice.say(&mut track, || is_over.load(SeqCst)).await {
            break;
        }
        acked.fetch_add(1, SeqCst);
    }
    track
}

/// How a publisher reaches the server.
enum Voice {
    Http(HttpClient),
    Socket(Box<Socket>),
}

impl Voice {
    async fn open(address: SocketAddr, track: &Track) -> Result<Self, String> {
        match &track.mark {
            Mark::Key => Ok(Self::Http(HttpClient::new(
                address,
                address,
                ANSWER_DEADLINE,
            ))),
            Mark::Session(session) => {
                let opened = Socket::open(address, track.hello(session, 1)).await;
                let (socket, _) = opened.map_err(|error| error.to_string())?;
                Ok(Self::Socket(Box::new(socket)))
            }
        }
    }

    /// Publishes the next message; whether it was acked, which counts only before it is over.
    async fn say(&mut self, track: &mut Track, is_over: impl Fn() -> bool) -> bool {
        let number = track.fates.len() + 1;
        track.fates.push(Fate::Unknown);
        let answer = match self {
            Self::Http(http) => post(http, track, number).await,
            Self::Socket(socket) => {
                let data = track.data(number);
                let answer = socket.publish(number as u64, &track.channel, &data).await;
                match answer {
                    Ok(Ok(())) => Ok(Fate::Acked(None)),
                    Ok(Err(code)) => Err((code != "fate_unknown", code)),
                    Err(error) => Err((false, error.to_string())),
                }
            }
        };
        let is_acked = answer.is_ok();
        track.fates[number - 1] = match answer {
            Ok(fate) if !is_over() => fate,
            // It may be there, or may have been lost with the power.
            Ok(_) => Fate::Unknown,
            Err((is_refused, problem)) => {
                track.ended = problem;
                match is_refused {
                    true => Fate::Refused,
                    false => Fate::Unknown,
                }
            }
        };
        is_acked
    }
}

/// An error says whether it is certain that nothing was stored.
async fn post(http: &mut HttpClient, track: &Track, number: usize) -> Result<Fate, (bool, String)> {
    let body = track.publish_body(number).to_string();
    let (status, body) = http
        .post("/api/publish", body)
        .await
        .map_err(|error| (false, error.to_string()))?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(Fate::Acked(Place::of(&body["position"])));
    }
    let is_certain = status.as_u16() == 503;
    Err((is_certain, body.to_string()))
}
