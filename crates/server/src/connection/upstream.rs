//! Messages on their way to the log or to the application.
//!
//! Owns the appends and handler calls of one connection. Their order is decided by
//! `bowline_proto::server::Pipeline`, and which numbers are taken, acked and refused by its
//! `Upstream`.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use bowline_engine::{Append, AppendError, Effect, Producer, SessionKey};
use bowline_proto::{
    Code, Data, Position,
    message::{ErrorInfo, ServerMessage, Subject},
    server::{self, Upstream},
};
use bowline_ws::{MessageKind, encode_message};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    handler::{Incoming, MessageHandler, Rejection, Reply},
    link::{self, Link},
    node::{Node, count},
};

/// An accepted message.
pub(super) struct Item {
    /// Its number, or who is to be answered where it has none.
    pub(super) origin: Origin,
    /// What it does.
    pub(super) work: Work,
}

/// How a message is known to its sender.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// By its number.
    Seq(u64),
    /// By an `id`, or not at all.
    Volatile(Option<bowline_proto::message::Echo>),
    /// It came as a raw frame of this kind, and so goes its answer.
    Raw(MessageKind),
}

/// What an accepted message does.
pub(super) enum Work {
    /// Is stored.
    Store(Effect),
    /// Is handed to the application.
    Handle(Incoming),
}

/// A refusal, or what the sender is told beside the ack of its number.
type Outcome = Result<Option<Answer>, ErrorInfo>;
/// The data of a `reply`, or why there is none although the message was handled.
type Answer = Result<Data, ErrorInfo>;
/// What came of a run.
#[derive(Default)]
pub(super) struct Done {
    /// Of each of its messages.
    outcomes: Vec<(Origin, Outcome)>,
    handled: Option<Handled>,
}

/// The application has taken this number, and the log could not note it: sent again, it is not handed
/// over again.
struct Handled {
    seq: u64,
    told: Option<Answer>,
}

/// A task of its own: what was accepted is finished although its link ends.
type Running = JoinHandle<Done>;

/// The messages of one connection that were accepted and not yet answered; without memory where there
/// are none.
#[derive(Default)]
pub(super) struct Pipeline(Option<Box<Accepted>>);

#[derive(Default)]
struct Accepted {
    order: server::Pipeline<Item>,
    running: Option<Running>,
    handled: Option<Handled>,
}

impl Pipeline {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |accepted| accepted.order.len())
    }

    /// Whether an append or a handler is on its way.
    pub(super) fn is_running(&self) -> bool {
        let accepted = self.0.as_ref();
        accepted.is_some_and(|accepted| accepted.order.is_running())
    }

    /// Adds a message and starts it if nothing runs.
    pub(super) fn push(&mut self, node: &Arc<Node>, link: &Arc<Link>, item: Item) {
        let seq = match item.origin {
            Origin::Seq(seq) => Some(seq),
            Origin::Volatile(_) | Origin::Raw(_) => None,
        };
        let accepted = self.0.get_or_insert_default();
        match (seq, &item.work) {
            (Some(seq), Work::Store(Effect::Advance)) => accepted.order.skip(seq, item),
            (seq, work) => {
                let is_stored = matches!(work, Work::Store(_));
                accepted.order.push(seq, is_stored, item);
            }
        }
        accepted.start(node, link);
    }

    /// Ready with what ran, once it is done.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        let Some(accepted) = &mut self.0 else {
            return Poll::Pending;
        };
        let Some(running) = &mut accepted.running else {
            return Poll::Pending;
        };
        match ready!(running.poll_unpin(cx)) {
            Ok(done) => Poll::Ready(done),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => {
                // The runtime shuts down.
                accepted.running = None;
                Poll::Pending
            }
        }
    }

    /// Answers what has finished, and starts what came meanwhile.
    pub(super) fn settle(
        &mut self,
        node: &Arc<Node>,
        link: &Arc<Link>,
        upstream: &mut Upstream,
        done: Done,
    ) {
        if let Some(accepted) = &mut self.0 {
            accepted.settle(node, link, upstream, done);
        }
        self.0.take_if(|accepted| accepted.is_done());
    }
}

