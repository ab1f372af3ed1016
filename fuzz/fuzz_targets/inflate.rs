//! Compressed messages (RFC 7692) from a peer: they never panic, never grow above the limit, and
//! what this side has compressed comes back as it was.
#![no_main]

#[path = "../../crates/ws/tests/support/agreed.rs"]
mod agreed;

use std::sync::OnceLock;

use bowline_ws::{
    Decoder, Deflater, Event, Extensions, Inflater, Limits, MessageKind, Role, encode_message,
};
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 8_192;

fn extensions() -> Extensions {
    static AGREED: OnceLock<Extensions> = OnceLock::new();
    *AGREED.get_or_init(|| agreed::agreed("permessage-deflate"))
}

fn decode(bytes: &mut [u8], inflater: &mut Inflater) -> Option<Vec<u8>> {
    let limits = Limits {
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let mut decoder = Decoder::new(Role::Client, limits).with_extensions(extensions());
    let mut rest = bytes;
    loop {
        match decoder.decode_with(&mut rest, inflater) {
            Ok(Some(Event::Binary(data))) => {
                assert!(data.len() <= MESSAGE_BYTES_MAX);
                return Some(data.into_owned());
            }
            Ok(Some(Event::Text(text))) => assert!(text.len() <= MESSAGE_BYTES_MAX),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let mut inflater = Inflater::new();
    // As the payload of one compressed frame.
    let mut frame = encode_message(MessageKind::Binary, input, None).to_vec();
    frame[0] |= 0x40;
    decode(&mut frame, &mut inflater);
    // As frames.
    decode(&mut input.to_vec(), &mut inflater);
    // As data that is compressed here.
    if input.len() <= MESSAGE_BYTES_MAX {
        let frame = encode_message(MessageKind::Binary, input, None);
        let compressed = Deflater::new().compress_frame(&frame);
        let mut frame = compressed.unwrap_or(frame).to_vec();
        let back = decode(&mut frame, &mut inflater);
        assert_eq!(back.as_deref(), Some(input));
    }
});
