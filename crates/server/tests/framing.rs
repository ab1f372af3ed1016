//! Frames that RFC 6455 and RFC 7692 forbid, against a live server: name, bytes, the exact close
//! code. After each row the server still serves another connection.

#[path = "support/peer.rs"]
#[expect(dead_code, reason = "here frames are bytes")]
mod peer;

use std::net::SocketAddr;

use bowline::Server;
use bowline_ws::{ClientRequest, Response};
use peer::{DEADLINE, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Any key will do.
const KEY: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// A masked frame: its first byte, its length as one to nine bytes, and its payload.
fn raw(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    frame.extend_from_slice(length);
    frame[1] |= 0x80;
    frame.extend_from_slice(&KEY);
    frame.extend(
        payload
            .iter()
            .enumerate()
            .map(|(i, byte)| byte ^ KEY[i % 4]),
    );
    frame
}

/// A masked frame with its length in the shortest form.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    match u8::try_from(length).ok().filter(|&length| length < 126) {
        Some(length) => raw(first, &[length], payload),
        None => {
            let [high, low] = u16::try_from(length).expect("short").to_be_bytes();
            raw(first, &[126, high, low], payload)
        }
    }
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    masked(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

/// Every row: what is wrong, the bytes behind the handshake, the code.
#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<(String, Vec<u8>, u16)> {
    let mut rows: Vec<(String, Vec<u8>, u16)> = [
        ("text without a mask", vec![0x81, 0x01, b'a'], 1002),
        ("a ping without a mask", vec![0x89, 0x00], 1002),
        ("a close without a mask", vec![0x88, 0x00], 1002),
        ("a continuation of nothing", masked(0x80, b"a"), 1002),
        ("a first fragment that continues", masked(0x00, b"a"), 1002),
        (
            "text in a fragmented text",
            [masked(0x01, b"a"), masked(0x81, b"b")].concat(),
            1002,
        ),
        (
            "binary in a fragmented text",
            [masked(0x01, b"a"), masked(0x02, b"b")].concat(),
            1002,
        ),
        (
            "a continuation after the last",
            [masked(0x01, b"a"), masked(0x80, b"b"), masked(0x80, b"c")].concat(),
            1002,
        ),
        ("a fragmented ping", masked(0x09, b"a"), 1002),
        ("a fragmented pong", masked(0x0a, b"a"), 1002),
        ("a fragmented close", masked(0x08, &[0x03, 0xe8]), 1002),
        (
            "a ping of 126 bytes",
            raw(0x89, &[126, 0, 126], &[0; 126]),
            1002,
        ),
        (
            "a pong announcing 2^16 bytes",
            raw(0x8a, &[127, 0, 0, 0, 0, 0, 1, 0, 0], b""),
            1002,
        ),
        (
            "a close of 126 bytes",
            raw(0x88, &[126, 0, 126], &[0; 126]),
            1002,
        ),
        (
            "a length of 125 in two bytes",
            raw(0x82, &[126, 0, 125], &[0; 125]),
            1002,
        ),
        (
            "a length of 0 in two bytes",
            raw(0x82, &[126, 0, 0], b""),
            1002,
        ),
        (
            "a length of 2^16 - 1 in eight bytes",
            raw(0x82, &[127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], b""),
            1002,
        ),
        (
            "a length of 2^63",
            raw(0x82, &[127, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),
            1002,
        ),
        (
            "a length of 2^64 - 1",
            raw(
                0x82,
                &[127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                b"",
            ),
            1002,
        ),
        (
            "a length of 2^63 - 1",
            raw(
                0x82,
                &[127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                b"",
            ),
            1009,
        ),
        (
            "a message above the limit",
            raw(0x82, &[127, 0, 0, 0, 0, 0, 1, 0x10, 1], b""),
            1009,
        ),
        (
            "fragments above the limit",
            [
                raw(0x02, &[127, 0, 0, 0, 0, 0, 1, 0, 0], &vec![0; 65_536]),
                raw(0x80, &[126, 0x10, 1], b""),
            ]
            .concat(),
            1009,
        ),
        ("text that is not UTF-8", masked(0x81, b"\xff"), 1007),
        ("a surrogate", masked(0x81, b"\xed\xa0\x80"), 1007),
        ("an overlong form", masked(0x81, b"\xc0\xaf"), 1007),
        (
            "a character above U+10FFFF",
            masked(0x81, b"\xf4\x90\x80\x80"),
            1007,
        ),
        (
            "text that ends inside a character",
            masked(0x81, b"\xe2\x82"),
            1007,
        ),
        (
            "bad UTF-8 in a fragment, before the last",
            masked(0x01, b"a\xff"),
            1007,
        ),
        (
            "a fragmented text that ends inside a character",
            [masked(0x01, b"\xe2"), masked(0x80, b"\x82")].concat(),
            1007,
        ),
        ("a close body of one byte", masked(0x88, &[3]), 1002),
        (
            "a close reason that is not UTF-8",
            close(1000, b"\xff"),
            1007,
        ),
        (
            "a flood of empty fragments",
            [masked(0x02, b"a"), masked(0x00, b"").repeat(2_000)].concat(),
            1008,
        ),
        (
            "a compressed message that was not agreed on",
            masked(0xc1, &[0x00]),
            1002,
        ),
    ]
    .map(|(name, bytes, code)| (name.to_owned(), bytes, code))
    .into();
    for opcode in [0x3, 0x4, 0x5, 0x6, 0x7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        rows.push((
            format!("opcode {opcode:#x}"),
            masked(0x80 | opcode, b""),
            1002,
        ));
    }
    for opcode in [0x0, 0x1, 0x2, 0x8, 0x9, 0xa] {
        for rsv in [0x40, 0x20, 0x10, 0x70] {
            let name = format!("reserved bits {rsv:#x} on opcode {opcode:#x}");
            rows.push((name, masked(0x80 | rsv | opcode, b""), 1002));
        }
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        rows.push((format!("close code {code}"), close(code, b""), 1002));
    }
    // A legal close is answered with its code.
    for code in [1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999] {
        rows.push((format!("close code {code}"), close(code, b"fine"), code));
    }
    rows.push(("a close without a code".to_owned(), masked(0x88, b""), 1005));
    rows
}

/// With compression agreed on.
fn compressed_rows() -> Vec<(String, Vec<u8>, u16)> {
    [
        (
            "a compressed continuation",
            [masked(0x41, &[0xf2]), masked(0xc0, &[0x48])].concat(),
            1002,
        ),
        ("a compressed ping", masked(0xc9, b""), 1002),
        ("a compressed close", masked(0xc8, b""), 1002),
        ("another reserved bit", masked(0xe1, &[0x00]), 1002),
        ("no DEFLATE data", masked(0xc1, &[0x06]), 1007),
        ("half a block", masked(0xc1, &[0xf2, 0x48]), 1007),
        ("nothing at all", masked(0xc1, b""), 1007),
        (
            "reaching back before the message",
            masked(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]),
            1007,
        ),
        (
            "compressed bad UTF-8",
            masked(0xc1, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00]),
            1007,
        ),
    ]
    .map(|(name, bytes, code)| (name.to_owned(), bytes, code))
    .into()
}

async fn dial(address: SocketAddr, deflate: bool) -> TcpStream {
    let request = ClientRequest {
        host: &address.to_string(),
        target: "/ws/general",
        key: [7; 16],
        protocols: &[],
        headers: &[],
    };
    let encoded = if deflate {
        request.encode_offering_deflate()
    } else {
        request.encode()
    };
    let (request, handshake) = encoded.expect("well formed");
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    socket.write_all(&request).await.expect("taken");
    let mut head = Vec::new();
    // Byte by byte, so that no byte behind the head is taken.
    loop {
        head.push(socket.read_u8().await.expect("an answer"));
        match handshake.parse(&head).expect("an HTTP answer") {
            Some(Response::Accepted { .. }) => return socket,
            Some(Response::Refused(refusal)) => panic!("{refusal:?}"),
            None => {}
        }
    }
}

/// The code of the first close frame; 1005 where it has none. Pongs before it are passed over.
async fn close_code(socket: &mut TcpStream) -> u16 {
    loop {
        let first = socket.read_u8().await.expect("a close frame");
        let length = socket.read_u8().await.expect("a length");
        assert!(length < 126, "control frames are short and unmasked");
        let mut payload = vec![0; usize::from(length)];
        socket.read_exact(&mut payload).await.expect("its payload");
        if first == 0x88 {
            return payload
                .first_chunk()
                .map_or(1005, |code| u16::from_be_bytes(*code));
        }
    }
}

/// A ping is answered with its payload.
async fn lives(socket: &mut TcpStream) {
    socket
        .write_all(&masked(0x89, b"alive?"))
        .await
        .expect("taken");
    let mut pong = [0; 8];
    socket.read_exact(&mut pong).await.expect("a pong");
    assert_eq!(&pong, b"\x8a\x06alive?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_violation_ends_its_connection_with_its_code() {
    let (_server, address) = serve(Server::builder()).await;
    let mut witness = dial(address, false).await;
    for (deflate, rows) in [(false, rows()), (true, compressed_rows())] {
        for (name, bytes, code) in rows {
            let row = async {
                let mut socket = dial(address, deflate).await;
                // The server may close before it has taken all.
                let _ = socket.write_all(&bytes).await;
                let closed = close_code(&mut socket).await;
                let mut rest = Vec::new();
                let _ = socket.read_to_end(&mut rest).await;
                (closed, rest.len())
            };
            let outcome = timeout(DEADLINE, row).await;
            let (closed, rest) = outcome.unwrap_or_else(|_| panic!("{name}: no answer in time"));
            assert_eq!((closed, rest), (code, 0), "{name}");
            timeout(DEADLINE, lives(&mut witness))
                .await
                .expect("the server lives");
        }
    }
}

/// RFC 6455, 5.5.3: the newest of several pings may be answered alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_makes_none_of_pongs() {
    const PINGS: usize = 5_000;
    let (_server, address) = serve(Server::builder()).await;
    let mut socket = dial(address, false).await;
    let mut flood: Vec<u8> = masked(0x89, b"p").repeat(PINGS);
    flood.extend(masked(0x89, b"last"));
    socket.write_all(&flood).await.expect("taken");
    let mut pongs = 0;
    loop {
        let mut head = [0; 2];
        let read = timeout(DEADLINE, socket.read_exact(&mut head)).await;
        read.expect("a pong in time").expect("it lives");
        assert_eq!(head[0], 0x8a);
        let mut payload = vec![0; usize::from(head[1])];
        socket.read_exact(&mut payload).await.expect("its payload");
        pongs += 1;
        if payload == b"last" {
            break;
        }
    }
    assert!(pongs < PINGS / 2, "{pongs}");
}
