//! Links: bytes on their way, and everything that can become of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bowline_proto::{
    Evidence,
    client::Input,
    codec::{Incoming, decode_server, encode_client},
    message::{ClientMessage, ServerMessage},
};
use bowline_ws::{
    CloseCode, CloseFrame, Decoder, Event as Frame, Limits, MessageKind, Role, encode_close,
    encode_message,
};

use super::{Event, World};
use crate::wire::Wire;

/// How often a slow reader reads.
const SLOW_READ_MS: u64 = 20;
/// A peer that is gone without a word.
const ABNORMAL: u16 = 1006;

/// One dial and what became of it.
pub(super) struct Link {
    pub(super) client: usize,
    /// The client's number for it.
    pub(super) number: u64,
    pub(super) user: usize,
    wire: Arc<Wire>,
    /// The server's process that it leads to.
    pub(super) process: u64,
    decoder: Decoder,
    /// Bytes that the server has written, and that the client has received and read.
    written: usize,
    received: usize,
    read: usize,
    said: VecDeque<(usize, Said)>,
    up_at: u64,
    down_at: u64,
    pub(super) delay_ms: u64,
    /// The hello is held up for so long.
    pub(super) hello_delay_ms: u64,
    pub(super) loses_up: bool,
    pub(super) loses_down: bool,
    pub(super) cut_up_after: Option<usize>,
    pub(super) cut_down_after: Option<usize>,
    /// Bytes that the client reads at a time; all where there is no number.
    pub(super) slow: Option<usize>,
    pub(super) is_open: bool,
    /// The client does not look at it any more.
    pub(super) is_left: bool,
    down_ended: bool,
}

/// What the server has written in one go: where its last byte stands, and what is whole by then.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: usize,
    said: Vec<(usize, Said)>,
}

#[derive(Debug)]
enum Said {
    Message(ServerMessage),
    Close(u16, Box<str>),
    Violation(String),
}

impl World {
    pub(super) fn dial(&mut self, client: usize, number: u64) {
        let id = self.next_link;
        self.next_link += 1;
        self.counters.links += 1;
        let actor = &mut self.actors[client];
        actor.links.insert(number, id);
        actor.highest_link = number;
        let limits = Limits {
            message_bytes_max: 1 << 20,
        };
        let slow = actor.slow_until.filter(|until| *until > self.now);
        let slow_bytes = self.rng.within(20, 200) as usize;
        let link = Link {
            client,
            number,
            user: actor.user,
            wire: Wire::new(id, self.bell.clone(), self.plan.window_bytes),
            process: 0,
            decoder: Decoder::new(Role::Client, limits),
            written: 0,
            received: 0,
            read: 0,
            said: VecDeque::new(),
            up_at: self.now,
            down_at: self.now,
            delay_ms: 0,
            hello_delay_ms: std::mem::take(&mut actor.hello_delay_ms),
            loses_up: false,
            loses_down: false,
            cut_up_after: None,
            cut_down_after: None,
            slow: slow.map(|_| slow_bytes),
            is_open: false,
            is_left: false,
            down_ended: false,
        };
        self.links.insert(id, link);
        let latency = self.latency();
        self.plan_in(latency, Event::Dialled(id));
    }

    pub(super) fn on_dialled(&mut self, id: u64) {
        if let Some(until) = self.frozen_until {
            return self.plan_at(until, Event::Dialled(id));
        }
        let latency = self.latency();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.is_left {
            return;
        }
        let Some(node) = &self.node else {
            return self.plan_in(latency, Event::Lost(id, Evidence::Unreachable));
        };
        link.process = self.processes;
        let peer = std::net::SocketAddr::from(([10, 0, 0, 1], 1_024));
        node.attach(link.wire.server_end(), peer);
        self.plan_in(latency, Event::Opened(id));
    }

