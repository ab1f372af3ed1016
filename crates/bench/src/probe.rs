//! The exact bytes that the server under test sends, so that the bare loop can send the same.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{
    http::{HEAD_BYTES_MAX, Publisher, head_end},
    stream::Dialect,
    wire::{hello, payload_length, upgrade},
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The server's frames. Later publications have longer offsets, by a byte for each power of ten.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The frame of `welcome`.
    pub(crate) welcome: Vec<u8>,
    /// The frame of a publication.
    pub(crate) message: Vec<u8>,
}

/// Connects, subscribes, publishes once and keeps what comes.
pub(crate) fn probe(address: SocketAddr, bytes: usize) -> io::Result<Sample> {
    let mut stream = join(address, true)?;
    let welcome = read_frame(&mut stream)?;
    let mut publisher = Publisher::connect(address, bytes, &Dialect::Plain)?;
    publisher.send()?;
    publisher.answer()?;
    let message = read_frame(&mut stream)?;
    Ok(Sample { welcome, message })
}

/// Connects and says hello as a guest; the welcome is still to come.
pub(crate) fn join(address: SocketAddr, subscribes: bool) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&upgrade(false))?;
    let mut head = Vec::new();
    while head_end(&head).is_none() && head.len() < HEAD_BYTES_MAX {
        head.push(read_exactly(&mut stream, 1)?[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        let text = String::from_utf8_lossy(&head);
        return Err(io::Error::other(format!("the upgrade was refused: {text}")));
    }
    stream.write_all(&hello(None, subscribes))?;
    Ok(stream)
}

/// Reads a frame, header and payload.
pub(crate) fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    let length = loop {
        frame.extend(read_exactly(stream, 1)?);
        if let Some(length) = payload_length(&frame) {
            break usize::try_from(length).map_err(io::Error::other)?;
        }
    };
    frame.extend(read_exactly(stream, length)?);
    Ok(frame)
}

fn read_exactly(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
