//! permessage-deflate (RFC 7692) from the wire's side: its examples, its rules for frames, what is
//! refused and with which code, and round trips however messages are cut.

use bowline_ws::{
    CloseCode, ControlPayload, Decoder, Deflater, Event, Extensions, Inflater, Limits, MaskKey,
    MessageKind, Opcode, ProtocolError, Role, encode_fragment, encode_message, encode_ping,
    frame_header,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use agreed::agreed;

#[path = "support/agreed.rs"]
mod agreed;

const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 17,
};

fn decoder(role: Role, limits: Limits) -> Decoder {
    Decoder::new(role, limits).with_extensions(agreed("permessage-deflate"))
}

type Outcome = (Vec<Event<'static>>, Option<ProtocolError>);

/// Decodes pieces one after the other until they end or a violation is found.
fn decode_pieces<'p>(
    decoder: &mut Decoder,
    inflater: &mut Inflater,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Outcome {
    let mut events = Vec::new();
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let mut input = bytes.as_mut_slice();
        loop {
            match decoder.decode_with(&mut input, inflater) {
                Ok(Some(event)) => events.push(event.into_owned()),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(input.is_empty(), "Ok(None) means that all is consumed");
    }
    (events, None)
}

/// Decodes what a server sent: whole, at every cut in two, byte by byte; all must agree.
fn decode(wire: &[u8]) -> Outcome {
    let inflater = &mut Inflater::new();
    let whole = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [wire]);
    for cut in 0..wire.len().min(200) {
        let (head, tail) = wire.split_at(cut);
        let outcome = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [head, tail]);
        assert_eq!(outcome, whole, "cut at {cut}");
    }
    let bytewise = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, wire.chunks(1));
    assert_eq!(bytewise, whole);
    whole
}

/// A frame from a server, with RSV1 set on what begins a message.
fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut header = frame_header(opcode, fin, payload.len(), None);
    if matches!(opcode, Opcode::Text | Opcode::Binary) {
        header = header.compressed();
    }
    [&header, payload].concat()
}

fn text(text: &str) -> Event<'static> {
    Event::Text(text.to_owned().into())
}

fn hello() -> Outcome {
    (vec![text("Hello")], None)
}

fn refused(error: ProtocolError) -> Outcome {
    (vec![], Some(error))
}

/// The compressed form of a payload.
fn compressed(payload: &[u8]) -> Vec<u8> {
    try_compressed(payload).expect("it gets shorter")
}

/// The same, if it is shorter.
fn try_compressed(payload: &[u8]) -> Option<Vec<u8>> {
    let frame = Deflater::new().encode_message(MessageKind::Binary, payload, None)?;
    let header_bytes = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    Some(frame[header_bytes..].to_vec())
}

