//! Both sides of the opening handshake, by tables.

use super::*;

/// The key and accept key of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOOD: [(&str, &str); 5] = [
    ("Host", "example.org:8080"),
    ("Upgrade", "websocket"),
    ("Connection", "keep-alive, Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

type Verdict = Result<Option<&'static str>, HandshakeError>;

fn judge(method: &str, is_http_1_1: bool, headers: &[(&str, &str)]) -> Verdict {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()));
    let request = UpgradeRequest {
        method,
        is_http_1_1,
        headers,
    };
    accept(request, &["bowline.v1", "bowline.v2"]).map(|accepted| {
        assert_eq!(accepted.accept, ACCEPT.as_bytes());
        accepted.protocol
    })
}

/// The good request with one header replaced, dropped (`None`) or appended.
fn with(name: &'static str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut headers: Vec<_> = GOOD
        .into_iter()
        .filter(|(known, _)| *known != name)
        .collect();
    headers.extend(value.map(|value| (name, value)));
    headers
}

#[test]
fn accepts_the_example_of_the_rfc() {
    assert_eq!(judge("GET", true, &GOOD), Ok(None));
}

#[test]
fn judges_method_and_version() {
    assert_eq!(judge("POST", true, &GOOD), Err(HandshakeError::Method));
    assert_eq!(judge("get", true, &GOOD), Err(HandshakeError::Method));
    assert_eq!(judge("GET", false, &GOOD), Err(HandshakeError::HttpVersion));
}

#[test]
fn judges_each_header() {
    for (name, value, expected) in [
        ("Host", None, Err(HandshakeError::Host)),
        ("Host", Some(""), Err(HandshakeError::Host)),
        ("Host", Some("a b"), Err(HandshakeError::Host)),
        ("Host", Some("user@evil"), Err(HandshakeError::Host)),
        ("Host", Some("[::1]:8080"), Ok(None)),
        ("Upgrade", None, Err(HandshakeError::Upgrade)),
        ("Upgrade", Some("h2c"), Err(HandshakeError::Upgrade)),
        ("Upgrade", Some("h2c, WebSocket"), Ok(None)),
        ("Connection", None, Err(HandshakeError::Connection)),
        (
            "Connection",
            Some("keep-alive"),
            Err(HandshakeError::Connection),
        ),
        ("Connection", Some("UPGRADE"), Ok(None)),
        (
            "Sec-WebSocket-Version",
            None,
            Err(HandshakeError::WebSocketVersion),
        ),
        (
            "Sec-WebSocket-Version",
            Some("8"),
            Err(HandshakeError::WebSocketVersion),
        ),
        (
            "Sec-WebSocket-Version",
            Some("013"),
            Err(HandshakeError::WebSocketVersion),
        ),
        ("Sec-WebSocket-Key", None, Err(HandshakeError::Key)),
        (
            "Sec-WebSocket-Key",
            Some("dGhlIHNhbXBsZSBub25j"),
            Err(HandshakeError::Key),
        ),
        (
            "Sec-WebSocket-Key",
            Some("dGhlIHNhbXBsZSBub25jZWE="),
            Err(HandshakeError::Key),
        ),
        (
            "Sec-WebSocket-Key",
            Some("!GhlIHNhbXBsZSBub25jZQ=="),
            Err(HandshakeError::Key),
        ),
    ] {
        assert_eq!(
            judge("GET", true, &with(name, value)),
            expected,
            "{name}: {value:?}"
        );
    }
}

#[test]
fn chooses_the_first_offered_protocol_that_is_supported() {
    for (name, value, expected) in [
        ("Sec-WebSocket-Protocol", Some("chat"), Ok(None)),
        (
            "Sec-WebSocket-Protocol",
            Some("chat, bowline.v1"),
            Ok(Some("bowline.v1")),
        ),
        (
            "Sec-WebSocket-Protocol",
            Some("bowline.v2,bowline.v1"),
            Ok(Some("bowline.v2")),
        ),
        (
            "Sec-WebSocket-Protocol",
            Some("bowline.v1, a b"),
            Err(HandshakeError::Protocol),
        ),
        (
            "Sec-WebSocket-Extensions",
            Some("permessage-deflate"),
            Ok(None),
        ),
    ] {
        assert_eq!(
            judge("GET", true, &with(name, value)),
            expected,
            "{name}: {value:?}"
        );
    }
}

