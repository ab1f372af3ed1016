//! The grammar of the header and both sides of the negotiation, by tables.

use super::*;

fn chosen(header: &str) -> Result<Option<String>, Malformed> {
    parse(header).map(|offers| answer(choose(offers.into_iter())))
}

fn judged(header: &str) -> Option<Extensions> {
    judge(parse(header).ok()?.into_iter())
}

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn an_offer_is_answered_with_no_context_takeover_on_both_sides() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=\"15\"",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate;client_no_context_takeover;server_no_context_takeover",
        "  permessage-deflate \t;\tclient_max_window_bits = 10 ",
        ", ,permessage-deflate,,",
        "x-webkit-deflate-frame, permessage-deflate",
        "foo; a=\"b\"; c, permessage-deflate",
        OFFER,
    ] {
        assert_eq!(chosen(offer), Ok(Some(PLAIN.to_owned())), "{offer}");
    }
}

#[test]
fn a_window_demanded_of_the_server_is_granted_and_named() {
    for bits in 8..=15 {
        let offers = parse(&format!(
            "permessage-deflate; server_max_window_bits={bits}"
        ))
        .map(|offers| choose(offers.into_iter()))
        .unwrap();
        let named = format!("{PLAIN}; server_max_window_bits={bits}");
        assert_eq!(answer(offers), Some(named));
        assert!(offers.may_receive_compressed());
        assert_eq!(offers.may_send_compressed(), bits == 15);
    }
}

#[test]
fn an_offer_that_cant_be_accepted_is_declined() {
    for offer in [
        "",
        "deflate",
        "Permessage-Deflate",
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=1",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=1e1",
        "permessage-deflate; server_max_window_bits=300",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits=99999999999999999999",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
    ] {
        assert_eq!(chosen(offer), Ok(None), "{offer}");
    }
}

#[test]
fn the_first_acceptable_offer_is_taken() {
    let bad = "permessage-deflate; server_max_window_bits=7";
    let narrow = "permessage-deflate; server_max_window_bits=10";
    let wide = "permessage-deflate";
    let named = format!("{PLAIN}; server_max_window_bits=10");
    for (offers, answer) in [
        ([bad, wide, narrow], PLAIN),
        ([narrow, wide, bad], &*named),
        ([bad, narrow, wide], &*named),
    ] {
        assert_eq!(chosen(&offers.join(", ")), Ok(Some(answer.to_owned())));
    }
}

#[test]
fn a_header_against_the_grammar_is_malformed() {
    for header in [
        ";",
        "=",
        "permessage-deflate;",
        "permessage-deflate; ;",
        "permessage-deflate; =1",
        "permessage-deflate; a=",
        "permessage-deflate; a=\"",
        "permessage-deflate; a=\"b",
        "permessage-deflate; a=\"\\",
        "permessage-deflate; a=\"b c\"",
        "permessage-deflate; a=\"\"",
        "permessage-deflate; a=b=c",
        "permessage-deflate; a=\"b\"c",
        "permessage-deflate foo",
        "permessage-deflate; a b",
        "per message",
        "permessage-deflate(",
        "\"permessage-deflate\"",
        "permessage-deflate\u{e9}",
        "permessage-deflate\r\n",
    ] {
        assert_eq!(parse(header), Err(Malformed), "{header:?}");
    }
    let quoted = parse("a; b=\"\\1\\5\"").unwrap();
    assert_eq!(quoted[0].params, [("b", Some(Cow::Borrowed("15")))]);
}

#[test]
fn a_client_takes_an_answer_to_its_offer() {
    for (answer, window_bits) in [
        ("permessage-deflate; server_no_context_takeover", None),
        (PLAIN, None),
        (
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=15",
            Some(15),
        ),
        (
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=9; \
             server_no_context_takeover",
            Some(9),
        ),
    ] {
        let judged = judged(answer).unwrap();
        assert_eq!(judged.deflate.unwrap().send_window_bits, window_bits);
        assert_eq!(judged.may_send_compressed(), window_bits != Some(9));
    }
}

#[test]
fn a_client_refuses_every_other_answer() {
    for answer in [
        // The server would take over context: each message could need all before it.
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=16",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits",
        "permessage-deflate; server_no_context_takeover; server_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover; unknown",
        "permessage-deflate; server_no_context_takeover, foo",
        "foo",
        "",
    ] {
        assert_eq!(judged(answer), None, "{answer}");
    }
}
