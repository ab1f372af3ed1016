//! `hello`: who is there, which session goes on, and from where each channel is followed.
//!
//! Owns the handshake of `bowline.v1` from the first message to `welcome`. Takeover fences the old
//! link before `acked` is read; subscriptions begin with `welcome`, in one step.

use std::sync::Arc;

use bowline_proto::{
    Code,
    message::{ErrorInfo, Hello, ServerMessage, SessionReason, Welcome},
    recovery::{ChannelState, From, Recovery, RecoveryReason, recover},
    server::{Claim, Resumption, Subscription, resume_session},
};
use futures_util::future::join_all;

use super::{End, Peer};
use crate::{
    access::{Credentials, Entrance, Identity, Operation, personal_channel},
    channel::Channel,
    link::{Ending, Link},
    node::{Node, count, session_key},
    sync::lock,
};

/// After so many subscriptions of a hello other connections have their turn.
const SUBSCRIPTIONS_PER_TURN: usize = 256;

/// Questions to the access control at once, for one client.
const QUESTIONS_MAX: usize = 16;

/// The longest session id that a client may choose, in bytes.
const SESSION_BYTES_MAX: usize = 128;

/// Answers `hello` with `welcome`, or ends the connection.
pub(super) async fn answer(node: &Node, link: &Arc<Link>, mut hello: Hello) -> Result<Peer, End> {
    let identity = authenticate(node, link, hello.token.as_deref()).await?;
    let old = takes_over(node, &identity, &hello);
    let settled = link
        .pass
        .settle(identity.user.as_ref(), old.as_deref().map(|old| &old.pass));
    settled.map_err(|refusal| End::info(&refusal.info()))?;
    if let Some(client) = hello.client.take() {
        link.introduce(node.clients.shared(client));
    }
    let opened = open_session(node, link, &identity, &hello).await?;
    let mut subscriptions = Vec::new();
    let mut entries = Vec::new();
    let mut asked = hello.subscribe;
    if let Some(personal) = personal(node, &identity)
        && !asked.iter().any(|(channel, _)| *channel == personal)
    {
        asked.push((personal, Some(From::Now)));
    }
    let names: Vec<_> = asked.iter().map(|(channel, _)| channel.clone()).collect();
    let granted = permit_each(node, &identity, &names).await;
    for (index, ((channel, from), granted)) in asked.into_iter().zip(granted).enumerate() {
        if index % SUBSCRIPTIONS_PER_TURN == SUBSCRIPTIONS_PER_TURN - 1 {
            tokio::task::yield_now().await;
        }
        let outcome =
            if link.subscriptions(&channel).1 >= node.config.subscriptions_per_connection_max {
                Err(ErrorInfo::new(Code::TooManySubscriptions))
            } else {
                match (granted, from) {
                    (Err(error), _) => Err(error),
                    (Ok(()), None) => Err(ErrorInfo::new(Code::BadPosition)),
                    (Ok(()), Some(from)) => join(node, link, &channel, from).await,
                }
            };
        subscriptions.push((
            channel,
            outcome.map(|(channel, cursor, recovery)| {
                entries.push((channel, cursor));
                recovery
            }),
        ));
    }
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let welcome = ServerMessage::Welcome(Box::new(Welcome {
        id: hello.id,
        connection: link.id.to_string().into(),
        session: opened.session.clone(),
        resumed: opened.resumed,
        reason: opened.reason,
        user: identity.user.clone(),
        node: node.name.clone(),
        acked: opened.acked,
        inflight_max: node.config.inflight_max as u64,
        session_ttl_ms: millis(node.config.session_ttl),
        ping_interval_ms: millis(node.config.ping_interval),
        pong_timeout_ms: millis(node.config.pong_timeout),
        message_bytes_max: node.config.message_bytes_max as u64,
        max_reconnect_attempts: node.config.max_reconnect_attempts.into(),
        subscriptions,
    }));
    link.subscribe(Some(&welcome), entries, node.clock.now());
    link.pass.welcomed();
    node.counters
        .handshakes
        .observe(node.clock.now() - link.opened);
    Ok(Peer::new(node, opened.acked))
}

/// The connection whose session, and so whose place within the limits, this one takes over.
fn takes_over(node: &Node, identity: &Identity, hello: &Hello) -> Option<Arc<Link>> {
    let key = session_key(identity.user.as_deref(), hello.session.as_deref()?);
    let holder = lock(&node.sessions).holder_below(&key, hello.link)?;
    node.link(holder)
}

/// Finds out who the client is, and notes it.
pub(super) async fn authenticate(
    node: &Node,
    link: &Link,
    token: Option<&str>,
) -> Result<Arc<Identity>, End> {
    let identity = node.shared(judge(node, link, token).await?);
    link.identify(identity.clone(), node.clock.now());
    Ok(identity)
}

/// Who shows this token, or none.
pub(super) async fn judge(node: &Node, link: &Link, token: Option<&str>) -> Result<Identity, End> {
    let credentials = Credentials {
        token,
        entrance: Entrance::WebSocket,
        remote_addr: Some(link.peer.ip()),
        origin: link.origin.as_deref(),
    };
    let verdict = node.access.authenticate(credentials).await;
    verdict.map_err(|error| End::info(&error))
}

struct Opened {
    session: Box<str>,
    acked: u64,
    resumed: bool,
    reason: Option<SessionReason>,
}

