//! Tables for the rules that a header alone decides.

use super::*;

fn parse(bytes: &[u8], role: Role) -> Result<Option<(Header, usize)>, ProtocolError> {
    Header::parse(bytes, role, Extensions::NONE)
}

#[test]
fn written_headers_are_read_back_at_every_length_form() {
    for payload_bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 24] {
        for mask in [None, Some([9, 8, 7, 6])] {
            for fin in [false, true] {
                for opcode in [Opcode::Continuation, Opcode::Text, Opcode::Binary] {
                    let role = if mask.is_some() {
                        Role::Server
                    } else {
                        Role::Client
                    };
                    let bytes = frame_header(opcode, fin, payload_bytes, mask);
                    let expected = Header {
                        compressed: false,
                        fin,
                        opcode,
                        payload_bytes: payload_bytes as u64,
                        mask,
                    };
                    assert_eq!(parse(&bytes, role), Ok(Some((expected, bytes.len()))));
                    for cut in 0..bytes.len() {
                        assert_eq!(parse(&bytes[..cut], role), Ok(None), "cut at {cut}");
                    }
                }
            }
        }
    }
}

#[test]
fn headers_take_the_shortest_form() {
    let length_of = |payload_bytes| frame_header(Opcode::Text, true, payload_bytes, None).len();
    assert_eq!(
        [
            length_of(125),
            length_of(126),
            length_of(65_535),
            length_of(65_536)
        ],
        [2, 4, 4, 10]
    );
    assert_eq!(
        *frame_header(Opcode::Binary, true, 256, None),
        [0x82, 0x7e, 0x01, 0x00]
    );
    assert_eq!(
        *frame_header(Opcode::Binary, true, 65_536, None),
        [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
    );
}

#[test]
fn reserved_bits_are_refused_on_every_opcode() {
    for opcode in [0x0, 0x1, 0x2, 0x8, 0x9, 0xA] {
        for rsv in 1..8 {
            let bytes = [0x80 | (rsv << 4) | opcode, 0];
            assert_eq!(
                parse(&bytes, Role::Client),
                Err(ProtocolError::ReservedBits)
            );
        }
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        let refusal = Err(ProtocolError::ReservedOpcode(opcode));
        assert_eq!(parse(&[0x80 | opcode, 0], Role::Client), refusal);
    }
}

#[test]
fn masks_are_judged_by_role() {
    assert_eq!(
        parse(&[0x81, 0x00], Role::Server),
        Err(ProtocolError::Unmasked)
    );
    assert_eq!(
        parse(&[0x81, 0x80], Role::Client),
        Err(ProtocolError::Masked)
    );
    assert_eq!(parse(&[0x81, 0x80], Role::Server), Ok(None));
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [0x8, 0x9, 0xA] {
        assert_eq!(
            parse(&[opcode, 0], Role::Client),
            Err(ProtocolError::FragmentedControl)
        );
        for length in [126, 127] {
            // Judged on two bytes, before the extended length is there.
            let refusal = Err(ProtocolError::ControlTooLong);
            assert_eq!(parse(&[0x80 | opcode, length], Role::Client), refusal);
        }
        assert!(matches!(
            parse(&[0x80 | opcode, 125], Role::Client),
            Ok(Some(_))
        ));
    }
}

#[test]
fn lengths_are_minimal_and_below_two_to_the_63rd() {
    let with_u16 = |length: u16| [&[0x82, 126][..], &length.to_be_bytes()].concat();
    let with_u64 = |length: u64| [&[0x82, 127][..], &length.to_be_bytes()].concat();
    for (bytes, expected) in [
        (with_u16(0), Err(ProtocolError::NonMinimalLength)),
        (with_u16(125), Err(ProtocolError::NonMinimalLength)),
        (with_u16(126), Ok(126)),
        (with_u64(0), Err(ProtocolError::NonMinimalLength)),
        (with_u64(65_535), Err(ProtocolError::NonMinimalLength)),
        (with_u64(65_536), Ok(65_536)),
        (with_u64((1 << 63) - 1), Ok((1 << 63) - 1)),
        (with_u64(1 << 63), Err(ProtocolError::LengthOutOfRange)),
        (with_u64(u64::MAX), Err(ProtocolError::LengthOutOfRange)),
    ] {
        let got = parse(&bytes, Role::Client);
        let got = got.map(|whole| whole.expect("the header is whole").0.payload_bytes);
        assert_eq!(got, expected, "{bytes:x?}");
    }
}
