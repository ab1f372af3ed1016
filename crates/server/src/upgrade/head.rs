//! What an upgrade is judged by, whoever has read it.
//!
//! Owns the reading of single headers. Must not know limits, nor who may come in.

use axum::http::{HeaderName, header};
use bowline_proto::Code;

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
    fn values(self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
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
    ///
    /// # Errors
    /// See [`bearer`].
    pub(super) fn bearer(self) -> Result<Option<&'a str>, Code> {
        bearer(self.values(&header::AUTHORIZATION))
    }
}

/// The token in an `Authorization` header.
///
/// # Errors
/// `unauthorized` where there are several, or one that is no text: it is refused, never ignored.
pub(super) fn bearer<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>, Code> {
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let value = text(value).filter(|_| values.next().is_none());
    let (scheme, token) = value
        .ok_or(Code::Unauthorized)?
        .split_once([' ', '\t'])
        .unwrap_or_default();
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    Ok(is_bearer.then_some(token.trim()))
}
