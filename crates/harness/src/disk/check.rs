//! What a server that came back says, against what it had acknowledged.
//!
//! Owns the comparison: every acked message is there once, at its place and in order, with its key and
//! its session's number; what was refused is not; what was not answered is there wholly or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use serde_json::Value;

use super::{
    crew::{Fate, Mark, Place, Track},
    socket::Socket,
};
use crate::{http::HttpClient, scenario::RunError};

const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// What `short:*` keeps at least.
const KEPT_MIN: u64 = 20;
/// Messages without an answer whose keys are asked for.
const KEYS_MAX: usize = 3;
/// More than so many violations say nothing new.
const VIOLATIONS_MAX: usize = 20;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Messages that had been acked before.
    pub(super) acked: u64,
    /// Messages without an answer that are there, and that are not.
    pub(super) unknown_there: u64,
    pub(super) unknown_gone: u64,
    /// Keys and sessions that were asked for.
    pub(super) marks: u64,
    pub(super) violations: Vec<String>,
}

/// A channel's history, from its floor on.
struct Log {
    epoch: u64,
    /// Offset and message.
    entries: Vec<(u64, String)>,
}

impl Found {
    pub(super) fn violation(&mut self, text: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(text);
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.unknown_there += other.unknown_there;
        self.unknown_gone += other.unknown_gone;
        self.marks += other.marks;
        for violation in other.violations {
            self.violation(violation);
        }
    }
}

/// Asks the server about everything in these tracks. With `marks`, also for keys and sessions, which
/// publishes: a second time they are not what they were.
pub(super) async fn check(
    address: SocketAddr,
    tracks: &[Track],
    marks: bool,
) -> Result<Found, RunError> {
    let mut found = Found::default();
    let mut http = HttpClient::new(address, address, ANSWER_DEADLINE);
    let mut channels: BTreeMap<&str, Vec<&Track>> = BTreeMap::new();
    for track in tracks {
        channels.entry(&track.channel).or_default().push(track);
    }
    let mut logs = BTreeMap::new();
    for (channel, tracks) in &channels {
        let log = read(&mut http, channel).await?;
        check_channel(&mut found, channel, tracks, &log);
        logs.insert(*channel, log);
    }
    for track in tracks.iter().filter(|_| marks) {
        let log = &logs[track.channel.as_str()];
        match &track.mark {
            Mark::Key => check_keys(&mut found, &mut http, track, log).await?,
            Mark::Session(session) => {
                check_session(&mut found, address, track, session, log).await?;
            }
        }
    }
    Ok(found)
}

async fn read(http: &mut HttpClient, channel: &str) -> Result<Log, RunError> {
    let path = format!("/api/channels/{channel}/history?limit=1000");
    let failed = |problem: &dyn std::fmt::Display| {
        RunError::Failed(format!("the history of {channel}: {problem}"))
    };
    let (status, body) = http.get(&path).await.map_err(|error| failed(&error))?;
    let body: Value = serde_json::from_slice(&body).map_err(|error| failed(&error))?;
    if !status.is_success() {
        return Err(failed(&body));
    }
    let publications = body["publications"].as_array();
    let entries = publications.into_iter().flatten().filter_map(|one| {
        let place = Place::of(&one["position"])?;
        Some((place.offset, one["data"]["m"].as_str()?.to_owned()))
    });
    Ok(Log {
        epoch: Place::of(&body["position"]).map_or(0, |place| place.epoch),
        entries: entries.collect(),
    })
}

fn check_channel(found: &mut Found, channel: &str, tracks: &[&Track], log: &Log) {
    let floor = log.entries.first().map_or(1, |entry| entry.0);
    let head = log.entries.last().map_or(0, |entry| entry.0);
    let places: BTreeMap<&str, u64> = log
        .entries
        .iter()
        .map(|(offset, message)| (message.as_str(), *offset))
        .collect();
    if places.len() != log.entries.len() {
        found.violation(format!("{channel}: a message is there more than once"));
    }
    if log
        .entries
        .windows(2)
        .any(|pair| pair[0].0 + 1 != pair[1].0)
    {
        found.violation(format!("{channel}: offsets with a hole"));
    }
    let is_short = channel.starts_with("short:");
    if floor > 1 && (!is_short || head + 1 - floor < KEPT_MIN) {
        found.violation(format!("{channel}: floor {floor} at head {head}"));
    }
    for track in tracks {
        check_track(found, track, &places, log.epoch, floor, head);
    }
}

