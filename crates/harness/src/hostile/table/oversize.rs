//! Larger than allowed: refused on what announces it, before anything is kept.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

pub(super) const CASES: &[Case] = &[
    case(
        "a frame over the limit, by its header",
        Dev,
        &[
            Hello("{}"),
            Raw(0x81, &[127, 0, 0, 0, 0, 0, 1, 0x10, 1], b""),
        ],
        Closes(1009, ""),
    ),
    case(
        "a frame at the limit",
        Dev,
        &[Hello("{}"), Fill(0x81, 69_632, b' ')],
        Error("malformed"),
    ),
    case(
        "fragments over the limit",
        Dev,
        &[
            Hello("{}"),
            Fill(0x01, 65_536, b' '),
            Fill(0x80, 4_097, b' '),
        ],
        Closes(1009, ""),
    ),
    case(
        "a frame of 2^62",
        Dev,
        &[
            Hello("{}"),
            Raw(0x82, &[127, 0x40, 0, 0, 0, 0, 0, 0, 0], b""),
        ],
        Closes(1009, ""),
    ),
    case(
        "a hello over the limit",
        Dev,
        &[Protocol, Raw(0x81, &[127, 0, 0, 0, 0, 0x10, 0, 0, 0], b"")],
        Closes(1009, ""),
    ),
    case(
        "data over the limit",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","id":1,"channel":"c","data":"{{x*65535}}"}"#),
        ],
        Error("message_too_big"),
    ),
    case(
        "data at the limit",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","id":1,"channel":"c","data":"{{x*65534}}"}"#),
        ],
        Answers("reply"),
    ),
    case(
        "numbered data over the limit",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","seq":1,"channel":"c","data":"{{x*65535}}"}"#),
        ],
        Refuses(1, "message_too_big"),
    ),
    case(
        "bytes over the limit",
        Dev,
        &[
            Hello("{}"),
            Binary("{\"type\":\"publish\",\"id\":1,\"channel\":\"c\"}\n{{x*65537}}"),
        ],
        Error("message_too_big"),
    ),
    case(
        "data over a small limit",
        Narrow,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","id":1,"channel":"public:c","data":"{{x*1023}}"}"#),
        ],
        Error("message_too_big"),
    ),
    case(
        "a send over the limit",
        Application,
        &[
            Hello("{}"),
            Text(r#"{"type":"send","id":1,"data":"{{x*65535}}"}"#),
        ],
        Error("message_too_big"),
    ),
    case(
        "a channel over a small limit",
        Narrow,
        &[
            Hello("{}"),
            Text(r#"{"type":"subscribe","id":1,"channel":"public:{{c*26}}"}"#),
        ],
        Error("bad_channel"),
    ),
    case(
        "a plain message over the limit",
        Dev,
        &[Plain("/ws/general"), Fill(0x82, 69_633, 0)],
        Closes(1009, ""),
    ),
    case(
        "a token of 9 KB",
        Guarded,
        &[Hello(r#"{"token":"{{x*9000}}"}"#)],
        Closes(4401, "unauthorized"),
    ),
    case(
        "a client's name of 30 KB",
        Dev,
        &[Hello(r#"{"client":{"name":"{{n*30000}}"}}"#)],
        Lives,
    ),
    case(
        "HTTP data over the limit",
        Dev,
        &[
            Dial,
            Post(
                "/api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\n",
                r#"{"channel":"c","data":"{{x*65535}}"}"#,
            ),
        ],
        Status(413, "message_too_big"),
    ),
    case(
        "HTTP bytes over the limit",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish?channel=c HTTP/1.1\nHost: {{host}}\nContent-Type: application/octet-stream\nContent-Length: 65537\n\n",
            ),
            Body("{{x*65537}}"),
        ],
        Status(413, "message_too_big"),
    ),
    case(
        "a body over the limit",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nContent-Length: 1100000\n\n",
            ),
            Body("{{x*1100000}}"),
        ],
        Status(413, "message_too_big"),
    ),
    case(
        "a chunked body over the limit",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n",
            ),
            Times(20, &[Lines("fde8\n"), Body("{{x*65000}}"), Lines("\n")]),
            Lines("0\n\n"),
        ],
        Status(413, "message_too_big"),
    ),
    case(
        "a body of 2^62 bytes, announced",
        Dev,
        &[
            Dial,
            Lines(
                "POST /api/publish HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nContent-Length: 4611686018427387904\n\n",
            ),
            Body("{{x*5000000}}"),
        ],
        Status(413, "message_too_big"),
    ),
    case(
        "more publications in a request than allowed",
        Narrow,
        &[
            Dial,
            Post(
                "/api/publish HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\nContent-Type: application/json\n",
                r#"{"channels":["a","b","c","d"],"data":1}"#,
            ),
        ],
        Status(413, "message_too_big"),
    ),
];
