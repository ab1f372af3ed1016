//! Tables for the rules that need context: the order of frames, the limits, UTF-8, close bodies,
//! the price of fragments and the memory held.

use super::*;
use crate::{CloseCode, encode_close, encode_fragment, encode_message, encode_ping, encode_pong};

const LIMITS: Limits = Limits {
    message_bytes_max: 1000,
};
const KEY: MaskKey = [0x11, 0x22, 0x33, 0x44];

/// Decodes pieces one after the other until they end or a violation is found.
fn decode_pieces<P: AsRef<[u8]>>(
    decoder: &mut Decoder,
    pieces: &[P],
) -> (Vec<Event<'static>>, Option<ProtocolError>) {
    let mut events = Vec::new();
    for piece in pieces {
        let mut bytes = piece.as_ref().to_vec();
        let mut input = bytes.as_mut_slice();
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(event)) => events.push(event.into_owned()),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(
            input.is_empty(),
            "Ok(None) means that all input is consumed"
        );
    }
    (events, None)
}

/// Decodes as a client, in one piece and byte by byte; both must agree.
fn decode(frames: &[&[u8]]) -> (Vec<Event<'static>>, Option<ProtocolError>) {
    let bytes = frames.concat();
    let whole = decode_pieces(&mut Decoder::new(Role::Client, LIMITS), &[&bytes]);
    let single: Vec<_> = bytes.chunks(1).collect();
    let bytewise = decode_pieces(&mut Decoder::new(Role::Client, LIMITS), &single);
    assert_eq!(whole, bytewise);
    whole
}

fn text(text: &str) -> Event<'static> {
    Event::Text(Cow::Owned(text.to_owned()))
}

