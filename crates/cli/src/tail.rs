//! `bowline tail`: follows channels and prints one JSON line per message, whatever breaks.
//!
//! Owns what is printed: messages on standard output, everything else on standard error. Must not
//! know how a link is kept: that is the client's.

mod unreached;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind, Write as _},
    path::PathBuf,
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bowline_client::{
    Class, Client, Code, Data, Delivery, EndpointError, From, Message, State, Subscription,
    Verdict, advice,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{args::TailArgs, output::say};
use unreached::Target;

const URL_DEFAULT: &str = "ws://127.0.0.1:8000/ws";

/// It can't begin, or it ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TailError {
    /// The URL is not one of a server.
    #[error("{url}: {source}")]
    Url {
        /// Which.
        url: String,
        /// Why.
        source: EndpointError,
    },
    /// The file of authorities.
    #[error("--ca {}: {source}", path.display())]
    Authorities {
        /// Which.
        path: PathBuf,
        /// Why it can't be read.
        source: io::Error,
    },
    /// `--since` does not say from where.
    #[error("--since takes `first`, `last:N`, or, with one channel, a position")]
    Since,
    /// The server refused.
    #[error("{channel}: {reason}")]
    Refused {
        /// What was asked for.
        channel: String,
        /// Why it is not to be had.
        reason: String,
    },
    /// The server does not take this client at all.
    #[error("the server refuses this client{0}")]
    Blocked(String),
    /// The client has ended by itself.
    #[error("the client has ended")]
    Ended,
    /// Nobody reads the output any more.
    #[error("nobody reads the output any more")]
    Unread,
    /// The system failed.
    #[error(transparent)]
    Io(io::Error),
}

impl TailError {
    /// Whether the command was wrong, not the world.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Url { .. } | Self::Authorities { .. } | Self::Since
        )
    }
}

/// Prints until SIGINT.
pub(crate) fn tail(arguments: &TailArgs) -> Result<(), TailError> {
    // Twice the same is once: a second subscription takes the first one's place.
    let channels: BTreeSet<&str> = arguments.channels.iter().map(String::as_str).collect();
    let since = since(arguments.since.as_deref(), channels.len())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(TailError::Io)?;
    runtime.block_on(follow(arguments, &channels, since))
}

fn since(since: Option<&str>, channels: usize) -> Result<From, TailError> {
    match since {
        None => Ok(From::Now),
        Some("first") => Ok(From::First),
        Some(text) => match text.strip_prefix("last:") {
            Some(count) => count.parse().map(From::Last).map_err(|_| TailError::Since),
            None if channels > 1 => Err(TailError::Since),
            None => text.parse().map(From::After).map_err(|_| TailError::Since),
        },
    }
}

async fn follow(
    arguments: &TailArgs,
    channels: &BTreeSet<&str>,
    since: From,
) -> Result<(), TailError> {
    let variable = |name| std::env::var(name).ok();
    let url = arguments.url.clone().or_else(|| variable("BOWLINE_WS_URL"));
    let url = url.unwrap_or_else(|| URL_DEFAULT.to_owned());
    let token = variable("BOWLINE_TOKEN");
    // It never gives up: whoever started it ends it.
    let mut builder = Client::builder(&url).attempts_max(u64::MAX);
    if let Some(token) = &token {
        builder = builder.token(token);
    }
    let mut authorities = Vec::new();
    if let Some(path) = &arguments.ca {
        authorities = fs::read(path).map_err(|source| TailError::Authorities {
            path: path.clone(),
            source,
        })?;
        builder = builder.authorities(&authorities);
    }
    let unusable = |source| TailError::Url {
        url: url.clone(),
        source,
    };
    let client = builder.connect().map_err(unusable)?;
    let target = Target::new(&url, &authorities).map_err(unusable)?;
    tokio::spawn(target.explain(client.events()));
    let mut readers = JoinSet::new();
    for channel in channels {
        let subscription = client.subscribe(channel, since).await;
        readers.spawn(read(subscription.map_err(|_| TailError::Ended)?));
    }
    let mut state = client.state();
    let ended = tokio::select! {
        signal = tokio::signal::ctrl_c() => signal.map_err(TailError::Io),
        // Every reader ends only in an error.
        Some(ended) = readers.join_next() => ended.unwrap_or(Err(TailError::Ended)),
        state = state.wait_for(|state| matches!(state, State::Blocked | State::Closed)) => {
            drop(state);
            Err(blocked(client.verdict().borrow().as_ref(), token.is_some()))
        }
        Ok(()) = unread() => Err(TailError::Unread),
    };
    client.close(true).await;
    ended
}

