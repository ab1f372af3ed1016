//! The bytes that are spoken: just enough of HTTP, RFC 6455 and `bowline.v1`, by hand.
//!
//! Owns the upgrade request, the client's two frames and the counting of the server's. Payloads
//! are never looked at: a benchmark's clients must cost as little as they can.

/// The only channel.
pub(crate) const CHANNEL: &str = "bench";

/// The opening handshake. Its key is RFC 6455's own example: nothing here depends on its secrecy.
pub(crate) fn upgrade(offers_deflate: bool) -> Vec<u8> {
    let extension = if offers_deflate {
        "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    } else {
        ""
    };
    format!(
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         {extension}Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    .into_bytes()
}

const SUBPROTOCOL: &str = "bowline.v1";

/// A publication's frame has a payload of at least this many bytes, the server's notices have
/// fewer: 126 is where RFC 6455's longer lengths begin, and a publication carries at least 128.
const PUBLICATION_BYTES_MIN: u64 = 126;

const OPCODE_CLOSE: u8 = 8;

/// How notices of the server are told apart.
const PING: &[u8] = br#"{"type":"ping""#;
const PONG: &[u8] = br#"{"type":"pong""#;
const RECONNECT: &[u8] = br#"{"type":"reco"#;

/// What is kept of a payload's beginning: enough for the above.
const BEGINNING_BYTES: usize = 14;

/// `hello` with one subscription, as a masked frame; who is a user says so by a token, and has a
/// session of its own.
pub(crate) fn hello(user: Option<(&str, &str)>, subscribes: bool) -> Vec<u8> {
    let user = user.map_or(String::new(), |(token, session)| {
        format!(r#","token":"{token}","session":"{session}","link":1,"first":1,"next":1"#)
    });
    let subscribe = if subscribes {
        format!(r#"{{"{CHANNEL}":null}}"#)
    } else {
        "{}".to_owned()
    };
    masked(&format!(
        r#"{{"type":"hello","id":1{user},"subscribe":{subscribe}}}"#
    ))
}

/// `ping`, as a masked frame.
pub(crate) fn ping() -> Vec<u8> {
    masked(r#"{"type":"ping"}"#)
}

/// `pong`, as a masked frame.
pub(crate) fn pong() -> Vec<u8> {
    masked(r#"{"type":"pong"}"#)
}

/// `pong` as a server sends it.
pub(crate) fn pong_of_server() -> Vec<u8> {
    let text = br#"{"type":"pong"}"#;
    let length = u8::try_from(text.len()).expect("a short text");
    [&[0x81, length][..], text].concat()
}

/// The answer to a close frame: an empty one.
pub(crate) const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

/// A short text frame whose mask is zero, which RFC 6455 allows.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            let length = u16::try_from(text.len()).expect("the texts of this file are short");
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Counts the frames of one server, however they are cut into reads.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    header: [u8; 10],
    header_bytes: u8,
    payload_left: u64,
    /// How the payload begins.
    beginning: [u8; BEGINNING_BYTES],
    beginning_bytes: u8,
}

/// What a read has completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// `welcome` or publications.
    pub(crate) publications: u64,
    /// Pings, each of which is owed a pong.
    pub(crate) pings: u64,
    /// Pongs.
    pub(crate) pongs: u64,
    /// `reconnect`: the server will go.
    pub(crate) reconnects: u64,
    /// The close code with which the server said goodbye.
    pub(crate) closed: Option<u16>,
}

impl Walker {
    /// Takes the bytes of a read.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Counted {
        let mut counted = Counted::default();
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left == 0 {
                self.header[usize::from(self.header_bytes)] = first;
                self.header_bytes += 1;
                bytes = rest;
                let Some(length) = payload_length(&self.header[..usize::from(self.header_bytes)])
                else {
                    continue;
                };
                self.payload_left = length;
            }
            let taken = bytes
                .len()
                .min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
            self.keep(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.payload_left -= taken as u64;
            if self.payload_left == 0 {
                self.complete(&mut counted);
            }
        }
        counted
    }

    fn keep(&mut self, payload: &[u8]) {
        let kept = usize::from(self.beginning_bytes);
        let count = payload.len().min(BEGINNING_BYTES - kept);
        self.beginning[kept..kept + count].copy_from_slice(&payload[..count]);
        self.beginning_bytes = u8::try_from(kept + count).expect("at most BEGINNING_BYTES");
    }

    fn complete(&mut self, counted: &mut Counted) {
        let header = &self.header[..usize::from(self.header_bytes)];
        let length = payload_length(header).expect("a frame completes after its header");
        let beginning = &self.beginning[..usize::from(self.beginning_bytes)];
        match header[0] & 0x0f {
            OPCODE_CLOSE => {
                let code = beginning
                    .first_chunk()
                    .map_or(0, |code| u16::from_be_bytes(*code));
                counted.closed = Some(code);
            }
            _ if length >= PUBLICATION_BYTES_MIN => counted.publications += 1,
            _ if beginning.starts_with(PONG) => counted.pongs += 1,
            _ if beginning.starts_with(PING) => counted.pings += 1,
            _ if beginning.starts_with(RECONNECT) => counted.reconnects += 1,
            _ => {}
        }
        (self.header_bytes, self.beginning_bytes) = (0, 0);
    }
}

/// The length that a whole frame header of a server says (RFC 6455, 5.2); none if it is not whole.
pub(crate) fn payload_length(header: &[u8]) -> Option<u64> {
    match (header.get(1)? & 0x7f, header.len()) {
        (127, 10) => Some(u64::from_be_bytes(
            header[2..10].try_into().expect("eight bytes"),
        )),
        (126, 4) => Some(u64::from(u16::from_be_bytes([header[2], header[3]]))),
        (short @ 0..=125, 2) => Some(u64::from(short)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match length {
            0..=125 => frame.push(length as u8),
            126..=65_535 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + length, b'x');
        frame
    }

    #[test]
    fn frames_are_counted_wherever_they_are_cut() {
        let notice = |text: &str| [frame(1, text.len())[..2].to_vec(), text.into()].concat();
        let stream: Vec<u8> = [
            frame(1, 230),
            notice(r#"{"type":"ping","ts":17}"#),
            notice(r#"{"type":"pong"}"#),
            frame(2, 70_000),
            frame(9, 0),
            notice(r#"{"type":"reconnect","after_ms":7,"reason":"restart"}"#),
            frame(1, 126),
            [&[0x88, 2][..], &4503_u16.to_be_bytes()].concat(),
        ]
        .concat();
        for step in [1, 2, 3, 7, 64, 4_096, stream.len()] {
            let mut walker = Walker::default();
            let mut total = Counted::default();
            for part in stream.chunks(step) {
                let counted = walker.feed(part);
                total.publications += counted.publications;
                total.pings += counted.pings;
                total.pongs += counted.pongs;
                total.reconnects += counted.reconnects;
                total.closed = total.closed.or(counted.closed);
            }
            let expected = Counted {
                publications: 3,
                pings: 1,
                pongs: 1,
                reconnects: 1,
                closed: Some(4503),
            };
            assert_eq!(total, expected, "cut every {step} bytes");
        }
    }

    #[test]
    fn a_frame_counts_only_once_it_is_whole() {
        let frame = frame(1, 200);
        let mut walker = Walker::default();
        let (most, last) = frame.split_at(frame.len() - 1);
        assert_eq!(walker.feed(most), Counted::default());
        assert_eq!(walker.feed(last).publications, 1);
    }
}
