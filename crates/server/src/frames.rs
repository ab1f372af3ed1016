//! Protocol messages as WebSocket frames.
//!
//! Owns the step from `proto`'s codec to `ws`'s framing, for both modes of a link and both forms of
//! a frame, plain and compressed. Must not know sockets.

use std::{
    cell::RefCell,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
};

use bowline_proto::{
    Data, Position, Publication,
    codec::{Frame, encode_message, encode_server},
    message::ServerMessage,
};
use bowline_ws::{Deflater, Extensions, MessageKind};
use bytes::Bytes;

use crate::config::Config;

thread_local! {
    /// The thread's, since no connection keeps one: about 380 KB once it was used.
    static DEFLATER: RefCell<Deflater> = const { RefCell::new(Deflater::new()) };
}

/// What a link speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Subprotocol `bowline.v1`.
    Bowline,
    /// No subprotocol: publications arrive as frames of their own.
    Plain,
}

/// From which length on, in bytes, a link is sent its messages compressed; none where it did not
/// agree to it. It is four bytes, since each link holds one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compression(Option<NonZeroU32>);

impl Compression {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn new(extensions: Extensions, config: &Config) -> Self {
        let bytes_min = u32::try_from(config.compression_bytes_min).unwrap_or(u32::MAX);
        let bytes_min = NonZeroU32::new(bytes_min).unwrap_or(NonZeroU32::MIN);
        Self(extensions.may_send_compressed().then_some(bytes_min))
    }

    /// The form in which a link is sent this frame of its own.
    pub(crate) fn apply(self, frame: Bytes) -> Bytes {
        if self.wants(&frame) {
            compressed(&frame)
        } else {
            frame
        }
    }

    fn wants(self, frame: &Bytes) -> bool {
        self.0
            .is_some_and(|bytes_min| frame.len() >= bytes_min.get() as usize)
    }
}

/// A publication with the bytes that all subscribers of its channel share, in each form that one of
/// them has asked for. The compressed forms are never longer than the others.
#[derive(Debug)]
pub(crate) struct Shared {
    publication: Arc<Publication>,
    message: Bytes,
    message_compressed: OnceLock<Bytes>,
    plain: OnceLock<Bytes>,
    plain_compressed: OnceLock<Bytes>,
}

impl Shared {
    /// Encodes it once for all.
    pub(crate) fn new(channel: &str, epoch: u64, publication: Arc<Publication>) -> Self {
        let message = framed(&encode_message(channel, epoch, &publication));
        Self {
            publication,
            message,
            message_compressed: OnceLock::new(),
            plain: OnceLock::new(),
            plain_compressed: OnceLock::new(),
        }
    }

    /// Its frame in this mode and form.
    pub(crate) fn frame(&self, mode: Mode, compression: Compression) -> &Bytes {
        let (frame, cell) = match mode {
            Mode::Bowline => (&self.message, &self.message_compressed),
            Mode::Plain => {
                let data = || data_frame(&self.publication.data);
                (self.plain.get_or_init(data), &self.plain_compressed)
            }
        };
        if compression.wants(frame) {
            cell.get_or_init(|| compressed(frame))
        } else {
            frame
        }
    }

    /// The place just before it, where a subscription stands after a gap; none without history.
    pub(crate) fn position_before(&self, epoch: u64) -> Option<Position> {
        self.publication.position_before(epoch)
    }

    /// The size that counts against queues and tails.
    pub(crate) fn len(&self) -> usize {
        self.message.len()
    }
}

/// A message of the server as a WebSocket frame.
pub(crate) fn server_frame(message: &ServerMessage) -> Bytes {
    framed(&encode_server(message))
}

/// Data as a frame of its own: text for JSON, binary for bytes.
pub(crate) fn data_frame(data: &Data) -> Bytes {
    match data {
        Data::Json(json) => bowline_ws::encode_message(MessageKind::Text, json, None),
        Data::Binary(bytes) => bowline_ws::encode_message(MessageKind::Binary, bytes, None),
    }
}

fn framed(frame: &Frame) -> Bytes {
    match frame {
        Frame::Text(text) => bowline_ws::encode_message(MessageKind::Text, text, None),
        Frame::Binary(bytes) => bowline_ws::encode_message(MessageKind::Binary, bytes, None),
    }
}

/// The frame in its compressed form, or as it is where that would not be shorter.
fn compressed(frame: &Bytes) -> Bytes {
    DEFLATER
        .with_borrow_mut(|deflater| deflater.compress_frame(frame))
        .unwrap_or_else(|| frame.clone())
}

#[cfg(test)]
mod tests {
    use bowline_proto::codec::json_data;

    use super::*;

    #[test]
    fn each_form_is_made_once_for_all() {
        let text = format!("\"{}\"", "many ".repeat(1_000));
        let publication = Publication {
            offset: 1,
            term: 7,
            data: json_data(text.as_bytes()).expect("JSON"),
            user: None,
            tag: None,
        };
        let shared = Shared::new("news", 3, Arc::new(publication));
        let wants = Compression(NonZeroU32::new(1_024));
        for mode in [Mode::Bowline, Mode::Plain] {
            let whole = shared.frame(mode, Compression::NONE);
            let compressed = shared.frame(mode, wants);
            assert!(compressed.len() < whole.len() / 10);
            assert_eq!(compressed.as_ptr(), shared.frame(mode, wants).as_ptr());
            assert_eq!(
                whole.as_ptr(),
                shared.frame(mode, Compression::NONE).as_ptr()
            );
            // What is not worth it shares the bytes as they are.
            let above = Compression(NonZeroU32::new(whole.len() as u32 + 1));
            assert_eq!(shared.frame(mode, above).as_ptr(), whole.as_ptr());
        }
    }
}
