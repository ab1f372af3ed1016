//! JSON that can't be read, or says what it may not: a coded error, and the connection lives.

use super::super::{
    case::{Act::*, Case, Outcome::*, case},
    worlds::World::*,
};

macro_rules! rows {
    ($($name:literal, $act:expr, $outcome:expr;)*) => {
        pub(super) const CASES: &[Case] = &[
            $(case($name, Dev, &[Hello("{}"), $act], $outcome),)*
        ];
    };
}

rows! {
    "nothing", Text(""), Error("malformed");
    "white space", Text(" \r\n\t"), Error("malformed");
    "no JSON", Text("hello"), Error("malformed");
    "JSON that breaks off", Text(r#"{"type":"ping""#), Error("malformed");
    "JSON with something behind it", Text(r#"{"type":"ping"}x"#), Error("malformed");
    "an array", Text("[]"), Error("malformed");
    "a number", Text("17"), Error("malformed");
    "null", Text("null"), Error("malformed");
    "a string", Text(r#""ping""#), Error("malformed");
    "no type", Text(r#"{"id":1}"#), Error("malformed");
    "a type that is no string", Text(r#"{"type":7}"#), Error("malformed");
    "a type twice", Text(r#"{"type":"ping","type":"bye"}"#), Error("malformed");
    "an escaped type twice", Text(r#"{"type":"ping","\u0074ype":"bye"}"#), Error("malformed");
    "an unknown type", Text(r#"{"type":"dance"}"#), Error("unknown_type");
    "a type in upper case", Text(r#"{"type":"PING"}"#), Error("unknown_type");
    "a server's type", Text(r#"{"type":"welcome"}"#), Error("unknown_type");
    "type __proto__", Text(r#"{"type":"__proto__"}"#), Error("unknown_type");
    "a byte order mark", Text("\u{feff}{\"type\":\"ping\"}"), Error("malformed");
    "single quotes", Text("{'type':'ping'}"), Error("malformed");
    "a trailing comma", Text(r#"{"type":"ping",}"#), Error("malformed");
    "a comment", Text(r#"{"type":"ping"/**/}"#), Error("malformed");
    "a control character in a string", Text("{\"type\":\"subscribe\",\"channel\":\"a\u{1}\"}"), Error("malformed");
    "a lone surrogate in a name", Text(r#"{"type":"subscribe","channel":"\ud800"}"#), Error("malformed");
    "a number that is none", Text(r#"{"type":"publish","channel":"c","data":NaN}"#), Error("malformed");
    "a number with a leading zero", Text(r#"{"type":"publish","channel":"c","data":01}"#), Error("malformed");
    "a seq of 2^53", Text(r#"{"type":"publish","seq":9007199254740992,"channel":"c","data":1}"#), Error("malformed");
    "a seq of 2^64", Text(r#"{"type":"publish","seq":18446744073709551616,"channel":"c","data":1}"#), Error("malformed");
    "a seq of 1e400", Text(r#"{"type":"publish","seq":1e400,"channel":"c","data":1}"#), Error("malformed");
    "a seq below zero", Text(r#"{"type":"publish","seq":-1,"channel":"c","data":1}"#), Error("malformed");
    "a seq of zero", Text(r#"{"type":"publish","seq":0,"channel":"c","data":1}"#), Error("malformed");
    "a seq that is text", Text(r#"{"type":"publish","seq":"1","channel":"c","data":1}"#), Error("malformed");
    "a seq that is a fraction", Text(r#"{"type":"publish","seq":1.5,"channel":"c","data":1}"#), Error("malformed");
    "an id that is an object", Text(r#"{"type":"unsubscribe","id":{},"channel":"c"}"#), Error("malformed");
    "an id of 129 bytes", Text(r#"{"type":"unsubscribe","id":"{{x*127}}","channel":"c"}"#), Error("malformed");
    "a ts that is a list", Text(r#"{"type":"ping","ts":[]}"#), Error("malformed");
    "a channel that is a number", Text(r#"{"type":"subscribe","channel":7}"#), Error("malformed");
    "a channel twice", Text(r#"{"type":"subscribe","channel":"a","channel":"b"}"#), Error("malformed");
    "a tag of 256 bytes", Text(r#"{"type":"publish","id":1,"channel":"c","data":1,"tag":"{{t*256}}"}"#), Error("malformed");
    "data and data_b64", Text(r#"{"type":"publish","id":1,"channel":"c","data":1,"data_b64":"AA=="}"#), Error("malformed");
    "data_b64 that is none", Text(r#"{"type":"publish","id":1,"channel":"c","data_b64":"?"}"#), Error("malformed");
    "129 levels of arrays", Text(r#"{"type":"publish","id":1,"channel":"c","data":{{[*128}}0{{]*128}}}"#), Error("too_deep");
    "129 levels of objects", Text(r#"{"type":"publish","id":1,"channel":"c","data":{{{"a":*128}}0{{}*128}}}"#), Error("too_deep");
    "30,000 levels", Text(r#"{"type":"publish","id":1,"channel":"c","data":{{[*30000}}"#), Error("too_deep");
    "30,000 levels in a field that nobody reads", Text(r#"{"type":"ping","x":{{[*30000}}{{]*30000}}}"#), Error("too_deep");
    "128 levels", Text(r#"{"type":"publish","id":1,"channel":"c","data":{{[*127}}0{{]*127}}}"#), Answers("reply");
    "10,000 fields", Text(r#"{"type":"ping",{{"x":1,*10000}}"ts":1}"#), Answers("pong");
    "brackets in a string", Text(r#"{"type":"publish","id":1,"channel":"c","data":"{{[*500}}"}"#), Answers("reply");
    "digits without end", Text(r#"{"type":"publish","id":1,"channel":"c","data":{{9*5000}}}"#), Answers("reply");
    "__proto__ as a channel", Text(r#"{"type":"subscribe","id":1,"channel":"__proto__"}"#), Answers("subscribed");
    "__proto__ as a field", Text(r#"{"__proto__":{"type":"bye"},"constructor":1,"type":"ping"}"#), Answers("pong");
    "what stands behind an error in its frame", Text("{\"type\":\"dance\"}\n{\"type\":\"ping\"}"), Answers("pong");
    "a binary frame without line end", Binary("{}"), Error("malformed");
    "a binary frame without header", Binary("\npayload"), Error("malformed");
    "a binary frame whose header is no JSON", Binary("hi\npayload"), Error("malformed");
    "a binary frame with data in its header", Binary("{\"type\":\"publish\",\"id\":1,\"channel\":\"c\",\"data\":1}\nx"), Error("malformed");
}