impl Accepted {
    fn settle(&mut self, node: &Arc<Node>, link: &Arc<Link>, upstream: &mut Upstream, done: Done) {
        self.running = None;
        self.order.finish();
        // One that was left waits for its number.
        self.handled = done.handled.or(self.handled.take());
        let now = node.clock.now();
        for (origin, outcome) in done.outcomes {
            let (to, outcome) = match (origin, outcome) {
                (Origin::Seq(seq), Ok(told)) => {
                    self.order.settle(upstream, seq, Ok(()));
                    let Some(told) = told else { continue };
                    if told.is_err() {
                        // Before its ack it would be a refusal of the number.
                        answer(node, link, upstream);
                    }
                    (Subject::Seq(seq), told)
                }
                (Origin::Seq(seq), Err(error)) => {
                    self.order.settle(upstream, seq, Err(error));
                    continue;
                }
                (Origin::Raw(kind), outcome) => {
                    match outcome.and_then(Option::transpose) {
                        Ok(Some(raw)) => {
                            link.send_frame(encode_message(kind, raw.bytes(), None), now)
                        }
                        Ok(None) => {}
                        Err(error) => tracing::warn!(connection = link.id, %error, "no answer"),
                    }
                    continue;
                }
                (Origin::Volatile(None), _) => continue,
                (Origin::Volatile(Some(id)), outcome) => {
                    let null = || Ok(Data::Json(Bytes::from_static(b"null")));
                    let told = outcome.and_then(|told| told.unwrap_or_else(null));
                    (Subject::Id(id), told)
                }
            };
            let answer = match outcome {
                Ok(data) => ServerMessage::Reply { to, data },
                Err(error) => ServerMessage::Error {
                    to: Some(to),
                    error,
                },
            };
            link.send(&answer, now);
        }
        answer(node, link, upstream);
        self.start(node, link);
    }

    fn is_done(&self) -> bool {
        self.order.is_empty() && !self.order.is_running() && self.handled.is_none()
    }

    fn start(&mut self, node: &Arc<Node>, link: &Arc<Link>) {
        // Fenced, a newer link has the session.
        if self.order.is_running() || self.order.is_empty() || link.is_fenced() {
            return;
        }
        let run = self.order.start().unwrap_or_default();
        let is_numbered = |item: &Item| matches!(item.origin, Origin::Seq(_));
        let handled = self.handled.take_if(|_| run.iter().any(is_numbered));
        let (node, link) = (node.clone(), link.clone());
        let begun = link.try_begin_work();
        self.running = Some(tokio::spawn(async move {
            let session = link.session();
            match begun {
                Some(work) => perform(node, session, run, handled, work).await,
                None => perform_later(node, link, run, handled).await,
            }
        }));
    }
}

/// Does one run behind an append that took too long; what it takes too long for itself is not done.
async fn perform_later(
    node: Arc<Node>,
    link: Arc<Link>,
    run: Vec<Item>,
    handled: Option<Handled>,
) -> Done {
    match timeout(node.config.publish_timeout, link.begin_work()).await {
        Ok(Some(work)) => perform(node, link.session(), run, handled, work).await,
        Ok(None) => Done::default(),
        Err(_) => {
            let refused =
                |item: Item| (item.origin, Err(refusal(&AppendError::StorageUnavailable)));
            Done {
                outcomes: run.into_iter().map(refused).collect(),
                handled,
            }
        }
    }
}

/// Does one run: stores its messages together, or hands its only one to the application.
async fn perform(
    node: Arc<Node>,
    session: Option<SessionKey>,
    run: Vec<Item>,
    handled: Option<Handled>,
    running: link::Work,
) -> Done {
    let mut batch = Vec::new();
    let mut origins = Vec::new();
    for Item { origin, work } in run {
        match work {
            Work::Store(effect) => {
                batch.push(Append {
                    producer: producer(session, &origin),
                    effect,
                });
                origins.push(origin);
            }
            Work::Handle(incoming) => {
                return handle(node, session, origin, incoming, handled, running).await;
            }
        }
    }
    Done {
        outcomes: store(node, origins, batch, running).await,
        handled: None,
    }
}

/// Sends what the machine owes: `acked`, then `error`.
pub(super) fn answer(node: &Node, link: &Link, upstream: &mut Upstream) {
    let owed = upstream.poll();
    let now = node.clock.now();
    if let Some(seq) = owed.acked {
        link.send(&ServerMessage::Acked { seq }, now);
    }
    if let Some((seq, error)) = owed.refused {
        count(&node.counters.upstream_refused, 1);
        link.send(
            &ServerMessage::Error {
                to: Some(Subject::Seq(seq)),
                error,
            },
            now,
        );
    }
}

fn producer(session: Option<SessionKey>, origin: &Origin) -> Option<Producer> {
    match (session, origin) {
        (Some(session), Origin::Seq(seq)) => Some(Producer { session, seq: *seq }),
        _ => None,
    }
}

async fn store(
    node: Arc<Node>,
    origins: Vec<Origin>,
    batch: Vec<Append>,
    running: link::Work,
) -> Vec<(Origin, Outcome)> {
    let outcomes = node.append_for(running, batch).await;
    origins
        .into_iter()
        .zip(outcomes)
        .map(|(origin, outcome)| {
            let outcome = match outcome {
                Ok(appended) => {
                    count(
                        &node.counters.upstream_duplicates,
                        appended.duplicate.into(),
                    );
                    let told = matches!(origin, Origin::Volatile(Some(_)));
                    Ok(told.then(|| Ok(position_data(appended.position))))
                }
                Err(error) => Err(refusal(&error)),
            };
            (origin, outcome)
        })
        .collect()
}

