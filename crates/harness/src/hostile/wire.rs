//! Bytes as an attacker writes and reads them.
//!
//! Owns masked frames in every illegal form, and the reading of what a server answers: HTTP heads with
//! their bodies, and unmasked frames. Must not know what any of it means, and shares no code with the
//! server: a common mistake would hide itself.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Any key will do; this one shows every byte of the payload changed.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// No answer to an attack is larger.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const CLOSE: u8 = 0x8;

/// A masked frame: its first byte, its length as one to nine bytes as they stand, and its payload.
pub(super) fn masked_raw(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1 + length.len() + MASK.len() + payload.len());
    frame.push(first);
    frame.extend_from_slice(length);
    frame[1] |= 0x80;
    frame.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// A masked frame with its length in the shortest form.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    if let Ok(short @ 0..126) = u8::try_from(length) {
        return masked_raw(first, &[short], payload);
    }
    if let Ok(medium) = u16::try_from(length) {
        let [high, low] = medium.to_be_bytes();
        return masked_raw(first, &[126, high, low], payload);
    }
    let mut long = vec![127];
    long.extend((length as u64).to_be_bytes());
    masked_raw(first, &long, payload)
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// FIN, reserved bits and opcode.
    pub(super) first: u8,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    pub(super) fn is_close(&self) -> bool {
        self.opcode() == CLOSE
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The close code, 1005 where it has none, and the reason.
    pub(super) fn close(&self) -> (u16, String) {
        let code = self.payload.first_chunk::<2>();
        let reason = self.payload.get(2..).unwrap_or_default();
        (
            code.map_or(1005, |code| u16::from_be_bytes(*code)),
            String::from_utf8_lossy(reason).into_owned(),
        )
    }
}

/// The head and the body of an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: String,
}

/// A socket of an attacker.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Wire {
    /// Dials from this address of the loopback network, with a receive buffer of this size if one
    /// is given: a sender's bytes then stay on the sender's side.
    pub(super) async fn dial(
        to: SocketAddr,
        from: &str,
        receive_bytes: Option<u32>,
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let from = from.parse().map_err(io::Error::other)?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
        })
    }

    /// When this is dropped, the connection is reset, and nothing of it stays in the kernel.
    pub(super) fn go_at_once(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether the peer has ended the connection, as far as can be seen without waiting; what has
    /// come before is kept.
    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.stream.try_read_buf(&mut self.input), Ok(0))
    }

    /// Whether the peer has ended the connection, and without a byte before; waits for it.
    pub(super) async fn ends_silently(&mut self) -> io::Result<bool> {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte).await {
            Ok(0) => Ok(self.input.is_empty()),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The next HTTP answer.
    pub(super) async fn answer(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = find(&self.input, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.input[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| invalid(&format!("no status line: {head:?}")))?;
        self.input.drain(..end);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(Ok(0), str::parse::<usize>)
            .map_err(|_| invalid("an answer's content-length"))?;
        let has_body = status >= 200 && status != 204;
        let length = if has_body { length } else { 0 };
        while self.input.len() < length {
            self.fill().await?;
        }
        let body = self.input.drain(..length).collect::<Vec<u8>>();
        Ok(Answer {
            status,
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// The next frame.
    pub(super) async fn frame(&mut self) -> io::Result<Frame> {
        loop {
            if let Some((frame, taken)) = parse_frame(&self.input)? {
                self.input.drain(..taken);
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.input.len() > ANSWER_BYTES_MAX {
            return Err(invalid("an answer without end"));
        }
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// The first frame and how many bytes it has, once it is whole.
fn parse_frame(input: &[u8]) -> io::Result<Option<(Frame, usize)>> {
    let &[first, second, ..] = input else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err(invalid("a server's frame is masked"));
    }
    let (length, start) = match second {
        126 => match input.get(2..4).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4),
            None => return Ok(None),
        },
        127 => match input.get(2..10).and_then(|bytes| bytes.first_chunk()) {
            Some(bytes) => (u64::from_be_bytes(*bytes), 10),
            None => return Ok(None),
        },
        short => (short.into(), 2),
    };
    let length = usize::try_from(length).ok();
    let length = length.filter(|length| *length <= ANSWER_BYTES_MAX);
    let end = start + length.ok_or_else(|| invalid("a frame without end"))?;
    Ok(input.get(start..end).map(|payload| {
        let payload = payload.to_vec();
        (Frame { first, payload }, end)
    }))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = masked(0x82, &vec![7; length]);
            assert_eq!(frame.len(), header + 4 + length, "{length}");
        }
        assert_eq!(masked_raw(0x81, &[5], b"")[1], 0x85);
    }

    #[test]
    fn frames_are_read_once_they_are_whole() {
        let mut bytes = vec![0x81, 126, 0, 130];
        bytes.extend([b'x'; 130]);
        for cut in 0..bytes.len() {
            assert_eq!(parse_frame(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        let (frame, taken) = parse_frame(&bytes).unwrap().unwrap();
        assert_eq!((frame.payload.len(), taken), (130, 134));
        assert!(parse_frame(&[0x81, 0x81, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_close_frame_has_code_and_reason() {
        let frame = |payload: &[u8]| Frame {
            first: 0x88,
            payload: payload.to_vec(),
        };
        assert_eq!(frame(b"").close(), (1005, String::new()));
        assert_eq!(frame(b"\x03\xe8bye").close(), (1000, "bye".to_owned()));
    }
}
