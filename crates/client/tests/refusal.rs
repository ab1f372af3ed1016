//! What a client makes of an upgrade that is refused with an HTTP status.

use bowline_client::{Class, Client, Confidence, DialError, Endpoint, State, Verdict, WebSocket};
use bowline_ws::Limits;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{pause, timeout},
};

use head::{PATIENCE, dialled, head};

#[expect(dead_code, reason = "nobody looks at what is refused")]
#[path = "support/head.rs"]
mod head;

/// A port and its URL.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, format!("ws://{address}/ws"))
}

/// Answers one upgrade with this; the socket, which the caller ends.
async fn answer(listener: &TcpListener, answer: &str) -> TcpStream {
    let mut stream = dialled(listener).await;
    head(&mut stream).await;
    stream.write_all(answer.as_bytes()).await.expect("written");
    stream
}

/// What a client says of this answer, and where it stands then.
async fn judge(text: &str) -> (Verdict, State) {
    let (listener, url) = listen().await;
    // Dormant after one failure, so that it dials once.
    let client = Client::builder(&url).attempts_max(0).connect();
    let client = client.expect("a valid URL");
    let mut state = client.state();
    drop(answer(&listener, text).await);
    let rest = |state: &State| matches!(state, State::Dormant | State::Blocked);
    let rested = timeout(PATIENCE, state.wait_for(rest)).await;
    let state = *rested.expect("in time").expect("the client lives");
    let verdict = client.verdict().borrow().clone();
    (verdict.expect("a verdict"), state)
}

fn verdict(
    class: Class,
    confidence: Confidence,
    code: Option<&str>,
    retry_after_ms: Option<u64>,
) -> Verdict {
    Verdict {
        class,
        confidence,
        code: code.map(Into::into),
        retry_after_ms,
    }
}

#[tokio::test]
async fn the_code_of_the_body_counts_before_the_status() {
    let with_length = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let attempts =
        r#"{"code":"too_many_attempts","message":"m","retry":true,"retry_after_ms":2500}"#;
    let forbidden = r#"{"code":"origin_not_allowed","message":"m","retry":false}"#;
    let long = format!(r#"{{"message":"{}","code":"draining"}}"#, "m".repeat(4096));
    let certain = Confidence::Certain;
    let likely = Confidence::Likely;
    let cases = [
        (
            with_length("403 Forbidden\r\nRetry-After: 3", attempts),
            verdict(
                Class::RateLimit,
                certain,
                Some("too_many_attempts"),
                Some(2500),
            ),
            State::Dormant,
        ),
        (
            format!("HTTP/1.1 503 Later\r\nRetry-After: 3\r\n\r\n{forbidden}"),
            verdict(
                Class::Policy,
                certain,
                Some("origin_not_allowed"),
                Some(3000),
            ),
            State::Blocked,
        ),
        (
            with_length("503 Later\r\nRetry-After: 3", "<html>later</html>"),
            verdict(Class::Server, likely, None, Some(3000)),
            State::Dormant,
        ),
        (
            with_length("429 Later", r#"{"code":"of_a_newer_server"}"#),
            verdict(Class::RateLimit, likely, Some("of_a_newer_server"), None),
            State::Dormant,
        ),
        // Something in between may have taken the upgrade out, and go away.
        (
            with_length("400 Bad Request", r#"{"code":"malformed","retry":false}"#),
            verdict(Class::Protocol, likely, None, None),
            State::Dormant,
        ),
        // More than is read.
        (
            with_length("503 Later", &long),
            verdict(Class::Server, likely, None, None),
            State::Dormant,
        ),
    ];
    for (text, verdict, state) in cases {
        assert_eq!(judge(&text).await, (verdict, state), "{text}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_done_without() {
    let (listener, url) = listen().await;
    let endpoint = Endpoint::parse(&url).expect("a URL");
    let limits = Limits {
        message_bytes_max: 1,
    };
    let text = "HTTP/1.1 503 Later\r\nContent-Length: 100\r\n\r\n{";
    let answered = async {
        let stream = answer(&listener, text).await;
        // The body is waited for in vain, and the rest is real.
        pause();
        stream
    };
    let (dialled, _stream) = tokio::join!(WebSocket::dial(&endpoint, &[], limits), answered);
    assert!(
        matches!(&dialled, Err(DialError::Refused { refusal, .. }) if refusal.status == 503),
        "{dialled:?}"
    );
}