    pub(super) fn on_opened(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let client = link.client;
        if link.is_left {
            return;
        }
        if let Some(until) = self.actors[client].frozen_until {
            return self.plan_at(until, Event::Opened(id));
        }
        link.is_open = true;
        let link = link.number;
        self.feed(client, Input::Opened { link });
    }

    /// A client's machine writes a message.
    pub(super) fn write(&mut self, client: usize, number: u64, message: &ClientMessage) {
        let Some(&id) = self.actors[client].links.get(&number) else {
            return;
        };
        let now = self.now;
        self.trace
            .say(now, || format!("c{client} link {number} → {message:?}"));
        self.note_written(client, message);
        if let ClientMessage::Subscribe(subscribe) = message {
            let asked = &mut self.actors[client].asked;
            asked.insert(subscribe.channel.clone());
        }
        let mask = (self.rng.next() as u32).to_be_bytes();
        let frame = encode_client(message);
        let kind = match &frame {
            bowline_proto::codec::Frame::Text(_) => MessageKind::Text,
            bowline_proto::codec::Frame::Binary(_) => MessageKind::Binary,
        };
        let bytes = encode_message(kind, frame.bytes(), Some(mask));
        self.send_up(id, bytes.to_vec());
    }

    fn note_written(&mut self, client: usize, message: &ClientMessage) {
        let data = match message {
            ClientMessage::Publish(publish) => publish.data.bytes(),
            ClientMessage::Send(send) => send.data.bytes(),
            _ => return,
        };
        let actor = &self.actors[client];
        let mut sent = self.lives[actor.life].sent.iter_mut().rev();
        if let Some(sent) = sent.find(|sent| sent.data == *data) {
            sent.session = Some(actor.session.clone());
        }
    }

    fn send_up(&mut self, id: u64, mut bytes: Vec<u8>) {
        let latency = self.latency();
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.is_left || link.loses_up {
            return;
        }
        let held = std::mem::take(&mut link.hello_delay_ms);
        link.up_at = link.up_at.max(self.now + latency + link.delay_ms + held);
        let at = link.up_at;
        let mut cut = false;
        if let Some(left) = &mut link.cut_up_after {
            cut = bytes.len() >= *left;
            bytes.truncate(*left);
            *left -= bytes.len();
        }
        self.plan_at(at, Event::Up(id, bytes));
        if cut {
            self.cut(id, at);
        }
    }

    /// The link breaks at this time, and both sides are told.
    pub(super) fn cut(&mut self, id: u64, at: u64) {
        self.plan_at(at, Event::Reset(id));
        let evidence = Evidence::Close {
            code: ABNORMAL,
            reason: "".into(),
        };
        self.plan_at(at, Event::Lost(id, evidence));
    }

