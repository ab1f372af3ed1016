//! The client's side of the opening handshake (RFC 6455 section 4.1): the request's bytes and the
//! judgement of the response. It draws no key and owns no buffer; the shell does both.

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::extensions::Extensions;
use crate::handshake::extensions::{OFFER, judge, parse};
use crate::handshake::{ACCEPT_BYTES, VERSION, accept_key, is_token, list_elements};

/// The longest response head in bytes; interim responses before it count too.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// The most headers in a response.
pub const RESPONSE_HEADERS_MAX: usize = 64;

/// Headers that [`ClientRequest`] writes itself or that would change what the request is.
const OWN_HEADERS: [&str; 10] = [
    "host",
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "content-length",
    "transfer-encoding",
];

/// A request to upgrade.
#[derive(Debug, Clone, Copy)]
pub struct ClientRequest<'a> {
    /// The host, with the port where it isn't the scheme's default: `example.org:8080`.
    pub host: &'a str,
    /// The path and query: `/ws?channels=a`.
    pub target: &'a str,
    /// 16 random bytes, fresh for each request (section 4.1).
    pub key: [u8; 16],
    /// The subprotocols in order of preference.
    pub protocols: &'a [&'a str],
    /// Further headers, such as `Authorization`.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Why a request was not written: its parts would not stand in HTTP as meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The host is empty or has characters that a host can't have.
    #[error("the host is empty or malformed")]
    Host,
    /// The target doesn't begin with `/` or has spaces, controls, `#` or non-ASCII characters.
    #[error("the target must begin with / and be percent-encoded")]
    Target,
    /// A subprotocol is not a token, or is named twice.
    #[error("subprotocol {0:?} is not a token or named twice")]
    Protocol(String),
    /// A header's name is not a token.
    #[error("header name {0:?} is not a token")]
    HeaderName(String),
    /// A header is written by this crate and must not be given.
    #[error("header {0:?} belongs to the handshake")]
    HeaderReserved(String),
    /// A header's value has control characters, such as CR or LF.
    #[error("the value of header {0:?} has control characters")]
    HeaderValue(String),
}

/// A sent request that waits for its response.
#[derive(Debug, Clone)]
pub struct ClientHandshake {
    accept: [u8; ACCEPT_BYTES],
    protocols: Box<[Box<str>]>,
    offers_deflate: bool,
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// 101: the connection is open.
    Accepted {
        /// The subprotocol that the server chose among the offered ones.
        protocol: Option<String>,
        /// What was agreed on for the frames.
        extensions: Extensions,
        /// How many of the received bytes the response took; frames follow.
        head_bytes: usize,
    },
    /// Any other status.
    Refused(Refusal),
}

/// A response that refuses the upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds; its form as a date is left out, for there is no clock here.
    pub retry_after_secs: Option<u32>,
    /// How many of the received bytes the head took; the body follows.
    pub head_bytes: usize,
    /// The length of the body, where the server told it.
    pub content_length: Option<u64>,
}

/// Why a response is no answer to a WebSocket upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// It is not HTTP.
    #[error("the response is not HTTP: {0}")]
    Malformed(httparse::Error),
    /// The head is longer than [`RESPONSE_BYTES_MAX`] or has more than [`RESPONSE_HEADERS_MAX`]
    /// headers.
    #[error("the response's head is too large")]
    TooLarge,
    /// 101 over something that is not HTTP/1.1.
    #[error("the server switched protocols over HTTP/1.0")]
    HttpVersion,
    /// 101 without `Upgrade: websocket` and `Connection: Upgrade`.
    #[error("the server switched to something that is not WebSocket")]
    Upgrade,
    /// The accept key is missing or doesn't answer our key.
    #[error("the server did not answer the handshake key")]
    Accept,
    /// The server chose a subprotocol that was not offered, or several.
    #[error("the server chose a subprotocol that was not offered")]
    Protocol,
    /// The server chose an extension that was not offered, or on terms that were not.
    #[error("the server chose an extension, or terms of one, that were not offered")]
    Extension,
}

impl ClientRequest<'_> {
    /// Writes the request, and keeps what is needed to judge its response.
    ///
    /// # Errors
    /// A part is malformed; nothing of it may reach the wire, for CR and LF in it would smuggle
    /// headers.
    pub fn encode(&self) -> Result<(Vec<u8>, ClientHandshake), RequestError> {
        self.write(false)
    }

    /// The same with an offer of permessage-deflate (RFC 7692), without context takeover in either
    /// direction. [`Response::Accepted`] says what the server made of it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_offering_deflate(&self) -> Result<(Vec<u8>, ClientHandshake), RequestError> {
        self.write(true)
    }

    fn write(&self, offers_deflate: bool) -> Result<(Vec<u8>, ClientHandshake), RequestError> {
        self.check()?;
        let key = STANDARD.encode(self.key);
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: {VERSION}\r\n",
            self.target, self.host,
        );
        if !self.protocols.is_empty() {
            let protocols = self.protocols.join(", ");
            request.push_str(&format!("Sec-WebSocket-Protocol: {protocols}\r\n"));
        }
        if offers_deflate {
            request.push_str(&format!("Sec-WebSocket-Extensions: {OFFER}\r\n"));
        }
        for (name, value) in self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let handshake = ClientHandshake {
            accept: accept_key(key.as_bytes()),
            protocols: self
                .protocols
                .iter()
                .map(|&protocol| protocol.into())
                .collect(),
            offers_deflate,
        };
        Ok((request.into_bytes(), handshake))
    }

    fn check(&self) -> Result<(), RequestError> {
        let is_graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if self.host.is_empty()
            || !is_graphic(self.host)
            || self.host.contains(['/', '?', '#', '@'])
        {
            return Err(RequestError::Host);
        }
        if !self.target.starts_with('/') || !is_graphic(self.target) || self.target.contains('#') {
            return Err(RequestError::Target);
        }
        for (index, protocol) in self.protocols.iter().enumerate() {
            if !is_token(protocol) || self.protocols[..index].contains(protocol) {
                return Err(RequestError::Protocol((*protocol).to_owned()));
            }
        }
        for &(name, value) in self.headers {
            if !is_token(name) {
                return Err(RequestError::HeaderName(name.to_owned()));
            }
            if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                return Err(RequestError::HeaderReserved(name.to_owned()));
            }
            if value
                .bytes()
                .any(|byte| byte.is_ascii_control() && byte != b'\t')
            {
                return Err(RequestError::HeaderValue(name.to_owned()));
            }
        }
        Ok(())
    }
}

