//! What a welcomed client asks for, message by message.
//!
//! Owns the dispatch of `bowline.v1` after `welcome`. A refusal is an answer and keeps the
//! connection; only `bye` and a broken protocol end it.

use std::sync::Arc;

use bowline_engine::{Effect, PageLimit};
use bowline_proto::{
    Code, Data, Time,
    message::{
        ClientMessage, Echo, ErrorInfo, History, Publish, Send, ServerMessage, Subject, Subscribe,
    },
    recovery::From,
    server::Intake,
};
use bowline_ws::{CloseCode, CloseFrame};

use super::{
    End, Peer, hello,
    reading::Reading,
    upstream::{Item, Origin, Pipeline, Work, answer},
};
use crate::{
    access::{Identity, Operation},
    handler::{Incoming, Payload},
    history::{HISTORY_DEFAULT, HISTORY_MAX, read_history},
    node::{Node, count},
    presence::Presence,
};

/// When a volatile message may be tried again that found the connection's queue full: the engine
/// and most handlers have taken what was before it by then.
const VOLATILE_RETRY_MS: u64 = 100;

/// Serves one message.
pub(super) async fn take(
    reading: &mut Reading,
    message: ClientMessage,
    limited: Option<ErrorInfo>,
    peer: &mut Peer,
    pipeline: &mut Pipeline,
) -> Result<(), End> {
    let node = reading.node.clone();
    let now = || node.clock.now();
    // A numbered message is refused by its number; pongs are answers and cost nothing.
    let error = match (limited.clone(), &message) {
        (None, _)
        | (_, ClientMessage::Publish(_) | ClientMessage::Send(_) | ClientMessage::Skip { .. })
        | (_, ClientMessage::Pong { .. } | ClientMessage::Bye) => None,
        (limited, _) => limited,
    };
    if let Some(error) = error {
        reading.link.send(
            &ServerMessage::Error {
                to: message.id().map(Subject::Id),
                error,
            },
            now(),
        );
        return Ok(());
    }
    match message {
        ClientMessage::Hello(_) => return Err(End::code(Code::HelloExpected)),
        ClientMessage::Bye => {
            if let Some(key) = reading.link.session() {
                let _ = node.engine.end_session(key).await;
            }
            return Err(End::Close(CloseFrame::new(CloseCode::NORMAL, "")));
        }
        ClientMessage::Ping { ts } => reading.link.send(&ServerMessage::Pong { ts }, now()),
        ClientMessage::Pong { ts, .. } => {
            if let Some(sent) = ts.and_then(|ts| ts.as_json().parse().ok()) {
                reading.link.ponged(Time::from_micros(sent), now());
            }
        }
        ClientMessage::Subscribe(request) => subscribe(reading, request).await,
        ClientMessage::Unsubscribe { id, channel } => unsubscribe(reading, id, channel),
        ClientMessage::Refresh { id, token } => {
            let refreshed = super::grants::refresh(reading, &token).await?;
            reply(reading, id, refreshed.map(|()| Data::Json("{}".into())));
        }
        ClientMessage::History(request) => {
            let id = request.id.clone();
            let outcome = history(&node, &reading.identity(), request).await;
            reply(reading, id, outcome);
        }
        ClientMessage::Presence { id, channel, limit } => {
            let outcome = presence(&node, &reading.identity(), &channel, limit).await;
            reply(reading, id, outcome);
        }
        ClientMessage::Publish(publish) => {
            take_publish(reading, publish, limited, peer, pipeline).await
        }
        ClientMessage::Send(send) => take_send(reading, send, limited, peer, pipeline),
        ClientMessage::Skip { seq } => {
            if peer.upstream.skip(seq) == Intake::Accept {
                let item = Item {
                    origin: Origin::Seq(seq),
                    work: Work::Store(Effect::Advance),
                };
                pipeline.push(&node, &reading.link, item);
            }
            answer(&node, &reading.link, peer);
        }
    }
    Ok(())
}

async fn take_publish(
    reading: &Reading,
    publish: Publish,
    limited: Option<ErrorInfo>,
    peer: &mut Peer,
    pipeline: &mut Pipeline,
) {
    let Publish {
        seq,
        id,
        channel,
        data,
        tag,
    } = publish;
    let identity = reading.identity();
    let refused = match limited {
        Some(limited) => Some(limited),
        None => check_publish(&reading.node, &identity, &channel, &data)
            .await
            .err(),
    };
    let user = identity.user.clone();
    let effect = Effect::Publish {
        channel,
        data,
        user,
        tag,
        key: None,
    };
    accept(
        reading,
        peer,
        pipeline,
        origin(seq, id),
        Work::Store(effect),
        refused,
    );
}

fn take_send(
    reading: &Reading,
    send: Send,
    limited: Option<ErrorInfo>,
    peer: &mut Peer,
    pipeline: &mut Pipeline,
) {
    let refused = limited.or_else(|| check_send(&reading.node, &send.data).err());
    let incoming = Incoming {
        session: reading.link.session(),
        seq: send.seq,
        user: reading.link.user(),
        method: send.method.map(Arc::from),
        payload: Payload::Data(send.data),
    };
    let origin = origin(send.seq, send.id);
    accept(
        reading,
        peer,
        pipeline,
        origin,
        Work::Handle(incoming),
        refused,
    );
}

