//! More than anybody needs: messages, pings, fragments, connections, subscriptions.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

pub(super) const CASES: &[Case] = &[
    case(
        "messages beyond the burst",
        Dev,
        &[Hello("{}"), Times(300, &[Text(r#"{"type":"ping"}"#)])],
        Error("rate_limited"),
    ),
    case(
        "numbered messages beyond the burst",
        Narrow,
        &[
            Hello("{}"),
            Times(11, &[Text(r#"{"type":"skip","seq":1}"#)]),
            Text(r#"{"type":"publish","seq":2,"channel":"public:c","data":1}"#),
        ],
        Refuses(2, "rate_limited"),
    ),
    case(
        "many messages in one frame",
        Dev,
        &[Hello("{}"), Text("{{{\"type\":\"ping\"}\n*3000}}")],
        Error("rate_limited"),
    ),
    case(
        "nonsense beyond the burst",
        Dev,
        &[Hello("{}"), Times(300, &[Text("x")]), Await("error")],
        Error("malformed"),
    ),
    case(
        "plain messages beyond the burst",
        Dev,
        &[Plain("/ws/general"), Times(300, &[Text("x")])],
        Closes(4429, "rate_limited"),
    ),
    case(
        "RFC 6455 pings by the thousand",
        Dev,
        &[Plain("/ws/general"), Times(5_000, &[Frame(0x89, b"p")])],
        Lives,
    ),
    case(
        "pongs by the thousand that nobody asked for",
        Dev,
        &[Hello("{}"), Times(5_000, &[Frame(0x8a, b"p")])],
        Lives,
    ),
    case(
        "JSON pongs by the thousand",
        Dev,
        &[
            Hello("{}"),
            Times(2_000, &[Text(r#"{"type":"pong","ts":1}"#)]),
        ],
        Lives,
    ),
    case(
        "empty fragments",
        Dev,
        &[
            Plain("/ws/general"),
            Frame(0x02, b"a"),
            Times(2_000, &[Frame(0x00, b"")]),
        ],
        Closes(1008, ""),
    ),
    case(
        "fragments of a byte",
        Dev,
        &[
            Plain("/ws/general"),
            Frame(0x02, b"a"),
            Times(5_000, &[Frame(0x00, b"a")]),
        ],
        Closes(1008, ""),
    ),
    case(
        "empty messages",
        Dev,
        &[Plain("/ws/general"), Times(300, &[Frame(0x81, b"")])],
        Closes(4429, "rate_limited"),
    ),
    case(
        "subscriptions beyond the bound",
        Narrow,
        &[
            Hello(
                r#"{"subscribe":{"public:1":null,"public:2":null,"public:3":null,"public:4":null}}"#,
            ),
            Text(r#"{"type":"subscribe","id":1,"channel":"public:5"}"#),
        ],
        Error("too_many_subscriptions"),
    ),
    case(
        "subscriptions beyond the bound in a hello",
        Narrow,
        &[Hello(
            r#"{"subscribe":{"public:1":null,"public:2":null,"public:3":null,"public:4":null,"public:5":null}}"#,
        )],
        Denies("public:5", "too_many_subscriptions"),
    ),
    case(
        "subscriptions beyond the bound in a URL",
        Narrow,
        &[Plain(
            "/ws?channels=public:1,public:2,public:3,public:4,public:5",
        )],
        Closes(1008, "too_many_subscriptions"),
    ),
    case(
        "1,001 subscriptions with shipped limits",
        Dev,
        &[Hello(
            r##"{"subscribe": { {{#"c#":null,*1000}}"last":null}}"##,
        )],
        Denies("last", "too_many_subscriptions"),
    ),
    case(
        "channels beyond the bound",
        Filled,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","id":1,"channel":"public:a","data":1}"#),
            Text(r#"{"type":"publish","id":1,"channel":"public:b","data":1}"#),
            Text(r#"{"type":"publish","id":1,"channel":"public:c","data":1}"#),
            Text(r#"{"type":"publish","id":1,"channel":"public:d","data":1}"#),
        ],
        Error("too_many_channels"),
    ),
    case(
        "messages beyond what the log holds",
        Filled,
        &[
            Hello("{}"),
            Times(
                5,
                &[Text(
                    r#"{"type":"publish","id":1,"channel":"public:a","data":1}"#,
                )],
            ),
        ],
        Error("storage_full"),
    ),
    case(
        "guests of one address beyond the bound",
        Narrow,
        &[Times(3, &[Hello("{}")]), Hello("{}")],
        Closes(4429, "too_many_connections"),
    ),
    case(
        "silent connections of one address beyond the bound",
        Narrow,
        &[Times(3, &[Protocol]), Protocol],
        Closes(4429, "too_many_connections"),
    ),
    case(
        "connections of one user beyond the bound",
        Narrow,
        &[
            Times(2, &[Hello(r#"{"token":"{{token:bob}}"}"#)]),
            Hello(r#"{"token":"{{token:bob}}"}"#),
        ],
        Closes(4429, "too_many_connections"),
    ),
    case(
        "failed attempts of one address beyond the bound",
        Narrow,
        &[
            Times(6, &[Hello(r#"{"token":"bad"}"#), AwaitClose, HangUp]),
            Protocol,
        ],
        Closes(4429, "too_many_attempts"),
    ),
    case(
        "sockets of one address beyond the bound",
        Narrow,
        &[
            // Who has had an answer is counted; sockets without one are in any order.
            Times(
                12,
                &[
                    Dial,
                    Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n\n"),
                    AwaitAnswer,
                ],
            ),
            Dial,
            Lines("GET /health/live HTTP/1.1\nHost: {{host}}\n\n"),
        ],
        Status(503, "overloaded"),
    ),
    case(
        "verdicts beyond their bucket",
        Guarded,
        &[
            Times(
                20,
                &[
                    Dial,
                    Lines("GET /ws HTTP/1.1\nHost: {{host}}\n\n"),
                    AwaitAnswer,
                ],
            ),
            Dial,
            Lines("GET /ws HTTP/1.1\nHost: {{host}}\n\n"),
        ],
        Status(429, "rate_limited"),
    ),
    case(
        "connections in all beyond the bound",
        Crowded,
        &[
            From("127.200.0.1"),
            Times(3, &[Hello("{}")]),
            From("127.200.0.2"),
            Times(3, &[Hello("{}")]),
            From("127.200.0.3"),
            Protocol,
        ],
        Closes(4503, "overloaded"),
    ),
    case(
        "upgrades faster than they are admitted",
        Slow,
        &[Times(3, &[Protocol])],
        Closes(4503, "overloaded"),
    ),
];
