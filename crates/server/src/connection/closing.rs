//! The end of a connection: RFC 6455's closing handshake, bounded in time.

use std::time::Duration;

use bowline_proto::Time;
use bowline_ws::{Decoder, Event, Limits, Role, encode_close};
use tokio::time::timeout;

use super::End;
use crate::{link::Link, node::Node};

/// How long the peer has to answer a close frame and to end its side; after that the socket is
/// dropped, which costs the peer at most its own last words.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The most bytes that are read and thrown away while the peer's close is awaited.
const DISCARD_BYTES_MAX: usize = 1 << 20;

/// Tells the peer, waits for it within bounds, and ends the socket. What was read and not decoded yet is
/// thrown away like what still comes; it is none amid a message, behind which no close frame is looked for.
pub(super) async fn run(node: &Node, link: &Link, undecoded: Option<Vec<u8>>, end: End) {
    let (frame, mut await_close) = match end {
        End::Broken => return,
        End::Answer(frame) => (frame, false),
        End::Fail(frame) => (Some(frame), false),
        End::Close(frame) => (Some(frame), true),
    };
    let now = || -> Time { node.clock.now() };
    link.close(encode_close(frame.as_ref(), None), now());
    let flushed = timeout(node.config.send_timeout.min(CLOSE_WAIT), async {
        while !link.is_broken() && link.chores().blocked {
            if link.socket.writable().await.is_err() {
                return;
            }
            link.flush(now());
        }
    });
    if flushed.await.is_err() || link.is_broken() {
        return;
    }
    // Nothing but the close frame is looked for, and nothing waited for where a message stands before it: none is
    // put together or inflated.
    let limits = Limits {
        message_bytes_max: 0,
    };
    let mut decoder = Decoder::new(Role::Server, limits);
    await_close &= undecoded.is_some_and(|mut read| !is_closed_in(&mut decoder, &mut read));
    // Reading on until the peer's end keeps the kernel from answering late bytes with a reset,
    // which would destroy the close frame on its way.
    let drained = timeout(CLOSE_WAIT, drain(link, &mut decoder, await_close));
    if drained.await.is_ok() && await_close {
        let _ = timeout(CLOSE_WAIT, drain(link, &mut decoder, false)).await;
    }
}

/// Reads until the peer's close frame, if it is awaited, else until the end of its stream.
async fn drain(link: &Link, decoder: &mut Decoder, await_close: bool) {
    if !await_close && link.socket.shut_down().is_err() {
        return;
    }
    // On the heap: an array would be part of every idle connection's task.
    let mut buffer = vec![0; 4096];
    let mut discarded = 0;
    while discarded < DISCARD_BYTES_MAX && link.socket.readable().await.is_ok() {
        match link.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                discarded += count;
                if await_close && is_closed_in(decoder, &mut buffer[..count]) {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Whether the peer's close frame is in it, or anything behind which none can be found.
fn is_closed_in(decoder: &mut Decoder, mut input: &mut [u8]) -> bool {
    loop {
        match decoder.decode(&mut input) {
            Ok(Some(Event::Ping(_) | Event::Pong(_))) => {}
            Ok(Some(_)) | Err(_) => return true,
            Ok(None) => return false,
        }
    }
}