impl ClientHandshake {
    /// Judges the response from all bytes `received` since the request; `None` if its head is not
    /// whole. The caller appends what arrives and asks again; it holds at most
    /// [`RESPONSE_BYTES_MAX`] and one read.
    ///
    /// # Errors
    /// The response is malformed, too large, or a 101 that violates section 4.1.
    pub fn parse(&self, received: &[u8]) -> Result<Option<Response>, ResponseError> {
        let mut interim_bytes = 0;
        // Each turn skips one interim response, so the loop is bounded by the received bytes.
        loop {
            let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
            let mut response = httparse::Response::new(&mut headers);
            let window = &received[interim_bytes..received.len().min(RESPONSE_BYTES_MAX)];
            match response.parse(window) {
                Ok(httparse::Status::Partial) if received.len() >= RESPONSE_BYTES_MAX => {
                    return Err(ResponseError::TooLarge);
                }
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
                Err(error) => return Err(ResponseError::Malformed(error)),
                Ok(httparse::Status::Complete(bytes)) => {
                    let head_bytes = interim_bytes + bytes;
                    match response.code {
                        Some(101) => return self.accepted(&response, head_bytes).map(Some),
                        Some(100..=199) => interim_bytes = head_bytes,
                        status => {
                            let status = status.expect("a whole response has a status");
                            return Ok(Some(refused(&response, status, head_bytes)));
                        }
                    }
                }
            }
        }
    }

    fn accepted(
        &self,
        response: &httparse::Response<'_, '_>,
        head_bytes: usize,
    ) -> Result<Response, ResponseError> {
        if response.version != Some(1) {
            return Err(ResponseError::HttpVersion);
        }
        let names = |name, element| {
            values(response, name)
                .filter_map(|value| str::from_utf8(value).ok())
                .flat_map(list_elements)
                .any(|candidate| candidate.eq_ignore_ascii_case(element))
        };
        if !names("upgrade", "websocket") || !names("connection", "upgrade") {
            return Err(ResponseError::Upgrade);
        }
        let mut accepts = values(response, "sec-websocket-accept");
        if accepts.next() != Some(&self.accept[..]) || accepts.next().is_some() {
            return Err(ResponseError::Accept);
        }
        let extensions = self.extensions(response).ok_or(ResponseError::Extension)?;
        let mut protocols = values(response, "sec-websocket-protocol");
        let protocol = match (protocols.next(), protocols.next()) {
            (None, _) => None,
            (Some(chosen), None) => Some(
                self.protocols
                    .iter()
                    .find(|offered| offered.as_bytes() == chosen)
                    .ok_or(ResponseError::Protocol)?
                    .to_string(),
            ),
            (Some(_), Some(_)) => return Err(ResponseError::Protocol),
        };
        Ok(Response::Accepted {
            protocol,
            extensions,
            head_bytes,
        })
    }

    /// What the server agreed on; `None` if that was not offered.
    fn extensions(&self, response: &httparse::Response<'_, '_>) -> Option<Extensions> {
        let mut answers = Vec::new();
        for value in values(response, "sec-websocket-extensions") {
            answers.extend(parse(str::from_utf8(value).ok()?).ok()?);
        }
        match (answers.is_empty(), self.offers_deflate) {
            (true, _) => Some(Extensions::NONE),
            (false, true) => judge(answers.into_iter()),
            (false, false) => None,
        }
    }
}

fn refused(response: &httparse::Response<'_, '_>, status: u16, head_bytes: usize) -> Response {
    let number = |name| {
        let value = str::from_utf8(values(response, name).next()?).ok()?;
        value
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| value.parse::<u64>().ok())?
    };
    Response::Refused(Refusal {
        status,
        retry_after_secs: number("retry-after").map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        head_bytes,
        content_length: number("content-length"),
    })
}

/// The values of all headers of a name, without the spaces around them.
fn values<'r>(
    response: &'r httparse::Response<'_, '_>,
    name: &'static str,
) -> impl Iterator<Item = &'r [u8]> {
    response
        .headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.trim_ascii())
}
