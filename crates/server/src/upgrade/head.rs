//! What an upgrade is judged by, whoever has read it.
//!
//! Owns the reading of single headers. Must not know limits, nor who may come in.

use axum::http::{HeaderName, header};

use crate::accept::{only_text, text};

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) is_http_1_1: bool,
    /// In the order received; names in any case.
    pub(super) headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Head<'a> {
    pub(super) fn values(self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .headers
            .iter()
            .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(name.as_str()));
        named.map(|&(_, value)| value)
    }

    pub(super) fn has(self, name: &HeaderName) -> bool {
        self.values(name).next().is_some()
    }

    /// The text of a header that may stand once (see [`only_text`]).
    pub(super) fn only(self, name: &HeaderName) -> Option<&'a str> {
        only_text(self.values(name))
    }

    /// What follows the head would be taken for the body by one reader and for frames by another.
    pub(super) fn has_body(self) -> bool {
        self.has(&header::TRANSFER_ENCODING)
            || self
                .values(&header::CONTENT_LENGTH)
                .any(|length| length != b"0")
    }

    /// The token of an `Authorization` header, for clients in plain mode.
    pub(super) fn bearer(self) -> Option<&'a str> {
        bearer(self.values(&header::AUTHORIZATION).next()?)
    }
}

/// The token in the value of an `Authorization` header.
pub(super) fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = text(authorization)?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}
