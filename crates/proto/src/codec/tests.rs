//! What the golden vectors under `vectors/` do not show: the bounds and the shapes of refusals.

use std::sync::Arc;

use super::*;
use crate::{
    code::Code,
    message::{ClientMessage, Echo, ServerMessage, Subject},
    publication::{Data, Publication},
    recovery::{From, Recovery},
};

fn client(text: &str) -> Vec<Result<ClientMessage, DecodeError>> {
    decode_client(Incoming::Text(text)).collect()
}

fn refusal(text: &str) -> (Option<Subject>, String) {
    let error = client(text)
        .pop()
        .expect("one outcome")
        .expect_err("it is refused");
    (error.to, error.error.code.into_owned())
}

#[test]
fn several_objects_in_a_frame_come_in_order() {
    let outcome =
        client("{\"type\":\"bye\"}\n{\"type\":\"skip\",\"seq\":3}\n\n{\"type\":\"ping\"}");
    let expected = [
        ClientMessage::Bye,
        ClientMessage::Skip { seq: 3 },
        ClientMessage::Ping { ts: None },
    ];
    assert_eq!(
        outcome
            .into_iter()
            .map(|m| m.expect("valid"))
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_text_frame_can_be_read_in_parts() {
    let text =
        "{\"type\":\"bye\"}\n {}{\"type\":\"skip\",\"seq\":3} [] {\"type\":\"ping\"} nope {}";
    // A sentence says at which column of what was read.
    let told = |outcome: Result<ClientMessage, DecodeError>| {
        outcome.map_err(|error| (error.error.code, error.ends_frame))
    };
    let whole: Vec<_> = client(text).into_iter().map(told).collect();
    assert_eq!(whole.len(), 6);
    for step in 1..=whole.len() {
        let (mut rest, mut parts) = (text, Vec::new());
        while !rest.trim_ascii().is_empty() {
            let mut messages = decode_client(Incoming::Text(rest));
            parts.extend(messages.by_ref().take(step).map(told));
            rest = &rest[messages.read_bytes()..];
        }
        assert_eq!(parts, whole, "{step} at a time");
    }
}

#[test]
fn a_binary_frame_has_one_object() {
    let outcome = |header: &str| -> Vec<_> {
        let frame = [header.as_bytes(), b"\npayload {}"].concat();
        decode_client(Incoming::Binary(&frame)).collect()
    };
    let publish = r#"{"type":"publish","seq":3,"channel":"c"}"#;
    let refused = outcome(&format!("{publish}{{}}"));
    let [Err(refused)] = &refused[..] else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.error.code, "malformed");
    assert_eq!(refused.to, Some(Subject::Seq(3)));
    assert!(!refused.ends_frame);
    let [Ok(ClientMessage::Publish(taken))] = &outcome(&format!(" {publish} "))[..] else {
        panic!("it is taken");
    };
    assert_eq!(taken.data, Data::Binary("payload {}".into()));
}

#[test]
fn a_refusal_names_its_request_and_leaves_the_rest_of_the_frame() {
    let outcome = client("{\"type\":\"dance\",\"id\":\"a\"}\n{\"type\":\"bye\"}");
    let error = outcome[0].clone().expect_err("unknown");
    assert_eq!(error.to, Echo::from_json("\"a\"").map(Subject::Id));
    assert_eq!(
        (&*error.error.code, error.ends_frame),
        ("unknown_type", false)
    );
    assert_eq!(outcome[1], Ok(ClientMessage::Bye));
}

#[test]
fn bad_text_is_malformed() {
    for text in [
        "",
        " \n",
        "[]",
        "1",
        "{",
        "{\"type\":7}",
        "{}",
        "nope",
        "{\"type\":\"skip\"}",
        "{\"type\":\"skip\",\"seq\":0}",
        "{\"type\":\"skip\",\"seq\":-1}",
        "{\"type\":\"publish\",\"data\":1}",
        "{\"type\":\"bye\",\"type\":\"bye\"}",
        "{\"type\":\"publish\",\"channel\":\"c\",\"data\":1,\"data_b64\":\"aa==\"}",
        "{\"type\":\"ping\",\"ts\":{}}",
    ] {
        assert_eq!(refusal(text).1, "malformed", "{text}");
    }
    assert_eq!(
        refusal("{\"type\":\"subscribe\",\"id\":1,\"channel\":\"c\",\"position\":\"x\"}"),
        (Some(Subject::Id(Echo::from(1))), "bad_position".to_owned())
    );
}

#[test]
fn what_is_no_place_to_read_from_refuses_its_channel_alone() {
    for odd in [
        "1e400",
        "-0",
        "true",
        "[1]",
        "{}",
        r#""\ud800""#,
        r#"{"x":"\ud800"}"#,
        r#"{"last":1e400}"#,
        r#"{"last":-1}"#,
        r#"{"last":1,"last":2}"#,
    ] {
        let hello = format!(r#"{{"type":"hello","subscribe":{{"good":null,"odd": {odd}}}}}"#);
        let Some(Ok(ClientMessage::Hello(hello))) = client(&hello).pop() else {
            panic!("{odd} refuses all of {hello}");
        };
        let froms: Vec<_> = hello.subscribe.iter().map(|(_, from)| *from).collect();
        assert_eq!(froms, [Some(From::Now), None], "{odd}");
        let subscribe = format!(r#"{{"type":"subscribe","id":1,"channel":"c","position": {odd}}}"#);
        assert_eq!(refusal(&subscribe).1, "bad_position", "{odd}");
    }
}

#[test]
fn nesting_is_bounded_also_inside_data() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"type\":\"send\",\"seq\":1,\"data\":{open}\"[[{{\\\"\"{close}}}")
    };
    assert!(client(&nested(DATA_NESTING_MAX))[0].is_ok());
    let too_deep = (Some(Subject::Seq(1)), "too_deep".to_owned());
    assert_eq!(refusal(&nested(NESTING_MAX)), too_deep);
    assert_eq!(refusal(&nested(60_000)), too_deep);
    let broken_off = &nested(60_000)[..30_000];
    assert_eq!(refusal(broken_off).1, "too_deep");
}

