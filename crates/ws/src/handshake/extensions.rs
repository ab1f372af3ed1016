//! `Sec-WebSocket-Extensions`: the header's grammar (RFC 6455 section 9.1) and the negotiation of
//! permessage-deflate in it (RFC 7692 section 7.1). It must not know the rest of a handshake.

use std::borrow::Cow;

use crate::extensions::{Deflate, Extensions, WINDOW_BITS_MAX};
use crate::handshake::is_token;

/// The extension's registered name.
const DEFLATE: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// What a client offers: no context takeover in both directions, and that it would let the server
/// choose its window (it then sends uncompressed if that is not the largest).
pub(super) const OFFER: &str = "permessage-deflate; client_no_context_takeover; \
     server_no_context_takeover; client_max_window_bits";

/// The smallest window that can be asked for.
const WINDOW_BITS_MIN: u8 = 8;

/// One extension of the header's list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'v> {
    name: &'v str,
    params: Vec<Param<'v>>,
}

type Param<'v> = (&'v str, Option<Cow<'v, str>>);

/// The header violates its grammar; the connection must fail (RFC 6455 section 9.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads the elements of one header; its caller bounds its length.
pub(super) fn parse(value: &str) -> Result<Vec<Element<'_>>, Malformed> {
    let mut elements = Vec::new();
    let mut rest = Scanner(value);
    loop {
        rest.skip_blanks();
        // A list may have empty elements (RFC 9110 section 5.6.1).
        if !rest.0.is_empty() && !rest.0.starts_with(',') {
            elements.push(rest.element()?);
        }
        if rest.0.is_empty() {
            return Ok(elements);
        }
        if !rest.take(',') {
            return Err(Malformed);
        }
    }
}

/// The server's choice: the first offer of permessage-deflate that it can accept (section 7.1).
pub(super) fn choose<'v>(offers: impl Iterator<Item = Element<'v>>) -> Extensions {
    let mut chosen = offers
        .filter(|offer| offer.name == DEFLATE)
        .filter_map(|offer| accept_offer(&offer.params));
    Extensions {
        deflate: chosen.next(),
    }
}

/// The value of the server's answer. Each side is held to no context takeover, whether the client
/// offered it or not: a server may demand both (sections 7.1.1.1 and 7.1.1.2).
pub(super) fn answer(extensions: Extensions) -> Option<String> {
    let Deflate { send_window_bits } = extensions.deflate?;
    let mut value =
        format!("{DEFLATE}; {SERVER_NO_CONTEXT_TAKEOVER}; {CLIENT_NO_CONTEXT_TAKEOVER}");
    if let Some(bits) = send_window_bits {
        value.push_str(&format!("; {SERVER_MAX_WINDOW_BITS}={bits}"));
    }
    Some(value)
}

/// The client's judgement of an answer to its [`OFFER`]; `None` if it is no answer to it.
pub(super) fn judge<'v>(mut answers: impl Iterator<Item = Element<'v>>) -> Option<Extensions> {
    let answer = answers.next().filter(|answer| answer.name == DEFLATE)?;
    if answers.next().is_some() || has_duplicates(&answer.params) {
        return None;
    }
    let mut send_window_bits = None;
    let mut server_forgets = false;
    for (name, value) in &answer.params {
        match (*name, value.as_deref()) {
            (SERVER_NO_CONTEXT_TAKEOVER, None) => server_forgets = true,
            (CLIENT_NO_CONTEXT_TAKEOVER, None) => {}
            (CLIENT_MAX_WINDOW_BITS, Some(bits)) => send_window_bits = Some(window_bits(bits)?),
            (SERVER_MAX_WINDOW_BITS, Some(bits)) => {
                window_bits(bits)?;
            }
            _ => return None,
        }
    }
    // A server that accepts the offer repeats it (section 7.1.1.1). Without it each of its messages
    // could need all that came before.
    server_forgets.then_some(Extensions {
        deflate: Some(Deflate { send_window_bits }),
    })
}

fn accept_offer(params: &[Param<'_>]) -> Option<Deflate> {
    if has_duplicates(params) {
        return None;
    }
    let mut send_window_bits = None;
    for (name, value) in params {
        match (*name, value.as_deref()) {
            // Both are demanded anyway, and so is any window that the client may choose.
            (SERVER_NO_CONTEXT_TAKEOVER | CLIENT_NO_CONTEXT_TAKEOVER, None)
            | (CLIENT_MAX_WINDOW_BITS, None) => {}
            (CLIENT_MAX_WINDOW_BITS, Some(bits)) => {
                window_bits(bits)?;
            }
            (SERVER_MAX_WINDOW_BITS, Some(bits)) => send_window_bits = Some(window_bits(bits)?),
            _ => return None,
        }
    }
    Some(Deflate { send_window_bits })
}

fn has_duplicates(params: &[Param<'_>]) -> bool {
    // Offers have at most four parameters that are accepted, so this ends early or is short.
    params.len() > 4
        || params
            .iter()
            .enumerate()
            .any(|(index, (name, _))| params[..index].iter().any(|(other, _)| other == name))
}

/// A decimal number between 8 and 15 without leading zeros (section 7.1.2.1).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok()?;
    let is_canonical = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.starts_with('0');
    (is_canonical && (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&bits)).then_some(bits)
}

/// What is left of a header.
struct Scanner<'v>(&'v str);

impl<'v> Scanner<'v> {
    fn element(&mut self) -> Result<Element<'v>, Malformed> {
        let name = self.token()?;
        let mut params = Vec::new();
        while self.take(';') {
            let name = self.token()?;
            let value = if self.take('=') {
                self.skip_blanks();
                Some(self.value()?)
            } else {
                None
            };
            params.push((name, value));
        }
        Ok(Element { name, params })
    }

    /// A token with the blanks around it.
    fn token(&mut self) -> Result<&'v str, Malformed> {
        self.skip_blanks();
        let end = self
            .0
            .find([' ', '\t', ',', ';', '=', '"'])
            .unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        self.skip_blanks();
        is_token(token).then_some(token).ok_or(Malformed)
    }

    /// A token, or a quoted string that is one once it is unquoted.
    fn value(&mut self) -> Result<Cow<'v, str>, Malformed> {
        if !self.take('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next().ok_or(Malformed)? {
                '"' => break,
                '\\' => value.push(chars.next().ok_or(Malformed)?),
                char => value.push(char),
            }
        }
        self.0 = chars.as_str();
        self.skip_blanks();
        is_token(&value)
            .then_some(Cow::Owned(value))
            .ok_or(Malformed)
    }

    fn take(&mut self, char: char) -> bool {
        let rest = self.0.strip_prefix(char);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests;