    pub(super) fn on_up(&self, id: u64, bytes: &[u8]) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        link.wire.deliver(bytes);
    }

    pub(super) fn on_up_end(&self, id: u64) {
        if let Some(link) = self.links.get(&id) {
            link.wire.end();
        }
    }

    pub(super) fn on_reset(&self, id: u64) {
        if let Some(link) = self.links.get(&id) {
            link.wire.reset();
        }
    }

    /// The client's side of the link has failed.
    pub(super) fn on_lost(&mut self, id: u64, evidence: Evidence) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (client, number) = (link.client, link.number);
        if link.is_left {
            return;
        }
        if let Some(until) = self.actors[client].frozen_until {
            return self.plan_at(until, Event::Lost(id, evidence));
        }
        link.is_left = true;
        self.feed(
            client,
            Input::Failed {
                link: number,
                evidence,
            },
        );
    }

    /// The client leaves a link: with a close frame, or as a process that ends.
    pub(super) fn leave(&mut self, id: u64, code: Option<u16>) {
        if let Some(code) = code {
            let code = CloseCode::new(code).unwrap_or(CloseCode::NORMAL);
            let mask = (self.rng.next() as u32).to_be_bytes();
            let frame = encode_close(Some(&CloseFrame::new(code, "")), Some(mask));
            self.send_up(id, frame.to_vec());
        }
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut link.is_left, true) || link.loses_up {
            return;
        }
        // What has come and was not read is thrown away, as by a system that closes.
        link.wire.grant(link.received - link.read);
        link.read = link.received;
        link.said.clear();
        let at = link.up_at.max(self.now + 1);
        self.plan_at(at, Event::UpEnd(id));
    }

    /// Takes what the server has written, as it was written.
    pub(super) fn collect(&mut self) {
        for id in self.bell.take() {
            let latency = self.latency();
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            let touched = link.wire.take();
            let is_current = link.process == self.processes && self.node.is_some();
            if !touched.bytes.is_empty() {
                let chunk = link.tap(touched.bytes);
                for (_, said) in &chunk.said {
                    if let Said::Message(message) = said {
                        let truth = crate::wire::lock(&self.truth);
                        let grants = crate::wire::lock(&self.grants);
                        self.readers
                            .heard(self.now, id, link.user, message, &grants);
                        let names = (id, link.number);
                        self.holders.heard(self.now, names, message, &truth);
                    }
                }
                self.send_down(id, latency, chunk);
            }
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            if touched.ended && is_current && !std::mem::replace(&mut link.down_ended, true) {
                self.holders.ended(id);
                if !link.loses_down {
                    link.down_at = link.down_at.max(self.now + latency);
                    let at = link.down_at;
                    self.plan_at(at, Event::DownEnd(id));
                }
            }
        }
    }

    fn send_down(&mut self, id: u64, latency: u64, mut chunk: Chunk) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.loses_down {
            return;
        }
        link.down_at = link.down_at.max(self.now + latency + link.delay_ms);
        let at = link.down_at;
        let mut cut = false;
        if let Some(left) = &mut link.cut_down_after {
            cut = chunk.bytes >= *left;
            if cut {
                let end = link.written - chunk.bytes + *left;
                chunk.said.retain(|(at, _)| *at <= end);
                chunk.bytes = *left;
            }
            *left -= chunk.bytes;
        }
        self.plan_at(at, Event::Down(id, chunk));
        if cut {
            self.cut(id, at);
        }
    }

    pub(super) fn on_down(&mut self, id: u64, chunk: Chunk) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.is_left {
            link.wire.grant(chunk.bytes);
            return;
        }
        link.received += chunk.bytes;
        link.said.extend(chunk.said);
        if link.slow.is_some() {
            return self.plan_in(SLOW_READ_MS, Event::Read(id));
        }
        self.on_read(id);
    }

    /// The client reads what has come, or a part of it.
    pub(super) fn on_read(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let client = link.client;
        if let Some(until) = self.actors[client].frozen_until {
            return self.plan_at(until, Event::Read(id));
        }
        if self.actors[client]
            .slow_until
            .is_none_or(|until| until <= self.now)
        {
            link.slow = None;
        }
        let bytes = (link.received - link.read).min(link.slow.unwrap_or(usize::MAX));
        if bytes == 0 || link.is_left {
            return;
        }
        link.read += bytes;
        link.wire.grant(bytes);
        let number = link.number;
        if link.read < link.received {
            self.plan_in(SLOW_READ_MS, Event::Read(id));
        }
        self.feed(client, Input::Received { link: number });
        while let Some(link) = self.links.get_mut(&id)
            && !link.is_left
            && link.said.front().is_some_and(|(end, _)| *end <= link.read)
            && let Some((_, said)) = link.said.pop_front()
        {
            self.hear(id, client, number, said);
        }
    }

    fn hear(&mut self, id: u64, client: usize, number: u64, said: Said) {
        let now = self.now;
        self.trace
            .say(now, || format!("c{client} link {number} ← {said:?}"));
        let evidence = match said {
            Said::Message(message) => {
                let link = number;
                return self.feed(client, Input::Message { link, message });
            }
            Said::Close(code, reason) => Evidence::Close { code, reason },
            Said::Violation(text) => {
                self.violate("wire", text);
                Evidence::Violation
            }
        };
        self.leave(id, Some(1_000));
        let link = number;
        self.feed(client, Input::Failed { link, evidence });
    }

    pub(super) fn on_down_end(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let client = link.client;
        if let Some(until) = self.actors[client].frozen_until {
            return self.plan_at(until, Event::DownEnd(id));
        }
        if link.read < link.received && !link.is_left {
            return self.plan_in(SLOW_READ_MS, Event::DownEnd(id));
        }
        if !link.is_left {
            self.leave(id, None);
            self.links.entry(id).and_modify(|link| link.is_left = false);
            let reason = "".into();
            self.on_lost(
                id,
                Evidence::Close {
                    code: ABNORMAL,
                    reason,
                },
            );
        }
        if let Some(link) = self.links.remove(&id) {
            self.actors[link.client]
                .links
                .retain(|_, known| *known != id);
        }
    }

    pub(super) fn latency(&mut self) -> u64 {
        let (low, high) = self.plan.latency_ms;
        self.rng.within(low, high)
    }

    /// The links that are worth breaking.
    pub(super) fn open_links(&self) -> Vec<u64> {
        let open = |link: &&Link| link.is_open && !link.is_left;
        let open = self.links.iter().filter(|(_, link)| open(link));
        open.map(|(id, _)| *id).collect()
    }

    pub(super) fn link(&mut self, id: u64) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// The server's process is gone, and with it what it had to say.
    pub(super) fn orphan_links(&mut self) {
        self.bell.take();
        let ids: Vec<u64> = self.links.keys().copied().collect();
        let host_is_gone = self.rng.percent(40);
        for id in ids {
            let latency = self.latency();
            let Some(link) = self.links.get_mut(&id) else {
                continue;
            };
            link.down_ended = true;
            if host_is_gone {
                (link.loses_up, link.loses_down) = (true, true);
            } else {
                let at = link.down_at.max(self.now + latency);
                self.cut(id, at);
            }
        }
    }

    pub(super) fn forget_links(&mut self) {
        let left = |link: &Link| !(link.is_left && link.down_ended);
        self.links.retain(|_, link| left(link));
        let links: BTreeMap<u64, ()> = self.links.keys().map(|id| (*id, ())).collect();
        for actor in &mut self.actors {
            actor.links.retain(|_, id| links.contains_key(id));
        }
    }
}

