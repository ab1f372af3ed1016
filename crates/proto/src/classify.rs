//! What a failure means: evidence to class, and class to a sentence and an action.
//!
//! Owns the judgement and how sure it is. Must not know what the machines do with it beyond
//! [`Strategy`], nor where evidence comes from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::{Action, Class, Code};

/// What was seen of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Evidence {
    /// A close frame, or the browser's word for its absence (1005, 1006).
    Close {
        /// The close code.
        code: u16,
        /// The close reason, as it came.
        #[serde(default)]
        reason: Box<str>,
    },
    /// The upgrade was answered with another status.
    Http {
        /// The status.
        status: u16,
        /// The code of the body, where one was read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Box<str>>,
        /// `Retry-After`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// No connection came about: name, route, refusal, or reset.
    Unreachable,
    /// TLS failed: the peer is not who it should be, or something stands between.
    Tls,
    /// The link failed before it opened and nothing says why, as browsers have it.
    Opaque,
    /// What answers speaks no WebSocket, or not this subprotocol.
    NotWebsocket,
    /// The peer broke RFC 6455 or `bowline.v1`.
    Violation,
    /// `welcome` did not come in time.
    HandshakeTimeout,
    /// Nothing was received for too long.
    Silence,
    /// The application could not bring a token.
    Token {
        /// Asking again may help.
        retry: bool,
    },
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Nothing better is known.
    Guess,
    /// The evidence fits this best.
    Likely,
    /// The server said so by name.
    Certain,
}

/// What a failure means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The kind of trouble.
    pub class: Class,
    /// How sure that is.
    pub confidence: Confidence,
    /// The server's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Box<str>>,
    /// The server's advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What a client does after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Dial again after a backoff.
    Backoff,
    /// Ask the application for a new token, then dial; a second time in a row: block.
    NewToken,
    /// Stop until the application or the user does something.
    Block,
}

/// For the end user and the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// A sentence for the end user.
    pub sentence: &'static str,
    /// What to do.
    pub action: Action,
}

/// Judges a failure.
pub fn classify(evidence: &Evidence) -> Verdict {
    match evidence {
        Evidence::Close { code, reason } => classify_close(*code, reason),
        Evidence::Http {
            status,
            code,
            retry_after_ms,
        } => match code.as_deref().and_then(Code::from_name) {
            Some(code) => named(code, *retry_after_ms),
            None => Verdict {
                code: code.clone(),
                retry_after_ms: *retry_after_ms,
                ..classify_status(*status)
            },
        },
        Evidence::Unreachable => verdict(Class::Network, Confidence::Likely),
        Evidence::Tls => verdict(Class::Network, Confidence::Guess),
        Evidence::Opaque => verdict(Class::Network, Confidence::Guess),
        Evidence::NotWebsocket | Evidence::Violation => {
            verdict(Class::Protocol, Confidence::Likely)
        }
        Evidence::HandshakeTimeout | Evidence::Silence => {
            verdict(Class::Timeout, Confidence::Likely)
        }
        Evidence::Token { retry: true } => verdict(Class::Network, Confidence::Guess),
        Evidence::Token { retry: false } => verdict(Class::Auth, Confidence::Certain),
    }
}

/// The sentence and action of a class, where no code with its own is known.
pub const fn advice(class: Class) -> Advice {
    let (sentence, action) = match class {
        Class::Auth => ("Please sign in again.", Action::Login),
        Class::Network => ("The connection was lost; reconnecting.", Action::Wait),
        Class::Server => (
            "The service is not available right now; trying again.",
            Action::Wait,
        ),
        Class::RateLimit => ("Too many attempts; please wait a moment.", Action::Wait),
        Class::Policy => ("You do not have access to this.", Action::Contact),
        Class::Protocol => ("The application does not fit the server.", Action::Reload),
        Class::Timeout => ("The connection is too slow; trying again.", Action::Wait),
    };
    Advice { sentence, action }
}

impl Verdict {
    /// What a client does about it.
    ///
    /// A protocol error that is only likely is retried: a proxy or a captive portal in between
    /// looks the same and goes away.
    pub fn strategy(&self) -> Strategy {
        match (self.class, self.confidence) {
            (Class::Auth, _) => Strategy::NewToken,
            (Class::Policy, _) | (Class::Protocol, Confidence::Certain) => Strategy::Block,
            _ => Strategy::Backoff,
        }
    }

    /// The sentence and action of its code, or of its class.
    pub fn advice(&self) -> Advice {
        match self.code.as_deref().and_then(Code::from_name) {
            Some(code) => Advice {
                sentence: code.row().sentence,
                action: code.row().action,
            },
            None => advice(self.class),
        }
    }
}

