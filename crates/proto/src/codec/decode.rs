//! Frames to messages.
//!
//! Owns what both sides' messages have in common: the objects of a frame, their bounds, their data;
//! every failure keeps the `id` or `seq` it belongs to, so that the answer can name it.

mod client;
mod server;

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    code::Code,
    codec::{DATA_NESTING_MAX, Incoming},
    message::{Echo, ErrorInfo, Subject},
    position::{OFFSET_MAX, Position},
    publication::Data,
};

pub use client::{ClientMessages, decode_client};
pub use server::{ServerMessages, decode_server};

/// A message that could not be taken: the answer that it is owed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct DecodeError {
    /// Which request it belongs to, where that much could be read.
    pub to: Option<Subject>,
    /// What is wrong.
    pub error: ErrorInfo,
    /// Nothing after it in the frame can be read.
    pub ends_frame: bool,
}

/// One JSON value as [`Data`]: checked, within [`DATA_NESTING_MAX`], its line breaks made spaces.
///
/// # Errors
/// [`Code::Malformed`] or [`Code::TooDeep`].
pub fn json_data(text: &[u8]) -> Result<Data, Code> {
    if is_deeper_than(DATA_NESTING_MAX, text) {
        return Err(Code::TooDeep);
    }
    let raw: &RawValue = serde_json::from_slice(text).map_err(|_| Code::Malformed)?;
    Ok(data_of(raw))
}

/// Reads one object, with the payload that a binary frame has behind it.
type Read<T> = fn(&Head<'_>, &RawValue, Option<&[u8]>) -> Result<T, ErrorInfo>;

/// The objects of a frame: several in text, one with a payload behind it in binary.
struct Objects<'a> {
    stream: Option<serde_json::StreamDeserializer<'a, serde_json::de::SliceRead<'a>, &'a RawValue>>,
    json: &'a [u8],
    nesting_max: usize,
    payload: Option<&'a [u8]>,
    refused: Option<DecodeError>,
}

impl<'a> Objects<'a> {
    fn new(frame: Incoming<'a>, nesting_max: usize) -> Self {
        let (json, payload) = match frame {
            Incoming::Text(text) => (text.as_bytes(), None),
            Incoming::Binary(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => (&bytes[..end], Some(&bytes[end + 1..])),
                None => {
                    return Self::refuse("a binary frame is a JSON header, LF, then the payload");
                }
            },
        };
        if json.iter().all(u8::is_ascii_whitespace) {
            return Self::refuse("a frame holds at least one JSON object");
        }
        let stream = serde_json::Deserializer::from_slice(json).into_iter();
        Self {
            stream: Some(stream),
            json,
            nesting_max,
            payload,
            refused: None,
        }
    }

    fn refuse(message: &'static str) -> Self {
        let error = ErrorInfo::new(Code::Malformed).with_message(message);
        let refused = DecodeError {
            to: None,
            error,
            ends_frame: true,
        };
        Self {
            stream: None,
            json: &[],
            nesting_max: 0,
            payload: None,
            refused: Some(refused),
        }
    }

    /// In how many bytes of the frame the objects stand that were read.
    fn read_bytes(&self) -> usize {
        let stream = self.stream.as_ref();
        stream.map_or(self.json.len(), |stream| stream.byte_offset())
    }

    fn next_with<T>(&mut self, read: Read<T>) -> Option<Result<T, DecodeError>> {
        if let Some(refused) = self.refused.take() {
            return Some(Err(refused));
        }
        let raw = match self.stream.as_mut()?.next()? {
            Ok(raw) => raw,
            Err(error) => {
                self.stream = None;
                let error = match is_deeper_than(self.nesting_max, self.json) {
                    true => Code::TooDeep.into(),
                    false => malformed(&error),
                };
                return Some(Err(DecodeError {
                    to: None,
                    error,
                    ends_frame: true,
                }));
            }
        };
        // Of a binary frame this is the only object that is read, so its payload is still there.
        let is_binary = self.payload.is_some();
        let is_alone = !is_binary || self.json[self.read_bytes()..].trim_ascii().is_empty();
        if is_binary {
            self.stream = None;
        }
        // serde would take an array for a struct, its elements for the fields in their order.
        if !raw.get().starts_with('{') {
            let error = ErrorInfo::new(Code::Malformed).with_message("a message is a JSON object");
            return Some(Err(DecodeError {
                to: None,
                error,
                ends_frame: false,
            }));
        }
        let head = match serde_json::from_str::<Head<'a>>(raw.get()) {
            Ok(head) => head,
            Err(error) => {
                let error = malformed(&error);
                return Some(Err(DecodeError {
                    to: None,
                    error,
                    ends_frame: false,
                }));
            }
        };
        let outcome = match is_deeper_than(self.nesting_max, raw.get().as_bytes()) {
            true => Err(Code::TooDeep.into()),
            false if !is_alone => {
                let sentence = "a binary frame has one JSON object before its payload";
                Err(ErrorInfo::new(Code::Malformed).with_message(sentence))
            }
            false => read(&head, raw, self.payload.take()),
        };
        Some(outcome.map_err(|error| DecodeError {
            to: head.subject(),
            error,
            ends_frame: false,
        }))
    }
}

