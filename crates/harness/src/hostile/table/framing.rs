//! Violations of RFC 6455's framing, in plain mode: each closes with its own code.

use super::super::{
    case::{Act, Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

const OPEN: Act = Plain("/ws/general");

macro_rules! rows {
    ($($name:literal, [$($act:expr),*], $outcome:expr;)*) => {
        pub(super) const CASES: &[Case] = &[
            $(case($name, Dev, &[OPEN, $($act),*], $outcome),)*
        ];
    };
}

rows! {
    "text without a mask", [Bytes(&[0x81, 0x01, b'a'])], Closes(1002, "");
    "a ping without a mask", [Bytes(&[0x89, 0x00])], Closes(1002, "");
    "a close without a mask", [Bytes(&[0x88, 0x00])], Closes(1002, "");
    "a continuation of nothing", [Frame(0x80, b"a")], Closes(1002, "");
    "a first fragment that continues", [Frame(0x00, b"a")], Closes(1002, "");
    "text within a fragmented text", [Frame(0x01, b"a"), Frame(0x81, b"b")], Closes(1002, "");
    "binary within a fragmented text", [Frame(0x01, b"a"), Frame(0x02, b"b")], Closes(1002, "");
    "a continuation behind the last", [Frame(0x01, b"a"), Frame(0x80, b"b"), Frame(0x80, b"c")], Closes(1002, "");
    "a fragmented ping", [Frame(0x09, b"a")], Closes(1002, "");
    "a fragmented pong", [Frame(0x0a, b"a")], Closes(1002, "");
    "a fragmented close", [Frame(0x08, &[0x03, 0xe8])], Closes(1002, "");
    "a ping of 126 bytes", [Fill(0x89, 126, 0)], Closes(1002, "");
    "a pong of 65,536 bytes", [Raw(0x8a, &[127, 0, 0, 0, 0, 0, 1, 0, 0], b"")], Closes(1002, "");
    "a close of 126 bytes", [Fill(0x88, 126, 0)], Closes(1002, "");
    "a length of 5 in two bytes", [Raw(0x82, &[126, 0, 5], b"12345")], Closes(1002, "");
    "a length of 0 in two bytes", [Raw(0x82, &[126, 0, 0], b"")], Closes(1002, "");
    "a length of 0 in eight bytes", [Raw(0x82, &[127, 0, 0, 0, 0, 0, 0, 0, 0], b"")], Closes(1002, "");
    "a length of 65,535 in eight bytes", [Raw(0x82, &[127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], b"")], Closes(1002, "");
    "a length of 2^63", [Raw(0x82, &[127, 0x80, 0, 0, 0, 0, 0, 0, 0], b"")], Closes(1002, "");
    "a length of 2^64 - 1", [Raw(0x82, &[127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b"")], Closes(1002, "");
    "a length of 2^63 - 1", [Raw(0x82, &[127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], b"")], Closes(1009, "");
    "reserved bit 1 without an extension", [Frame(0xc1, b"a")], Closes(1002, "");
    "reserved bit 2", [Frame(0xa1, b"a")], Closes(1002, "");
    "reserved bit 3", [Frame(0x91, b"a")], Closes(1002, "");
    "all reserved bits", [Frame(0xf2, b"a")], Closes(1002, "");
    "a reserved bit on a ping", [Frame(0xc9, b"")], Closes(1002, "");
    "a reserved bit on a continuation", [Frame(0x01, b"a"), Frame(0xa0, b"b")], Closes(1002, "");
    "opcode 3", [Frame(0x83, b"")], Closes(1002, "");
    "opcode 4", [Frame(0x84, b"")], Closes(1002, "");
    "opcode 5", [Frame(0x85, b"")], Closes(1002, "");
    "opcode 6", [Frame(0x86, b"")], Closes(1002, "");
    "opcode 7", [Frame(0x87, b"")], Closes(1002, "");
    "opcode 11", [Frame(0x8b, b"")], Closes(1002, "");
    "opcode 12", [Frame(0x8c, b"")], Closes(1002, "");
    "opcode 13", [Frame(0x8d, b"")], Closes(1002, "");
    "opcode 14", [Frame(0x8e, b"")], Closes(1002, "");
    "opcode 15", [Frame(0x8f, b"")], Closes(1002, "");
    "a byte that is no UTF-8", [Frame(0x81, b"\xff")], Closes(1007, "");
    "a surrogate", [Frame(0x81, b"\xed\xa0\x80")], Closes(1007, "");
    "an overlong form", [Frame(0x81, b"\xc0\xaf")], Closes(1007, "");
    "a character above U+10FFFF", [Frame(0x81, b"\xf4\x90\x80\x80")], Closes(1007, "");
    "text that ends inside a character", [Frame(0x81, b"\xe2\x82")], Closes(1007, "");
    "bad UTF-8 in a fragment, before the last", [Frame(0x01, b"a\xff")], Closes(1007, "");
    "a fragmented text that ends inside a character", [Frame(0x01, b"\xe2"), Frame(0x80, b"\x82")], Closes(1007, "");
    "a close body of one byte", [Frame(0x88, &[3])], Closes(1002, "");
    "a close reason that is no UTF-8", [Frame(0x88, b"\x03\xe8\xff")], Closes(1007, "");
    "close code 0", [Frame(0x88, &[0, 0])], Closes(1002, "");
    "close code 999", [Frame(0x88, &[0x03, 0xe7])], Closes(1002, "");
    "close code 1004", [Frame(0x88, &[0x03, 0xec])], Closes(1002, "");
    "close code 1005", [Frame(0x88, &[0x03, 0xed])], Closes(1002, "");
    "close code 1006", [Frame(0x88, &[0x03, 0xee])], Closes(1002, "");
    "close code 1015", [Frame(0x88, &[0x03, 0xf7])], Closes(1002, "");
    "close code 2999", [Frame(0x88, &[0x0b, 0xb7])], Closes(1002, "");
    "close code 5000", [Frame(0x88, &[0x13, 0x88])], Closes(1002, "");
    "close code 4999 is legal and comes back", [Frame(0x88, &[0x13, 0x87])], Closes(4999, "");
    "a close without a code", [Frame(0x88, b"")], Closes(1005, "");
    "a ping between fragments is answered", [Frame(0x01, b"{\"type\":\"ping\","), Frame(0x89, b"x"), Frame(0x80, b"\"timestamp\":7}"), Frame(0x8a, b"unasked")], Says("x");
    "text without a mask, byte by byte", [Drip("\u{1}", 0)], Closes(1002, "");
}