fn ping(payload: &'static [u8]) -> ControlPayload<'static> {
    ControlPayload::new(payload).unwrap()
}

fn fragment(first: Option<MessageKind>, last: bool, payload: &[u8]) -> Vec<u8> {
    encode_fragment(first, last, payload, None).to_vec()
}

const TEXT: Option<MessageKind> = Some(MessageKind::Text);
const BINARY: Option<MessageKind> = Some(MessageKind::Binary);

#[test]
fn is_small() {
    assert!(size_of::<Decoder>() <= 80, "{}", size_of::<Decoder>());
}

#[test]
fn a_whole_message_is_unmasked_in_place_and_borrowed() {
    let mut decoder = Decoder::new(Role::Server, LIMITS);
    let mut bytes = encode_message(MessageKind::Text, b"hello", Some(KEY)).to_vec();
    bytes.extend(encode_message(MessageKind::Binary, b"", Some(KEY)));
    bytes.extend(encode_ping(&ping(b"p"), Some(KEY)));
    let mut input = bytes.as_mut_slice();
    let first = decoder.decode(&mut input);
    assert!(
        matches!(first, Ok(Some(Event::Text(Cow::Borrowed("hello"))))),
        "{first:?}"
    );
    let second = decoder.decode(&mut input);
    assert!(
        matches!(second, Ok(Some(Event::Binary(Cow::Borrowed(b""))))),
        "{second:?}"
    );
    assert_eq!(
        decoder.decode(&mut input),
        Ok(Some(Event::Ping(ping(b"p"))))
    );
    assert_eq!(decoder.decode(&mut input), Ok(None));
    assert!(decoder.is_between_messages());
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn a_payload_that_arrives_whole_after_its_header_is_borrowed() {
    let mut decoder = Decoder::new(Role::Server, LIMITS);
    let mut bytes = encode_message(MessageKind::Binary, &[7; 300], Some(KEY)).to_vec();
    let (mut header, mut payload) = bytes.split_at_mut(8);
    assert_eq!(decoder.decode(&mut header), Ok(None));
    assert_eq!(decoder.buffered_bytes(), 0);
    assert!(!decoder.is_between_messages());
    let event = decoder.decode(&mut payload);
    assert!(
        matches!(event, Ok(Some(Event::Binary(Cow::Borrowed(_))))),
        "{event:?}"
    );
}

#[test]
fn memory_follows_what_arrived_and_is_freed_with_the_message() {
    let mut decoder = Decoder::new(
        Role::Server,
        Limits {
            message_bytes_max: 1 << 30,
        },
    );
    let mut bytes = encode_message(MessageKind::Binary, &vec![7; 100_000], Some(KEY)).to_vec();
    // Announce 2^29 bytes instead of what comes.
    bytes[2..10].copy_from_slice(&(1_u64 << 29).to_be_bytes());
    for (index, mut piece) in bytes.chunks_mut(100).enumerate() {
        assert_eq!(decoder.decode(&mut piece), Ok(None));
        let arrived = (index + 1) * 100;
        let bound = 2 * arrived + size_of::<Message>();
        assert!(
            decoder.buffered_bytes() <= bound,
            "{} at {arrived}",
            decoder.buffered_bytes()
        );
    }

    let mut decoder = Decoder::new(Role::Server, LIMITS);
    let bytes = encode_message(MessageKind::Text, &[b'a'; 1000], Some(KEY));
    let (events, error) = decode_pieces(&mut decoder, &[&bytes[..900], &bytes[900..]]);
    assert_eq!((events.len(), error), (1, None));
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn the_buffer_never_passes_the_limit() {
    let mut decoder = Decoder::new(Role::Client, LIMITS);
    for index in 0..100 {
        let mut frame = fragment(if index == 0 { TEXT } else { None }, false, &[b'a'; 10]);
        assert_eq!(decoder.decode(&mut frame.as_mut_slice()), Ok(None));
        assert!(decoder.buffered_bytes() <= 1000 + size_of::<Message>());
    }
}

#[test]
fn a_limit_that_becomes_lower_holds_from_the_next_frame_on() {
    for kind in [MessageKind::Text, MessageKind::Binary] {
        let limits = |message_bytes_max| Limits { message_bytes_max };
        let mut decoder = Decoder::new(Role::Client, limits(1_000));
        let mut frame = fragment(Some(kind), false, &[b'x'; 300]);
        let (mut begun, mut rest) = frame.split_at_mut(100);
        assert_eq!(decoder.decode(&mut begun), Ok(None));
        decoder.set_limits(limits(0));
        assert_eq!(decoder.decode(&mut rest), Ok(None));
        let mut more = fragment(None, true, b"y");
        let refused = decoder.decode(&mut more.as_mut_slice());
        assert!(
            matches!(refused, Err(ProtocolError::MessageTooBig { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn fragments_join_and_control_frames_stand_between_them() {
    let frames = [
        fragment(TEXT, false, b"a"),
        encode_ping(&ping(b"1"), None).to_vec(),
        fragment(None, false, b""),
        encode_pong(&ping(b"2"), None).to_vec(),
        fragment(None, true, b"b"),
        fragment(BINARY, false, b""),
        fragment(None, true, b""),
    ];
    let expected = vec![
        Event::Ping(ping(b"1")),
        Event::Pong(ping(b"2")),
        text("ab"),
        Event::Binary(Cow::Owned(Vec::new())),
    ];
    assert_eq!(decode(&frames.each_ref().map(|f| &f[..])), (expected, None));
}

#[test]
fn frames_out_of_order_are_refused() {
    for (frames, error) in [
        (
            vec![fragment(None, true, b"a")],
            ProtocolError::UnexpectedContinuation,
        ),
        (
            vec![fragment(None, false, b"a")],
            ProtocolError::UnexpectedContinuation,
        ),
        (
            vec![fragment(TEXT, true, b"a"), fragment(None, true, b"a")],
            ProtocolError::UnexpectedContinuation,
        ),
        (
            vec![fragment(TEXT, false, b""), fragment(TEXT, true, b"a")],
            ProtocolError::ExpectedContinuation,
        ),
        (
            vec![fragment(TEXT, false, b"a"), fragment(BINARY, false, b"a")],
            ProtocolError::ExpectedContinuation,
        ),
    ] {
        let frames: Vec<&[u8]> = frames.iter().map(|f| &f[..]).collect();
        assert_eq!(decode(&frames).1, Some(error));
    }
}

#[test]
fn the_limit_is_judged_on_the_header() {
    let too_big = |announced_bytes| {
        Some(ProtocolError::MessageTooBig {
            announced_bytes,
            limit_bytes: 1000,
        })
    };
    let exact = fragment(BINARY, true, &[0; 1000]);
    assert_eq!(decode(&[&exact]).1, None);
    // Only the header is given: nothing of the payload is needed.
    let above = fragment(BINARY, true, &[0; 1001]);
    assert_eq!(decode(&[&above[..4]]).1, too_big(1001));
    let sum = [
        fragment(TEXT, false, &[b'a'; 999]),
        fragment(None, false, &[b'a'; 2]),
    ];
    assert_eq!(decode(&[&sum[0], &sum[1][..2]]).1, too_big(1001));
    // The bytes of a character that a fragment cut count too.
    let cut = fragment(TEXT, false, &[&[b'a'; 997], &b"\xe2\x82"[..]].concat());
    assert_eq!(
        decode(&[&cut, &fragment(None, true, b"\xacb")[..2]]).1,
        too_big(1001)
    );
    assert_eq!(decode(&[&cut, &fragment(None, true, b"\xac")]).1, None);
    let huge = [&[0x82, 127][..], &i64::MAX.to_be_bytes()].concat();
    assert_eq!(decode(&[&huge]).1, too_big(i64::MAX as u64));
    let beyond = [&[0x82, 127][..], &(1_u64 << 63).to_be_bytes()].concat();
    assert_eq!(decode(&[&beyond]).1, Some(ProtocolError::LengthOutOfRange));
    // Control frames have a bound of their own, and don't count for the message around them.
    let tiny = Limits {
        message_bytes_max: 1,
    };
    let ping = encode_ping(&ping(&[7; 125]), None);
    let pieces = [
        fragment(BINARY, false, b"a"),
        ping.to_vec(),
        fragment(None, true, b""),
    ];
    let (events, error) = decode_pieces(&mut Decoder::new(Role::Client, tiny), &pieces);
    assert_eq!((events.len(), error), (2, None));
}

#[test]
fn invalid_text_is_refused_at_the_first_invalid_byte() {
    for bad in [
        &b"\xff"[..],
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"a\x80",
    ] {
        let whole = fragment(TEXT, true, bad);
        assert_eq!(
            decode(&[&whole]).1,
            Some(ProtocolError::InvalidUtf8),
            "{bad:x?}"
        );
        // In a fragment that is not the last, and in a frame of which more is to come.
        let first = fragment(TEXT, false, bad);
        assert_eq!(
            decode(&[&first]).1,
            Some(ProtocolError::InvalidUtf8),
            "{bad:x?}"
        );
        let long = fragment(TEXT, true, &[bad, &[b'a'; 500]].concat());
        let part = &long[..4 + bad.len()];
        assert_eq!(
            decode(&[part]).1,
            Some(ProtocolError::InvalidUtf8),
            "{bad:x?}"
        );
    }
    // F4 90 is beyond U+10FFFF whatever follows.
    let part = &fragment(TEXT, true, b"\xf4\x90\x80\x80")[..4];
    assert_eq!(decode(&[part]).1, Some(ProtocolError::InvalidUtf8));
    // The same across fragments.
    let frames = [
        fragment(TEXT, false, b"a\xf4"),
        fragment(None, false, b"\x90"),
    ];
    assert_eq!(decode(&[&frames[0]]), (vec![], None));
    assert_eq!(
        decode(&[&frames[0], &frames[1]]).1,
        Some(ProtocolError::InvalidUtf8)
    );
}

#[test]
fn a_cut_character_is_joined_but_must_not_end_a_message() {
    let euro = "€".as_bytes();
    for cut in 1..3 {
        let first = fragment(TEXT, false, &euro[..cut]);
        let last = fragment(None, true, &euro[cut..]);
        assert_eq!(decode(&[&first, &last]), (vec![text("€")], None));
        let end = fragment(None, true, b"");
        assert_eq!(decode(&[&first, &end]).1, Some(ProtocolError::InvalidUtf8));
        let whole = fragment(TEXT, true, &euro[..cut]);
        assert_eq!(decode(&[&whole]).1, Some(ProtocolError::InvalidUtf8));
    }
    // Binary messages hold any bytes.
    let binary = fragment(BINARY, true, b"\xff\xfe");
    assert_eq!(
        decode(&[&binary]),
        (vec![Event::Binary(Cow::Owned(vec![0xff, 0xfe]))], None)
    );
}

#[test]
fn close_bodies_are_judged() {
    let close = |payload: &[u8]| {
        let mut frame = vec![0x88, payload.len() as u8];
        frame.extend_from_slice(payload);
        decode(&[&frame])
    };
    let good = |frame| (vec![Event::Close(frame)], None);
    let bad = |error| (vec![], Some(error));
    assert_eq!(close(b""), good(None));
    assert_eq!(close(b"\x03"), bad(ProtocolError::TruncatedCloseCode));
    assert_eq!(
        close(b"\x03\xe8"),
        good(Some(CloseFrame::new(CloseCode::NORMAL, "")))
    );
    assert_eq!(
        close(b"\x03\xe8ok"),
        good(Some(CloseFrame::new(CloseCode::NORMAL, "ok")))
    );
    assert_eq!(
        close(b"\x03\xe8\xff"),
        bad(ProtocolError::InvalidCloseReason)
    );
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(
            close(&code.to_be_bytes()),
            bad(ProtocolError::InvalidCloseCode(code))
        );
    }
}

#[test]
fn nothing_is_decoded_after_a_close_frame_or_a_violation() {
    let message = fragment(TEXT, true, b"late");
    let close = encode_close(None, None);
    let (events, error) = decode(&[&fragment(TEXT, false, b"a"), &close, &message]);
    assert_eq!((events, error), (vec![Event::Close(None)], None));

    let mut decoder = Decoder::new(Role::Client, LIMITS);
    let begun = fragment(TEXT, false, b"a");
    let (_, error) = decode_pieces(&mut decoder, &[&begun[..], b"\xff\xff"]);
    assert_eq!(error, Some(ProtocolError::ReservedOpcode(15)));
    assert_eq!(decoder.buffered_bytes(), 0);
    assert_eq!(decode_pieces(&mut decoder, &[&message]), (vec![], None));
}

#[test]
fn each_violation_owes_its_code() {
    for (error, code) in [
        (ProtocolError::ReservedBits, 1002),
        (ProtocolError::ReservedOpcode(3), 1002),
        (ProtocolError::FragmentedControl, 1002),
        (ProtocolError::ControlTooLong, 1002),
        (ProtocolError::Unmasked, 1002),
        (ProtocolError::Masked, 1002),
        (ProtocolError::NonMinimalLength, 1002),
        (ProtocolError::LengthOutOfRange, 1002),
        (ProtocolError::UnexpectedContinuation, 1002),
        (ProtocolError::ExpectedContinuation, 1002),
        (ProtocolError::TruncatedCloseCode, 1002),
        (ProtocolError::InvalidCloseCode(1005), 1002),
        (ProtocolError::InvalidUtf8, 1007),
        (ProtocolError::InvalidCloseReason, 1007),
        (ProtocolError::FragmentFlood, 1008),
        (
            ProtocolError::MessageTooBig {
                announced_bytes: 2,
                limit_bytes: 1,
            },
            1009,
        ),
    ] {
        assert_eq!(error.close_code().as_u16(), code, "{error}");
    }
}

/// How many continuation frames of a size pass before one is refused, up to `most`.
fn fragments_until_refused(payload: &[u8], most: usize) -> usize {
    let limits = Limits {
        message_bytes_max: 4 << 20,
    };
    let mut decoder = Decoder::new(Role::Client, limits);
    let first = fragment(BINARY, false, payload);
    assert_eq!(decode_pieces(&mut decoder, &[first]), (vec![], None));
    let frame = fragment(None, false, payload);
    for passed in 0..most {
        match decode_pieces(&mut decoder, &[&frame]).1 {
            None => {}
            Some(ProtocolError::FragmentFlood) => return passed,
            Some(other) => panic!("{other}"),
        }
    }
    most
}

#[test]
fn fragments_are_charged_by_cost() {
    // Empty fragments pay from the credit alone.
    assert_eq!(fragments_until_refused(b"", 5000), 1024);
    // 16,384 − 16 for the first, which finds the credit full, then 15 for each: 1 + 1,091.
    assert_eq!(fragments_until_refused(b"a", 5000), 1092);
    // Sixteen bytes pay for themselves.
    assert_eq!(fragments_until_refused(&[0; 16], 200_000), 200_000);
    // Autobahn 9.3.1 and 9.4.1: 4 MB in fragments of 64 bytes.
    let most = (4 << 20) / 64 - 1;
    assert_eq!(fragments_until_refused(&[0; 64], most), most);
}

#[test]
fn payload_does_not_bank_credit_beyond_the_bound() {
    let limits = Limits {
        message_bytes_max: 4 << 20,
    };
    let mut decoder = Decoder::new(Role::Client, limits);
    let large = fragment(BINARY, false, &vec![0; 1 << 20]);
    let larger = fragment(None, false, &vec![0; 1 << 20]);
    assert_eq!(
        decode_pieces(&mut decoder, &[large, larger]),
        (vec![], None)
    );
    let empty = vec![fragment(None, false, b""); 2000];
    assert_eq!(decode_pieces(&mut decoder, &empty[..1023]), (vec![], None));
    assert_eq!(
        decode_pieces(&mut decoder, &empty).1,
        Some(ProtocolError::FragmentFlood)
    );
}
