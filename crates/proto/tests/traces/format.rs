//! The JSON form of the machine's inputs and outputs, as `vectors/client/README.md` describes it.

use std::sync::Arc;

use bowline_proto::{
    Data, Position,
    client::{Event, Input, Item, Options, Output, Request},
    codec::{Frame, Incoming, decode_server, encode_client, encode_server, json_data},
    message::ServerMessage,
    recovery::From,
};
use serde_json::{Value, json};

/// The options of a trace; what is absent has its default.
pub(crate) fn options(value: &Value) -> Options {
    let mut options = Options::default();
    let number = |name: &str| value[name].as_u64();
    let size = |name: &str| number(name).map(|n| usize::try_from(n).expect("it fits"));
    let flag = |name: &str| value[name].as_bool().unwrap_or(false);
    let set = |field: &mut u64, name: &str| *field = number(name).unwrap_or(*field);
    set(&mut options.backoff.min_ms, "backoff_min_ms");
    set(&mut options.backoff.max_ms, "backoff_max_ms");
    set(&mut options.backoff.min_uptime_ms, "min_uptime_ms");
    set(&mut options.outbox.age_max_ms, "outbox_age_max_ms");
    set(&mut options.connect_timeout_ms, "connect_timeout_ms");
    set(&mut options.authorize_timeout_ms, "authorize_timeout_ms");
    set(&mut options.silence_ms, "silence_ms");
    set(&mut options.link, "link");
    let set_size = |field: &mut usize, name: &str| *field = size(name).unwrap_or(*field);
    set_size(&mut options.outbox.messages_max, "outbox_messages_max");
    set_size(&mut options.outbox.bytes_max, "outbox_bytes_max");
    set_size(&mut options.subscriptions_max, "subscriptions_max");
    set_size(&mut options.requests_max, "requests_max");
    options.attempts_max = number("attempts_max");
    options.authorize = flag("authorize");
    options.resend_unknown = flag("resend_unknown");
    options.resend_stored = flag("resend_stored");
    options.session = value["session"].as_str().map(Into::into);
    options
}

/// An input.
pub(crate) fn input(value: &Value) -> Input {
    let channel = || -> Arc<str> { value["channel"].as_str().expect("a channel").into() };
    let key = || value["key"].as_u64().expect("a key");
    match value["type"].as_str().expect("a type") {
        "connect" => Input::Connect,
        "subscribe" => Input::Subscribe {
            channel: channel(),
            from: from(&value["from"]),
        },
        "unsubscribe" => Input::Unsubscribe { channel: channel() },
        "pause" => Input::Pause { channel: channel() },
        "resume" => Input::Resume { channel: channel() },
        "publish" => {
            let (channel, data) = (channel(), data(&value["data"]));
            Input::Queue {
                key: key(),
                item: Item::Publish {
                    channel,
                    data,
                    tag: None,
                },
            }
        }
        "send" => {
            let (data, method) = (
                data(&value["data"]),
                value["method"].as_str().map(Into::into),
            );
            Input::Queue {
                key: key(),
                item: Item::Send { data, method },
            }
        }
        "history" => {
            let request = Request::History {
                channel: channel(),
                after: None,
                limit: None,
            };
            Input::Request {
                key: key(),
                request,
            }
        }
        "volatile" => {
            let (channel, data) = (channel(), data(&value["data"]));
            Input::Request {
                key: key(),
                request: Request::Publish { channel, data },
            }
        }
        "refresh" => Input::Request {
            key: key(),
            request: Request::Refresh {
                token: value["token"].as_str().expect("a token").into(),
            },
        },
        "clear_outbox" => Input::ClearOutbox,
        "close" => Input::Close {
            bye: value["bye"].as_bool().expect("a bool"),
        },
        _ => happening(value),
    }
}

/// What is no command.
fn happening(value: &Value) -> Input {
    let link = || value["link"].as_u64().expect("a link");
    match value["type"].as_str().expect("a type") {
        "token" => Input::Token(value["token"].as_str().map(Into::into)),
        "token_failed" => Input::TokenFailed {
            retry: value["retry"].as_bool().expect("a bool"),
        },
        "hint" => Input::Hint(serde_json::from_value(value["hint"].clone()).expect("a hint")),
        "opened" => Input::Opened { link: link() },
        "received" => Input::Received { link: link() },
        "failed" => Input::Failed {
            link: link(),
            evidence: serde_json::from_value(value["evidence"].clone()).expect("evidence"),
        },
        "message" => {
            let text = value["message"].to_string();
            let message = decode_server(Incoming::Text(&text))
                .next()
                .expect("one message");
            Input::Message {
                link: link(),
                message: message.expect("a valid message"),
            }
        }
        "timeout" => Input::Timeout,
        other => panic!("no such input: {other}"),
    }
}