fn classify_close(code: u16, reason: &str) -> Verdict {
    // Field by field: what can't be read of one says nothing of the other.
    let said: Value = serde_json::from_str(reason).unwrap_or_default();
    let name = said["code"].as_str();
    let retry_after_ms = said["retry_after_ms"].as_u64();
    if let Some(code) = name.and_then(Code::from_name) {
        return named(code, retry_after_ms);
    }
    let judged = match code {
        4400..=4599 => classify_status(code - 4000),
        1000 | 1001 | 1011..=1014 => verdict(Class::Server, Confidence::Likely),
        1002 | 1003 | 1007 | 1009 | 1010 => verdict(Class::Protocol, Confidence::Likely),
        1008 => verdict(Class::Policy, Confidence::Likely),
        _ => verdict(Class::Network, Confidence::Guess),
    };
    Verdict {
        retry_after_ms,
        code: name.map(Into::into),
        ..judged
    }
}

fn classify_status(status: u16) -> Verdict {
    let class = match status {
        401 | 407 => Class::Auth,
        403 | 409 | 413 | 422 | 451 => Class::Policy,
        408 | 504 => Class::Timeout,
        429 => Class::RateLimit,
        400..=499 => Class::Protocol,
        500..=599 => Class::Server,
        // A redirect or a page instead of an upgrade: a captive portal, mostly.
        _ => return verdict(Class::Network, Confidence::Guess),
    };
    verdict(class, Confidence::Likely)
}

fn named(code: Code, retry_after_ms: Option<u64>) -> Verdict {
    Verdict {
        class: code.row().class,
        confidence: Confidence::Certain,
        code: Some(code.as_str().into()),
        retry_after_ms,
    }
}

const fn verdict(class: Class, confidence: Confidence) -> Verdict {
    Verdict {
        class,
        confidence,
        code: None,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(code: u16, reason: &str) -> Verdict {
        classify(&Evidence::Close {
            code,
            reason: reason.into(),
        })
    }

    #[test]
    fn every_named_closure_has_its_row_s_class() {
        for code in Code::ALL {
            let reason = crate::codec::close_reason(code.as_str(), Some(7));
            let verdict = close(code.row().close.unwrap_or(4400), &reason);
            assert_eq!(verdict.class, code.row().class, "{code}");
            assert_eq!(verdict.confidence, Confidence::Certain);
            assert_eq!(verdict.retry_after_ms, Some(7));
            assert_eq!(verdict.advice().sentence, code.row().sentence);
        }
    }

    #[test]
    fn bare_codes_are_judged_by_their_number() {
        for (code, class, strategy) in [
            (4401, Class::Auth, Strategy::NewToken),
            (4403, Class::Policy, Strategy::Block),
            (4429, Class::RateLimit, Strategy::Backoff),
            (4503, Class::Server, Strategy::Backoff),
            (4400, Class::Protocol, Strategy::Backoff),
            (1001, Class::Server, Strategy::Backoff),
            (1002, Class::Protocol, Strategy::Backoff),
            (1006, Class::Network, Strategy::Backoff),
            (3333, Class::Network, Strategy::Backoff),
        ] {
            let verdict = close(code, "not json");
            assert_eq!(
                (verdict.class, verdict.strategy()),
                (class, strategy),
                "{code}"
            );
            assert!(verdict.confidence < Confidence::Certain);
        }
        let unknown = close(4503, r#"{"code":"later_code","retry_after_ms":9}"#);
        assert_eq!(unknown.class, Class::Server);
        assert_eq!(unknown.retry_after_ms, Some(9));
        assert_eq!(unknown.advice(), advice(Class::Server));
    }

    #[test]
    fn other_evidence() {
        let http = |status, code: Option<&str>| {
            classify(&Evidence::Http {
                status,
                code: code.map(Into::into),
                retry_after_ms: Some(5),
            })
        };
        assert_eq!(http(503, None).class, Class::Server);
        assert_eq!(http(200, None).class, Class::Network);
        assert_eq!(http(403, Some("too_many_attempts")).class, Class::RateLimit);
        assert_eq!(http(429, None).retry_after_ms, Some(5));
        assert_eq!(classify(&Evidence::Silence).class, Class::Timeout);
        assert_eq!(classify(&Evidence::Unreachable).class, Class::Network);
        let token = classify(&Evidence::Token { retry: false });
        assert_eq!(
            (token.class, token.strategy()),
            (Class::Auth, Strategy::NewToken)
        );
    }
}