#[test]
fn repeated_headers_are_joined_where_they_are_lists_and_refused_elsewhere() {
    let and = |name, value| [&GOOD[..], &[(name, value)]].concat();
    assert_eq!(judge("GET", true, &and("Connection", "x")), Ok(None));
    assert_eq!(
        judge("GET", true, &and("host", "evil")),
        Err(HandshakeError::Host)
    );
    assert_eq!(
        judge("GET", true, &and("sec-websocket-key", KEY)),
        Err(HandshakeError::Key)
    );
    let twice = and("Sec-WebSocket-Version", "8");
    assert_eq!(
        judge("GET", true, &twice),
        Err(HandshakeError::WebSocketVersion)
    );
    let mut lists = with("Sec-WebSocket-Protocol", Some("chat"));
    lists.push(("sec-websocket-protocol", "bowline.v1"));
    assert_eq!(judge("GET", true, &lists), Ok(Some("bowline.v1")));
}

#[test]
fn each_refusal_owes_its_status() {
    let owed = |error: HandshakeError| (error.status(), error.header());
    assert_eq!(owed(HandshakeError::Method), (405, Some(("Allow", "GET"))));
    let version = Some(("Sec-WebSocket-Version", "13"));
    assert_eq!(owed(HandshakeError::WebSocketVersion), (426, version));
    for error in [
        HandshakeError::HttpVersion,
        HandshakeError::Host,
        HandshakeError::Upgrade,
        HandshakeError::Connection,
        HandshakeError::Key,
        HandshakeError::Protocol,
    ] {
        assert_eq!(owed(error), (400, None));
    }
}

/// The 16 bytes behind `KEY`.
const KEY_PLAIN: [u8; 16] = *b"the sample nonce";

fn request<'a>() -> ClientRequest<'a> {
    ClientRequest {
        host: "example.org:8080",
        target: "/ws?a=b",
        key: KEY_PLAIN,
        protocols: &["bowline.v1", "other"],
        headers: &[("Authorization", "Bearer t")],
    }
}

fn handshake() -> ClientHandshake {
    request().encode().unwrap().1
}

#[test]
fn writes_a_request_that_the_server_accepts() {
    let (bytes, _) = request().encode().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with("GET /ws?a=b HTTP/1.1\r\nHost: example.org:8080\r\n"),
        "{text}"
    );
    assert!(text.contains("\r\nAuthorization: Bearer t\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"));
    let headers: Vec<_> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .collect();
    assert_eq!(judge("GET", true, &headers), Ok(Some("bowline.v1")));
}

#[test]
fn refuses_to_write_what_would_smuggle() {
    let refused = |change: fn(&mut ClientRequest<'static>)| {
        let mut request = request();
        change(&mut request);
        request.encode().expect_err("must be refused")
    };
    assert_eq!(refused(|r| r.host = ""), RequestError::Host);
    assert_eq!(refused(|r| r.host = "a\r\nX: y"), RequestError::Host);
    assert_eq!(refused(|r| r.host = "a/b"), RequestError::Host);
    assert_eq!(refused(|r| r.target = "ws"), RequestError::Target);
    assert_eq!(
        refused(|r| r.target = "/ HTTP/1.1\r\nX: y"),
        RequestError::Target
    );
    assert_eq!(refused(|r| r.target = "/a#b"), RequestError::Target);
    assert_eq!(
        refused(|r| r.protocols = &["a,b"]),
        RequestError::Protocol("a,b".into())
    );
    assert_eq!(
        refused(|r| r.protocols = &["a", "a"]),
        RequestError::Protocol("a".into())
    );
    assert_eq!(
        refused(|r| r.headers = &[("a:", "b")]),
        RequestError::HeaderName("a:".into())
    );
    assert_eq!(
        refused(|r| r.headers = &[("", "b")]),
        RequestError::HeaderName(String::new())
    );
    for value in ["b\r\nX: y", "b\nX: y", "b\0", "b\u{7f}"] {
        let refusal = ClientRequest {
            headers: &[("a", value)],
            ..request()
        }
        .encode();
        assert_eq!(
            refusal.expect_err("a control"),
            RequestError::HeaderValue("a".into())
        );
    }
    let own = refused(|r| r.headers = &[("sec-websocket-KEY", "b")]);
    assert_eq!(
        own,
        RequestError::HeaderReserved("sec-websocket-KEY".into())
    );
}

