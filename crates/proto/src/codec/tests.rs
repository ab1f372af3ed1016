//! What the golden vectors under `vectors/` do not show: the bounds and the shapes of refusals.

use super::*;
use crate::{
    code::Code,
    message::{ClientMessage, Echo, Subject},
    publication::Data,
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
fn nesting_is_bounded_also_inside_data() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"type\":\"send\",\"seq\":1,\"data\":{open}\"[[{{\\\"\"{close}}}")
    };
    assert!(client(&nested(NESTING_MAX - 1))[0].is_ok());
    assert_eq!(refusal(&nested(NESTING_MAX)).1, Code::TooDeep.as_str());
    assert_eq!(refusal(&nested(60_000)).1, Code::TooDeep.as_str());
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
