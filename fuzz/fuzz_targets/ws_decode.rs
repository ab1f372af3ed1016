//! The decoder of RFC 6455, in both roles, fed in pieces: it never panics, keeps within its bound,
//! and says the same whatever the pieces are.
#![no_main]

use bowline_ws::{Decoder, Event, Limits, Role};
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 2_048;
/// A decoder may hold twice what has arrived, and its own records.
const BUFFERED_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX + 1_024;

fn decode(role: Role, input: &[u8], piece: usize) -> (Vec<Event<'static>>, bool) {
    let limits = Limits {
        message_bytes_max: MESSAGE_BYTES_MAX,
    };
    let mut decoder = Decoder::new(role, limits);
    let mut events = Vec::new();
    for piece in input.chunks(piece) {
        let mut bytes = piece.to_vec();
        let mut rest = &mut bytes[..];
        loop {
            match decoder.decode(&mut rest) {
                Ok(Some(event)) => events.push(event.into_owned()),
                Ok(None) => break,
                Err(_) => return (events, true),
            }
        }
        assert!(decoder.buffered_bytes() <= BUFFERED_BYTES_MAX);
    }
    (events, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, input)) = input.split_first() else {
        return;
    };
    let role = if first & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let piece = usize::from(first >> 1) + 1;
    assert_eq!(
        decode(role, input, piece),
        decode(role, input, input.len().max(1))
    );
});
