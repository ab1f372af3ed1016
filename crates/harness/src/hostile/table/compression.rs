//! Violations of RFC 7692, and payloads that grow.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

macro_rules! rows {
    ($($name:literal, [$($act:expr),*], $outcome:expr;)*) => {
        pub(super) const CASES: &[Case] = &[
            $(case($name, Dev, &[Deflated, $($act),*], $outcome),)*
        ];
    };
}

rows! {
    "a compressed continuation", [Frame(0x41, &[0xf2]), Frame(0xc0, &[0x48])], Closes(1002, "");
    "a compressed ping", [Frame(0xc9, b"")], Closes(1002, "");
    "a compressed pong", [Frame(0xca, b"")], Closes(1002, "");
    "a compressed close", [Frame(0xc8, b"")], Closes(1002, "");
    "another reserved bit beside it", [Frame(0xe1, &[0x00])], Closes(1002, "");
    "the third reserved bit beside it", [Frame(0xd1, &[0x00])], Closes(1002, "");
    "no DEFLATE data", [Frame(0xc1, &[0x06])], Closes(1007, "");
    "a block of the reserved kind", [Frame(0xc2, &[0x07])], Closes(1007, "");
    "half a block", [Frame(0xc1, &[0xf2, 0x48])], Closes(1007, "");
    "nothing at all", [Frame(0xc1, b"")], Closes(1007, "");
    "a reach back before the message", [Frame(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00])], Closes(1007, "");
    "a stored block whose length does not fit its complement", [Frame(0xc1, &[0x00, 0x01, 0x00, 0x00, 0x00, b'a', 0x00])], Closes(1007, "");
    "compressed bad UTF-8", [Frame(0xc1, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00])], Closes(1007, "");
    "a bomb of one byte too many", [Bomb(69_633)], Closes(1009, "");
    "a bomb of 16 MB", [Bomb(16 << 20)], Closes(1009, "");
    "a bomb of 1 MB, then legal traffic on another connection", [Bomb(1 << 20), AwaitClose, Deflated], Lives;
    "as much as is allowed", [Bomb(65_536)], Lives;
    "uncompressed messages are legal beside it", [Text(r#"{"type":"ping","timestamp":3}"#)], Says(r#"{"type":"pong","timestamp":3}"#);
    "a compressed ping of plain mode", [Frame(0xc1, &[0xaa, 0x56, 0x2a, 0xa9, 0x2c, 0x48, 0x55, 0xb2, 0x52, 0x2a, 0xc8, 0xcc, 0x4b, 0x57, 0xd2, 0x51, 0x2a, 0xc9, 0xcc, 0x4d, 0x2d, 0x2e, 0x49, 0xcc, 0x2d, 0x50, 0xb2, 0x32, 0xaa, 0x05, 0x00])], Says(r#"{"type":"pong","timestamp":2}"#);
    "a thousand empty blocks in one message", [Times(1, &[Fill(0xc1, 1_000, 0)])], Closes(1007, "");
}
