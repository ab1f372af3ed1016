//! The access controls that come with the server: none at all, and a fixed list.
//!
//! Owns API keys, the admin's token, and grants by channel pattern; users come from `tokens`. Must not know where they are configured.

use std::{fmt, future::ready};

use bowline_engine::BoxFuture;
use bowline_proto::Code;
use sha2::{Digest, Sha256};

use super::{
    AccessControl, Credentials, Entrance, Identity, Issuer, Operation, RESERVED_PREFIXES,
    personal_channel, tokens,
};

/// Everybody may do everything, for development on one machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAccess;

/// A fixed list: API keys for backends, issuers of users' tokens, and what all clients may do.
///
/// A token that is neither a key nor of an issuer is refused, never ignored. Users may follow their
/// personal channel without a grant.
#[derive(Clone, Debug, Default)]
pub struct StaticAccess {
    keys: Vec<ApiKey>,
    admin: Option<ApiKey>,
    issuers: Vec<Issuer>,
    anonymous: Vec<Grant>,
}

/// An API key, kept as a digest: neither logs nor a memory dump of this shows the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey([u8; 32]);

/// What clients may do on the channels whose names match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A channel's name, or the beginning of one followed by `*`, which reaches no reserved prefix.
    pub pattern: String,
    /// What is granted.
    pub operations: Vec<Operation>,
}

/// The text is too short to be an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an API key must have at least {} characters", ApiKey::CHARACTERS_MIN)]
pub struct ApiKeyError;

impl ApiKey {
    /// Shorter ones can be guessed: 16 random characters of 64 kinds are 96 bits.
    pub const CHARACTERS_MIN: usize = 16;

    /// Takes the key's text.
    pub fn new(text: &str) -> Result<Self, ApiKeyError> {
        if text.chars().count() < Self::CHARACTERS_MIN {
            return Err(ApiKeyError);
        }
        Ok(Self(Sha256::digest(text).into()))
    }

    /// Compares digests without an early end, so that time tells nothing about the key.
    fn matches(&self, digest: &[u8; 32]) -> bool {
        let differing = self
            .0
            .iter()
            .zip(digest)
            .fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

impl Grant {
    fn covers(&self, operation: Operation, channel: &str) -> bool {
        let reached = match self.pattern.strip_suffix('*') {
            Some(prefix) => {
                channel.starts_with(prefix)
                    && !RESERVED_PREFIXES
                        .iter()
                        .any(|reserved| channel.starts_with(reserved))
            }
            None => channel == self.pattern,
        };
        reached && self.operations.contains(&operation)
    }
}

impl StaticAccess {
    /// With these keys and grants; both may be empty.
    pub const fn new(keys: Vec<ApiKey>, anonymous: Vec<Grant>) -> Self {
        Self {
            keys,
            admin: None,
            issuers: Vec::new(),
            anonymous,
        }
    }

    /// Takes this token for the one of whoever runs the server.
    #[must_use]
    pub fn with_admin(mut self, token: Option<ApiKey>) -> Self {
        self.admin = token;
        self
    }

    /// Takes tokens of these issuers. Clients without a token are refused from now on, unless
    /// something is granted to everybody.
    #[must_use]
    pub fn with_issuers(mut self, issuers: Vec<Issuer>) -> Self {
        self.issuers = issuers;
        self
    }

    async fn identify(&self, credentials: Credentials<'_>) -> Result<Identity, Code> {
        match (credentials.token, credentials.entrance) {
            (Some(token), _) => {
                let digest = Sha256::digest(token).into();
                // All keys are compared, whichever of them matches.
                let known = self
                    .keys
                    .iter()
                    .fold(false, |known, key| known | key.matches(&digest));
                let admin = self.admin.as_ref().is_some_and(|key| key.matches(&digest));
                if admin {
                    Ok(Identity::admin())
                } else if known {
                    Ok(Identity::backend())
                } else {
                    tokens::verify(&self.issuers, token).await
                }
            }
            (None, Entrance::WebSocket)
                if self.issuers.is_empty() || !self.anonymous.is_empty() =>
            {
                Ok(Identity::anonymous())
            }
            (None, Entrance::WebSocket) => Err(Code::Unauthorized),
            (None, Entrance::Http) => Err(Code::Unauthorized),
        }
    }
}

impl AccessControl for OpenAccess {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        Box::pin(ready(Ok(match credentials.entrance {
            Entrance::WebSocket => Identity::anonymous(),
            Entrance::Http => Identity::admin(),
        })))
    }

    fn authorize<'a>(&'a self, _: &'a Identity, _: Operation, _: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(ready(true))
    }
}

impl AccessControl for StaticAccess {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        Box::pin(self.identify(credentials))
    }

    fn authorize<'a>(
        &'a self,
        identity: &'a Identity,
        operation: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        let own = || {
            let user = identity.user.as_deref();
            operation != Operation::Publish
                && user.is_some_and(|user| *personal_channel(user) == *channel)
        };
        let mut grants = identity.grants.iter().chain(&self.anonymous);
        let granted = identity.role.is_backend()
            || grants.any(|grant| grant.covers(operation, channel))
            || own();
        Box::pin(ready(granted))
    }
}