#[test]
fn the_examples_of_the_rfc() {
    // 7.2.3.1: one compressed block, in one frame and in two.
    let one: &[u8] = &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(decode(one), hello());
    let two: &[u8] = &[
        0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(decode(two), hello());
    // 7.2.3.3: a block with no compression.
    let stored: &[u8] = &[
        0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(decode(stored), hello());
    // 7.2.3.4: a block with BFINAL set.
    let last: &[u8] = &[0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(decode(last), hello());
    // 7.2.3.5: two blocks.
    let blocks: &[u8] = &[
        0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(decode(blocks), hello());
    // 7.2.3.6: an empty last frame.
    let empty_last: &[u8] = &[
        0x41, 0x06, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x80, 0x01, 0x00,
    ];
    assert_eq!(decode(empty_last), hello());
    // And an empty message.
    assert_eq!(decode(&[0xc1, 0x01, 0x00]), (vec![text("")], None));
}

#[test]
fn context_is_not_taken_over() {
    // 7.2.3.2: the second message reaches back into the first.
    let first = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let second = [0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];
    let both = [&first[..], &second].concat();
    let outcome = (vec![text("Hello")], Some(ProtocolError::InvalidDeflate));
    assert_eq!(decode(&both), outcome);
    assert_eq!(
        ProtocolError::InvalidDeflate.close_code(),
        CloseCode::INVALID_PAYLOAD
    );
    // Nor from another connection of the same thread.
    let inflater = &mut Inflater::new();
    let secret = frame(Opcode::Text, true, &compressed(&[b's'; 20_000]));
    let (events, _) = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [&*secret]);
    assert_eq!(events.len(), 1);
    let spy = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [&second[..]]);
    assert_eq!(spy, refused(ProtocolError::InvalidDeflate));
}

#[test]
fn the_bit_stands_on_the_first_frame_of_a_message_only() {
    let reserved = refused(ProtocolError::ReservedBits);
    // On a continuation, of a compressed message and of another.
    for first in [0x41, 0x01] {
        assert_eq!(decode(&[first, 0x01, 0x00, 0xc0, 0x01, 0x00]), reserved);
    }
    // On control frames.
    for opcode in [0xc8, 0xc9, 0xca] {
        assert_eq!(decode(&[opcode, 0x00]), reserved);
    }
    // The other bits have no meaning, beside this one neither.
    for first in [0xa1, 0x91, 0xe1, 0xd1, 0xf1] {
        assert_eq!(decode(&[first, 0x01, 0x00]), reserved);
    }
    assert_eq!(
        ProtocolError::ReservedBits.close_code(),
        CloseCode::PROTOCOL
    );
}

#[test]
fn nothing_is_compressed_unless_it_was_agreed() {
    let wire = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    for extensions in [
        Extensions::NONE,
        agreed(""),
        agreed("permessage-deflate; server_max_window_bits=1"),
    ] {
        assert!(!extensions.may_receive_compressed());
        assert!(!extensions.may_send_compressed());
        let mut decoder = Decoder::new(Role::Client, LIMITS).with_extensions(extensions);
        let outcome = decode_pieces(&mut decoder, &mut Inflater::new(), [&wire[..]]);
        assert_eq!(outcome, refused(ProtocolError::ReservedBits));
    }
}

#[test]
fn compressed_and_plain_messages_and_control_frames_mix() {
    let ping = ControlPayload::new(&b"still there?"[..]).unwrap();
    let wire = [
        encode_message(MessageKind::Text, b"plain", None).to_vec(),
        frame(Opcode::Text, false, &[0xf2, 0x48, 0xcd]),
        encode_ping(&ping, None).to_vec(),
        frame(Opcode::Continuation, false, &[]),
        frame(Opcode::Continuation, true, &[0xc9, 0xc9, 0x07, 0x00]),
        encode_fragment(Some(MessageKind::Text), false, b"pla", None).to_vec(),
        encode_fragment(None, true, b"in", None).to_vec(),
    ];
    let events = vec![
        text("plain"),
        Event::Ping(ping.clone().into_owned()),
        text("Hello"),
        text("plain"),
    ];
    assert_eq!(decode(&wire.concat()), (events, None));
}

#[test]
fn a_payload_that_is_not_whole_is_refused_wherever_it_ends() {
    let body: String = (0..300).map(|i| format!("{{\"item\":{i}}}")).collect();
    let payload = compressed(body.as_bytes());
    let inflater = &mut Inflater::new();
    for end in 0..payload.len() {
        let wire = frame(Opcode::Binary, true, &payload[..end]);
        let outcome = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [&*wire]);
        assert_eq!(outcome, refused(ProtocolError::InvalidDeflate), "{end}");
    }
    // The state is fit for the next message all the same.
    let wire = frame(Opcode::Text, true, &payload);
    let outcome = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [&*wire]);
    assert_eq!(outcome, (vec![text(&body)], None));
}

#[test]
fn what_is_no_deflate_data_is_refused() {
    for payload in [
        // Nothing at all, block type 3, a wrong complement of a length, a distance too far back.
        &b""[..],
        &[0x06],
        &[0x00, 0x05, 0x00, 0x05, 0x00],
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        // A final block and then no byte for the block whose end the tail is.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        // The tail itself was left in, or something follows the end.
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x48],
    ] {
        let outcome = decode(&frame(Opcode::Binary, true, payload));
        let expected = refused(ProtocolError::InvalidDeflate);
        assert_eq!(outcome, expected, "{payload:02x?}");
    }
}

#[test]
fn compressed_text_is_utf_8() {
    for bad in [&b"\xff"[..], b"caf\xc3", b"\xed\xa0\x80"] {
        let payload = [bad, &[b' '; 100]].concat();
        let wire = frame(Opcode::Text, true, &compressed(&payload));
        assert_eq!(decode(&wire), refused(ProtocolError::InvalidUtf8));
    }
    // A character that two chunks of inflation share.
    let long = "€".repeat(20_000);
    let wire = frame(Opcode::Text, true, &compressed(long.as_bytes()));
    let (events, error) = decode(&wire);
    assert_eq!((events, error), (vec![text(&long)], None));
}