async fn open_session(
    node: &Node,
    link: &Link,
    identity: &Identity,
    hello: &Hello,
) -> Result<Opened, End> {
    let Some(session) = &hello.session else {
        let session = claim_fresh(node, link, identity, hello.link)?;
        return Ok(Opened {
            session,
            acked: 0,
            resumed: false,
            reason: None,
        });
    };
    if session.is_empty() || session.len() > SESSION_BYTES_MAX {
        return Err(End::code(Code::Malformed));
    }
    let key = session_key(identity.user.as_deref(), session);
    let taken_over = {
        let mut sessions = lock(&node.sessions);
        match sessions.claim(key, hello.link, link.id) {
            Claim::Refused => return Err(End::code(Code::Replaced)),
            Claim::Free => false,
            Claim::TakesOver(old) => {
                let old = node.link(old);
                old.iter().for_each(|old| old.end(Ending::Replaced));
                // Before the next claim, which is to wait for both.
                link.follow(old);
                count(&node.counters.takeovers, 1);
                true
            }
        }
    };
    // Before anything is waited for: whatever ends this connection then gives the claim back.
    link.hold(key);
    // What was accepted there is finished first, and nothing more begins: R is final.
    link.fence_before().await;
    let record = node
        .engine
        .session(key)
        .await
        .map_err(|_| End::code(Code::Internal))?;
    match resume_session(record, taken_over, hello.first, hello.next) {
        Ok(Resumption { acked, resumed }) => Ok(Opened {
            session: session.clone(),
            acked,
            resumed,
            reason: None,
        }),
        Err(reason) => {
            lock(&node.sessions).release(&key, link.id);
            let session = claim_fresh(node, link, identity, hello.link)?;
            Ok(Opened {
                session,
                acked: 0,
                resumed: false,
                reason: Some(reason),
            })
        }
    }
}

fn claim_fresh(
    node: &Node,
    link: &Link,
    identity: &Identity,
    number: Option<u64>,
) -> Result<Box<str>, End> {
    let random = node.entropy.draw();
    let random = random.ok_or_else(|| End::code(Code::Internal))?;
    let session: Box<str> = format!("{random:032x}").into();
    let key = session_key(identity.user.as_deref(), &session);
    // Under the client's own number: without one it would count as the highest, and the client's
    // next dial would be refused as another's.
    lock(&node.sessions).claim(key, number, link.id);
    link.hold(key);
    Ok(session)
}

/// Whether the client may follow each of these channels, in their order; so many questions at a time that an
/// access control that takes its time does not take it for each.
pub(super) async fn permit_each(
    node: &Node,
    identity: &Identity,
    channels: &[Arc<str>],
) -> Vec<Result<(), ErrorInfo>> {
    let mut verdicts = Vec::with_capacity(channels.len());
    for some in channels.chunks(QUESTIONS_MAX) {
        let mut questions = Vec::with_capacity(some.len());
        for channel in some {
            questions.push(permit(node, identity, Operation::Subscribe, channel));
        }
        verdicts.extend(join_all(questions).await);
    }
    verdicts
}

/// Joins a channel that the client may follow.
pub(super) async fn follow(
    node: &Node,
    link: &Arc<Link>,
    identity: &Identity,
    name: &Arc<str>,
    from: From,
) -> Result<(Arc<Channel>, Subscription, Recovery), ErrorInfo> {
    permit(node, identity, Operation::Subscribe, name).await?;
    join(node, link, name, from).await
}

/// Joins a channel and decides where its subscription begins; nothing is delivered before the
/// caller hands the cursor to the link. The link remembers the membership from the join on, so that
/// it ends with the connection even if this is cut short.
async fn join(
    node: &Node,
    link: &Arc<Link>,
    name: &Arc<str>,
    from: From,
) -> Result<(Arc<Channel>, Subscription, Recovery), ErrorInfo> {
    if link.subscriptions(name).0 {
        return Err(Code::AlreadySubscribed.into());
    }
    // Joined first, so that what is published from here on is told to the channel's tail.
    let channel = node.hub.join(name, link);
    let known = channel.with_tail(|tail| tail.epoch());
    let Ok(state) = node.engine.channel(name).await else {
        link.unsubscribe(name);
        node.hub.leave(&channel, link);
        return Err(Code::StorageUnavailable.into());
    };
    if state == ChannelState::Absent {
        // Others have followed it for longer than the log remembers it.
        channel.with_tail(|tail| tail.forget(known));
    }
    let recovery = recover(from, &state, node.engine.clock());
    match recovery.reason {
        Some(RecoveryReason::New) => {}
        _ if recovery.recovered => count(&node.counters.recovered, 1),
        _ => count(&node.counters.not_recovered, 1),
    }
    let cursor = channel.with_tail(|tail| Subscription::begin(&state, &recovery, tail.head()));
    Ok((channel, cursor, recovery))
}

/// The personal channel of the client's user, where users have one.
pub(super) fn personal(node: &Node, identity: &Identity) -> Option<Arc<str>> {
    let user = identity.user.as_deref()?;
    node.config
        .personal_channels
        .then(|| personal_channel(user))
}

/// Whether the name is one, and the client may do this with it.
pub(super) async fn permit(
    node: &Node,
    identity: &Identity,
    operation: Operation,
    channel: &str,
) -> Result<(), ErrorInfo> {
    if !node.config.allows_channel(channel) {
        return Err(Code::BadChannel.into());
    }
    node.access.authorize(identity, operation, channel).await
}
