//! The codec of `bowline.v1`, both directions, text and binary: it never panics, and what was
//! understood is understood again after it was encoded.
#![no_main]

use bowline_proto::{
    codec::{Frame, Incoming, decode_client, decode_server, encode_client, encode_server},
    message::ClientMessage,
};
use libfuzzer_sys::fuzz_target;

fn incoming(frame: &Frame) -> Incoming<'_> {
    match frame {
        Frame::Text(text) => Incoming::Text(std::str::from_utf8(text).expect("it is JSON")),
        Frame::Binary(bytes) => Incoming::Binary(bytes),
    }
}

/// A position that was not understood is kept as none, which has no written form of its own.
fn can_be_written(message: &ClientMessage) -> bool {
    let ClientMessage::Hello(hello) = message else {
        return true;
    };
    hello.subscribe.iter().all(|(_, from)| from.is_some())
}

fn check(frame: Incoming<'_>) {
    for message in decode_client(frame)
        .take(1_000)
        .flatten()
        .filter(can_be_written)
    {
        let encoded = encode_client(&message);
        let again: Vec<_> = decode_client(incoming(&encoded)).collect();
        assert_eq!(again, [Ok(message)]);
    }
    for message in decode_server(frame).take(1_000).flatten() {
        let encoded = encode_server(&message);
        let again: Vec<_> = decode_server(incoming(&encoded)).collect();
        assert_eq!(again, [Ok(message)]);
    }
}

fuzz_target!(|input: &[u8]| {
    check(Incoming::Binary(input));
    if let Ok(text) = std::str::from_utf8(input) {
        check(Incoming::Text(text));
    }
});
