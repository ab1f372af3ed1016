//! permessage-deflate in the client: what it offers, takes and refuses, and what it then sends.

use bowline_client::{Client, DialError, Endpoint, Received, WebSocket};
use bowline_ws::{
    Decoder, Deflater, Event, Limits, MessageKind, ResponseError, Role, UpgradeRequest, accept,
    encode_message,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use head::{PATIENCE, dialled, head, headers};

#[path = "support/head.rs"]
mod head;

const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
};

/// Answers one upgrade with these terms; the socket, what was offered, and a decoder.
async fn answer(
    listener: &TcpListener,
    terms: Option<&str>,
) -> (TcpStream, Option<String>, Decoder) {
    let mut stream = dialled(listener).await;
    let text = head(&mut stream).await;
    let offer = headers(&text)
        .find(|(name, _)| *name == "Sec-WebSocket-Extensions")
        .map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let request = UpgradeRequest {
        method: "GET",
        is_http_1_1: true,
        headers: headers(&text),
    };
    let accepted = accept(request, &[]).expect("a valid upgrade");
    let terms = match terms {
        Some("own") => accepted.extensions_header(),
        terms => terms.map(str::to_owned),
    };
    let line = terms.map(|terms| format!("Sec-WebSocket-Extensions: {terms}\r\n"));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{}\r\n",
        String::from_utf8_lossy(&accepted.accept),
        line.unwrap_or_default(),
    );
    stream.write_all(answer.as_bytes()).await.expect("written");
    let decoder = Decoder::new(Role::Server, LIMITS).with_extensions(accepted.extensions);
    (stream, offer, decoder)
}

/// The next text and whether it was compressed.
async fn hear(stream: &mut TcpStream, decoder: &mut Decoder) -> (String, bool) {
    let mut bytes = vec![0; 1 << 16];
    let mut compressed = None;
    loop {
        let count = stream.read(&mut bytes).await.expect("readable");
        assert!(count > 0, "the client hung up");
        compressed.get_or_insert(bytes[0] & 0x40 != 0);
        let mut input = &mut bytes[..count];
        if let Some(event) = decoder.decode(&mut input).expect("valid frames") {
            let Event::Text(text) = event else {
                panic!("{event:?}")
            };
            return (text.into_owned(), compressed.expect("bytes came"));
        }
    }
}

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    (listener, Endpoint::parse(&url).expect("a URL"))
}

#[tokio::test]
async fn what_was_agreed_on_is_what_is_sent() {
    let long = "again and ".repeat(200);
    let narrow = "permessage-deflate; server_no_context_takeover; client_max_window_bits=9";
    for (terms, compresses) in [(Some("own"), true), (Some(narrow), false), (None, false)] {
        let (listener, endpoint) = listen().await;
        let dial = WebSocket::dial_compressed(&endpoint, &[], LIMITS, 1_000);
        let (socket, (mut stream, offer, mut decoder)) =
            tokio::join!(dial, answer(&listener, terms));
        let mut socket = socket.expect("it is accepted");
        let offer = offer.expect("it offers");
        assert!(offer.starts_with("permessage-deflate; "), "{offer}");
        for (text, expected) in [(&*long, compresses), ("short", false)] {
            socket
                .send(MessageKind::Text, text.as_bytes())
                .expect("queued");
            let heard = timeout(PATIENCE, async {
                tokio::select! {
                    heard = hear(&mut stream, &mut decoder) => heard,
                    received = socket.receive() => panic!("{received:?}"),
                }
            });
            assert_eq!(
                heard.await.expect("in time"),
                (text.to_owned(), expected),
                "{terms:?}"
            );
        }
        if terms.is_some() {
            let frame = Deflater::new().encode_message(MessageKind::Text, long.as_bytes(), None);
            let frame = frame.expect("it gets shorter");
            let (head, tail) = frame.split_at(10);
            stream.write_all(head).await.expect("written");
            stream.write_all(tail).await.expect("written");
        } else {
            let frame = encode_message(MessageKind::Text, long.as_bytes(), None);
            stream.write_all(&frame).await.expect("written");
        }
        let received = timeout(PATIENCE, async {
            loop {
                match socket.receive().await.expect("the link lives") {
                    Received::Progress => {}
                    received => return received,
                }
            }
        });
        let received = received.await.expect("in time");
        assert_eq!(received, Received::Text(long.clone()));
    }
}

#[tokio::test]
async fn terms_that_were_not_offered_are_refused() {
    for (offers, terms) in [
        (true, "permessage-deflate"),
        (true, "permessage-bzip2"),
        (false, "permessage-deflate; server_no_context_takeover"),
    ] {
        let (listener, endpoint) = listen().await;
        let dial = async {
            match offers {
                true => WebSocket::dial_compressed(&endpoint, &[], LIMITS, 1).await,
                false => WebSocket::dial(&endpoint, &[], LIMITS).await,
            }
        };
        let (socket, (_stream, offer, _)) = tokio::join!(dial, answer(&listener, Some(terms)));
        assert_eq!(offer.is_some(), offers);
        let error = socket.expect_err("it is refused");
        let DialError::Response(ResponseError::Extension) = error else {
            panic!("{error:?}");
        };
    }
}

#[tokio::test]
async fn a_client_offers_it_only_if_it_is_told_to() {
    for told in [true, false] {
        let (listener, endpoint) = listen().await;
        let builder = Client::builder(&format!("ws://{}/", endpoint.authority()));
        let builder = match told {
            true => builder.compression(1_024),
            false => builder,
        };
        let _client = builder.connect().expect("a valid URL");
        let (_stream, offer, _) = answer(&listener, None).await;
        assert_eq!(offer.is_some(), told);
    }
}
