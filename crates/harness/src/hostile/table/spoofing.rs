//! Clients that lie about where they come from: only named proxies are believed.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

pub(super) const CASES: &[Case] = &[
    case("nobody but a proxy is believed", Trusting, &[ProtocolWith("X-Forwarded-For: 198.51.100.1\n"), ProtocolWith("X-Forwarded-For: 198.51.100.2\n")], Closes(4429, "too_many_connections")),
    case("a proxy's clients are told apart", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 198.51.100.11\n"), ProtocolWith("X-Forwarded-For: 198.51.100.12\n"), Text(r#"{"type":"hello"}"#)], Answers("welcome")),
    case("what the client wrote itself stands further left", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 203.0.113.1, 198.51.100.21\n"), ProtocolWith("X-Forwarded-For: 203.0.113.2, 198.51.100.21\n")], Closes(4429, "too_many_connections")),
    case("a header of the client's own before the proxy's", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 203.0.113.3\nX-Forwarded-For: 198.51.100.22\n"), ProtocolWith("X-Forwarded-For: 203.0.113.4\nX-Forwarded-For: 198.51.100.22\n")], Closes(4429, "too_many_connections")),
    case("a proxy behind a proxy is looked through", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 198.51.100.23, 10.1.2.3\n"), ProtocolWith("X-Forwarded-For: 198.51.100.23, 10.4.5.6\n")], Closes(4429, "too_many_connections")),
    case("an address that is none is the proxy's own", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 198.51.100.24, nobody\n"), ProtocolWith("X-Forwarded-For: 198.51.100.25, nobody\n")], Closes(4429, "too_many_connections")),
    case("a mountain of addresses", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: {{203.0.113.5, *500}}198.51.100.26\n"), ProtocolWith("X-Forwarded-For: {{203.0.113.6, *400}}198.51.100.26\n")], Closes(4429, "too_many_connections")),
    case("rotation within an IPv6 /64", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 2001:db8:0:1::1\n"), ProtocolWith("X-Forwarded-For: 2001:db8:0:1:ffff::9\n")], Closes(4429, "too_many_connections")),
    case("the next /64 is another client", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 2001:db8:0:2::1\n"), ProtocolWith("X-Forwarded-For: 2001:db8:0:3::1\n"), Text(r#"{"type":"hello"}"#)], Answers("welcome")),
    case("IPv4 written as IPv6 is the same client", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 198.51.100.27\n"), ProtocolWith("X-Forwarded-For: ::ffff:198.51.100.27\n")], Closes(4429, "too_many_connections")),
    case("an address with a port is the same client", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: 198.51.100.28:1001\n"), ProtocolWith("X-Forwarded-For: 198.51.100.28:1002\n")], Closes(4429, "too_many_connections")),
    case("an IPv6 address in brackets is the same client", Trusting, &[From("127.77.0.1"), ProtocolWith("X-Forwarded-For: [2001:db8:0:4::1]:80\n"), ProtocolWith("X-Forwarded-For: 2001:db8:0:4::2\n")], Closes(4429, "too_many_connections")),
    case("another header is not looked at", Trusting, &[ProtocolWith("X-Real-IP: 198.51.100.29\nForwarded: for=198.51.100.29\n"), ProtocolWith("X-Real-IP: 198.51.100.30\nForwarded: for=198.51.100.30\nTrue-Client-IP: 198.51.100.30\n")], Closes(4429, "too_many_connections")),
    case("a proxy that says it is loopback", Guarded, &[ProtocolWith("X-Forwarded-For: 127.0.0.1\n"), Times(10, &[ProtocolWith("X-Forwarded-For: 127.0.0.1\n")])], Closes(4429, "too_many_connections")),
    case("a PROXY header from nobody's proxy", Balanced, &[Dial, Bytes(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x01\x0a\0\0\x01\x12\x67\0\x50GET /ws HTTP/1.1\r\n\r\n")], Status(400, "")),
    case("a trusted proxy without its header", Balanced, &[From("127.77.0.1"), Dial, Lines("GET /ws HTTP/1.1\nHost: {{host}}\n\n")], Cut),
    case("a PROXY header of version 1", Balanced, &[From("127.77.0.1"), Dial, Lines("PROXY TCP4 198.51.100.1 10.0.0.1 4711 80\nGET /ws HTTP/1.1\nHost: {{host}}\n\n")], Cut),
    case("a PROXY header of version 3", Balanced, &[From("127.77.0.1"), Dial, Bytes(b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc6\x33\x64\x01\x0a\0\0\x01\x12\x67\0\x50")], Cut),
    case("a PROXY header whose addresses are cut", Balanced, &[From("127.77.0.1"), Dial, Bytes(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\xc6\x33\x64\x01")], Cut),
    case("a PROXY header of 64 KB", Balanced, &[From("127.77.0.1"), Dial, Bytes(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff\xc6\x33\x64\x01")], Cut),
    case("an unknown command in a PROXY header", Balanced, &[From("127.77.0.1"), Dial, Bytes(b"\r\n\r\n\0\r\nQUIT\n\x2f\x11\0\x0c\xc6\x33\x64\x01\x0a\0\0\x01\x12\x67\0\x50")], Cut),
    case("a good PROXY header and a verdict", Balanced, &[From("127.77.0.1"), Dial, Bytes(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x01\x0a\0\0\x01\x12\x67\0\x50GET /ws HTTP/1.1\r\nHost: a\r\n\r\n")], Status(200, "ok")),
];