#[test]
fn messages_of_every_length_around_a_chunk() {
    let inflater = &mut Inflater::new();
    for chunks in [1, 2, 4] {
        for payload_bytes in chunks * 8_192 - 2..=chunks * 8_192 + 2 {
            let body = vec![b'a'; payload_bytes];
            let wire = frame(Opcode::Binary, true, &compressed(&body));
            let outcome = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [&*wire]);
            assert_eq!(outcome, (vec![Event::Binary(body.into())], None));
        }
    }
    // The same with a final block at the end, whose stream then ends with a full chunk.
    let stored_bytes = 8_192_u16;
    let [low, high] = stored_bytes.to_le_bytes();
    let mut payload = vec![0x01, low, high, !low, !high];
    payload.extend([b'a'; 8_192]);
    payload.push(0x00);
    let wire = frame(Opcode::Binary, true, &payload);
    let outcome = decode_pieces(&mut decoder(Role::Client, LIMITS), inflater, [&*wire]);
    let body = vec![b'a'; 8_192];
    assert_eq!(outcome, (vec![Event::Binary(body.into())], None));
}

#[test]
fn the_limit_is_that_of_the_inflated_message() {
    let limits = Limits {
        message_bytes_max: 30_000,
    };
    let inflater = &mut Inflater::new();
    for (body_bytes, fits) in [(29_999, true), (30_000, true), (30_001, false)] {
        let wire = frame(Opcode::Binary, true, &compressed(&vec![7; body_bytes]));
        let (events, error) = decode_pieces(&mut decoder(Role::Client, limits), inflater, [&*wire]);
        assert_eq!(events.len(), usize::from(fits));
        assert_eq!(
            error.map(|error| error.close_code()),
            (!fits).then_some(CloseCode::TOO_BIG)
        );
    }
    // On the wire it may be a little longer than the limit, since what can't be compressed grows.
    for (wire_bytes, refused) in [(30_000 + 30_000 / 8 + 64, false), (34_000, true)] {
        let header = frame_header(Opcode::Binary, true, wire_bytes, None).compressed();
        let (_, error) = decode_pieces(&mut decoder(Role::Client, limits), inflater, [&*header]);
        assert_eq!(error.is_some(), refused, "{wire_bytes}");
    }
}

#[test]
fn a_bomb_is_refused_while_it_streams() {
    // 100 MB of zeros, made without holding them: each megabyte flushed by itself.
    let megabyte = [
        &compressed(&vec![0; 1 << 20])[..],
        &[0x00, 0x00, 0xff, 0xff],
    ]
    .concat();
    let bomb = megabyte.repeat(100);
    let limits = Limits {
        message_bytes_max: 1 << 16,
    };
    let wire = frame(Opcode::Text, false, &bomb);
    let mut decoder = decoder(Role::Client, limits);
    let inflater = &mut Inflater::new();
    let mut seen_bytes = 0;
    let error = wire.chunks(1_000).find_map(|piece| {
        seen_bytes += piece.len();
        decode_pieces(&mut decoder, inflater, [piece]).1
    });
    let error = error.expect("it is refused before it ends");
    assert_eq!(error.close_code(), CloseCode::TOO_BIG);
    assert!(seen_bytes <= 17_000 + 1_000, "{seen_bytes}");
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn what_does_not_get_shorter_is_left_as_it_is() {
    let mut deflater = Deflater::new();
    let noise: Vec<u8> = (0..5_000_u32)
        .scan(1_u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 24) as u8)
        })
        .collect();
    for payload in [&b""[..], b"a", b"ab", &noise, &noise[..100]] {
        let coded = deflater.encode_message(MessageKind::Binary, payload, None);
        assert_eq!(coded, None, "{} bytes", payload.len());
        let mut out = b"before".to_vec();
        assert!(!deflater.append_message(&mut out, MessageKind::Text, payload, None));
        assert_eq!(out, b"before");
    }
}

/// zlib's fastest level panicked where its room ran out in the middle of what can't be compressed.
#[test]
fn noise_of_any_length_is_left_as_it_is_by_a_worn_state() {
    let mut deflater = Deflater::new();
    let mut state = 1_u64;
    for length in (200..9_000)
        .step_by(7)
        .chain((9_000..200_000).step_by(7_919))
    {
        let noise: Vec<u8> = (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let coded = deflater.encode_message(MessageKind::Binary, &noise, None);
        assert_eq!(coded, None, "{length} bytes");
    }
}

#[test]
fn what_is_made_does_not_depend_on_what_was_made_before() {
    let mut worn = Deflater::new();
    let bodies: Vec<Vec<u8>> = (1..50)
        .map(|i| format!("{i} years ").repeat(i).into())
        .collect();
    for body in bodies.iter().chain(bodies.iter().rev()) {
        let fresh = Deflater::new().encode_message(MessageKind::Text, body, None);
        assert_eq!(worn.encode_message(MessageKind::Text, body, None), fresh);
        let plain = encode_message(MessageKind::Text, body, None);
        assert_eq!(worn.compress_frame(&plain), fresh, "the frame as a whole");
    }
}

#[test]
fn only_whole_data_frames_are_compressed() {
    let mut deflater = Deflater::new();
    let body = [b'a'; 120];
    let ping = ControlPayload::new(&body[..]).unwrap();
    let data = encode_message(MessageKind::Text, &body, None);
    let once = deflater.compress_frame(&data).expect("it gets shorter");
    for frame in [
        &encode_ping(&ping, None)[..],
        &encode_fragment(Some(MessageKind::Text), false, &body, None),
        &encode_fragment(None, true, &body, None),
        &encode_message(MessageKind::Text, &body, Some([1; 4])),
        &data[..50],
        &data.repeat(2),
        &once,
        b"",
    ] {
        assert_eq!(deflater.compress_frame(frame), None);
    }
}

/// Bodies that compress well, badly and not at all.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..300),
        "[a-c]{0,400}".prop_map(String::into_bytes),
        (any::<u8>(), 0_usize..100_000).prop_map(|(byte, count)| vec![byte; count]),
        ("[ -~]{1,20}", 1_usize..2_000).prop_map(|(text, count)| text.repeat(count).into()),
    ]
}

