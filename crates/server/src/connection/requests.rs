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
use tokio::task::yield_now;

use super::{
    End,
    desk::Desk,
    hello,
    upstream::{Item, Origin, Work, answer},
};
use crate::{
    access::{Identity, Operation},
    handler::{Incoming, Payload},
    history::{HISTORY_DEFAULT, HISTORY_MAX, read_history},
    node::{Node, count},
    presence::Presence,
    sync::lock,
};

/// When a volatile message may be tried again that found the connection's queue full: the engine
/// and most handlers have taken what was before it by then.
const VOLATILE_RETRY_MS: u64 = 100;

/// Serves one message.
pub(super) async fn take(
    desk: &mut Desk,
    message: ClientMessage,
    limited: Option<ErrorInfo>,
) -> Result<(), End> {
    let node = desk.node.clone();
    let now = || node.clock.now();
    // A numbered message is refused by its number; pongs are answers and cost nothing; who gives up
    // many channels at once gives something back, and would else stay subscribed without knowing it.
    let error = match (limited.clone(), &message) {
        (None, _)
        | (_, ClientMessage::Publish(_) | ClientMessage::Send(_) | ClientMessage::Skip { .. })
        | (
            _,
            ClientMessage::Unsubscribe { .. } | ClientMessage::Pong { .. } | ClientMessage::Bye,
        ) => None,
        (limited, _) => limited,
    };
    if let Some(error) = error {
        desk.link.send(
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
            leave(desk).await;
            return Err(End::Close(CloseFrame::new(CloseCode::NORMAL, "")));
        }
        ClientMessage::Ping { ts } => desk.link.send(&ServerMessage::Pong { ts }, now()),
        ClientMessage::Pong { ts, .. } => {
            if let Some(sent) = ts.and_then(|ts| ts.as_json().parse().ok()) {
                desk.link.ponged(Time::from_micros(sent), now());
            }
        }
        ClientMessage::Subscribe(request) => subscribe(desk, request).await,
        ClientMessage::Unsubscribe { id, channel } => unsubscribe(desk, id, channel),
        ClientMessage::Refresh { id, token } => {
            let refreshed = super::grants::refresh(desk, &token).await?;
            reply(desk, id, refreshed.map(|()| Data::Json("{}".into())));
        }
        ClientMessage::History(request) => {
            let id = request.id.clone();
            let outcome = history(&node, &desk.identity(), request).await;
            reply(desk, id, outcome);
            // It may have taken long: others have their turn.
            yield_now().await;
        }
        ClientMessage::Presence { id, channel, limit } => {
            let outcome = presence(&node, &desk.identity(), &channel, limit).await;
            reply(desk, id, outcome);
            yield_now().await;
        }
        ClientMessage::Publish(publish) => take_publish(desk, publish, limited).await,
        ClientMessage::Send(send) => take_send(desk, send, limited),
        ClientMessage::Skip { seq } => {
            if desk.peer.upstream.skip(seq) == Intake::Accept {
                let item = Item {
                    origin: Origin::Seq(seq),
                    work: Work::Store(Effect::Advance),
                };
                desk.peer.pipeline.push(&node, &desk.link, item);
            }
            answer(&node, &desk.link, &mut desk.peer.upstream);
        }
    }
    Ok(())
}

/// Does and answers what stands before `bye`, then ends the session. Meanwhile the writing half goes on:
/// a newer link, or a server that stops, ends the connection first.
async fn leave(desk: &mut Desk) {
    desk.finish().await;
    let (node, link) = (desk.node.clone(), desk.link.clone());
    // What still runs would write its number into a record of its own.
    let (Some(key), Some(work)) = (link.session(), link.begin_work().await) else {
        return;
    };
    // A task of its own: whoever takes the session over amid this waits for it, as for other work,
    // and so never goes on with a record that is about to go.
    let ending = tokio::spawn(async move {
        let ended = node.engine.end_session(key).await;
        if let Err(error) = ended {
            tracing::warn!(connection = link.id, %error, "the session's record is left to expire");
        }
        // From here on the link is none of this session, however long its closing handshake takes.
        lock(&node.sessions).release(&key, link.id);
        drop(work);
    });
    let _ = ending.await;
}

