//! Messages that are legal by themselves, at the wrong time: sessions, numbers, subscriptions.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

pub(super) const CASES: &[Case] = &[
    case(
        "ping before hello",
        Dev,
        &[Protocol, Text(r#"{"type":"ping"}"#)],
        Closes(4400, "hello_expected"),
    ),
    case(
        "subscribe before hello",
        Dev,
        &[Protocol, Text(r#"{"type":"subscribe","channel":"c"}"#)],
        Closes(4400, "hello_expected"),
    ),
    case(
        "publish before hello",
        Dev,
        &[
            Protocol,
            Text(r#"{"type":"publish","seq":1,"channel":"c","data":1}"#),
        ],
        Closes(4400, "hello_expected"),
    ),
    case(
        "an unknown type before hello",
        Dev,
        &[Protocol, Text(r#"{"type":"dance"}"#)],
        Closes(4400, "hello_expected"),
    ),
    case(
        "nonsense before hello",
        Dev,
        &[Protocol, Text("hello")],
        Closes(4400, "malformed"),
    ),
    case(
        "bytes before hello",
        Dev,
        &[Protocol, Binary("\u{0}\u{1}")],
        Closes(4400, "malformed"),
    ),
    case(
        "a hello that can't be read",
        Dev,
        &[Protocol, Text(r#"{"type":"hello","subscribe":["c"]}"#)],
        Closes(4400, "malformed"),
    ),
    case(
        "a hello too deep",
        Dev,
        &[Protocol, Text(r#"{"type":"hello","x":{{[*200}}{{]*200}}}"#)],
        Closes(4400, "malformed"),
    ),
    case(
        "a second hello",
        Dev,
        &[Hello("{}"), Text(r#"{"type":"hello"}"#)],
        Closes(4400, "hello_expected"),
    ),
    case(
        "two hellos in one frame",
        Dev,
        &[Protocol, Text("{\"type\":\"hello\"}\n{\"type\":\"hello\"}")],
        Closes(4400, "hello_expected"),
    ),
    case(
        "an empty session",
        Dev,
        &[Hello(r#"{"session":""}"#)],
        Closes(4400, "malformed"),
    ),
    case(
        "a session of 129 bytes",
        Dev,
        &[Hello(r#"{"session":"{{s*129}}"}"#)],
        Closes(4400, "malformed"),
    ),
    case(
        "the same link again",
        Dev,
        &[
            Hello(r#"{"session":"{{case}}","link":1}"#),
            Hello(r#"{"session":"{{case}}","link":1}"#),
        ],
        Closes(4409, "replaced"),
    ),
    case(
        "a lower link",
        Dev,
        &[
            Hello(r#"{"session":"{{case}}","link":5}"#),
            Hello(r#"{"session":"{{case}}","link":4}"#),
        ],
        Closes(4409, "replaced"),
    ),
    case(
        "a higher link replaces",
        Dev,
        &[
            Hello(r#"{"session":"{{case}}","link":1}"#),
            Hello(r#"{"session":"{{case}}","link":2}"#),
            First,
        ],
        Closes(4409, "replaced"),
    ),
    case(
        "the replaced link publishes on",
        Dev,
        &[
            Hello(r#"{"session":"{{case}}","link":1}"#),
            Hello(r#"{"session":"{{case}}","link":2}"#),
            First,
            Text(r#"{"type":"publish","seq":1,"channel":"c","data":1}"#),
        ],
        Closes(4409, "replaced"),
    ),
    case(
        "a jump in the numbers",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","seq":2,"channel":"c","data":1}"#),
        ],
        Refuses(1, "out_of_order"),
    ),
    case(
        "a jump to the last number there is",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","seq":9007199254740991,"channel":"c","data":1}"#),
        ],
        Refuses(1, "out_of_order"),
    ),
    case(
        "a number again has no second effect",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","seq":1,"channel":"c","data":1}"#),
            Await("acked"),
            Text(r#"{"type":"publish","seq":1,"channel":"c","data":2}"#),
        ],
        Answers("acked"),
    ),
    case(
        "a refusal holds back what follows",
        Dev,
        &[
            Hello("{}"),
            Text(
                "{\"type\":\"publish\",\"seq\":1,\"channel\":\"\",\"data\":1}\n{\"type\":\"publish\",\"seq\":2,\"channel\":\"c\",\"data\":1}",
            ),
        ],
        Refuses(1, "bad_channel"),
    ),
    case(
        "a skip over it goes on",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","seq":1,"channel":"","data":1}"#),
            Await("error"),
            Text(r#"{"type":"skip","seq":1}"#),
        ],
        Answers("acked"),
    ),
    case(
        "a skip to the last number there is",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"skip","seq":9007199254740991}"#),
        ],
        Answers("acked"),
    ),
    case(
        "more numbers on their way than allowed",
        Narrow,
        &[
            Hello("{}"),
            Text(
                "{\"type\":\"publish\",\"seq\":1,\"channel\":\"public:c\",\"data\":1}\n{\"type\":\"publish\",\"seq\":2,\"channel\":\"public:c\",\"data\":1}\n{\"type\":\"publish\",\"seq\":3,\"channel\":\"public:c\",\"data\":1}\n{\"type\":\"publish\",\"seq\":4,\"channel\":\"public:c\",\"data\":1}\n{\"type\":\"publish\",\"seq\":5,\"channel\":\"public:c\",\"data\":1}",
            ),
        ],
        Refuses(5, "too_many_inflight"),
    ),
    case(
        "subscribed twice",
        Dev,
        &[
            Hello(r#"{"subscribe":{"c":null}}"#),
            Text(r#"{"type":"subscribe","id":1,"channel":"c"}"#),
        ],
        Error("already_subscribed"),
    ),
    case(
        "unsubscribed from nothing",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"unsubscribe","id":1,"channel":"c"}"#),
        ],
        Error("not_subscribed"),
    ),
    case(
        "unsubscribed twice",
        Dev,
        &[
            Hello(r#"{"subscribe":{"c":null}}"#),
            Text(
                "{\"type\":\"unsubscribe\",\"id\":1,\"channel\":\"c\"}\n{\"type\":\"unsubscribe\",\"id\":2,\"channel\":\"c\"}",
            ),
        ],
        Error("not_subscribed"),
    ),
    case(
        "a position without form",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"subscribe","id":1,"channel":"c","position":"yesterday"}"#),
        ],
        Error("bad_position"),
    ),
    case(
        "a position beyond the last offset",
        Dev,
        &[
            Hello("{}"),
            Text(
                r#"{"type":"subscribe","id":1,"channel":"c","position":"9f1c44d07b2e6a10.9007199254740992.5d3ab7c1"}"#,
            ),
        ],
        Error("bad_position"),
    ),
    case(
        "a position in a hello",
        Dev,
        &[Hello(r#"{"subscribe":{"c":"yesterday"}}"#)],
        Denies("c", "bad_position"),
    ),
    case(
        "the newest minus one",
        Dev,
        &[Hello(r#"{"subscribe":{"c":{"last":-1}}}"#)],
        Denies("c", "bad_position"),
    ),
    case(
        "a guessed position is no secret",
        Dev,
        &[
            Hello("{}"),
            Text(
                r#"{"type":"subscribe","id":1,"channel":"{{case}}","position":"0000000000000000.1.00000000"}"#,
            ),
        ],
        Answers("subscribed"),
    ),
    case(
        "a channel without name",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"subscribe","id":1,"channel":""}"#),
        ],
        Error("bad_channel"),
    ),
    case(
        "a channel of 256 bytes",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"subscribe","id":1,"channel":"{{c*256}}"}"#),
        ],
        Error("bad_channel"),
    ),
    case(
        "a channel with a line end",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"subscribe","id":1,"channel":"a\nb"}"#),
        ],
        Error("bad_channel"),
    ),
    case(
        "a channel with NUL",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"publish","id":1,"channel":"a\u0000b","data":1}"#),
        ],
        Error("bad_channel"),
    ),
    case(
        "a bad channel in a hello",
        Dev,
        &[Hello(r#"{"subscribe":{"":null}}"#)],
        Denies("", "bad_channel"),
    ),
    case(
        "send without an application",
        Dev,
        &[Hello("{}"), Text(r#"{"type":"send","id":1,"data":1}"#)],
        Error("no_handler"),
    ),
    case(
        "a numbered send without an application",
        Dev,
        &[Hello("{}"), Text(r#"{"type":"send","seq":1,"data":1}"#)],
        Refuses(1, "no_handler"),
    ),
    case(
        "an access control that panics",
        Application,
        &[Hello(r#"{"token":"panic"}"#)],
        Closes(4500, "internal"),
    ),
    case(
        "an access control that hangs",
        Application,
        &[Hello(r#"{"token":"hang"}"#)],
        Closes(4503, "overloaded"),
    ),
    case(
        "an application that panics",
        Application,
        &[
            Hello("{}"),
            Text(r#"{"type":"send","id":1,"data":"panic"}"#),
        ],
        Error("handler_failed"),
    ),
    case(
        "an application that hangs",
        Application,
        &[Hello("{}"), Text(r#"{"type":"send","id":1,"data":"hang"}"#)],
        Error("handler_timeout"),
    ),
    case(
        "an application that says no",
        Application,
        &[
            Hello("{}"),
            Text(r#"{"type":"send","id":1,"data":"reject"}"#),
        ],
        Error("rejected"),
    ),
    case(
        "a panic does not end the numbers",
        Application,
        &[
            Hello("{}"),
            Text(r#"{"type":"send","seq":1,"data":"panic"}"#),
        ],
        Refuses(1, "handler_failed"),
    ),
    case(
        "a refresh where no tokens are taken",
        Dev,
        &[
            Hello("{}"),
            Text(r#"{"type":"refresh","id":1,"token":"x"}"#),
        ],
        Error("not_supported"),
    ),
    case(
        "a connection that the operator ends",
        Guarded,
        &[
            Hello(r#"{"token":"{{token:bob}}"}"#),
            Dial,
            Post(
                "/api/disconnect HTTP/1.1\nHost: {{host}}\nX-API-Key: {{admin}}\nContent-Type: application/json\n",
                r#"{"user":"bob"}"#,
            ),
            AwaitAnswer,
            First,
        ],
        Closes(4403, "disconnected"),
    ),
    case(
        "a bye, and then more",
        Dev,
        &[
            Hello("{}"),
            Text(
                "{\"type\":\"bye\"}\n{\"type\":\"publish\",\"seq\":1,\"channel\":\"c\",\"data\":1}",
            ),
        ],
        Closes(1000, ""),
    ),
    case(
        "a shutdown",
        Leaving,
        &[Hello("{}"), Signal("TERM")],
        Closes(4503, "draining"),
    ),
];
