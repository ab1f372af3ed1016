//! Frames on a link: where one ends, what it says, and rules that strike by it.
//!
//! Owns the splitting of one direction of a connection into WebSocket frames (RFC 6455, section 5.2) and
//! the types of the JSON messages within. Must not know what the messages mean. Bytes of frames that no
//! rule strikes pass exactly.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Deserialize;

use super::fault::Direction;

/// A longer frame, and all that follows it, passes as bytes.
const FRAME_BYTES_MAX: usize = 256 * 1024;
/// A longer HTTP head means that no WebSocket follows.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Rules that wait on one link; the oldest makes room.
const RULES_MAX: usize = 8;

/// What happens to the next frame that holds a message of a type, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRule {
    /// Which way it goes.
    pub direction: Direction,
    /// The `type` of the message.
    pub message: &'static str,
    /// What happens.
    pub action: FrameAction,
}

/// What a rule does to its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameAction {
    /// It is left out. Strikes only frames all of whose messages are of the type.
    Suppress,
    /// It, and with it all that follows, is late by so much.
    Delay(Duration),
    /// It passes twice. Strikes only frames all of whose messages are of the type.
    Duplicate,
    /// It passes whole, and then the link is cut with FIN.
    DisconnectAfter,
}

/// The rules of one link, and how often each has struck.
#[derive(Debug, Default)]
pub(super) struct Rules {
    waiting: VecDeque<FrameRule>,
    struck: BTreeMap<String, u64>,
}

/// Bytes that belong together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) bytes: Vec<u8>,
    /// The types of its messages; empty if it is no data frame that can be read.
    pub(super) messages: Vec<String>,
}

/// Splits one direction.
#[derive(Debug)]
pub(super) struct Splitter {
    stage: Stage,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    Frames,
    /// Not what was expected: everything passes.
    Opaque,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
}

impl FrameRule {
    /// The name in logs and tables.
    pub fn name(&self) -> String {
        let action = match self.action {
            FrameAction::Suppress => "suppress",
            FrameAction::Delay(_) => "delay",
            FrameAction::Duplicate => "duplicate",
            FrameAction::DisconnectAfter => "disconnect after",
        };
        format!("{action} {}", self.message)
    }

    fn strikes(&self, direction: Direction, messages: &[String]) -> bool {
        let own = |message: &String| message == self.message;
        self.direction == direction
            && match self.action {
                FrameAction::Suppress | FrameAction::Duplicate => messages.iter().all(own),
                FrameAction::Delay(_) | FrameAction::DisconnectAfter => messages.iter().any(own),
            }
    }
}

impl Rules {
    pub(super) fn add(&mut self, rule: FrameRule) {
        if self.waiting.len() == RULES_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(rule);
    }

    pub(super) fn remove(&mut self, rule: FrameRule) {
        self.waiting.retain(|waiting| *waiting != rule);
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The oldest rule that strikes this frame; it strikes once.
    pub(super) fn take(
        &mut self,
        direction: Direction,
        messages: &[String],
    ) -> Option<FrameAction> {
        if messages.is_empty() {
            return None;
        }
        let mut rules = self.waiting.iter();
        let index = rules.position(|rule| rule.strikes(direction, messages))?;
        let rule = self.waiting.remove(index)?;
        *self.struck.entry(rule.name()).or_insert(0) += 1;
        Some(rule.action)
    }

    pub(super) fn struck(&self) -> &BTreeMap<String, u64> {
        &self.struck
    }
}

impl Splitter {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Head,
            bytes: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is whole by now, in order; none if more bytes are needed.
    pub(super) fn next(&mut self) -> Option<Unit> {
        if self.bytes.is_empty() {
            return None;
        }
        if self.stage == Stage::Head {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(at) => {
                    self.stage = Stage::Frames;
                    return Some(self.raw(at + 4));
                }
                None if self.bytes.len() > HEAD_BYTES_MAX => self.stage = Stage::Opaque,
                None => return None,
            }
        }
        if self.stage == Stage::Frames {
            let header = Header::parse(&self.bytes)?;
            if header.frame_bytes <= FRAME_BYTES_MAX {
                return (self.bytes.len() >= header.frame_bytes).then(|| {
                    let messages = header.messages(&self.bytes[..header.frame_bytes]);
                    Unit {
                        messages,
                        ..self.raw(header.frame_bytes)
                    }
                });
            }
            self.stage = Stage::Opaque;
        }
        Some(self.rest())
    }

    /// What is left, whole or not.
    pub(super) fn rest(&mut self) -> Unit {
        self.raw(self.bytes.len())
    }

    fn raw(&mut self, count: usize) -> Unit {
        let rest = self.bytes.split_off(count);
        Unit {
            bytes: std::mem::replace(&mut self.bytes, rest),
            messages: Vec::new(),
        }
    }
}

