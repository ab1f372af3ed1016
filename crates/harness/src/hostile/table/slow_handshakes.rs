//! Those who take their time before they are anybody: the deadline is absolute, and places are few.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

pub(super) const CASES: &[Case] = &[
    case("a silent socket", Short, &[Dial], Cut),
    case(
        "a head that never ends",
        Short,
        &[Dial, Lines("GET /ws HTTP/1.1\nHost: {{host}}\nX-Slow: ")],
        Cut,
    ),
    case(
        "a head that drips",
        Short,
        &[Dial, Drip("GET /ws HTTP/1.1\nHost: {{host}}\n", 20)],
        Cut,
    ),
    case(
        "headers that drip for ever",
        Short,
        &[Dial, Lines("GET /ws HTTP/1.1\n"), Drip("X: 1\n", 20)],
        Cut,
    ),
    case(
        "no hello",
        Short,
        &[Protocol],
        Closes(4408, "hello_timeout"),
    ),
    case(
        "half a frame of a hello",
        Short,
        &[Protocol, Bytes(&[0x81, 0xfe, 0x00])],
        Closes(4408, "hello_timeout"),
    ),
    case(
        "a hello whose bytes drip",
        Short,
        &[Protocol, Raw(0x82, &[126, 0x10, 0x00], b""), Drip("x", 20)],
        Closes(4408, "hello_timeout"),
    ),
    case(
        "pings keep no handshake open",
        Short,
        &[Protocol, Times(20, &[Frame(0x89, b"still here")])],
        Closes(4408, "hello_timeout"),
    ),
    case(
        "a hello that never ends, in fragments",
        Short,
        &[
            Protocol,
            Frame(0x01, b"{\"type\":"),
            Frame(0x00, b"\"hello\","),
        ],
        Closes(4408, "hello_timeout"),
    ),
    case(
        "a body that drips",
        Short,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nContent-Length: 1000\n\n{",
            ),
            Drip(" ", 20),
        ],
        Status(408, "hello_timeout"),
    ),
    case(
        "a chunked body that drips",
        Short,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n",
            ),
            Drip("1\n \n", 20),
        ],
        Status(408, "hello_timeout"),
    ),
    case(
        "a PROXY header that drips",
        Balanced,
        &[From("127.77.0.1"), Dial, Drip("\n\n", 20)],
        Cut,
    ),
    case(
        "handshakes at once beyond the bound",
        Crowded,
        &[
            From("127.201.0.1"),
            Times(2, &[Protocol]),
            From("127.201.0.2"),
            Times(2, &[Protocol]),
            From("127.201.0.3"),
            Protocol,
        ],
        Closes(4503, "overloaded"),
    ),
    case(
        "sockets that say nothing, beyond the bound",
        Crowded,
        &[
            From("127.201.0.4"),
            Times(14, &[Dial, Body("G")]),
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n\n"),
        ],
        Status(503, "overloaded"),
    ),
    case(
        "a verdict says so, too",
        Crowded,
        &[
            From("127.201.0.5"),
            Times(2, &[Protocol]),
            From("127.201.0.6"),
            Times(2, &[Protocol]),
            From("127.201.0.7"),
            Dial,
            Lines("GET /ws HTTP/1.1\nHost: {{host}}\n\n"),
        ],
        Status(503, "overloaded"),
    ),
];