fn check_track(
    found: &mut Found,
    track: &Track,
    places: &BTreeMap<&str, u64>,
    epoch: u64,
    floor: u64,
    head: u64,
) {
    let channel = &track.channel;
    let mut before = 0;
    for (index, fate) in track.fates.iter().enumerate() {
        let id = track.id(index + 1);
        let there = places.get(id.as_str()).copied();
        if let Some(offset) = there {
            if offset <= before {
                found.violation(format!("{channel}: {id} stands before the one before it"));
            }
            before = offset;
        }
        match fate {
            Fate::Acked(place) => {
                found.acked += 1;
                let is_right = match (place, there) {
                    (Some(place), Some(offset)) => (place.epoch, place.offset) == (epoch, offset),
                    // Trimmed: behind a floor that is where it should be.
                    (Some(place), None) => {
                        place.epoch == epoch && place.offset < floor && head >= place.offset
                    }
                    (None, Some(_)) => true,
                    (None, None) => floor > 1,
                };
                if !is_right {
                    found.violation(format!(
                        "{channel}: {id} was acked at {place:?} and is at {there:?}, floor {floor}, head {head}"
                    ));
                }
            }
            Fate::Refused if there.is_some() => {
                let why = &track.ended;
                found.violation(format!("{channel}: {id} was refused and is there: {why}"));
            }
            Fate::Refused => {}
            Fate::Unknown if there.is_some() => found.unknown_there += 1,
            Fate::Unknown => found.unknown_gone += 1,
        }
    }
}

/// The last acked message and the one without an answer are published again.
async fn check_keys(
    found: &mut Found,
    http: &mut HttpClient,
    track: &Track,
    log: &Log,
) -> Result<(), RunError> {
    let there: BTreeSet<&str> = log.entries.iter().map(|entry| entry.1.as_str()).collect();
    for number in track.acked().max(1)..=track.fates.len().min(track.acked() + KEYS_MAX) {
        let (fate, id) = (track.fates[number - 1], track.id(number));
        let body = track.publish_body(number).to_string();
        let (status, body) = http
            .post("/api/publish", body)
            .await
            .map_err(|error| RunError::Failed(format!("{id} once more: {error}")))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let duplicate = body["duplicate"].as_bool();
        let place = Place::of(&body["position"]);
        let is_right = match fate {
            Fate::Acked(first) => duplicate == Some(true) && place == first,
            // With its message or not at all; what retention has taken since can't be told apart.
            _ if there.contains(id.as_str()) => duplicate == Some(true),
            _ => duplicate == Some(false) || track.channel.starts_with("short:"),
        };
        found.marks += 1;
        if !status.is_success() || !is_right {
            found.violation(format!("key of {id}, {fate:?}: {status} {body}"));
        }
        if let Fate::Acked(_) = fate {
            let mut other = track.publish_body(number);
            other["data"] = "something else".into();
            let answer = http.post("/api/publish", other.to_string()).await;
            if !answer.is_ok_and(|(status, _)| status.as_u16() == 422) {
                found.violation(format!("key of {id}: another body was not refused"));
            }
        }
    }
    Ok(())
}

/// The session goes on where its messages end.
async fn check_session(
    found: &mut Found,
    address: SocketAddr,
    track: &Track,
    session: &str,
    log: &Log,
) -> Result<(), RunError> {
    let last = track.fates.len();
    if last == 0 {
        return Ok(());
    }
    let is_there = |number: usize| {
        let id = track.id(number);
        log.entries.iter().any(|entry| entry.1 == id)
    };
    let acked = track.acked();
    let unanswered = (acked + 1..=last).filter(|&number| is_there(number));
    let there = acked + unanswered.count();
    let wanted = match track.channel.starts_with("short:") {
        // What retention has taken since may have been there.
        true => there..=last,
        false => there..=there,
    };
    let (_, welcome) = Socket::open(address, track.hello(session, 2))
        .await
        .map_err(|error| RunError::Failed(format!("{session}: {error}")))?;
    found.marks += 1;
    let told = welcome["acked"].as_u64();
    if !told.is_some_and(|told| wanted.contains(&(told as usize))) {
        found.violation(format!(
            "{session}: acked {told:?} in place of {wanted:?} ({})",
            welcome["reason"]
        ));
    }
    Ok(())
}