struct Header {
    /// FIN without reserved bits, and the opcode: 0x81 is a whole text, 0x82 whole binary data.
    first: u8,
    mask: Option<[u8; 4]>,
    payload_at: usize,
    frame_bytes: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (payload_bytes, mask_at) = match second & 0x7f {
            126 => {
                let length = bytes.get(2..4)?.try_into().ok()?;
                (u64::from(u16::from_be_bytes(length)), 4)
            }
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mask = match second & 0x80 {
            0 => None,
            _ => Some(bytes.get(mask_at..mask_at + 4)?.try_into().ok()?),
        };
        let payload_at = mask_at + mask.map_or(0, |_| 4);
        let payload_bytes = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
        Some(Self {
            first,
            mask,
            payload_at,
            frame_bytes: payload_at.saturating_add(payload_bytes),
        })
    }

    /// The types of all messages in a frame; none if one of them can't be read.
    fn messages(&self, frame: &[u8]) -> Vec<String> {
        let mut payload = frame[self.payload_at..].to_vec();
        if let Some(mask) = self.mask {
            for (index, byte) in payload.iter_mut().enumerate() {
                *byte ^= mask[index % 4];
            }
        }
        let kind = |line: &[u8]| {
            serde_json::from_slice::<Typed>(line)
                .ok()
                .map(|typed| typed.kind)
        };
        let mut lines = payload.split(|byte| *byte == b'\n');
        match self.first {
            0x81 => lines
                .filter(|line| !line.is_empty())
                .map(kind)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            0x82 => lines.next().and_then(kind).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![0x81];
        let flag = if mask.is_some() { 0x80 } else { 0 };
        match u16::try_from(payload.len()).unwrap() {
            short @ 0..=125 => bytes.push(flag | short as u8),
            long => {
                bytes.push(flag | 126);
                bytes.extend(long.to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        let byte = |(index, byte): (usize, &u8)| byte ^ mask.map_or(0, |mask| mask[index % 4]);
        bytes.extend(payload.iter().enumerate().map(byte));
        bytes
    }

    #[test]
    fn units_are_the_same_bytes_wherever_reads_split_them() {
        let long = format!(r#"{{"type":"message","data":"{}"}}"#, "x".repeat(300));
        let mut sent = b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        sent.extend(frame(br#"{"type":"hello"}"#, Some([1, 2, 3, 4])));
        sent.extend(frame(long.as_bytes(), None));
        sent.extend(frame(b"{\"type\":\"acked\"}\n{\"type\":\"gap\"}", None));
        sent.extend(frame(b"no json", None));
        for size in [1, 2, 3, 7, sent.len()] {
            let mut splitter = Splitter::new();
            let mut units = Vec::new();
            for chunk in sent.chunks(size) {
                splitter.push(chunk);
                units.extend(std::iter::from_fn(|| splitter.next()));
            }
            let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.bytes.clone()).collect();
            assert!(bytes == sent, "in steps of {size}");
            let messages: Vec<_> = units.iter().map(|unit| unit.messages.join(" ")).collect();
            assert_eq!(messages, ["", "hello", "message", "acked gap", ""]);
        }
    }

    #[test]
    fn what_is_no_websocket_passes() {
        let mut splitter = Splitter::new();
        splitter.push(&vec![b'x'; HEAD_BYTES_MAX + 1]);
        assert_eq!(splitter.next().unwrap().bytes.len(), HEAD_BYTES_MAX + 1);
        let mut splitter = Splitter::new();
        splitter.push(b"\r\n\r\n\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(splitter.next().unwrap().bytes.len(), 4);
        assert_eq!(splitter.next().unwrap().bytes.len(), 10);
        assert_eq!(splitter.next(), None);
    }

    #[test]
    fn a_rule_strikes_once_its_own_type_and_way_only() {
        let rule = FrameRule {
            direction: Direction::ToClient,
            message: "acked",
            action: FrameAction::Suppress,
        };
        let mut rules = Rules::default();
        rules.add(rule);
        let types = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        assert_eq!(rules.take(Direction::ToServer, &types(&["acked"])), None);
        assert_eq!(
            rules.take(Direction::ToClient, &types(&["acked", "gap"])),
            None
        );
        assert_eq!(rules.take(Direction::ToClient, &[]), None);
        let struck = rules.take(Direction::ToClient, &types(&["acked", "acked"]));
        assert_eq!(struck, Some(FrameAction::Suppress));
        assert_eq!(rules.take(Direction::ToClient, &types(&["acked"])), None);
        assert_eq!(rules.struck().get("suppress acked"), Some(&1));
    }
}
