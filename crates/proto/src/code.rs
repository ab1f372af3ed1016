//! The code table: every refusal, error and closure that Bowline names.
//!
//! Owns the codes with their close code, HTTP status, class and advice. PROTOCOL.md's table and the
//! constants of other languages are generated from [`Code::ALL`] (`vectors/codes.json`), so a code
//! is added here and nowhere else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of trouble a code is; each class has a recovery strategy in the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Who the client is, or whether it still is.
    Auth,
    /// The path between client and server.
    Network,
    /// The server's own state: it will pass.
    Server,
    /// Too much, too fast: wait as told.
    RateLimit,
    /// A rule forbids it; repeating changes nothing.
    Policy,
    /// One side does not speak the protocol.
    Protocol,
    /// Something owed did not come in time.
    Timeout,
}

/// What the end user is advised to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: the client recovers by itself.
    Wait,
    /// Try once more by hand.
    Retry,
    /// Sign in again.
    Login,
    /// Reload the application.
    Reload,
    /// Tell the people who run the application.
    Contact,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CodeRow {
    /// The name on the wire.
    pub code: &'static str,
    /// The WebSocket close code, where it ends the connection.
    pub close: Option<u16>,
    /// The HTTP status, where an HTTP answer can carry it.
    pub http: Option<u16>,
    /// Its class.
    pub class: Class,
    /// Whether the same request may succeed later, unchanged.
    pub retry: bool,
    /// What the end user is advised to do.
    pub action: Action,
    /// A sentence for the end user.
    pub sentence: &'static str,
    /// What happened, for the developer; the default `message` of an error.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($variant:ident $code:literal close $close:tt http $http:tt $class:ident retry $retry:literal
       $action:ident $sentence:literal $meaning:literal;)*) => {
        /// A named refusal, error or closure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $meaning] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its row of the table.
            pub const fn row(self) -> &'static CodeRow {
                match self {
                    $(Self::$variant => &CodeRow {
                        code: $code,
                        close: codes!(@number $close),
                        http: codes!(@number $http),
                        class: Class::$class,
                        retry: $retry,
                        action: Action::$action,
                        sentence: $sentence,
                        meaning: $meaning,
                    },)*
                }
            }
        }
    };
    (@number none) => { None };
    (@number $number:literal) => { Some($number) };
}

