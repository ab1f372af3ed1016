//! Requests for an upgrade that are none (RFC 6455, 4.2.1), and heads that no server should take.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

macro_rules! get {
    ($($line:literal)*) => {
        Lines(concat!("GET /ws HTTP/1.1\nHost: {{host}}\n", $($line, "\n",)* "\n"))
    };
}

macro_rules! lines {
    ($($line:literal)*) => {
        Lines(concat!($($line, "\n",)* "\n"))
    };
}

pub(super) const CASES: &[Case] = &[
    case(
        "version 8",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 8" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(426, "upgrade_required"),
    ),
    case(
        "version 14",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 14" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(426, "upgrade_required"),
    ),
    case(
        "version with a plus",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: +13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(426, "upgrade_required"),
    ),
    case(
        "no version",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(426, "upgrade_required"),
    ),
    case(
        "two versions",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Version: 8" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(426, "upgrade_required"),
    ),
    case(
        "no key",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "an empty key",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key:"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a key of 15 bytes",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a key of 17 bytes",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a key that is no base64",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a key without its padding",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "two keys",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a key of 8 KB",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: {{A*8000}}"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "another upgrade",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: h2c" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "an upgrade that only begins like one",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websockets" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "no Connection",
        Dev,
        &[
            Dial,
            get!("Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "Connection names something else",
        Dev,
        &[
            Dial,
            get!("Connection: keep-alive" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "POST instead of GET",
        Dev,
        &[
            Dial,
            lines!("POST /ws HTTP/1.1" "Host: {{host}}" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(405, "method_not_allowed"),
    ),
    case(
        "PUT instead of GET",
        Dev,
        &[
            Dial,
            lines!("PUT /ws HTTP/1.1" "Host: {{host}}" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "Content-Length: 0"),
        ],
        Status(405, "method_not_allowed"),
    ),
    case(
        "HTTP/1.0",
        Dev,
        &[
            Dial,
            lines!("GET /ws HTTP/1.0" "Host: {{host}}" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "HTTP/2 with prior knowledge",
        Dev,
        &[
            Dial,
            Bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
        ],
        Cut,
    ),
    case(
        "no Host",
        Guarded,
        &[
            Dial,
            lines!("GET /ws HTTP/1.1" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "two Hosts",
        Guarded,
        &[
            Dial,
            get!("Host: evil.example" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a Host with a space",
        Guarded,
        &[
            Dial,
            lines!("GET /ws HTTP/1.1" "Host: a b" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a Host with a path",
        Guarded,
        &[
            Dial,
            lines!("GET /ws HTTP/1.1" "Host: evil.example/ws" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a foreign Host in development mode",
        Dev,
        &[
            Dial,
            lines!("GET /ws HTTP/1.1" "Host: evil.example" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(403, "origin_not_allowed"),
    ),
    case(
        "a foreign page",
        Guarded,
        &[ProtocolWith("Origin: https://evil.example\n")],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "a page without origin",
        Guarded,
        &[ProtocolWith("Origin: null\n")],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "a page whose host begins like ours",
        Guarded,
        &[ProtocolWith("Origin: http://{{host}}.evil.example\n")],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "a page whose host ends like ours",
        Guarded,
        &[ProtocolWith("Origin: http://evil.example#{{host}}\n")],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "a page whose user is our host",
        Guarded,
        &[ProtocolWith("Origin: http://{{host}}@evil.example\n")],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "two origins",
        Guarded,
        &[ProtocolWith(
            "Origin: https://evil.example\nOrigin: http://{{host}}\n",
        )],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "two origins, the good one first",
        Guarded,
        &[ProtocolWith(
            "Origin: http://{{host}}\nOrigin: https://evil.example\n",
        )],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "an origin that is no text",
        Guarded,
        &[ProtocolWith("Origin: https://évil.example\n")],
        Closes(4403, "origin_not_allowed"),
    ),
    case(
        "a foreign page in plain HTTP",
        Guarded,
        &[Dial, get!("Origin: https://evil.example")],
        Status(403, "origin_not_allowed"),
    ),
    case(
        "a protocol that is no token",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "Sec-WebSocket-Protocol: a b"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "an unknown protocol is plain mode",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "Sec-WebSocket-Protocol: bowline.v0"),
        ],
        Status(101, ""),
    ),
    case(
        "extensions without grammar",
        Dev,
        &[
            Dial,
            get!("Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "Sec-WebSocket-Extensions: ;=;"),
        ],
        Status(400, "malformed"),
    ),
    case(
        "a name in upper case, a value with spaces",
        Dev,
        &[
            Dial,
            get!("CONNECTION: keep-alive ,  UPGRADE" "UPGRADE:   WebSocket" "SEC-WEBSOCKET-VERSION: 13 " "SEC-WEBSOCKET-KEY:  dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(101, ""),
    ),
    case(
        "a header without colon",
        Dev,
        &[Dial, get!("Connection")],
        Status(400, ""),
    ),
    case(
        "a header with a space before its colon",
        Dev,
        &[Dial, get!("Connection : Upgrade")],
        Status(400, ""),
    ),
    case(
        "a folded header",
        Dev,
        &[Dial, get!("X-Folded: a" " b")],
        Status(400, ""),
    ),
    case(
        "a NUL in a header",
        Dev,
        &[
            Dial,
            Bytes(b"GET /ws HTTP/1.1\r\nHost: a\r\nX-Null: a\0b\r\n\r\n"),
        ],
        Status(400, ""),
    ),
    case(
        "a control character in the target",
        Dev,
        &[Dial, Bytes(b"GET /w\x01s HTTP/1.1\r\nHost: a\r\n\r\n")],
        Status(400, ""),
    ),
    case(
        "no HTTP at all",
        Dev,
        &[
            Dial,
            Bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        ],
        Status(400, ""),
    ),
    case(
        "127 headers",
        Dev,
        &[
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n{{X-Many: 1\n*127}}\n"),
        ],
        Status(200, ""),
    ),
    case(
        "129 headers",
        Dev,
        &[
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n{{X-Many: 1\n*128}}\n"),
        ],
        Status(431, "headers_too_large"),
    ),
    case(
        "1,000 headers",
        Dev,
        &[
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n{{X: 1\n*1000}}\n"),
        ],
        Status(431, ""),
    ),
    case(
        "a line of more than 8 KB",
        Dev,
        &[
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\nX-Long: {{a*8300}}\n\n"),
        ],
        Status(431, "headers_too_large"),
    ),
    case(
        "a name of more than 8 KB",
        Dev,
        &[
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n{{a*8300}}: 1\n\n"),
        ],
        Status(431, "headers_too_large"),
    ),
    case(
        "a target of more than 8 KB",
        Dev,
        &[
            Dial,
            Lines("GET /ws?token={{a*8300}} HTTP/1.1\nHost: {{host}}\n\n"),
        ],
        Status(431, "headers_too_large"),
    ),
    case(
        "a head of 20 KB",
        Dev,
        &[
            Dial,
            Lines(
                "GET /health/live HTTP/1.1\nHost: {{host}}\n{{X-Large: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n*100}}\n",
            ),
        ],
        Status(431, ""),
    ),
    case(
        "an endless head without a line end",
        Dev,
        &[Dial, Body("GET /{{a*70000}}")],
        Status(431, ""),
    ),
    case(
        "two requests at once, the second an upgrade",
        Dev,
        &[
            Dial,
            lines!("GET /health/live HTTP/1.1" "Host: {{host}}" "" "GET /ws HTTP/1.1" "Host: {{host}}" "Connection: Upgrade" "Upgrade: websocket" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(200, ""),
    ),
    case(
        "an upgrade with a body",
        Dev,
        &[
            Dial,
            lines!("GET /ws HTTP/1.1" "Host: {{host}}" "Connection: Upgrade" "Upgrade: websocket" "Content-Length: 5" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        Status(400, "malformed"),
    ),
];