/// What every message has: read first, so that a failure further on can name its request.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    seq: Option<&'a RawValue>,
}

impl Head<'_> {
    fn subject(&self) -> Option<Subject> {
        let seq = self
            .seq
            .and_then(|seq| seq.get().parse().ok())
            .filter(|seq| *seq <= OFFSET_MAX)
            .map(Subject::Seq);
        seq.or_else(|| {
            self.id
                .and_then(|id| Echo::from_json(id.get()))
                .map(Subject::Id)
        })
    }

    fn id(&self) -> Result<Option<Echo>, ErrorInfo> {
        echo(
            self.id,
            "id must be a string or a number of at most 128 bytes",
        )
    }
}

fn malformed(error: &serde_json::Error) -> ErrorInfo {
    // serde's sentence names the field and what was expected; it quotes at most one scalar of the
    // input, which a hostile peer can make long.
    let mut sentence = error.to_string();
    if let Some((cut, _)) = sentence.char_indices().nth(160) {
        sentence.truncate(cut);
    }
    ErrorInfo::new(Code::Malformed).with_message(sentence)
}

fn fields<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, ErrorInfo> {
    serde_json::from_str(raw.get()).map_err(|error| malformed(&error))
}

fn echo(raw: Option<&RawValue>, sentence: &'static str) -> Result<Option<Echo>, ErrorInfo> {
    match raw.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) => Echo::from_json(text)
            .map(Some)
            .ok_or_else(|| ErrorInfo::new(Code::Malformed).with_message(sentence)),
    }
}

/// An integer as PROTOCOL.md has them: from 0 to 2^53 − 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct Integer(u64);

impl TryFrom<u64> for Integer {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        match number {
            ..=OFFSET_MAX => Ok(Self(number)),
            _ => Err("an integer is at most 2^53 - 1"),
        }
    }
}

impl From<Integer> for u64 {
    fn from(Integer(number): Integer) -> Self {
        number
    }
}

fn seq(seq: Option<Integer>) -> Result<Option<u64>, ErrorInfo> {
    match seq {
        Some(Integer(0)) => Err(ErrorInfo::new(Code::Malformed).with_message("seq counts from 1")),
        seq => Ok(seq.map(u64::from)),
    }
}

#[derive(Deserialize)]
struct DataFields<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    data_b64: Option<Cow<'a, str>>,
}

fn data(raw: &RawValue, payload: Option<&[u8]>) -> Result<Data, ErrorInfo> {
    let found: DataFields<'_> =
        serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
    match (found.data, found.data_b64, payload) {
        (Some(json), None, None) => Ok(data_of(json)),
        (None, None, Some(payload)) => Ok(Data::Binary(Bytes::copy_from_slice(payload))),
        (None, Some(base64), None) => STANDARD
            .decode(base64.as_bytes())
            .map(|bytes| Data::Binary(bytes.into()))
            .map_err(|_| ErrorInfo::new(Code::Malformed).with_message("data_b64 is not base64")),
        // serde reads an explicit null as absent: it is a JSON value like any other.
        (None, None, None) => Ok(Data::Json(Bytes::from_static(b"null"))),
        _ => Err(ErrorInfo::new(Code::Malformed)
            .with_message("data stands in data, in data_b64 or behind the header, once")),
    }
}

/// Line breaks inside a JSON value can only be white space between tokens, so a space is the same
/// value; without them a publication can be one line of a frame.
fn data_of(raw: &RawValue) -> Data {
    let mut text = raw.get().as_bytes().to_vec();
    for byte in &mut text {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Data::Json(text.into())
}

/// Whether brackets nest deeper; serde_json skips raw values without counting, and without a stack.
fn is_deeper_than(nesting_max: usize, json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > nesting_max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[derive(Deserialize)]
struct SeqFields {
    seq: Option<Integer>,
    method: Option<Box<str>>,
}

#[derive(Deserialize)]
struct PingFields<'a> {
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
    #[serde(default)]
    positions: Option<BTreeMap<Arc<str>, Option<Position>>>,
}

type Receipts = Vec<(Arc<str>, Position)>;

fn ping(raw: &RawValue) -> Result<(Option<Echo>, Receipts), ErrorInfo> {
    let found: PingFields<'_> =
        serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
    let ts = echo(
        found.ts,
        "ts must be a string or a number of at most 128 bytes",
    )?;
    // A channel without history has no position: nothing depends on them.
    let positions = found.positions.unwrap_or_default().into_iter();
    let receipts = positions.filter_map(|(channel, position)| Some((channel, position?)));
    Ok((ts, receipts.collect()))
}