#[test]
fn what_is_too_deep_takes_nothing_else_with_it() {
    let deep = format!("{}0{}", "[".repeat(NESTING_MAX), "]".repeat(NESTING_MAX));
    let outcome = client(&format!(
        "{{\"type\":\"skip\",\"seq\":1}}{{\"type\":\"send\",\"seq\":2,\"data\":{deep}}}{{\"type\":\"ping\"}}"
    ));
    assert_eq!(outcome.len(), 3);
    assert!(outcome[0].is_ok() && outcome[2].is_ok(), "{outcome:?}");
    let refused = outcome[1].as_ref().expect_err("it is too deep");
    assert_eq!(refused.to, Some(Subject::Seq(2)));
    assert_eq!(refused.error.code, "too_deep");
}

#[test]
fn the_deepest_data_comes_back_in_every_form() {
    let text = |depth: usize| format!("{}0{}", "[".repeat(depth), "]".repeat(depth));
    let data = json_data(text(DATA_NESTING_MAX).as_bytes()).expect("it is not too deep");
    assert_eq!(
        json_data(text(NESTING_MAX).as_bytes()),
        Err(Code::TooDeep),
        "no message could carry it"
    );
    let publication = Publication {
        offset: 1,
        term: 1,
        data,
        user: None,
        tag: None,
    };
    let Frame::Text(message) = encode_message("c", 1, &publication) else {
        panic!("JSON goes as text")
    };
    let recovery = Recovery {
        recovered: true,
        reason: None,
        position: None,
    };
    let answer = ServerMessage::Reply {
        to: Subject::Id(Echo::from(1)),
        data: history_data("c", 1, &[Arc::new(publication)], &recovery, false),
    };
    let Frame::Text(answer) = encode_server(&answer) else {
        panic!("JSON goes as text")
    };
    for frame in [message, answer] {
        let text = std::str::from_utf8(&frame).expect("text");
        assert!(decode_server(Incoming::Text(text)).all(|read| read.is_ok()));
    }
}

#[test]
fn a_receipt_may_have_no_position() {
    let outcome = client("{\"type\":\"pong\",\"positions\":{\"c\":null}}");
    assert!(outcome[0].is_ok(), "{outcome:?}");
}

#[test]
fn line_breaks_inside_data_become_spaces() {
    let outcome = client("{\"type\":\"send\",\n\"data\":{\r\n\"a\": \"b\\n\"\n}\n}");
    let Ok(ClientMessage::Send(send)) = &outcome[0] else {
        panic!("{outcome:?}")
    };
    assert_eq!(send.data, Data::Json("{  \"a\": \"b\\n\" }".into()));
}

#[test]
fn a_binary_frame_is_header_and_payload() {
    let bytes = b"{\"type\":\"publish\",\"channel\":\"c\"}\n\x00\n\xff";
    let outcome: Vec<_> = decode_client(Incoming::Binary(bytes)).collect();
    let Ok(ClientMessage::Publish(publish)) = &outcome[0] else {
        panic!("{outcome:?}")
    };
    assert_eq!(publish.data, Data::Binary(b"\x00\n\xff"[..].into()));
    assert_eq!(
        encode_client(outcome[0].as_ref().expect("valid")),
        Frame::Binary(bytes[..].into())
    );
    let headless: Vec<_> = decode_client(Incoming::Binary(b"\x00\x01")).collect();
    assert_eq!(
        headless[0].as_ref().expect_err("no header").error.code,
        "malformed"
    );
}

#[test]
fn json_data_takes_one_value() {
    assert_eq!(
        json_data(b" [1,\n2] ").expect("valid"),
        Data::Json("[1, 2]".into())
    );
    for text in ["", "1 2", "{", "\"\n\""] {
        assert_eq!(json_data(text.as_bytes()), Err(Code::Malformed), "{text}");
    }
}

#[test]
fn every_close_reason_fits_a_control_frame() {
    for code in Code::ALL {
        assert!(close_reason(code.as_str(), Some(u64::MAX)).len() <= CLOSE_REASON_BYTES_MAX);
    }
}