/// Why the server takes this client no more, and what may be done about it.
fn blocked(verdict: Option<&Verdict>, has_token: bool) -> TailError {
    let Some(verdict) = verdict else {
        return TailError::Ended;
    };
    let code = verdict.code.as_deref().unwrap_or_default();
    let hint = match verdict.class {
        Class::Auth if !has_token => "is a token (BOWLINE_TOKEN) needed?",
        Class::Auth if code == Code::TokenExpired.as_str() => "BOWLINE_TOKEN has expired",
        Class::Auth => "it does not take what is in BOWLINE_TOKEN",
        class => advice(class).sentence,
    };
    TailError::Blocked(match code {
        "" => format!("; {hint}"),
        code => format!(" ({code}); {hint}"),
    })
}

/// Told when nobody reads the output any more, which a write would tell only with the next message. A file
/// has no readers, and so it is never told of one.
fn unread() -> oneshot::Receiver<()> {
    let (tell, told) = oneshot::channel();
    // It ends with the process.
    thread::spawn(move || {
        let output = io::stdout();
        // What is told without being asked for is that the other end is gone.
        let mut watched = [PollFd::new(&output, PollFlags::empty())];
        while poll(&mut watched, None) == Err(Errno::INTR) {}
        if watched[0]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
        {
            // The receiver is gone where everything ends already.
            let _ = tell.send(());
        }
    });
    told
}

async fn read(mut subscription: Subscription) -> Result<(), TailError> {
    let channel = subscription.channel().to_owned();
    let refused = |reason: String| TailError::Refused {
        channel: channel.clone(),
        reason,
    };
    while let Some(delivery) = subscription.next().await {
        match delivery {
            Delivery::Message(message) => {
                let line = line(&message);
                let written = io::stdout().lock().write_all(line.as_bytes());
                written.map_err(|error| match error.kind() {
                    ErrorKind::BrokenPipe => TailError::Unread,
                    _ => TailError::Io(error),
                })?;
            }
            Delivery::Subscribed(recovery) => {
                let at = recovery
                    .position
                    .map_or_else(String::new, |at| format!(" at {at}"));
                let lost = if recovery.recovered {
                    ""
                } else {
                    "; messages are missing here"
                };
                say(format_args!("{channel}: subscribed{at}{lost}"));
            }
            Delivery::Gap { reason, missed, .. } => {
                let missed = missed.map_or_else(String::new, |count| format!(" ({count})"));
                say(format_args!(
                    "{channel}: messages are missing here{missed}: {reason:?}"
                ));
            }
            Delivery::Refused(error) if error.retry => {
                say(format_args!("{channel}: {error}; asking again"));
            }
            Delivery::Refused(error) => return Err(refused(error.to_string())),
            Delivery::Ended { code } => return Err(refused(code.unwrap_or_default())),
        }
    }
    Err(TailError::Ended)
}

/// One line of JSON; the payload stands in it as it was published.
fn line(message: &Message) -> String {
    let (name, data) = match &message.data {
        Data::Json(text) => ("data", String::from_utf8_lossy(text).into_owned()),
        Data::Binary(bytes) => ("data_b64", json!(BASE64_STANDARD.encode(bytes)).to_string()),
    };
    let mut line = format!(r#"{{"channel":{}"#, json!(message.channel));
    for (key, value) in [
        ("position", message.position.map(|position| json!(position))),
        ("user", message.user.as_ref().map(|user| json!(user))),
        ("tag", message.tag.as_ref().map(|tag| json!(tag))),
    ] {
        if let Some(value) = value {
            line += &format!(r#","{key}":{}"#, Value::to_string(&value));
        }
    }
    line + &format!(",\"{name}\":{data}}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_with_the_payload_untouched() {
        let mut message = Message {
            channel: "a\"b".into(),
            position: None,
            data: Data::Json(r#"{"n":1.50}"#.into()),
            user: None,
            tag: Some("t".into()),
        };
        let text = line(&message);
        assert_eq!(
            text,
            "{\"channel\":\"a\\\"b\",\"tag\":\"t\",\"data\":{\"n\":1.50}}\n"
        );
        message.data = Data::Binary(vec![0, 1].into());
        let value: Value = serde_json::from_str(&line(&message)).unwrap();
        assert_eq!(value["data_b64"], "AAE=");
    }
}