/// A 101 with further lines.
fn switched(accept: &str, further: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{further}\r\n"
    )
}

#[test]
fn reads_a_101_that_arrives_byte_by_byte_and_leaves_the_frames() {
    let head = switched(ACCEPT, "Sec-WebSocket-Protocol: bowline.v1\r\n");
    let received = [head.as_bytes(), b"\x81\x00"].concat();
    for cut in 0..head.len() {
        assert_eq!(
            handshake().parse(&received[..cut]),
            Ok(None),
            "cut at {cut}"
        );
    }
    let expected = Response::Accepted {
        protocol: Some("bowline.v1".into()),
        extensions: crate::Extensions::NONE,
        head_bytes: head.len(),
    };
    assert_eq!(handshake().parse(&received), Ok(Some(expected)));
}

#[test]
fn judges_a_101() {
    let parse = |text: &str| handshake().parse(text.as_bytes());
    let good = switched(ACCEPT, "");
    assert!(matches!(
        parse(&good),
        Ok(Some(Response::Accepted { protocol: None, .. }))
    ));
    for (response, error) in [
        (
            good.replace("HTTP/1.1", "HTTP/1.0"),
            ResponseError::HttpVersion,
        ),
        (
            good.replace("WebSocket\r\n", "h2c\r\n"),
            ResponseError::Upgrade,
        ),
        (
            good.replace("Connection: upgrade", "Connection: close"),
            ResponseError::Upgrade,
        ),
        (
            switched("s3pPLMBiTxaQ9kYGzzhZRbK+xOO=", ""),
            ResponseError::Accept,
        ),
        (switched("", ""), ResponseError::Accept),
        (
            switched(ACCEPT, "Sec-WebSocket-Protocol: nobody\r\n"),
            ResponseError::Protocol,
        ),
        (
            switched(
                ACCEPT,
                "Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: other\r\n",
            ),
            ResponseError::Protocol,
        ),
        (
            switched(ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
            ResponseError::Extension,
        ),
        (
            "SSH-2.0-OpenSSH\r\n".into(),
            ResponseError::Malformed(httparse::Error::Version),
        ),
    ] {
        assert_eq!(parse(&response), Err(error), "{response}");
    }
}

#[test]
fn reads_a_refusal() {
    let refusal = |further: &str| {
        let text = format!("HTTP/1.1 429 Too Many Requests\r\n{further}\r\nbody");
        match handshake().parse(text.as_bytes()) {
            Ok(Some(Response::Refused(refusal))) => {
                assert_eq!(refusal.status, 429);
                assert_eq!(&text[refusal.head_bytes..], "body");
                (refusal.retry_after_secs, refusal.content_length)
            }
            other => panic!("not a refusal: {other:?}"),
        }
    };
    assert_eq!(
        refusal("Retry-After: 7\r\nContent-Length: 4\r\n"),
        (Some(7), Some(4))
    );
    assert_eq!(refusal(""), (None, None));
    assert_eq!(
        refusal("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n"),
        (None, None)
    );
    assert_eq!(
        refusal("Retry-After: 99999999999\r\n"),
        (Some(u32::MAX), None)
    );
    assert_eq!(refusal("Retry-After: +7\r\n"), (None, None));
}

#[test]
fn skips_interim_responses() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let text = format!("{early}{early}{}", switched(ACCEPT, ""));
    let parsed = handshake().parse(text.as_bytes());
    let Ok(Some(Response::Accepted { head_bytes, .. })) = parsed else {
        panic!("not accepted: {parsed:?}");
    };
    assert_eq!(head_bytes, text.len());
    assert_eq!(handshake().parse(early.as_bytes()), Ok(None));
}

