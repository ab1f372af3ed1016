//! HTTP/1.1 by hand: the head of a request or answer, and a keep-alive publisher.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    stream::{Dialect, Stream},
    wire::CHANNEL,
};

/// A head that is longer is not one of ours.
pub(crate) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The backend's key, in the server's settings and here.
pub(crate) const API_KEY: &str = "a-key-of-this-benchmark-alone";

/// An answer that takes longer is not worth measuring.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the head ends, its empty line included; none if it is not whole.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// A field of a head.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// How many bytes a message has, head and body; none if that much can't be told yet.
pub(crate) fn message_length(bytes: &[u8]) -> Option<usize> {
    let end = head_end(bytes)?;
    let head = str::from_utf8(&bytes[..end]).ok()?;
    let body = field(head, "content-length").and_then(|length| length.parse().ok());
    Some(end + body.unwrap_or(0))
}

/// A connection that publishes, one publication in flight at a time.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: Stream,
    request: Vec<u8>,
}

impl Publisher {
    /// Connects; each publication will carry `bytes` bytes of data.
    pub(crate) fn connect(
        address: SocketAddr,
        bytes: usize,
        dialect: &Dialect,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let data = noise(bytes.saturating_sub(2));
        let body = format!(r#"{{"channel":"{CHANNEL}","data":"{data}"}}"#);
        let request = format!(
            "POST /api/publish HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             X-API-Key: {API_KEY}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self {
            stream: dialect.over(stream)?,
            request: request.into_bytes(),
        })
    }

    /// Publishes without waiting for the answer.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)
    }

    /// Waits for the answer to the last [`send`](Self::send), which must be 200.
    pub(crate) fn answer(&mut self) -> io::Result<()> {
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while message_length(&answer).is_none_or(|length| answer.len() < length) {
            let read = self.stream.read(&mut buffer)?;
            if read == 0 || answer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other(
                    "the server's answer to a publish breaks off",
                ));
            }
            answer.extend_from_slice(&buffer[..read]);
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            let text = String::from_utf8_lossy(&answer);
            return Err(io::Error::other(format!("a publish was refused: {text}")));
        }
        Ok(())
    }
}

/// Text that compresses about as base64 does: of random digits, always the same.
fn noise(length: usize) -> String {
    let mut state = 1_u32;
    let digit = |_| {
        // Knuth's linear congruential generator; the high bits are the good ones.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(DIGITS[(state >> 26) as usize])
    };
    (0..length).map(digit).collect()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_measured_once_its_head_is_whole() {
        let message = b"POST / HTTP/1.1\r\ncontent-LENGTH: 3\r\n\r\nabc";
        let head = message.len() - 3;
        assert_eq!(message_length(&message[..head - 1]), None);
        assert_eq!(message_length(&message[..head]), Some(message.len()));
        assert_eq!(message_length(b"GET / HTTP/1.1\r\n\r\n"), Some(18));
    }
}
