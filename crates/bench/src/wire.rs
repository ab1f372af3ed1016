//! The bytes that are spoken: just enough of HTTP, RFC 6455 and `bowline.v1`, by hand.
//!
//! Owns the upgrade request, the client's two frames and the counting of the server's. Payloads
//! are never looked at: a benchmark's clients must cost as little as they can.

/// The only channel.
pub(crate) const CHANNEL: &str = "bench";

/// The opening handshake. Its key is RFC 6455's own example: nothing here depends on its secrecy.
pub(crate) const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Protocol: bowline.v1\r\n\r\n";

/// A publication's frame has a payload of at least this many bytes, a ping's has fewer: 126 is
/// where RFC 6455's longer lengths begin, and a publication carries at least 128.
const PUBLICATION_BYTES_MIN: u64 = 126;

const OPCODE_CLOSE: u8 = 8;

/// `hello` with one subscription, as a masked frame.
pub(crate) fn hello() -> Vec<u8> {
    masked(&format!(
        r#"{{"type":"hello","id":1,"subscribe":{{"{CHANNEL}":null}}}}"#
    ))
}

/// `pong`, as a masked frame.
pub(crate) fn pong() -> Vec<u8> {
    masked(r#"{"type":"pong"}"#)
}

/// A short text frame whose mask is zero, which RFC 6455 allows.
fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("the texts of this file are short");
    assert!(length < 126, "a longer text has a longer header");
    let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// Counts the frames of one server, however they are cut into reads.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    header: [u8; 10],
    header_bytes: u8,
    payload_left: u64,
}

/// What a read has completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// `welcome` or publications.
    pub(crate) publications: u64,
    /// Pings, each of which is owed a pong.
    pub(crate) pings: u64,
    /// The server said goodbye.
    pub(crate) closed: bool,
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
            bytes = &bytes[taken..];
            self.payload_left -= taken as u64;
            if self.payload_left == 0 {
                self.complete(&mut counted);
            }
        }
        counted
    }

    fn complete(&mut self, counted: &mut Counted) {
        let header = &self.header[..usize::from(self.header_bytes)];
        let length = payload_length(header).expect("a frame completes after its header");
        match header[0] & 0x0f {
            OPCODE_CLOSE => counted.closed = true,
            _ if length < PUBLICATION_BYTES_MIN => counted.pings += 1,
            _ => counted.publications += 1,
        }
        self.header_bytes = 0;
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
        let stream: Vec<u8> = [
            frame(1, 230),
            frame(1, 20),
            frame(2, 70_000),
            frame(9, 0),
            frame(1, 126),
            frame(8, 2),
        ]
        .concat();
        for step in [1, 2, 3, 7, 64, 4_096, stream.len()] {
            let mut walker = Walker::default();
            let mut total = Counted::default();
            for part in stream.chunks(step) {
                let counted = walker.feed(part);
                total.publications += counted.publications;
                total.pings += counted.pings;
                total.closed |= counted.closed;
            }
            let expected = Counted {
                publications: 3,
                pings: 2,
                closed: true,
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