#[test]
fn bounds_the_head() {
    let lines = |count| "A: b\r\n".repeat(count);
    // Three headers are needed for a 101.
    let most = switched(ACCEPT, &lines(RESPONSE_HEADERS_MAX - 3));
    assert!(matches!(handshake().parse(most.as_bytes()), Ok(Some(_))));
    let above = switched(ACCEPT, &lines(RESPONSE_HEADERS_MAX - 2));
    assert_eq!(
        handshake().parse(above.as_bytes()),
        Err(ResponseError::TooLarge)
    );

    let filler = format!("A: {}", "b".repeat(RESPONSE_BYTES_MAX));
    let endless = format!("HTTP/1.1 101 x\r\n{filler}");
    let received = endless.as_bytes();
    assert_eq!(
        handshake().parse(&received[..RESPONSE_BYTES_MAX - 1]),
        Ok(None)
    );
    let refusal = Err(ResponseError::TooLarge);
    assert_eq!(handshake().parse(&received[..RESPONSE_BYTES_MAX]), refusal);
    assert_eq!(handshake().parse(received), refusal);
    // A head that ends behind the bound is refused, though it is whole.
    let late = switched(ACCEPT, &format!("{filler}\r\n"));
    assert_eq!(handshake().parse(late.as_bytes()), refusal);
}

#[test]
fn takes_the_first_acceptable_extension_of_all_headers() {
    let judge = |values: &[&[u8]]| {
        let good = GOOD.iter().map(|(name, value)| (*name, value.as_bytes()));
        let values = values
            .iter()
            .map(|value| ("sec-websocket-extensions", *value));
        let request = UpgradeRequest {
            method: "GET",
            is_http_1_1: true,
            headers: good.chain(values),
        };
        accept(request, &[]).map(|accepted| accepted.extensions_header())
    };
    let demanded = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(judge(&[]), Ok(None));
    assert_eq!(judge(&[b""]), Ok(None));
    let offers: &[&[u8]] = &[
        b"other, permessage-deflate; unknown",
        b"permessage-deflate; client_max_window_bits",
    ];
    assert_eq!(judge(offers), Ok(Some(demanded.to_owned())));
    for malformed in [&b"permessage-deflate; ="[..], b"a;", b"\xff"] {
        let refusal = judge(&[b"permessage-deflate", malformed]);
        assert_eq!(refusal, Err(HandshakeError::Extensions));
        assert_eq!(refusal.unwrap_err().status(), 400);
    }
}

#[test]
fn a_client_that_offers_deflate_takes_the_servers_terms() {
    let request = ClientRequest {
        host: "h",
        target: "/",
        key: *b"the sample nonce",
        protocols: &[],
        headers: &[],
    };
    let (plain, _) = request.encode().unwrap();
    assert!(!String::from_utf8(plain).unwrap().contains("Extensions"));
    let (bytes, handshake) = request.encode_offering_deflate().unwrap();
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; \
                 server_no_context_takeover; client_max_window_bits\r\n";
    assert!(String::from_utf8(bytes).unwrap().contains(offer));
    let parse = |further: &str| match handshake.parse(switched(ACCEPT, further).as_bytes()) {
        Ok(Some(Response::Accepted { extensions, .. })) => Ok((
            extensions.may_receive_compressed(),
            extensions.may_send_compressed(),
        )),
        Err(error) => Err(error),
        other => panic!("{other:?}"),
    };
    let terms = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover";
    assert_eq!(parse(""), Ok((false, false)));
    assert_eq!(parse(&format!("{terms}\r\n")), Ok((true, true)));
    let narrow = format!("{terms}; client_max_window_bits=9\r\n");
    assert_eq!(parse(&narrow), Ok((true, false)));
    for bad in [
        "Sec-WebSocket-Extensions: permessage-deflate\r\n".to_owned(),
        "Sec-WebSocket-Extensions: =\r\n".to_owned(),
        format!("{terms}\r\n{terms}\r\n"),
    ] {
        assert_eq!(parse(&bad), Err(ResponseError::Extension), "{bad}");
    }
}
