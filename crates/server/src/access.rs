//! Who may connect, and what they may do.
//!
//! Owns the trait [`AccessControl`] that the server asks, and what passes through it. Must not know
//! where a request came in beyond what [`Credentials`] say, nor what is done with the answers.

mod built_in;
mod questions;
mod tokens;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bowline_engine::BoxFuture;
use bowline_proto::Code;

pub use built_in::{ApiKey, ApiKeyError, Grant, OpenAccess, StaticAccess};
pub(crate) use questions::Access;
pub use tokens::{FetchError, Issuer, JwksSource, KeyError, KeySet, TokenAlgorithm};

/// Channels with these prefixes are out of reach of wildcards: `user:` holds the personal channels.
pub const RESERVED_PREFIXES: &[&str] = &["user:"];

/// Decides over every connection and every channel.
///
/// The server gives each question `access_timeout`. One that is not answered by then, or panics, is no
/// verdict: nobody is let in and nothing is withdrawn, and whoever asks is told [`Code::Overloaded`]
/// or [`Code::Internal`], with both of which they may come again. Of the channels of one client up to 16
/// are asked for at once. Grants are asked again on every hello, page and refresh, so an implementation
/// may cache, but not for longer than a withdrawn grant may live on.
pub trait AccessControl: Send + Sync + 'static {
    /// Who this is; `Err` carries [`Code::Unauthorized`], [`Code::TokenExpired`],
    /// [`Code::Forbidden`], or [`Code::Overloaded`] where nobody can tell at the moment.
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>>;

    /// Whether they may do this to the channel. The answer must not depend on whether the channel
    /// exists.
    fn authorize<'a>(
        &'a self,
        identity: &'a Identity,
        operation: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool>;
}

/// What somebody brings to prove who they are. Its `Debug` text never shows the token.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The token or API key.
    pub token: Option<&'a str>,
    /// Where it came in.
    pub entrance: Entrance,
    /// The peer's address; none where an embedding application does not tell.
    pub remote_addr: Option<IpAddr>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
}

/// The server's two doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entrance {
    /// `hello`, `refresh` or a plain connection: mostly end users.
    WebSocket,
    /// `/api` and `/ws/stats`: mostly the application's own backend.
    Http,
}

/// Somebody whose credentials were taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The verified user, a token's `sub`; none for anonymous clients and backends.
    pub user: Option<Arc<str>>,
    /// For how long this holds; the client is asked for a new token before.
    pub expires_in: Option<Duration>,
    /// On whose behalf it acts.
    pub role: Role,
    /// What its token grants, kept as long as the connection lives.
    pub grants: Vec<Grant>,
}

/// On whose behalf somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// An end user's.
    Client,
    /// The application's own: it holds an API key and may read the server's statistics.
    Backend,
    /// Whoever runs the server: what a backend may do, and looking at single connections and
    /// addresses, and cleaning up.
    Admin,
}

/// What can be granted on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Receive what is published.
    Subscribe,
    /// Publish to it.
    Publish,
    /// Read its past.
    History,
    /// See who is there.
    Presence,
}

impl Identity {
    /// A client without a user.
    pub const fn anonymous() -> Self {
        Self {
            user: None,
            expires_in: None,
            role: Role::Client,
            grants: Vec::new(),
        }
    }

    /// A client whose user is verified.
    pub fn user(user: impl Into<Arc<str>>) -> Self {
        Self {
            user: Some(user.into()),
            ..Self::anonymous()
        }
    }

    /// The application's own backend.
    pub const fn backend() -> Self {
        Self {
            user: None,
            expires_in: None,
            role: Role::Backend,
            grants: Vec::new(),
        }
    }

    /// Whoever runs the server.
    pub fn admin() -> Self {
        Self {
            role: Role::Admin,
            ..Self::backend()
        }
    }
}

impl Role {
    /// Whether it is the application's own, or above.
    pub const fn is_backend(self) -> bool {
        matches!(self, Self::Backend | Self::Admin)
    }
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Subscribe,
        Self::Publish,
        Self::History,
        Self::Presence,
    ];

    /// Its name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::History => "history",
            Self::Presence => "presence",
        }
    }
}

/// The channel to which all connections of a user are subscribed without asking: `user:` and the
/// name, percent-encoded outside `[A-Za-z0-9._~-]`.
///
/// ```
/// assert_eq!(&*bowline::personal_channel("ana@example.com"), "user:ana%40example.com");
/// ```
pub fn personal_channel(user: &str) -> Arc<str> {
    let mut name = String::from("user:");
    for byte in user.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'~' | b'-' => {
                name.push(char::from(byte));
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name.into()
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token.map(|_| "…"))
            .field("entrance", &self.entrance)
            .field("remote_addr", &self.remote_addr)
            .field("origin", &self.origin)
            .finish()
    }
}

#[cfg(test)]
mod tests;
