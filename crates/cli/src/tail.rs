//! `bowline tail`: follows channels and prints one JSON line per message, whatever breaks.
//!
//! Owns what is printed: messages on standard output, everything else on standard error. Must not
//! know how a link is kept: that is the client's.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bowline_client::{
    Client, Data, Delivery, EndpointError, Event, Evidence, From, Message, State, Subscription,
    advice,
};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
};

use crate::{args::TailArgs, output::say};

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
    #[error("the server refuses this client; is a token (BOWLINE_TOKEN) needed?")]
    Blocked,
    /// Nobody reads the output any more, or the system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
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
    let since = since(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(follow(arguments, since))
}

fn since(arguments: &TailArgs) -> Result<From, TailError> {
    match arguments.since.as_deref() {
        None => Ok(From::Now),
        Some("first") => Ok(From::First),
        Some(text) => match text.strip_prefix("last:") {
            Some(count) => count.parse().map(From::Last).map_err(|_| TailError::Since),
            None if arguments.channels.len() > 1 => Err(TailError::Since),
            None => text.parse().map(From::After).map_err(|_| TailError::Since),
        },
    }
}

async fn follow(arguments: &TailArgs, since: From) -> Result<(), TailError> {
    let variable = |name| std::env::var(name).ok();
    let url = arguments.url.clone().or_else(|| variable("BOWLINE_WS_URL"));
    let url = url.unwrap_or_else(|| URL_DEFAULT.to_owned());
    // It never gives up: whoever started it ends it.
    let mut builder = Client::builder(&url).attempts_max(u64::MAX);
    if let Some(token) = variable("BOWLINE_TOKEN") {
        builder = builder.token(&token);
    }
    if let Some(path) = &arguments.ca {
        let pem = fs::read(path).map_err(|source| TailError::Authorities {
            path: path.clone(),
            source,
        })?;
        builder = builder.authorities(&pem);
    }
    let client = builder.connect().map_err(|source| TailError::Url {
        url: url.clone(),
        source,
    })?;
    tokio::spawn(explain(url, client.events()));
    let mut readers = JoinSet::new();
    for channel in &arguments.channels {
        let refused = |_| TailError::Blocked;
        let subscription = client.subscribe(channel, since).await.map_err(refused)?;
        readers.spawn(read(subscription));
    }
    let mut state = client.state();
    let ended = tokio::select! {
        signal = tokio::signal::ctrl_c() => signal.map_err(TailError::Io),
        // Every reader ends only in an error.
        Some(ended) = readers.join_next() => ended.unwrap_or(Err(TailError::Blocked)),
        blocked = state.wait_for(|state| matches!(state, State::Blocked | State::Closed)) => {
            drop(blocked);
            Err(TailError::Blocked)
        }
    };
    client.close(true).await;
    ended
}

/// Says why there is no connection, each time that it is lost or does not come about.
async fn explain(url: String, mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::LinkClosed {
                evidence, verdict, ..
            }) => {
                let why = match &evidence {
                    Evidence::Unreachable => "nobody answers".to_owned(),
                    Evidence::Http { status, .. } => format!("answered with status {status}"),
                    Evidence::Close { code, reason } => format!("closed with {code} {reason}"),
                    _ => advice(verdict.class).sentence.to_owned(),
                };
                say(format_args!("{url}: {}", why.trim_end()));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
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
                io::stdout().lock().write_all(line.as_bytes())?;
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
    Err(TailError::Blocked)
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