/// What puts a body on the wire compressed, in fragments cut anywhere.
fn fragments(body: &[u8], cuts: &[Index], mask: Option<MaskKey>) -> Vec<u8> {
    let mut deflater = Deflater::new();
    let Some(whole) = deflater.encode_message(MessageKind::Binary, body, None) else {
        return encode_message(MessageKind::Binary, body, mask).to_vec();
    };
    if cuts.is_empty() {
        let frame = deflater.encode_message(MessageKind::Binary, body, mask);
        return frame.expect("as before").to_vec();
    }
    let payload = compressed(body);
    assert!(whole.ends_with(&payload));
    let mut ends: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(payload.len() + 1))
        .collect();
    ends.push(payload.len());
    ends.sort_unstable();
    let mut wire = Vec::new();
    let mut start = 0;
    for (index, &end) in ends.iter().enumerate() {
        let first = (index == 0).then_some(MessageKind::Binary);
        let last = index + 1 == ends.len();
        let at = wire.len();
        wire.extend(encode_fragment(first, last, &payload[start..end], mask));
        wire[at] |= if index == 0 { 0x40 } else { 0 };
        start = end;
    }
    wire
}

proptest! {
    #[test]
    fn what_is_compressed_arrives(
        bodies in vec((body(), vec(any::<Index>(), 0..4)), 1..5),
        reads in vec(1_usize..5_000, 1..8),
        key in any::<[u8; 4]>(),
    ) {
        for (role, mask) in [(Role::Server, Some(key)), (Role::Client, None)] {
            let wire: Vec<u8> = bodies.iter().flat_map(|(body, cuts)| fragments(body, cuts, mask)).collect();
            let expected: Vec<_> = bodies.iter().map(|(body, _)| Event::Binary(body.clone().into())).collect();
            let inflater = &mut Inflater::new();
            let mut decoder = decoder(role, LIMITS);
            let mut rest = &wire[..];
            let mut events = Vec::new();
            for read in reads.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at(*read.min(&rest.len()));
                rest = later;
                let (some, error) = decode_pieces(&mut decoder, inflater, [now]);
                prop_assert_eq!(error, None);
                events.extend(some);
            }
            prop_assert_eq!(events, expected);
            prop_assert_eq!(decoder.buffered_bytes(), 0);
        }
    }

    #[test]
    fn any_payload_is_inflated_or_refused(
        payload in vec(any::<u8>(), 0..400),
        flips in vec((any::<Index>(), any::<u8>()), 0..4),
        body in body(),
        message_bytes_max in 0_usize..5_000,
    ) {
        // Noise, and whole compressed payloads with a few bytes changed.
        let mut near = try_compressed(&body).unwrap_or_else(|| payload.clone());
        for (at, byte) in flips {
            if !near.is_empty() {
                let at = at.index(near.len());
                near[at] ^= byte;
            }
        }
        let limits = Limits { message_bytes_max };
        let inflater = &mut Inflater::new();
        for payload in [payload, near] {
            let wire = frame(Opcode::Binary, true, &payload);
            let whole = decode_pieces(&mut decoder(Role::Client, limits), inflater, [&*wire]);
            let pieces = decode_pieces(&mut decoder(Role::Client, limits), inflater, wire.chunks(7));
            prop_assert_eq!(&whole.0, &pieces.0);
            prop_assert_eq!(whole.1.is_some(), pieces.1.is_some());
            for event in whole.0 {
                let Event::Binary(bytes) = event else { panic!("{event:?}") };
                prop_assert!(bytes.len() <= message_bytes_max);
            }
        }
    }
}
