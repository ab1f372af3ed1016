//! Names and reasons that would like to be lines of the log, or to colour it. The logs are judged once
//! more in whole at the end of the run.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

/// The same against a server that logs text and one that logs JSON.
macro_rules! rows {
    ($($text:literal / $json:literal, [$($act:expr),*], $outcome:expr;)*) => {
        pub(super) const CASES: &[Case] = &[
            $(case($text, Guarded, &[$($act),*], $outcome), case($json, GuardedJson, &[$($act),*], $outcome),)*
        ];
    };
}

rows! {
    "a channel with a line end" / "a channel with a line end (JSON log)", [Hello("{}"), Text(r#"{"type":"subscribe","id":1,"channel":"public:a\r\n2026-01-01 FORGED"}"#)], Error("bad_channel");
    "a channel with an escape" / "a channel with an escape (JSON log)", [Hello("{}"), Text(r#"{"type":"publish","id":1,"channel":"public:\u001b[31mFORGED","data":1}"#)], Error("bad_channel");
    "a channel with a C1 escape" / "a channel with a C1 escape (JSON log)", [Hello("{}"), Text(r#"{"type":"publish","id":1,"channel":"public:\u009b31mFORGED","data":1}"#)], Error("bad_channel");
    "a channel with a line separator over HTTP" / "a channel with a line separator over HTTP (JSON log)", [Dial, Lines("POST /api/publish?channel=public:a%E2%80%A8FORGED HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\nContent-Type: application/octet-stream\nContent-Length: 1\n\nx"), AwaitLog(r"\u2028FORGED")], Status(200, "");
    "a channel with an escape over HTTP" / "a channel with an escape over HTTP (JSON log)", [Dial, Lines("GET /api/channels/public:%1B%5B31mFORGED/history HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\n\n")], Status(400, "bad_channel");
    "a user with a line end" / "a user with a line end (JSON log)", [Hello(r#"{"token":"{{token:a forged line}}"}"#)], Lives;
    "a user with colours" / "a user with colours (JSON log)", [Hello(r#"{"token":"{{token:a coloured user}}"}"#)], Lives;
    "a user with NUL and separators" / "a user with NUL and separators (JSON log)", [Hello(r#"{"token":"{{token:a user with NUL}}"}"#)], Lives;
    "a client's name with a line end" / "a client's name with a line end (JSON log)", [Hello(r#"{"client":{"name":"a\r\nFORGED","version":"\u001b[2J"}}"#)], Lives;
    "a close reason with a line end" / "a close reason with a line end (JSON log)", [Hello("{}"), Frame(0x88, b"\x03\xe8a\r\nFORGED \x1b[31m")], Closes(1000, "");
    "a user agent with an escape" / "a user agent with an escape (JSON log)", [ProtocolWith("User-Agent: a\u{1b}[31mFORGED\n")], Status(400, "");
    "an origin with an escape" / "an origin with an escape (JSON log)", [ProtocolWith("Origin: http://\u{1b}[31mFORGED\n")], Status(400, "");
    "an origin with a C1 escape" / "an origin with a C1 escape (JSON log)", [ProtocolWith("Origin: http://\u{9b}31mFORGED\nUser-Agent: \u{9b}31mFORGED\n")], Closes(4403, "origin_not_allowed");
    "a forwarded address with an escape" / "a forwarded address with an escape (JSON log)", [ProtocolWith("X-Forwarded-For: \u{9b}31mFORGED\n"), Text(r#"{"type":"hello"}"#)], Answers("welcome");
    "a tag and a key with line ends" / "a tag and a key with line ends (JSON log)", [Dial, Lines("POST /api/publish?channel=public:c&key=a%0AFORGED&tag=%1B%5B31mFORGED HTTP/1.1\nHost: {{host}}\nX-API-Key: {{key}}\nContent-Type: application/octet-stream\nContent-Length: 1\n\nx")], Status(200, "");
    "a path with a line end" / "a path with a line end (JSON log)", [Dial, Lines("GET /a%0D%0AFORGED HTTP/1.1\nHost: {{host}}\n\n")], Status(404, "not_found");
    "a token in a URL" / "a token in a URL (JSON log)", [Plain("/ws?token={{token:valid}}")], Lives;
    "a forged token in a URL" / "a forged token in a URL (JSON log)", [Plain("/ws?token={{token:alg none}}%0D%0AFORGED")], Closes(4401, "unauthorized");
    "a session with a line end" / "a session with a line end (JSON log)", [Hello(r#"{"session":"{{case}}\r\nFORGED \u001b[31m"}"#)], Lives;
    "a message with a line end" / "a message with a line end (JSON log)", [Hello("{}"), Text("{\"type\":\"a\\nFORGED\",\"id\":1}")], Error("unknown_type");
    "a protocol with an escape" / "a protocol with an escape (JSON log)", [ProtocolWith("Sec-WebSocket-Protocol: \u{9b}FORGED\n")], Status(400, "malformed");
}
