//! permessage-deflate on a live server: what is agreed on, who is sent what in which form, and what
//! compressed messages of a client can't do.

use std::time::Duration;

use bowline::{Config, Data, Server};
use bowline_proto::codec::json_data;
use bowline_ws::{
    ClientRequest, Decoder, Deflater, Event, Extensions, MessageKind, Role, encode_message,
};
use bytes::Bytes;
use peer::{DEADLINE, LIMITS, Peer, read, serve};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[path = "support/peer.rs"]
#[expect(dead_code, reason = "here frames are looked at as they stand")]
mod peer;

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

async fn start(config: Config) -> (Server, String) {
    let (server, address) = serve(Server::builder().config(config)).await;
    (server, address.to_string())
}

/// A client that shows in which form each message came.
struct Client {
    peer: Peer,
    extensions: Extensions,
    /// The head of the server's answer to the upgrade.
    head: String,
}

/// What came: a message and whether it was compressed, or a close code.
#[derive(Debug, PartialEq)]
enum Came {
    Message { compressed: bool, text: String },
    Closed(u16),
}

impl Client {
    /// Dials with an offer of the crate's own, of this text, or none.
    async fn dial(address: &str, target: &str, offer: Option<&str>) -> Self {
        let protocols: &[&str] = if target == "/ws" {
            &["bowline.v1"]
        } else {
            &[]
        };
        let request = ClientRequest {
            host: address,
            target,
            key: [7; 16],
            protocols,
            headers: &[],
        };
        let (request, handshake) = request.encode_offering_deflate().expect("well formed");
        let request = String::from_utf8(request).expect("ASCII");
        let own = request
            .lines()
            .find(|line| line.starts_with("Sec-WebSocket-Extensions"))
            .expect("it offers");
        let line = offer.map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        let request = match offer {
            Some("own") => request,
            _ => request.replace(&format!("{own}\r\n"), &line.unwrap_or_default()),
        };
        let socket = TcpStream::connect(address).await.expect("it listens");
        let asked = Peer::ask(socket, request.as_bytes(), &handshake).await;
        let refused = |answer: Vec<u8>| panic!("{}", String::from_utf8_lossy(&answer));
        let (peer, head, extensions) = asked.unwrap_or_else(refused);
        Self {
            peer,
            extensions,
            head: String::from_utf8(head).expect("ASCII"),
        }
    }

    async fn greet(mut self, channel: &str, position: Value) -> (Self, Value) {
        let hello = json!({"type": "hello", "id": 1, "subscribe": {channel: position}});
        self.send(hello.to_string().as_bytes(), false).await;
        let welcome = self.message().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (self, welcome)
    }

    async fn send(&mut self, payload: &[u8], compressed: bool) {
        let frame = if compressed {
            self::compressed(payload)
        } else {
            encode_message(MessageKind::Text, payload, MASK)
        };
        self.peer.write(&frame).await;
    }

    /// The next text or close frame, other than a ping of either kind.
    async fn next(&mut self) -> Came {
        timeout(DEADLINE, async {
            loop {
                let mut frame = self.frame().await;
                let compressed = frame[0] & 0x40 != 0;
                let mut decoder =
                    Decoder::new(Role::Client, LIMITS).with_extensions(self.extensions);
                let mut input = frame.as_mut_slice();
                match decoder.decode(&mut input).expect("the server is correct") {
                    Some(Event::Text(text)) if text.contains("\"type\":\"ping\"") => {}
                    Some(Event::Text(text)) => {
                        let text = text.into_owned();
                        return Came::Message { compressed, text };
                    }
                    Some(Event::Close(Some(frame))) => return Came::Closed(frame.code().as_u16()),
                    Some(_) => {}
                    None => panic!("a whole frame is an event"),
                }
            }
        })
        .await
        .expect("an answer in time")
    }

