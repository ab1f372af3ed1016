//! Frames and records as a person or a tool is shown them.
//!
//! Owns their names. Sessions and keys are digests on the disk already and are shown as hex.

use std::ops::ControlFlow;

use crate::{
    format::{
        frame::{FRAME_HEADER_BYTES, Frame},
        record::{ChannelId, Publish, Record},
    },
    scan,
};

/// A good frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameView<'a> {
    /// The file it is in.
    pub file: &'a str,
    /// Where it begins.
    pub offset: u64,
    /// Its length, header included.
    pub bytes: u64,
    /// Its number.
    pub seq: u64,
    /// When it was committed, in milliseconds since 1970.
    pub time_ms: u64,
    /// The opening that committed it.
    pub term: u32,
}

/// A record of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordView<'a> {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// What kind it is, as docs/log-format.md names it.
    pub kind: &'static str,
    /// What it says, beside its payload.
    pub fields: Vec<(&'static str, FieldValue)>,
    /// A publication's payload.
    pub data: Option<&'a [u8]>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldValue {
    /// A number.
    Number(u64),
    /// Bits, as hexadecimal digits.
    Hex(String),
    /// A text; what is not UTF-8 in it is replaced.
    Text(String),
}

impl<'a> FrameView<'a> {
    pub(super) fn new(file: &'a str, frame: &Frame<'_>, body_pos: u32) -> Self {
        Self {
            file,
            offset: u64::from(body_pos) - FRAME_HEADER_BYTES as u64,
            bytes: (FRAME_HEADER_BYTES + frame.body.len()) as u64,
            seq: frame.header.seq,
            time_ms: frame.header.time_ms,
            term: frame.header.term,
        }
    }
}

/// All records of a frame, or why they can't be told apart.
pub(super) fn records<'a>(frame: &Frame<'a>, body_pos: u32) -> Result<Vec<RecordView<'a>>, String> {
    let mut places = Vec::new();
    let _ = scan::records(frame, body_pos, |_, place| {
        places.push(place);
        ControlFlow::<()>::Continue(())
    })?;
    let view = |(pos, len): (u32, u32)| {
        let at = (pos - body_pos) as usize;
        let mut cursor = crate::format::varint::Cursor(&frame.body[at..at + len as usize]);
        let record = Record::decode(&mut cursor).ok_or("a record changed while it was read")?;
        let (kind, fields, data) = describe(&record);
        Ok(RecordView {
            offset: pos.into(),
            bytes: len.into(),
            kind,
            fields,
            data,
        })
    };
    places.into_iter().map(view).collect()
}

type Fields = Vec<(&'static str, FieldValue)>;

fn describe<'a>(record: &Record<'a>) -> (&'static str, Fields, Option<&'a [u8]>) {
    let mut fields = Fields::new();
    let mut data = None;
    let kind = match *record {
        Record::Create { id, epoch, name } => {
            put_id(&mut fields, id);
            fields.push(("name", text(name)));
            fields.push(("epoch", hex(&epoch.to_be_bytes())));
            "create"
        }
        Record::Publish(publish) => {
            put_publish(&mut fields, &publish);
            data = Some(publish.data);
            if publish.is_binary {
                "publish_binary"
            } else {
                "publish"
            }
        }
        Record::Advance { session, seq } => {
            fields.push(("session", hex(&session.0)));
            fields.push(("seq", FieldValue::Number(seq)));
            "advance"
        }
        Record::EndSession { session } => {
            fields.push(("session", hex(&session.0)));
            "end_session"
        }
        Record::Floor { id, floor } => {
            put_id(&mut fields, id);
            fields.push(("floor", FieldValue::Number(floor)));
            "floor"
        }
        Record::Forget { id } => {
            put_id(&mut fields, id);
            "forget"
        }
        Record::Gone { id, last, term } => {
            put_id(&mut fields, id);
            fields.push(("last", FieldValue::Number(last)));
            fields.push(("term", hex(&term.to_be_bytes())));
            "gone"
        }
        Record::Key {
            key,
            body,
            position,
        } => {
            fields.push(("key", hex(&key)));
            fields.push(("body", hex(&body.to_be_bytes())));
            if let Some(position) = position {
                fields.push(("epoch", hex(&position.epoch.to_be_bytes())));
                fields.push(("offset", FieldValue::Number(position.offset)));
                fields.push(("term", hex(&position.term.to_be_bytes())));
            }
            "key"
        }
        Record::Time { time_ms } => {
            fields.push(("time_ms", FieldValue::Number(time_ms)));
            "time"
        }
        Record::Term { term } => {
            fields.push(("term", hex(&term.to_be_bytes())));
            "term"
        }
        Record::Close => "close",
        Record::End => "end",
    };
    (kind, fields, data)
}

fn put_publish(fields: &mut Fields, publish: &Publish<'_>) {
    put_id(fields, publish.id);
    fields.push(("offset", FieldValue::Number(publish.offset)));
    if let Some(floor) = publish.floor {
        fields.push(("floor", FieldValue::Number(floor)));
    }
    if let Some(user) = publish.user {
        fields.push(("user", text(user)));
    }
    if let Some(tag) = publish.tag {
        fields.push(("tag", text(tag)));
    }
    if let Some((session, seq)) = publish.session {
        fields.push(("session", hex(&session.0)));
        fields.push(("seq", FieldValue::Number(seq)));
    }
    if let Some((key, body)) = publish.key {
        fields.push(("key", hex(&key)));
        fields.push(("body", hex(&body.to_be_bytes())));
    }
}

fn put_id(fields: &mut Fields, id: ChannelId) {
    fields.push(("channel", FieldValue::Number(id.slot.into())));
    fields.push(("generation", FieldValue::Number(id.generation.into())));
}

fn text(bytes: &[u8]) -> FieldValue {
    FieldValue::Text(String::from_utf8_lossy(bytes).into_owned())
}

fn hex(bytes: &[u8]) -> FieldValue {
    FieldValue::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
