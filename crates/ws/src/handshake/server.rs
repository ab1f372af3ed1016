//! The server's side of the opening handshake (RFC 6455 section 4.2). It owns the judgement of an
//! upgrade request and the answer that accepts it; it must not know who may connect, nor how HTTP is
//! read.

use std::{borrow::Cow, str};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::extensions::Extensions;
use crate::handshake::extensions::{answer, choose, parse};
use crate::handshake::{ACCEPT_BYTES, KEY_BYTES, VERSION, accept_key, is_token, list_elements};

/// Room for an answer at once; one with a long subprotocol or extensions grows it.
const ANSWER_BYTES: usize = 256;

/// What the judgement of an upgrade needs to see of a request.
#[derive(Debug, Clone, Copy)]
pub struct UpgradeRequest<'a, H> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// Whether the request came over HTTP/1.1.
    pub is_http_1_1: bool,
    /// All headers in the order received, repeated ones repeated. Names match without case.
    pub headers: H,
}

/// An upgrade that may be answered with 101.
///
/// The answer carries `Upgrade: websocket`, `Connection: Upgrade`, `Sec-WebSocket-Accept` and,
/// if `protocol` is set, `Sec-WebSocket-Protocol`; if [`extensions_header`](Self::extensions_header)
/// has a value, `Sec-WebSocket-Extensions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted<'s> {
    /// The value of `Sec-WebSocket-Accept`, which is ASCII.
    pub accept: [u8; ACCEPT_BYTES],
    /// The chosen subprotocol: the first that the client offers among the supported ones.
    pub protocol: Option<&'s str>,
    /// What the client offers for the frames and this crate can speak. It is agreed on by the
    /// answer's header alone: to decline, set it to [`Extensions::NONE`] and send no header.
    pub extensions: Extensions,
}

impl Accepted<'_> {
    /// The value of `Sec-WebSocket-Extensions` in the answer, which agrees on `extensions`; `None`
    /// if there is nothing to agree on. It demands that no context is taken over in either
    /// direction, so that no side needs a window between messages.
    #[must_use]
    pub fn extensions_header(&self) -> Option<String> {
        answer(self.extensions)
    }

    /// The answer's headers, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, [u8]>)> {
        let protocol = self.protocol.map(|protocol| protocol.as_bytes().into());
        let extensions = self.extensions_header();
        let extensions = extensions.map(|extensions| extensions.into_bytes().into());
        let headers = [
            ("connection", Some(b"Upgrade"[..].into())),
            ("upgrade", Some(b"websocket"[..].into())),
            ("sec-websocket-protocol", protocol),
            ("sec-websocket-extensions", extensions),
            ("sec-websocket-accept", Some(self.accept[..].into())),
        ];
        let given = |(name, value): (_, Option<_>)| Some((name, value?));
        headers.into_iter().filter_map(given)
    }

    /// The whole answer with its empty line, for callers that have read the request without an HTTP
    /// library.
    ///
    /// ```
    /// use bowline_ws::{UpgradeRequest, accept};
    ///
    /// let headers = [
    ///     ("Host", "example.com"),
    ///     ("Upgrade", "websocket"),
    ///     ("Connection", "Upgrade"),
    ///     ("Sec-WebSocket-Version", "13"),
    ///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    /// ];
    /// let request = UpgradeRequest {
    ///     method: "GET",
    ///     is_http_1_1: true,
    ///     headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())),
    /// };
    /// let answer = accept(request, &[])?.encode();
    /// assert!(answer.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
    /// assert!(answer.ends_with(b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    /// # Ok::<(), bowline_ws::HandshakeError>(())
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        answer.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        for (name, value) in self.headers() {
            for part in [name.as_bytes(), b": ", &value, b"\r\n"] {
                answer.extend_from_slice(part);
            }
        }
        answer.extend_from_slice(b"\r\n");
        answer
    }
}

/// Why a request is no upgrade to WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The method is not GET.
    #[error("a WebSocket upgrade uses the method GET")]
    Method,
    /// The request did not come over HTTP/1.1.
    #[error("a WebSocket upgrade needs HTTP/1.1")]
    HttpVersion,
    /// Host is missing, repeated or malformed.
    #[error("the Host header must be there once and name a host")]
    Host,
    /// `Upgrade: websocket` is missing.
    #[error("the Upgrade header must name websocket")]
    Upgrade,
    /// `Connection: Upgrade` is missing.
    #[error("the Connection header must name Upgrade")]
    Connection,
    /// The version is missing or not 13.
    #[error("the Sec-WebSocket-Version header must be 13")]
    WebSocketVersion,
    /// The key is missing, repeated or not the base64 of 16 bytes.
    #[error("the Sec-WebSocket-Key header must be there once with the base64 of 16 bytes")]
    Key,
    /// The list of subprotocols holds something that is not a token.
    #[error("the Sec-WebSocket-Protocol header must be a list of tokens")]
    Protocol,
    /// The list of extensions violates its grammar (RFC 6455 section 9.1). An offer that is
    /// well-formed and can't be accepted is declined instead.
    #[error("the Sec-WebSocket-Extensions header must be a list of extensions")]
    Extensions,
}

