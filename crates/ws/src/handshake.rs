//! The opening handshake (RFC 6455 section 4) for both sides. It owns what both share: the accept
//! key and the reading of header lists. It must not know HTTP libraries.

mod client;
mod extensions;
mod server;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

pub use client::{
    ClientHandshake, ClientRequest, RESPONSE_BYTES_MAX, RESPONSE_HEADERS_MAX, Refusal,
    RequestError, Response, ResponseError,
};
pub use server::{Accepted, HandshakeError, UpgradeRequest, accept};

/// The version of the WebSocket protocol that RFC 6455 defines.
const VERSION: &str = "13";
/// The length of a handshake key in base64: 16 bytes.
const KEY_BYTES: usize = 24;
/// The length of an accept key in base64: a SHA-1 digest.
const ACCEPT_BYTES: usize = 28;
/// What the server appends to the key before it hashes (section 1.3).
const KEY_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The accept key that answers a key, given as it stands in the header.
fn accept_key(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(KEY_GUID)
        .finalize();
    let mut accept = [0; ACCEPT_BYTES];
    STANDARD
        .encode_slice(digest, &mut accept)
        .expect("20 bytes are 28 in base64");
    accept
}

/// The elements of a comma-separated header, without the spaces around them.
fn list_elements(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|e| !e.is_empty())
}

/// Whether `text` is a token as HTTP defines it (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

#[cfg(test)]
mod tests;
