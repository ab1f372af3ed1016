//! Grants that are looked at again while a connection lives.
//!
//! Owns `refresh`, and the end of subscriptions that are no longer granted. Must not know what grants
//! are: the access control says.

use std::sync::Arc;

use bowline_proto::{
    Code,
    message::{Echo, ErrorInfo, ServerMessage},
};
use tokio::time::sleep;

use super::{End, desk::Desk, hello, speaks_bowline, writing::READ_RETRY};
use crate::{
    access::{Identity, Operation, Role},
    channel::Channel,
    link::Link,
    node::Node,
};

/// Takes a new token of the same user, and ends what it no longer grants; `Ok(Err)` is a refusal
/// after which the old token still holds.
pub(super) async fn refresh(desk: &Desk, token: &str) -> Result<Result<(), ErrorInfo>, End> {
    let (node, link) = (&desk.node, &desk.link);
    let before = desk.identity();
    let identity = hello::judge(node, link, Some(token)).await?;
    if identity.user != before.user {
        return Err(End::code(Code::Forbidden));
    }
    if proves_nothing(&identity) {
        return Ok(Err(Code::NotSupported.into()));
    }
    let identity = node.shared(identity);
    link.identify(identity.clone(), node.clock.now());
    let channels = link.channels();
    let granted = hello::permit_each(node, &identity, &channels).await;
    for (channel, granted) in channels.into_iter().zip(granted) {
        // Where nobody knows, it is asked again with the next request or page.
        if let Err(error) = granted
            && !error.retry
        {
            withdraw(node, link, channel, error);
        }
    }
    Ok(Ok(()))
}

/// Whether a subscription may be read another page; one that may not is ended.
pub(super) async fn hold(node: &Node, link: &Arc<Link>, channel: &Channel) -> Result<bool, End> {
    let Some(identity) = link.identity() else {
        return Ok(true);
    };
    let name = channel.name();
    match hello::permit(node, &identity, Operation::Subscribe, name).await {
        Ok(()) => Ok(true),
        Err(error) if error.retry => {
            // Nobody knows whether it is granted: nothing is read, and it is asked again.
            link.pass_turn(channel);
            sleep(READ_RETRY).await;
            Ok(false)
        }
        // There is no message to say it with.
        Err(error) if !speaks_bowline(link) => Err(End::info(&error)),
        Err(error) => {
            withdraw(node, link, name.clone(), error);
            Ok(false)
        }
    }
}

fn withdraw(node: &Node, link: &Arc<Link>, channel: Arc<str>, error: ErrorInfo) {
    let Some(joined) = link.unsubscribe(&channel) else {
        return;
    };
    node.hub.leave(&joined, link);
    let told = ServerMessage::Unsubscribed {
        id: None::<Echo>,
        channel,
        code: Some(error.code),
    };
    link.send(&told, node.clock.now());
}

/// What an access control answers that looks at no token: to take such a one for a success would
/// tell a client that its token is good.
fn proves_nothing(identity: &Identity) -> bool {
    identity.user.is_none() && identity.expires_in.is_none() && identity.role == Role::Client
}