impl HandshakeError {
    /// The HTTP status that the client is owed.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Method => 405,
            Self::WebSocketVersion => 426,
            Self::HttpVersion
            | Self::Host
            | Self::Upgrade
            | Self::Connection
            | Self::Key
            | Self::Protocol
            | Self::Extensions => 400,
        }
    }

    /// The header that goes with the status: the version that is spoken here (RFC 6455 section
    /// 4.4), or the method that is allowed (RFC 9110 section 15.5.6).
    #[must_use]
    pub const fn header(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Method => Some(("Allow", "GET")),
            Self::WebSocketVersion => Some(("Sec-WebSocket-Version", VERSION)),
            _ => None,
        }
    }
}

/// Judges an upgrade request, and chooses a subprotocol among the supported ones.
///
/// A client that offers only unsupported subprotocols is accepted without one; whether to talk to
/// it is the caller's decision, as are `Origin` and authorisation.
///
/// # Errors
/// The request violates section 4.2.1; [`HandshakeError::status`] is owed to the client.
pub fn accept<'h, 's, H>(
    request: UpgradeRequest<'_, H>,
    supported_protocols: &[&'s str],
) -> Result<Accepted<'s>, HandshakeError>
where
    H: Iterator<Item = (&'h str, &'h [u8])> + Clone,
{
    let UpgradeRequest {
        method,
        is_http_1_1,
        headers,
    } = request;
    if method != "GET" {
        return Err(HandshakeError::Method);
    }
    if !is_http_1_1 {
        return Err(HandshakeError::HttpVersion);
    }
    if !single(headers.clone(), "host").is_some_and(is_host) {
        return Err(HandshakeError::Host);
    }
    if !names(headers.clone(), "upgrade", "websocket") {
        return Err(HandshakeError::Upgrade);
    }
    if !names(headers.clone(), "connection", "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if single(headers.clone(), "sec-websocket-version") != Some(VERSION) {
        return Err(HandshakeError::WebSocketVersion);
    }
    let key = single(headers.clone(), "sec-websocket-key").ok_or(HandshakeError::Key)?;
    if !is_key(key) {
        return Err(HandshakeError::Key);
    }
    let mut protocol = None;
    for value in values(headers.clone(), "sec-websocket-protocol") {
        for offered in list_elements(value.ok_or(HandshakeError::Protocol)?) {
            if !is_token(offered) {
                return Err(HandshakeError::Protocol);
            }
            protocol = protocol.or_else(|| {
                supported_protocols
                    .iter()
                    .copied()
                    .find(|known| *known == offered)
            });
        }
    }
    let mut offers = Vec::new();
    for value in values(headers, "sec-websocket-extensions") {
        let value = value.ok_or(HandshakeError::Extensions)?;
        offers.extend(parse(value).map_err(|_| HandshakeError::Extensions)?);
    }
    Ok(Accepted {
        accept: accept_key(key.as_bytes()),
        protocol,
        extensions: choose(offers.into_iter()),
    })
}

/// The values of all headers of a name, `None` for one that is not text.
fn values<'h>(
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    name: &'static str,
) -> impl Iterator<Item = Option<&'h str>> {
    headers
        .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(name))
        .map(|(_, value)| {
            str::from_utf8(value)
                .ok()
                .map(|text| text.trim_matches([' ', '\t']))
        })
}

/// The value of a header that must stand exactly once.
fn single<'h>(
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    name: &'static str,
) -> Option<&'h str> {
    let mut values = values(headers, name);
    let value = values.next()??;
    values.next().is_none().then_some(value)
}

/// Whether a list header, which may be repeated, has an element.
fn names<'h>(
    headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    name: &'static str,
    element: &str,
) -> bool {
    values(headers, name)
        .flatten()
        .flat_map(list_elements)
        .any(|candidate| candidate.eq_ignore_ascii_case(element))
}

/// Whether `text` may be a host and port (RFC 3986 section 3.2.2); a name is not resolved here.
fn is_host(text: &str) -> bool {
    let is_host_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_host_byte)
}

/// Whether `text` is the base64 of 16 bytes.
fn is_key(text: &str) -> bool {
    // The library wants room for what it estimates, which is 18 bytes for 24 characters.
    let mut bytes = [0; 18];
    text.len() == KEY_BYTES && STANDARD.decode_slice(text, &mut bytes) == Ok(16)
}