/// An output.
pub(crate) fn output(output: &Output) -> Value {
    match output {
        Output::Authorize => json!({"type": "authorize"}),
        Output::Dial { link, url: None } => json!({"type": "dial", "link": link}),
        Output::Dial { link, url } => json!({"type": "dial", "link": link, "url": url}),
        Output::Write { link, message } => {
            json!({"type": "write", "link": link, "message": wire(&encode_client(message))})
        }
        Output::CloseLink { link, code } => {
            json!({"type": "close_link", "link": link, "code": code})
        }
        Output::Event(event) => self::event(event),
    }
}

fn event(event: &Event) -> Value {
    let as_wire = |name: &str, message: ServerMessage| named(name, wire(&encode_server(&message)));
    match event.clone() {
        Event::State(state) => named("state", json!({"state": state})),
        Event::Health(level) => named("health", json!({"level": level})),
        Event::Welcome {
            resumed,
            reason,
            acked,
            connection,
            session,
        } => named(
            "welcome",
            json!({"resumed": resumed, "reason": reason, "acked": acked,
                   "connection": connection, "session": session}),
        ),
        Event::Subscribed { channel, recovery } => as_wire(
            "subscribed",
            ServerMessage::Subscribed {
                id: None,
                channel,
                recovery,
            },
        ),
        Event::SubscribeFailed { channel, error } => named(
            "subscribe_failed",
            json!({"channel": channel, "error": error}),
        ),
        Event::Unsubscribed { channel, code } => as_wire(
            "unsubscribed",
            ServerMessage::Unsubscribed {
                id: None,
                channel,
                code,
            },
        ),
        Event::Message(message) => as_wire("message", ServerMessage::Message(message)),
        Event::Gap {
            channel,
            position,
            reason,
            missed,
        } => as_wire(
            "gap",
            ServerMessage::Gap {
                channel,
                position,
                reason,
                missed,
            },
        ),
        other => outcome(other),
    }
}

/// The events that have no message of the wire behind them.
fn outcome(event: Event) -> Value {
    match event {
        Event::Acked { key } => named("acked", json!({"key": key})),
        Event::Dropped { key, fate, reason } => named(
            "dropped",
            json!({"key": key, "fate": fate, "reason": reason}),
        ),
        Event::Reply { key, data } => named("reply", json!({"key": key, "data": plain(&data)})),
        Event::ReplyLost { key } => named("reply_lost", json!({"key": key})),
        Event::Answer {
            key,
            result: Ok(data),
        } => named("answer", json!({"key": key, "data": plain(&data)})),
        Event::Answer {
            key,
            result: Err(error),
        } => named("answer", json!({"key": key, "error": error})),
        Event::Error(error) => named("error", json!({"error": error})),
        Event::LinkClosed {
            link,
            evidence,
            verdict,
        } => named(
            "link_closed",
            json!({"link": link, "evidence": evidence, "verdict": verdict}),
        ),
        other => panic!("not an outcome: {other:?}"),
    }
}

fn named(name: &str, mut value: Value) -> Value {
    let fields = value.as_object_mut().expect("an object");
    fields.insert("type".into(), "event".into());
    fields.insert("event".into(), name.into());
    value
}

fn from(value: &Value) -> From {
    match value {
        Value::Null => From::Now,
        Value::String(text) if text == "first" => From::First,
        Value::String(text) => From::After(text.parse::<Position>().expect("a position")),
        value => From::Last(value["last"].as_u64().expect("a count")),
    }
}

fn data(value: &Value) -> Data {
    json_data(value.to_string().as_bytes()).expect("a JSON value")
}

fn plain(data: &Data) -> Value {
    serde_json::from_slice(data.bytes()).expect("traces carry JSON")
}

fn wire(frame: &Frame) -> Value {
    serde_json::from_slice(frame.bytes()).expect("traces carry text frames")
}
