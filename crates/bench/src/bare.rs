//! The bare loop: what accepting, upgrading and sending cost when nothing else is done.
//!
//! One thread, one epoll, one `write` for each delivery. It speaks just enough to stand in for the
//! server under test, and sends that server's own bytes. It has no queue, no heartbeat and no log:
//! a socket that takes no more ends the run.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
};
use sha1::{Digest, Sha1};

use crate::http::{field, message_length};

const EVENTS_MAX: usize = 256;
const READ_BYTES: usize = 4 * 1024;
const LISTENER: u64 = u64::MAX;

/// RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The bare loop's own options.
#[derive(Debug, Args)]
pub(crate) struct BareOptions {
    /// Where it listens.
    #[arg(long)]
    addr: SocketAddr,
    /// The frame that answers `hello`, in base64.
    #[arg(long)]
    welcome: String,
    /// The frame that each publish sends to everybody, in base64.
    #[arg(long)]
    message: String,
}

#[derive(Debug)]
enum Stage {
    /// HTTP: what has come of the request.
    Request(Vec<u8>),
    /// Upgraded, `hello` is awaited.
    Hello,
    /// Gets every message.
    Subscribed,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    stage: Stage,
}

#[derive(Debug)]
struct Bare {
    epoll: OwnedFd,
    /// By file descriptor, which bounds it.
    peers: Vec<Option<Peer>>,
    welcome: Vec<u8>,
    message: Vec<u8>,
}

/// Serves until it is killed.
pub(crate) fn run(options: &BareOptions) -> io::Result<()> {
    let decode = |text: &String| BASE64_STANDARD.decode(text).map_err(io::Error::other);
    let mut bare = Bare {
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        peers: Vec::new(),
        welcome: decode(&options.welcome)?,
        message: decode(&options.message)?,
    };
    let listener = TcpListener::bind(options.addr)?;
    listener.set_nonblocking(true)?;
    epoll::add(
        &bare.epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        epoll::wait(&bare.epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => bare.accept(&listener)?,
                fd => bare.read(usize::try_from(fd).expect("a file descriptor fits"))?,
            }
        }
    }
}

impl Bare {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let fd = usize::try_from(stream.as_raw_fd()).expect("descriptors are not negative");
            epoll::add(
                &self.epoll,
                &stream,
                EventData::new_u64(fd as u64),
                EventFlags::IN,
            )?;
            if self.peers.len() <= fd {
                self.peers.resize_with(fd + 1, || None);
            }
            let stage = Stage::Request(Vec::new());
            self.peers[fd] = Some(Peer { stream, stage });
        }
    }

    fn read(&mut self, fd: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[fd] else {
            return Ok(());
        };
        let mut buffer = [0; READ_BYTES];
        let read = match peer.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            outcome => outcome.unwrap_or(0),
        };
        if read == 0 {
            self.peers[fd] = None;
            return Ok(());
        }
        match &mut peer.stage {
            Stage::Subscribed => Ok(()),
            Stage::Hello => {
                peer.stage = Stage::Subscribed;
                peer.stream.write_all(&self.welcome)
            }
            Stage::Request(request) => {
                request.extend_from_slice(&buffer[..read]);
                self.answer(fd)
            }
        }
    }

    fn answer(&mut self, fd: usize) -> io::Result<()> {
        let Some(peer) = &mut self.peers[fd] else {
            return Ok(());
        };
        let Stage::Request(request) = &mut peer.stage else {
            return Ok(());
        };
        if message_length(request).is_none_or(|length| request.len() < length) {
            return Ok(());
        }
        let request = String::from_utf8(std::mem::take(request)).map_err(io::Error::other)?;
        if request.starts_with("POST ") {
            peer.stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
            return self.broadcast();
        }
        let Some(key) = field(&request, "sec-websocket-key") else {
            return Err(io::Error::other("neither a publish nor an upgrade"));
        };
        let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{key}{GUID}")));
        peer.stage = Stage::Hello;
        write!(
            peer.stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: bowline.v1\r\n\r\n"
        )
    }

    fn broadcast(&mut self) -> io::Result<()> {
        for peer in self.peers.iter_mut().flatten() {
            if matches!(peer.stage, Stage::Subscribed) {
                peer.stream.write_all(&self.message)?;
            }
        }
        Ok(())
    }
}