codes! {
    Malformed "malformed" close 4400 http 400 Protocol retry false Reload
        "The application sent something the server does not understand."
        "The message or request is not valid.";
    HelloExpected "hello_expected" close 4400 http none Protocol retry false Reload
        "The application sent something the server does not understand."
        "The first message of a connection must be hello, and hello comes once.";
    UnknownType "unknown_type" close none http none Protocol retry false Reload
        "The application is newer than the server."
        "The server does not know this type of message.";
    TooDeep "too_deep" close none http 400 Protocol retry false Contact
        "The message is too complex."
        "The JSON is nested deeper than 128 levels.";
    BadChannel "bad_channel" close none http 400 Protocol retry false Contact
        "The application asked for something that does not exist."
        "The channel name is empty, too long, or has control characters.";
    BadPosition "bad_position" close none http 400 Protocol retry false Reload
        "The application asked for something that does not exist."
        "The position is not one that this server gave.";
    OutOfOrder "out_of_order" close none http none Protocol retry true Wait
        "Messages are being sent again."
        "The seq is not the next one; send again from the seq that is named.";
    Unauthorized "unauthorized" close 4401 http 401 Auth retry false Login
        "Please sign in again."
        "The token or API key is missing or not valid.";
    TokenExpired "token_expired" close 4401 http 401 Auth retry false Login
        "Your sign-in has expired."
        "The token has expired.";
    Forbidden "forbidden" close 4403 http 403 Policy retry false Contact
        "You do not have access to this."
        "There is no grant for this, whether or not it exists.";
    OriginNotAllowed "origin_not_allowed" close 4403 http 403 Policy retry false Contact
        "This page may not connect here."
        "The Origin or Host of the request is not on the allow-list.";
    Disconnected "disconnected" close 4403 http none Policy retry false Contact
        "The service has ended this connection."
        "Whoever runs the server has ended this connection.";
    HelloTimeout "hello_timeout" close 4408 http 408 Timeout retry true Wait
        "The connection is too slow; trying again."
        "The connection was not welcomed within connection_timeout.";
    Stale "stale" close 4408 http none Timeout retry true Wait
        "The connection was lost; reconnecting."
        "Nothing was received for pong_timeout after a ping.";
    SendTimeout "send_timeout" close 4408 http none Timeout retry true Wait
        "The connection is too slow; reconnecting."
        "The peer took no bytes for send_timeout.";
    Replaced "replaced" close 4409 http none Policy retry false Retry
        "This session was opened elsewhere."
        "A newer link of the same session has taken over.";
    MessageTooBig "message_too_big" close 4413 http 413 Policy retry false Contact
        "The message is too large."
        "The data is larger than message_bytes_max.";
    RateLimited "rate_limited" close 4429 http 429 RateLimit retry true Wait
        "Too many messages; please wait a moment."
        "More messages or requests than the limit allows.";
    TooManyConnections "too_many_connections" close 4429 http 429 RateLimit retry true Wait
        "Too many connections; please wait a moment."
        "The limit of connections for this address or user is reached.";
    TooManyAttempts "too_many_attempts" close 4429 http 429 RateLimit retry true Wait
        "Too many attempts; please wait a moment."
        "The limit of connection attempts for this address is reached.";
    TooManySubscriptions "too_many_subscriptions" close none http none Policy retry false Contact
        "Too many things are open at once."
        "The limit of subscriptions of one connection is reached.";
    TooManyChannels "too_many_channels" close none http 503 Server retry true Contact
        "The service is full; please try again later."
        "The limit of channels is reached; existing channels go on.";
    TooManyInflight "too_many_inflight" close none http none RateLimit retry true Wait
        "Messages are being sent again."
        "More unacknowledged messages than inflight_max; send again from this seq.";
    NotSubscribed "not_subscribed" close none http none Policy retry false Reload
        "The application asked for something that does not exist."
        "There is no subscription to this channel on this connection.";
    AlreadySubscribed "already_subscribed" close none http none Policy retry false Reload
        "The application asked twice for the same thing."
        "This connection is subscribed to the channel already.";
    NoHandler "no_handler" close none http none Policy retry false Contact
        "The server does not accept this kind of message."
        "No application is attached that takes send.";
    HandlerFailed "handler_failed" close none http none Server retry true Wait
        "The message could not be handled; trying again."
        "The application's handler failed.";
    HandlerTimeout "handler_timeout" close none http none Timeout retry true Wait
        "The message could not be handled in time; trying again."
        "The application's handler did not answer in time.";
    Rejected "rejected" close none http 422 Policy retry false Contact
        "The message was not accepted."
        "The application refused the message.";
    NotSupported "not_supported" close none http 501 Policy retry false Contact
        "The server does not offer this."
        "This server does not offer what was asked for.";
    KeyReused "key_reused" close none http 422 Policy retry false Contact
        "The message was not accepted."
        "The idempotency key was used for another message.";
    StorageFull "storage_full" close none http 503 Server retry true Wait
        "The service is full; trying again."
        "The log has no space left; reads go on.";
    StorageUnavailable "storage_unavailable" close none http 503 Server retry true Wait
        "The service is not available right now; trying again."
        "The log takes no messages at the moment; reads go on.";
    FateUnknown "fate_unknown" close none http 504 Timeout retry true Wait
        "It is not known whether the message arrived; trying again."
        "The log did not answer in time; retry with the same key or seq.";
    Internal "internal" close 4500 http 500 Server retry true Wait
        "Something went wrong on the server; trying again."
        "The server failed; the failure is in its log.";
    Draining "draining" close 4503 http 503 Server retry true Wait
        "The service is being updated; reconnecting."
        "The server is shutting down.";
    Overloaded "overloaded" close 4503 http 503 Server retry true Wait
        "The service is busy; trying again."
        "The server takes no more connections at the moment.";
    NotFound "not_found" close none http 404 Protocol retry false Contact
        "This does not exist."
        "There is no such route.";
    MethodNotAllowed "method_not_allowed" close none http 405 Protocol retry false Contact
        "This does not exist."
        "The route does not take this method.";
    UnsupportedMediaType "unsupported_media_type" close none http 415 Protocol retry false Contact
        "The application sent something the server does not understand."
        "The Content-Type is neither application/json nor application/octet-stream.";
    UpgradeRequired "upgrade_required" close none http 426 Protocol retry false Contact
        "The application does not speak the server's protocol."
        "The upgrade needs Sec-WebSocket-Version: 13.";
    HeadersTooLarge "headers_too_large" close none http 431 Protocol retry false Contact
        "The request is too large."
        "The request has too many or too large headers.";
}

impl Code {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().code
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The code with this name, if this version knows it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The close code, 4400 + an HTTP status, with which a code that closes does so, and RFC 6455's own.
pub mod close {
    /// RFC 6455, 7.4.1: the purpose is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// RFC 6455, 7.4.1: the peer goes away.
    pub const GOING_AWAY: u16 = 1001;
    /// RFC 6455, 7.4.1: never on the wire; no close frame came.
    pub const ABNORMAL: u16 = 1006;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_close_codes_follow_http() {
        for (index, code) in Code::ALL.iter().enumerate() {
            let row = code.row();
            assert_eq!(Code::from_name(row.code), Some(*code));
            assert_eq!(code.index(), index);
            assert!(
                !Code::ALL[..index].iter().any(|c| c.as_str() == row.code),
                "{}",
                row.code
            );
            if let Some(close) = row.close {
                assert!((4400..4600).contains(&close), "{}", row.code);
                assert!(
                    row.http.is_none_or(|http| http == close - 4000),
                    "{}",
                    row.code
                );
            }
        }
    }
}