async fn take_publish(desk: &mut Desk, publish: Publish, limited: Option<ErrorInfo>) {
    let Publish {
        seq,
        id,
        channel,
        data,
        tag,
    } = publish;
    let identity = desk.identity();
    let refused = match limited {
        Some(limited) => Some(limited),
        None => check_publish(&desk.node, &identity, &channel, &data)
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
    accept(desk, origin(seq, id), Work::Store(effect), refused);
}

fn take_send(desk: &mut Desk, send: Send, limited: Option<ErrorInfo>) {
    let refused = limited.or_else(|| check_send(&desk.node, &send.data).err());
    let incoming = Incoming {
        session: desk.link.session(),
        seq: send.seq,
        user: desk.link.user(),
        method: send.method.map(Arc::from),
        payload: Payload::Data(send.data),
    };
    let origin = origin(send.seq, send.id);
    accept(desk, origin, Work::Handle(incoming), refused);
}

/// Answers a message that could not be read; a numbered one is refused by its number, so that what
/// follows it is discarded until it comes again.
pub(super) fn refuse(desk: &mut Desk, to: Option<Subject>, error: ErrorInfo) {
    match to {
        Some(Subject::Seq(seq)) if seq > 0 => {
            desk.peer.upstream.receive(seq, Some(error));
            answer(&desk.node, &desk.link, &mut desk.peer.upstream);
        }
        to => {
            let error = ServerMessage::Error { to, error };
            desk.link.send(&error, desk.node.clock.now());
        }
    }
}

fn origin(seq: Option<u64>, id: Option<Echo>) -> Origin {
    seq.map_or(Origin::Volatile(id), Origin::Seq)
}

/// Lets the session's numbers decide, and starts what is accepted.
fn accept(desk: &mut Desk, origin: Origin, work: Work, refused: Option<ErrorInfo>) {
    let Desk { node, link, peer } = desk;
    let (upstream, pipeline) = (&mut peer.upstream, &mut peer.pipeline);
    match &origin {
        Origin::Seq(seq) => match upstream.receive(*seq, refused) {
            Intake::Accept => pipeline.push(node, link, Item { origin, work }),
            Intake::Duplicate => count(&node.counters.upstream_duplicates, 1),
            Intake::Discard | Intake::Refused => {}
        },
        Origin::Raw(_) => pipeline.push(node, link, Item { origin, work }),
        Origin::Volatile(id) => {
            let full = pipeline.len() >= node.config.inflight_max;
            let later = || ErrorInfo::new(Code::RateLimited).with_retry_after_ms(VOLATILE_RETRY_MS);
            match refused.or_else(|| full.then(later)) {
                None => pipeline.push(node, link, Item { origin, work }),
                Some(error) => {
                    let to = id.clone().map(Subject::Id);
                    let error = ServerMessage::Error { to, error };
                    link.send(&error, node.clock.now());
                }
            }
        }
    }
    answer(node, link, upstream);
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

async fn subscribe(desk: &Desk, request: Subscribe) {
    let Subscribe { id, channel, from } = request;
    let (node, link) = (&desk.node, &desk.link);
    let full = link.subscriptions(&channel).1 >= node.config.subscriptions_per_connection_max;
    let followed = if full {
        Err(Code::TooManySubscriptions.into())
    } else {
        hello::follow(node, link, &desk.identity(), &channel, from).await
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

fn unsubscribe(desk: &Desk, id: Option<Echo>, channel: Arc<str>) {
    let answer = match desk.link.unsubscribe(&channel) {
        Some(joined) => {
            desk.node.hub.leave(&joined, &desk.link);
            ServerMessage::Unsubscribed {
                id,
                channel,
                code: None,
            }
        }
        None => refusal(id, Code::NotSubscribed),
    };
    desk.link.send(&answer, desk.node.clock.now());
}

fn reply(desk: &Desk, id: Option<Echo>, outcome: Result<Data, ErrorInfo>) {
    let to = id.map(Subject::Id);
    let answer = match (outcome, to) {
        (Ok(data), Some(to)) => ServerMessage::Reply { to, data },
        // Nothing was asked to be told.
        (Ok(_), None) => return,
        (Err(error), to) => ServerMessage::Error { to, error },
    };
    desk.link.send(&answer, desk.node.clock.now());
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
    if limit == Some(0) {
        return Err(ErrorInfo::new(Code::Malformed).with_message("limit must be at least 1."));
    }
    let limit = limit.map_or(HISTORY_DEFAULT, |limit| {
        usize::try_from(limit).unwrap_or(HISTORY_MAX)
    });
    let limit = limit.min(HISTORY_MAX);
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
    let presence = Presence::of(node, channel, limit).await;
    let text = serde_json::to_vec(&presence).map_err(|_| ErrorInfo::new(Code::Internal))?;
    Ok(Data::Json(text.into()))
}