/// Answers a message that could not be read; a numbered one is refused by its number, so that what
/// follows it is discarded until it comes again.
pub(super) fn refuse(reading: &Reading, to: Option<Subject>, error: ErrorInfo, peer: &mut Peer) {
    match to {
        Some(Subject::Seq(seq)) if seq > 0 => {
            peer.upstream.receive(seq, Some(error));
            answer(&reading.node, &reading.link, peer);
        }
        to => {
            let error = ServerMessage::Error { to, error };
            reading.link.send(&error, reading.node.clock.now());
        }
    }
}

fn origin(seq: Option<u64>, id: Option<Echo>) -> Origin {
    seq.map_or(Origin::Volatile(id), Origin::Seq)
}

/// Lets the session's numbers decide, and starts what is accepted.
fn accept(
    reading: &Reading,
    peer: &mut Peer,
    pipeline: &mut Pipeline,
    origin: Origin,
    work: Work,
    refused: Option<ErrorInfo>,
) {
    let node = &reading.node;
    match &origin {
        Origin::Seq(seq) => match peer.upstream.receive(*seq, refused) {
            Intake::Accept => pipeline.push(node, &reading.link, Item { origin, work }),
            Intake::Duplicate => count(&node.counters.upstream_duplicates, 1),
            Intake::Discard | Intake::Refused => {}
        },
        Origin::Raw(_) => pipeline.push(node, &reading.link, Item { origin, work }),
        Origin::Volatile(id) => {
            let full = pipeline.len() >= node.config.inflight_max;
            let later = || ErrorInfo::new(Code::RateLimited).with_retry_after_ms(VOLATILE_RETRY_MS);
            match refused.or_else(|| full.then(later)) {
                None => pipeline.push(node, &reading.link, Item { origin, work }),
                Some(error) => {
                    let to = id.clone().map(Subject::Id);
                    let error = ServerMessage::Error { to, error };
                    reading.link.send(&error, node.clock.now());
                }
            }
        }
    }
    answer(node, &reading.link, peer);
}

async fn check_publish(
    node: &Node,
    identity: &Identity,
    channel: &str,
    data: &Data,
) -> Result<(), ErrorInfo> {
    hello::permit(node, identity, Operation::Publish, channel).await?;
    check_size(node, data)
}

fn check_send(node: &Node, data: &Data) -> Result<(), ErrorInfo> {
    if node.handler.is_none() {
        return Err(Code::NoHandler.into());
    }
    check_size(node, data)
}

fn check_size(node: &Node, data: &Data) -> Result<(), ErrorInfo> {
    if data.len() > node.config.message_bytes_max {
        return Err(Code::MessageTooBig.into());
    }
    Ok(())
}

async fn subscribe(reading: &Reading, request: Subscribe) {
    let Subscribe { id, channel, from } = request;
    let (node, link) = (&reading.node, &reading.link);
    let full = link.subscriptions(&channel).1 >= node.config.subscriptions_per_connection_max;
    let followed = if full {
        Err(Code::TooManySubscriptions.into())
    } else {
        hello::follow(node, link, &reading.identity(), &channel, from).await
    };
    let now = node.clock.now();
    match followed {
        Ok((joined, cursor, recovery)) => {
            let answer = ServerMessage::Subscribed {
                id,
                channel,
                recovery,
            };
            link.subscribe(Some(&answer), vec![(joined, cursor)], now);
        }
        Err(error) => {
            link.send(
                &ServerMessage::Error {
                    to: id.map(Subject::Id),
                    error,
                },
                now,
            );
        }
    }
}

fn unsubscribe(reading: &Reading, id: Option<Echo>, channel: Arc<str>) {
    let answer = match reading.link.unsubscribe(&channel) {
        Some(joined) => {
            reading.node.hub.leave(&joined, &reading.link);
            ServerMessage::Unsubscribed {
                id,
                channel,
                code: None,
            }
        }
        None => refusal(id, Code::NotSubscribed),
    };
    reading.link.send(&answer, reading.node.clock.now());
}

fn reply(reading: &Reading, id: Option<Echo>, outcome: Result<Data, ErrorInfo>) {
    let to = id.map(Subject::Id);
    let answer = match (outcome, to) {
        (Ok(data), Some(to)) => ServerMessage::Reply { to, data },
        // Nothing was asked to be told.
        (Ok(_), None) => return,
        (Err(error), to) => ServerMessage::Error { to, error },
    };
    reading.link.send(&answer, reading.node.clock.now());
}

fn refusal(id: Option<Echo>, code: Code) -> ServerMessage {
    ServerMessage::Error {
        to: id.map(Subject::Id),
        error: code.into(),
    }
}

async fn history(node: &Node, identity: &Identity, request: History) -> Result<Data, ErrorInfo> {
    let History {
        channel,
        after,
        limit,
        ..
    } = request;
    hello::permit(node, identity, Operation::History, &channel).await?;
    let limit = limit.map_or(HISTORY_DEFAULT, |limit| {
        usize::try_from(limit).unwrap_or(HISTORY_MAX)
    });
    let limit = limit.clamp(1, HISTORY_MAX);
    let from = after.map_or(From::Last(limit as u64), From::After);
    let page = PageLimit {
        count: limit,
        bytes: node.config.send_queue_bytes_max / 2,
    };
    read_history(&*node.engine, &channel, from, page)
        .await
        .map_err(|_| Code::StorageUnavailable.into())
}

async fn presence(
    node: &Node,
    identity: &Identity,
    channel: &str,
    limit: Option<u64>,
) -> Result<Data, ErrorInfo> {
    hello::permit(node, identity, Operation::Presence, channel).await?;
    let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let presence = Presence::of(node, channel, limit);
    let text = serde_json::to_vec(&presence).map_err(|_| ErrorInfo::new(Code::Internal))?;
    Ok(Data::Json(text.into()))
}