impl Link {
    /// Decodes what the server has written, as the client will.
    fn tap(&mut self, mut bytes: Vec<u8>) -> Chunk {
        let count = bytes.len();
        let begun = self.written;
        self.written += count;
        let mut said = Vec::new();
        let mut input = &mut bytes[..];
        loop {
            let decoded = self.decoder.decode(&mut input);
            let frame = match decoded {
                Ok(None) => break,
                Ok(Some(frame)) => frame.into_owned(),
                Err(error) => {
                    said.push((self.written, Said::Violation(error.to_string())));
                    break;
                }
            };
            let end = begun + count - input.len();
            match frame {
                Frame::Text(text) => hear(Incoming::Text(&text), end, &mut said),
                Frame::Binary(bytes) => hear(Incoming::Binary(&bytes), end, &mut said),
                Frame::Ping(_) | Frame::Pong(_) => {}
                Frame::Close(None) => said.push((end, Said::Close(1_005, "".into()))),
                Frame::Close(Some(frame)) => {
                    let reason = frame.reason().into();
                    said.push((end, Said::Close(frame.code().as_u16(), reason)));
                }
            }
        }
        Chunk { bytes: count, said }
    }
}

fn hear(frame: Incoming<'_>, end: usize, said: &mut Vec<(usize, Said)>) {
    for message in decode_server(frame) {
        said.push((
            end,
            match message {
                Ok(message) => Said::Message(message),
                Err(error) => Said::Violation(format!("{error:?}")),
            },
        ));
    }
}
