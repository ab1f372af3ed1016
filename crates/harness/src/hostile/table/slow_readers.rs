//! Those who take nothing: they cost their own link, never the server's memory.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

pub(super) const CASES: &[Case] = &[
    case("a subscriber that reads nothing", Short, &[ReceiveBytes(4096), Hello(r#"{"subscribe":{"{{case}}":null}}"#), Publish("{{case}}", 64, 20_000), AwaitLog("send_timeout")], Closes(4408, "send_timeout")),
    case("a plain subscriber that reads nothing", Short, &[ReceiveBytes(4096), Plain("/ws?channels={{case}}"), Text(r#"{"type":"ping","timestamp":1}"#), Await("pong"), Publish("{{case}}", 64, 20_000), AwaitLog("send_timeout")], Ends),
    case("a subscriber that reads again is read the log", Dev, &[ReceiveBytes(4096), Hello(r#"{"subscribe":{"{{case}}":null}}"#), Publish("{{case}}", 64, 20_000)], Delivers(64)),
    case("a subscriber of a channel without history is told of its gap", Dev, &[ReceiveBytes(4096), Hello(r#"{"subscribe":{"volatile:{{case}}":null}}"#), Publish("volatile:{{case}}", 100, 20_000), Times(20, &[Await("message")]), Publish("volatile:{{case}}", 1, 1)], Answers("gap")),
    case("history is asked for and not read", Short, &[Publish("{{case}}", 20, 20_000), ReceiveBytes(4096), Hello("{}"), Times(30, &[Text(r#"{"type":"history","id":1,"channel":"{{case}}"}"#)]), AwaitLog("send_timeout")], Ends),
    case("pings whose pongs are not read", Short, &[ReceiveBytes(4096), Hello("{}"), Times(4_000, &[Frame(0x89, b"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123")])], Ends),
    case("silence beyond the heartbeat", Short, &[Hello("{}")], Closes(4408, "stale")),
    case("silence of a plain client", Short, &[Plain("/ws/general")], Closes(4408, "stale")),
    case("half a frame is no life for ever", Short, &[Hello("{}"), Bytes(&[0x81, 0xfe])], Closes(4408, "stale")),
    case("a close frame that is never answered", Dev, &[Hello("{}"), Text(r#"{"type":"hello"}"#), AwaitClose], Ends),
    case("a link that reads nothing is taken over", Dev, &[ReceiveBytes(4096), Hello(r#"{"session":"{{case}}","link":1,"subscribe":{"{{case}}":null}}"#), Publish("{{case}}", 64, 20_000), Hello(r#"{"session":"{{case}}","link":2}"#)], Lives),
    case("an HTTP answer that is not read", Short, &[Publish("{{case}}", 60, 20_000), ReceiveBytes(4096), Dial, Lines("GET /api/channels/{{case}}/history?limit=1000 HTTP/1.1\nHost: {{host}}\n\n"), AwaitLog("an HTTP connection ends")], Ends),
];
