//! Sequences of operations on the hub: several connections of a real server say anything, in any
//! order, while backends publish. Nothing panics, and each connection hears every channel in order.
#![no_main]

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind, Result},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bowline::{Config, Data, Server, simulation::Stream};
use bowline_proto::{
    codec::{Incoming, decode_server},
    message::ServerMessage,
};
use bowline_ws::{Decoder, Event, Limits, MessageKind, Role, encode_message};
use libfuzzer_sys::fuzz_target;
use tokio::{runtime::Builder, time::advance};

const LINKS: usize = 4;
const CHANNELS: [&str; 3] = ["a", "b", "live"];

#[derive(Debug, Default)]
struct Inner {
    up: Vec<u8>,
    ended: bool,
    down: Vec<u8>,
    window: usize,
    wakers: Vec<Waker>,
}

#[derive(Clone, Debug, Default)]
struct Pipe(Arc<Mutex<Inner>>);

impl Pipe {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner();
        change(&mut inner);
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Stream for Pipe {
    fn try_read(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut inner = self.inner();
        let count = inner.up.len().min(buffer.len());
        if count == 0 && !inner.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&inner.up[..count]);
        inner.up.drain(..count);
        Ok(count)
    }

    fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        let mut inner = self.inner();
        let count = inner.window.min(bytes.len());
        if count == 0 {
            return Err(Error::from(ErrorKind::WouldBlock));
        }
        inner.window -= count;
        inner.down.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.inner();
        if inner.up.is_empty() && !inner.ended {
            inner.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut inner = self.inner();
        if inner.window == 0 {
            inner.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn shut_down(&self) -> Result<()> {
        Ok(())
    }
}

/// A connection, and the last offset that it heard of each channel.
struct Link {
    pipe: Pipe,
    decoder: Decoder,
    heard: BTreeMap<String, u64>,
}

impl Link {
    fn attach(server: &Server) -> Self {
        let pipe = Pipe::default();
        pipe.inner().window = 4_096;
        server.attach(Box::new(pipe.clone()), SocketAddr::from(([10, 0, 0, 1], 9)));
        Self {
            pipe,
            decoder: Decoder::new(
                Role::Client,
                Limits {
                    message_bytes_max: 1 << 20,
                },
            ),
            heard: BTreeMap::new(),
        }
    }

    fn say(&self, text: &str) {
        let frame = encode_message(MessageKind::Text, text.as_bytes(), Some([1, 2, 3, 4]));
        self.pipe.change(|inner| inner.up.extend_from_slice(&frame));
    }

    fn hear(&mut self) {
        let mut bytes = std::mem::take(&mut self.pipe.inner().down);
        let count = bytes.len();
        let mut rest = &mut bytes[..];
        while let Some(event) = self
            .decoder
            .decode(&mut rest)
            .expect("the server keeps RFC 6455")
        {
            let Event::Text(text) = event else { continue };
            for message in decode_server(Incoming::Text(&text)) {
                judge(
                    &mut self.heard,
                    message.expect("the server speaks the protocol"),
                );
            }
        }
        self.pipe.change(|inner| inner.window += count);
    }
}

fn judge(heard: &mut BTreeMap<String, u64>, message: ServerMessage) {
    match message {
        ServerMessage::Message(message) => {
            let Some(at) = message.position else { return };
            let channel = message.channel.to_string();
            let before = heard.insert(channel, at.offset);
            assert!(
                before.is_none_or(|before| at.offset == before + 1),
                "{before:?} → {at:?}"
            );
        }
        ServerMessage::Subscribed { channel, .. } | ServerMessage::Gap { channel, .. } => {
            heard.remove(&*channel);
        }
        ServerMessage::Unsubscribed { channel, .. } => {
            heard.remove(&*channel);
        }
        _ => {}
    }
}

fn act(server: &Server, links: &mut [Link], op: u8, byte: u8, number: usize) {
    let index = usize::from(byte) % LINKS;
    let channel = CHANNELS[usize::from(byte >> 2) % CHANNELS.len()];
    let link = &mut links[index];
    match op % 12 {
        0 => *link = Link::attach(server),
        1 => link.say(&format!(
            r#"{{"type":"hello","id":1,"session":"s{}","link":{},"first":1,"next":9,"subscribe":{{"{channel}":null}}}}"#,
            byte >> 6,
            byte >> 4
        )),
        2 => link.say(&format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}","position":"first"}}"#)),
        3 => link.say(&format!(r#"{{"type":"unsubscribe","id":3,"channel":"{channel}"}}"#)),
        4 => link.say(&format!(r#"{{"type":"publish","seq":{},"channel":"{channel}","data":{number}}}"#, byte >> 4)),
        5 => link.say(&format!(r#"{{"type":"history","id":4,"channel":"{channel}","limit":{byte}}}"#)),
        6 => link.say(&format!(r#"{{"type":"skip","seq":{}}}"#, byte >> 4)),
        7 => link.pipe.change(|inner| inner.ended = true),
        8 => link.pipe.inner().window = usize::from(byte >> 2),
        9 => link.say(r#"{"type":"ping","ts":1}"#),
        10 => link.pipe.change(|inner| inner.up.push(byte)),
        _ => {
            for _ in 0..=byte >> 4 {
                let data = Data::Json(format!("\"{number}-{}\"", "y".repeat(200)).into());
                let _ = server.try_publish(channel, data);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads");
    runtime.block_on(async {
        let config = Config {
            message_bytes_max: 400,
            send_queue_bytes_max: 4_496,
            page_bytes_max: 500,
            tail_channel_bytes_max: 1_000,
            ..Config::default()
        };
        let built = Server::builder().config(config).seed(1).build();
        let server = built.expect("these settings can be used");
        let mut links: Vec<Link> = (0..LINKS).map(|_| Link::attach(&server)).collect();
        for (number, step) in input.chunks_exact(2).take(200).enumerate() {
            act(&server, &mut links, step[0], step[1], number);
            advance(Duration::from_millis(u64::from(step[0] >> 4))).await;
            tokio::task::yield_now().await;
            links.iter_mut().for_each(Link::hear);
        }
        advance(Duration::from_secs(60)).await;
        links.iter_mut().for_each(Link::hear);
        let panicked = server
            .totals()
            .into_iter()
            .find(|(name, _)| *name == "connections_panicked");
        assert_eq!(panicked, Some(("connections_panicked", 0)));
    });
});
