//! Who may do what in a simulated world, and for how long.
//!
//! Owns the grants and the form of the tokens. The server asks it through
//! [`AccessControl`](bowline::AccessControl), and the checkers ask the same grants.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline::{AccessControl, Code, Credentials, Identity, Operation, personal_channel};
use bowline_engine::BoxFuture;

use crate::{node::NodeClock, wire::lock};

/// Channels with this prefix are for those who are named.
pub(crate) const SECRET_PREFIX: &str = "secret-";

/// The grants as they stand.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// Users by secret channel.
    pub(crate) readers: BTreeMap<Arc<str>, BTreeSet<usize>>,
    /// Tokens of a user that were issued before this time are no longer taken.
    pub(crate) issued_from: BTreeMap<usize, u64>,
}

/// The server's question to the grants.
pub(crate) struct Access {
    pub(crate) grants: Arc<Mutex<Grants>>,
    pub(crate) clock: NodeClock,
}

impl Grants {
    pub(crate) fn allows(&self, user: usize, operation: Operation, channel: &str) -> bool {
        if let Some(readers) = self.readers.get(channel) {
            return readers.contains(&user);
        }
        if channel.starts_with("user:") {
            return operation != Operation::Publish && *personal_channel(&name(user)) == *channel;
        }
        !channel.starts_with(SECRET_PREFIX)
    }
}

/// The user's verified name.
pub(crate) fn name(user: usize) -> String {
    format!("u{user}")
}

pub(crate) fn token(user: usize, issued_ms: u64, ttl_ms: u64) -> Box<str> {
    format!("t.{user}.{issued_ms}.{}", issued_ms + ttl_ms).into()
}

fn parse(token: &str) -> Option<(usize, u64, u64)> {
    let mut parts = token.strip_prefix("t.")?.split('.');
    let user = parts.next()?.parse().ok()?;
    let issued = parts.next()?.parse().ok()?;
    let expires = parts.next()?.parse().ok()?;
    Some((user, issued, expires))
}

impl AccessControl for Access {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        let now = self.clock.world_ms();
        let identity = match credentials.token.and_then(parse) {
            None => Err(Code::Unauthorized),
            Some((user, issued, expires)) => {
                let from = lock(&self.grants).issued_from.get(&user).copied();
                if expires <= now || issued < from.unwrap_or(0) {
                    Err(Code::TokenExpired)
                } else {
                    Ok(Identity {
                        expires_in: Some(Duration::from_millis(expires - now)),
                        ..Identity::user(name(user))
                    })
                }
            }
        };
        Box::pin(ready(identity))
    }

    fn authorize<'a>(
        &'a self,
        identity: &'a Identity,
        operation: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        let user = identity.user.as_deref();
        let user = user.and_then(|user| user.strip_prefix('u')?.parse().ok());
        let allowed = user.is_some_and(|user| lock(&self.grants).allows(user, operation, channel));
        Box::pin(ready(allowed))
    }
}