    /// One frame, as it stands on the wire.
    async fn frame(&mut self) -> Vec<u8> {
        self.fill(2).await;
        let header_bytes = match self.peer.input[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        self.fill(header_bytes).await;
        let length = &self.peer.input[header_bytes.min(2)..header_bytes];
        let payload_bytes = match header_bytes {
            2 => usize::from(self.peer.input[1]),
            _ => length
                .iter()
                .fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
        };
        self.fill(header_bytes + payload_bytes).await;
        self.peer
            .input
            .drain(..header_bytes + payload_bytes)
            .collect()
    }

    async fn fill(&mut self, bytes: usize) {
        let Peer { socket, input, .. } = &mut self.peer;
        while input.len() < bytes {
            assert!(read(socket, input).await, "no end without a close frame");
        }
    }

    async fn message(&mut self) -> Value {
        match self.next().await {
            Came::Message { text, .. } => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }
}

fn data(text: &str) -> Data {
    json_data(json!(text).to_string().as_bytes()).expect("JSON")
}

/// Above the default threshold.
fn long() -> String {
    "a long story, ".repeat(500)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_are_held_to_no_context_takeover() {
    let demanded = "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    let (_server, address) = start(Config::default()).await;
    for (offer, answer) in [
        ("permessage-deflate; client_max_window_bits", Some(demanded)),
        (
            "foo, permessage-deflate; bar, permessage-deflate",
            Some(demanded),
        ),
        ("permessage-deflate; server_max_window_bits=3", None),
        ("foo", None),
    ] {
        let client = match answer {
            Some(_) => Client::dial(&address, "/ws", Some(offer)).await,
            None => Client::dial(&address, "/ws", Some(offer)).await,
        };
        let line = client.head.lines().find(|line| line.contains("xtensions"));
        let expected = answer.map(|value| format!("sec-websocket-extensions: {}", value.trim()));
        assert_eq!(line, expected.as_deref(), "{offer}");
    }
    let off = Config {
        compression: false,
        ..Config::default()
    };
    let (_server, address) = start(off).await;
    let client = Client::dial(&address, "/ws", Some("own")).await;
    assert_eq!(client.extensions, Extensions::NONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_subscriber_is_sent_the_form_that_it_agreed_to() {
    let (server, address) = start(Config::default()).await;
    let narrow = "permessage-deflate; server_max_window_bits=9; server_no_context_takeover";
    let mut clients = Vec::new();
    for (offer, agrees) in [(Some("own"), true), (Some(narrow), false), (None, false)] {
        let client = Client::dial(&address, "/ws", offer).await;
        clients.push((client.greet("news", Value::Null).await.0, agrees));
    }
    let mut plain = Vec::new();
    for (offer, agrees) in [(Some("own"), true), (None, false)] {
        let client = Client::dial(&address, "/ws/session/1", offer).await;
        plain.push((client, agrees));
    }
    let long = long();
    // A plain link is subscribed some time after its upgrade, so it is told until it hears.
    for (client, agrees) in &mut plain {
        let frame = timeout(DEADLINE, async {
            loop {
                let published = server.publish("session:1", data(&long)).await;
                published.expect("it is stored");
                if let Ok(came) = timeout(Duration::from_millis(100), client.next()).await {
                    return came;
                }
            }
        });
        let expected = Came::Message {
            compressed: *agrees,
            text: json!(long).to_string(),
        };
        assert_eq!(frame.await.expect("it arrives"), expected);
    }
    for text in [&*long, "short"] {
        server
            .publish("news", data(text))
            .await
            .expect("it is stored");
        for (client, agrees) in &mut clients {
            let Came::Message {
                compressed,
                text: message,
            } = client.next().await
            else {
                panic!("closed");
            };
            assert_eq!(compressed, *agrees && text == long);
            let message: Value = serde_json::from_str(&message).expect("JSON");
            assert_eq!(message["data"], text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_the_log_and_answers_are_compressed_too() {
    let (server, address) = start(Config::default()).await;
    let long = long();
    server.publish("news", data("first")).await.expect("stored");
    for _ in 0..3 {
        server.publish("news", data(&long)).await.expect("stored");
    }
    let client = Client::dial(&address, "/ws", Some("own")).await;
    let (mut client, _) = client.greet("news", json!("first")).await;
    let first = client.message().await;
    assert_eq!(first["data"], "first");
    for _ in 0..3 {
        let came = client.next().await;
        assert!(
            matches!(
                came,
                Came::Message {
                    compressed: true,
                    ..
                }
            ),
            "{came:?}"
        );
    }
    let history = json!({
        "type": "history", "id": 2, "channel": "news", "after": first["position"],
    });
    client.send(history.to_string().as_bytes(), false).await;
    let came = client.next().await;
    assert!(
        matches!(
            came,
            Came::Message {
                compressed: true,
                ..
            }
        ),
        "{came:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_compress_what_it_sends() {
    let (_server, address) = start(Config::default()).await;
    let mut client = Client::dial(&address, "/ws", Some("own")).await;
    let padding = " ".repeat(500);
    let hello = format!("{{\"type\":\"hello\",\"id\":1,{padding}\"subscribe\":{{\"news\":null}}}}");
    client.send(hello.as_bytes(), true).await;
    assert_eq!(client.message().await["type"], "welcome");
    let publish = json!({"type": "publish", "seq": 1, "channel": "news", "data": long()});
    client.send(publish.to_string().as_bytes(), true).await;
    let mut kinds = Vec::new();
    for _ in 0..2 {
        kinds.push(client.message().await["type"].clone());
    }
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, ["acked", "message"]);
}

/// A compressed text frame of a client.
fn compressed(payload: &[u8]) -> Bytes {
    let frame = Deflater::new().encode_message(MessageKind::Text, payload, MASK);
    frame.expect("it gets shorter")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_in_few_bytes_are_served_in_order() {
    const FRAMES: u64 = 8;
    const EACH: u64 = 2_500;
    let config = Config {
        messages_per_second: 1_000_000,
        messages_burst_max: 1_000_000,
        ..Config::default()
    };
    let (_server, address) = start(config).await;
    let client = Client::dial(&address, "/ws", Some("own")).await;
    let (mut client, _) = client.greet("news", Value::Null).await;
    let pings = |frame: u64| -> String {
        let numbers = frame * EACH..(frame + 1) * EACH;
        numbers
            .map(|n| format!("{{\"type\":\"ping\",\"ts\":{n}}}"))
            .collect()
    };
    let mut flood: Vec<u8> = (0..FRAMES)
        .flat_map(|frame| compressed(pings(frame).as_bytes()))
        .collect();
    let last = b"{\"type\":\"ping\",\"ts\":\"last\"}\n \n{\"type\":\"bye\"}";
    flood.extend(encode_message(MessageKind::Text, last, Some([5, 6, 7, 8])));
    let (mut reading, mut writing) = client.peer.socket.into_split();
    let written = tokio::spawn(async move {
        writing.write_all(&flood).await.expect("taken");
        writing
    });
    let mut input = std::mem::take(&mut client.peer.input);
    timeout(DEADLINE, reading.read_to_end(&mut input))
        .await
        .expect("in time")
        .expect("its end");
    written.await.expect("no panic");
    let mut decoder = Decoder::new(Role::Client, LIMITS).with_extensions(client.extensions);
    let (mut input, mut told, mut closed) = (input.as_mut_slice(), Vec::new(), None);
    while let Some(event) = decoder.decode(&mut input).expect("the server is correct") {
        match event {
            Event::Text(text) => {
                let messages = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
                let messages = messages.map(|message| message.expect("JSON"));
                let pongs = messages.filter(|message| message["type"] == "pong");
                told.extend(pongs.map(|pong| pong["ts"].clone()));
            }
            Event::Close(frame) => closed = frame.map(|frame| frame.code().as_u16()),
            _ => {}
        }
    }
    let expected = (0..FRAMES * EACH).map(Value::from).chain([json!("last")]);
    let wrong = told
        .iter()
        .zip(expected.clone())
        .position(|(told, expected)| *told != expected);
    assert_eq!((told.len(), wrong), (expected.count(), None));
    assert_eq!(closed, Some(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_hello_that_came_compressed_in_one_read_needs_a_place() {
    let config = Config {
        large_hellos_max: 1,
        ..Config::default()
    };
    let (_server, address) = start(config).await;
    let subscribe: serde_json::Map<_, _> = (0..400)
        .map(|n| (format!("{n}{}", "c".repeat(200)), Value::Null))
        .collect();
    let hello = json!({"type": "hello", "id": 1, "subscribe": subscribe}).to_string();
    let behind = format!("{{\"type\":\"hello\",\"id\":1}}{}", "{}".repeat(40_000));
    let publish = format!(
        "{{\"type\":\"publish\",\"channel\":\"c\",\"data\":\"{}\"}}",
        "x".repeat(1_900)
    );
    let few = format!("{{\"type\":\"hello\",\"id\":1}}{}", publish.repeat(200));
    for text in [hello, behind, few] {
        let part = encode_message(MessageKind::Text, &[b' '; 300_000], Some([0; 4]));
        timeout(DEADLINE, async {
            loop {
                // The place is taken once a part of another's hello was read, if nobody was faster.
                let mut first = Client::dial(&address, "/ws", None).await;
                first.peer.write(&part[..200_000]).await;
                let mut client = Client::dial(&address, "/ws", Some("own")).await;
                client.send(text.as_bytes(), true).await;
                match client.next().await {
                    Came::Message { text, .. } if text.contains("welcome") => {}
                    other => return assert_eq!(other, Came::Closed(4503)),
                }
            }
        })
        .await
        .expect("the place is taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_broken_data_end_their_link_with_their_code() {
    let (server, address) = start(Config::default()).await;
    let witness = Client::dial(&address, "/ws", Some("own")).await;
    let (mut witness, _) = witness.greet("news", Value::Null).await;
    for (payload, code) in [
        // 16 MB in 16 KB; above the limit of hello by one byte after inflation; not DEFLATE data; no UTF-8.
        (vec![b' '; 16 << 20], 1009),
        (vec![b' '; (512 << 10) + 1], 1009),
        (b"\xff".repeat(100), 1007),
    ] {
        let mut client = Client::dial(&address, "/ws", Some("own")).await;
        client.send(&payload, true).await;
        assert_eq!(client.next().await, Came::Closed(code));
    }
    let mut client = Client::dial(&address, "/ws", Some("own")).await;
    let broken = [0xc1, 0x82, 0, 0, 0, 0, 0x06, 0x06];
    client.peer.write(&broken).await;
    assert_eq!(client.next().await, Came::Closed(1007));
    let mut client = Client::dial(&address, "/ws", None).await;
    client.peer.write(&broken).await;
    assert_eq!(
        client.next().await,
        Came::Closed(1002),
        "it was not agreed on"
    );
    server
        .publish("news", data("all is well"))
        .await
        .expect("stored");
    assert_eq!(witness.message().await["data"], "all is well");
}