async fn handle(
    node: Arc<Node>,
    session: Option<SessionKey>,
    origin: Origin,
    incoming: Incoming,
    handled: Option<Handled>,
    running: link::Work,
) -> Done {
    let producer = producer(session, &origin);
    let handled = match (handled, &node.handler) {
        (Some(handled), _) if producer.is_some_and(|it| it.seq == handled.seq) => Ok(handled.told),
        (_, None) => Err(Code::NoHandler.into()),
        (_, Some(handler)) => {
            let reply = call(&node, handler, incoming).await;
            reply.map(|reply| told(&node, &origin, reply))
        }
    };
    let (Ok(told), Some(producer)) = (&handled, producer) else {
        return Done {
            outcomes: vec![(origin, handled)],
            handled: None,
        };
    };
    // The number is stored once the application has answered: at least once, in order. It is so
    // whatever becomes of the answer.
    let mark = Append {
        producer: Some(producer),
        effect: Effect::Advance,
    };
    let noted = node.append_for(running, vec![mark]).await.pop();
    let failed = match noted {
        Some(Ok(_)) => None,
        Some(Err(error)) => Some(error),
        None => Some(AppendError::FateUnknown),
    };
    let Some(error) = failed else {
        return Done {
            outcomes: vec![(origin, handled)],
            handled: None,
        };
    };
    // No refusal: it has had its effect.
    let message = format!("The message was handled, but the log has not noted it: {error}.");
    let unknown = ErrorInfo::new(Code::FateUnknown).with_message(message);
    Done {
        outcomes: vec![(origin, Err(unknown))],
        handled: Some(Handled {
            seq: producer.seq,
            told: told.clone(),
        }),
    }
}

/// The application's answer, if it has one and can be told: none is sent that its client would have to
/// refuse.
fn told(node: &Node, origin: &Origin, reply: Reply) -> Option<Answer> {
    let data = match origin {
        Origin::Raw(_) => Data::Binary(reply.into_raw()?),
        Origin::Seq(_) | Origin::Volatile(_) => reply.into_data(),
    };
    let answer = match (origin, node.config.sendable(data)) {
        // RFC 6455, 5.6: a text frame is UTF-8.
        (Origin::Raw(MessageKind::Text), Ok(raw)) if str::from_utf8(raw.bytes()).is_err() => {
            Err(Code::Malformed)
        }
        (_, answer) => answer,
    };
    Some(answer.map_err(|code| {
        let why = code.as_str();
        tracing::warn!(why, "the application's reply can't be sent");
        let message = format!("The message was handled, but its reply can't be sent: {why}.");
        ErrorInfo {
            // Sent again it would be handled again, to the same end.
            retry: false,
            ..ErrorInfo::new(Code::Internal).with_message(message)
        }
    }))
}

/// Calls the application, within `handler_timeout`; its panic is its failure.
pub(super) async fn call(
    node: &Node,
    handler: &Arc<dyn MessageHandler>,
    incoming: Incoming,
) -> Result<Reply, ErrorInfo> {
    let handler = handler.clone();
    let begun = Instant::now();
    let called = std::panic::AssertUnwindSafe(async move { handler.on_message(incoming).await });
    let called = timeout(node.config.handler_timeout, called.catch_unwind()).await;
    node.counters.handler_calls.since(begun);
    match called {
        Err(_) => Err(Code::HandlerTimeout.into()),
        Ok(Err(_)) => Err(Code::HandlerFailed.into()),
        Ok(Ok(Ok(reply))) => Ok(reply),
        Ok(Ok(Err(rejection))) => {
            let mut sentence = rejection.message.into_owned();
            sentence.truncate(sentence.floor_char_boundary(Rejection::MESSAGE_BYTES_MAX));
            let error = ErrorInfo::new(Code::Rejected).with_message(sentence);
            Err(match rejection.retry_after {
                None => error,
                Some(after) => ErrorInfo {
                    retry: true,
                    retry_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
                    ..error
                },
            })
        }
    }
}

fn position_data(position: Option<Position>) -> Data {
    let text = match position {
        Some(position) => format!("{{\"position\":\"{position}\"}}"),
        None => "{}".to_owned(),
    };
    Data::Json(text.into())
}

/// What a failed append is on the wire.
pub(crate) fn refusal(error: &AppendError) -> ErrorInfo {
    let info = match error {
        AppendError::StorageFull => ErrorInfo::new(Code::StorageFull),
        AppendError::StorageUnavailable => ErrorInfo::new(Code::StorageUnavailable),
        AppendError::TooManyChannels => ErrorInfo::new(Code::TooManyChannels),
        // The log takes messages, only none of a session that is new to it.
        AppendError::TooManySessions => ErrorInfo::new(Code::Overloaded)
            .with_message("The engine records no further session, of this user or in all."),
        AppendError::KeyReused => ErrorInfo::new(Code::KeyReused),
        AppendError::FateUnknown => ErrorInfo::new(Code::FateUnknown),
        _ => ErrorInfo::new(Code::StorageUnavailable),
    };
    if info.retry {
        info.with_retry_after_ms(RETRY_AFTER_MS)
    } else {
        info
    }
}

/// When a publisher should try again after the log refused: space and disks come back on their own
/// time, and a second is short beside that.
const RETRY_AFTER_MS: u64 = 1_000;
