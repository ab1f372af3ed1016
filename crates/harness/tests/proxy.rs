//! The fault proxy over real sockets: each fault does what it says, and nothing else.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test fail as the test does"
)]

use std::{io, net::SocketAddr, time::Duration};

use bowline_harness::{Direction, Fault, FaultKind, FrameAction, FrameRule, Proxy, Rng, Route};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

/// Nothing on loopback takes that long: a test that waits for it has failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(150);
const SEED: u64 = 1;

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    });
    address
}

/// A proxy of one link.
async fn start(upstream: SocketAddr, framed: bool) -> Proxy {
    let (routes, rng) = ([Route::default()], Rng::new(SEED));
    Proxy::start(upstream, &routes, &rng, framed).await.unwrap()
}

async fn proxied() -> (Proxy, TcpStream) {
    let proxy = start(echo().await, false).await;
    let stream = dial(&proxy).await;
    (proxy, stream)
}

async fn dial(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.links()[0].address())
        .await
        .unwrap()
}

async fn say(stream: &mut TcpStream, text: &[u8]) {
    timeout(DEADLINE, stream.write_all(text))
        .await
        .unwrap()
        .unwrap();
}

async fn hear(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(DEADLINE, stream.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes
}

async fn talk(stream: &mut TcpStream, text: &[u8]) {
    say(stream, text).await;
    assert_eq!(hear(stream, text.len()).await, text);
}

async fn assert_silent(stream: &mut TcpStream) {
    let heard = timeout(SILENCE, stream.read_u8()).await;
    assert!(heard.is_err(), "expected silence, got {heard:?}");
}

/// Everything up to the end, and how the end came.
async fn rest(stream: &mut TcpStream) -> (usize, io::Result<()>) {
    let mut bytes = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .unwrap();
    (bytes.len(), end.map(|_| ()))
}

#[tokio::test]
async fn bytes_pass_exactly_and_a_half_close_passes_too() {
    let (_proxy, stream) = proxied().await;
    let mut rng = Rng::new(SEED);
    let sent: Vec<u8> = (0..1_000_000).map(|_| rng.next_u64() as u8).collect();
    let expected = sent.clone();
    let (mut reader, mut writer) = stream.into_split();
    let write = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    timeout(DEADLINE, reader.read_to_end(&mut heard))
        .await
        .unwrap()
        .unwrap();
    write.await.unwrap();
    assert!(
        heard == expected,
        "{} of {} bytes, or other ones",
        heard.len(),
        expected.len()
    );
}

#[tokio::test]
async fn a_cut_is_a_fin_and_counts() {
    let (proxy, mut stream) = proxied().await;
    let link = &proxy.links()[0];
    talk(&mut stream, b"hello").await;
    link.begin(Fault::Cut { after_bytes: 0 });
    let (count, end) = rest(&mut stream).await;
    assert!(end.is_ok() && count == 0, "{count} {end:?}");
    assert_eq!(
        (link.counts().cuts, link.counts().felt(FaultKind::Cut)),
        (1, 1)
    );
    // One cut strikes one connection.
    talk(&mut dial(&proxy).await, b"again").await;
    assert_eq!(link.counts().connections, 2);
}

#[tokio::test]
async fn a_cut_after_n_bytes_lets_exactly_n_pass() {
    let (proxy, mut stream) = proxied().await;
    talk(&mut stream, b"hello").await;
    // 1,000 bytes go up; the cut falls before the echo is whole.
    proxy.links()[0].begin(Fault::Cut { after_bytes: 1_300 });
    say(&mut stream, &[7; 1_000]).await;
    let (count, end) = rest(&mut stream).await;
    assert!(end.is_ok(), "{end:?}");
    assert_eq!(count, 300);
}

#[tokio::test]
async fn a_reset_is_a_rst() {
    let (proxy, mut stream) = proxied().await;
    talk(&mut stream, b"hello").await;
    proxy.links()[0].begin(Fault::Reset { after_bytes: 0 });
    let (_, end) = rest(&mut stream).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(proxy.felt(FaultKind::Reset), 1);
}

#[tokio::test]
async fn a_hole_swallows_everything_then_gives_it_back() {
    for (fault, kind) in [
        (Fault::HoleBoth, FaultKind::HoleBoth),
        (Fault::HoleToServer, FaultKind::HoleToServer),
        (Fault::HoleToClient, FaultKind::HoleToClient),
    ] {
        let (proxy, mut stream) = proxied().await;
        talk(&mut stream, b"before").await;
        proxy.links()[0].begin(fault);
        say(&mut stream, b"inside").await;
        assert_silent(&mut stream).await;
        proxy.links()[0].end(kind);
        assert_eq!(hear(&mut stream, 6).await, b"inside");
        assert_eq!((proxy.felt(kind), proxy.links()[0].counts().cuts), (1, 0));
    }
}

#[tokio::test]
async fn a_one_way_hole_lets_the_other_way_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let proxy = start(upstream, false).await;
    let mut client = dial(&proxy).await;
    let (mut server, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    proxy.links()[0].begin(Fault::HoleToServer);
    say(&mut client, b"up").await;
    say(&mut server, b"down").await;
    assert_eq!(hear(&mut client, 4).await, b"down");
    assert_silent(&mut server).await;
    proxy.links()[0].end(FaultKind::HoleToServer);
    proxy.links()[0].begin(Fault::HoleToClient);
    say(&mut server, b"down").await;
    assert_eq!(hear(&mut server, 2).await, b"up");
    assert_silent(&mut client).await;
}

#[tokio::test]
async fn a_hole_hides_the_end_of_a_connection() {
    let (proxy, mut stream) = proxied().await;
    talk(&mut stream, b"hello").await;
    proxy.links()[0].begin(Fault::HoleBoth);
    stream.shutdown().await.unwrap();
    assert_silent(&mut stream).await;
    proxy.heal();
    let (count, end) = rest(&mut stream).await;
    assert!(end.is_ok() && count == 0, "{count} {end:?}");
}

#[tokio::test]
async fn a_delay_is_kept_and_order_too() {
    let (proxy, mut stream) = proxied().await;
    let fault = Fault::Delay {
        fixed: Duration::from_millis(40),
        jitter: Duration::from_millis(30),
    };
    proxy.links()[0].begin(fault);
    let begun = Instant::now();
    talk(&mut stream, b"one by one").await;
    // There and back.
    assert!(
        begun.elapsed() >= Duration::from_millis(80),
        "{:?}",
        begun.elapsed()
    );
    for number in 0..50u8 {
        say(&mut stream, &[number]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(hear(&mut stream, 50).await, (0..50).collect::<Vec<u8>>());
    assert_eq!(proxy.felt(FaultKind::Delay), 1);
}

#[tokio::test]
async fn a_throttle_holds_its_rate() {
    let (proxy, mut stream) = proxied().await;
    proxy.links()[0].begin(Fault::Throttle {
        bytes_per_s: 20_000,
    });
    let begun = Instant::now();
    talk(&mut stream, &[1; 8_000]).await;
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(340),
        "{took:?} is too fast for 8,000 bytes"
    );
    assert!(took <= Duration::from_secs(4), "{took:?} is far too slow");
    assert_eq!(proxy.felt(FaultKind::Throttle), 1);
}

/// The point of the small buffers: a server notices soon that its client does not read.
#[tokio::test]
async fn back_pressure_reaches_the_server() {
    const HELD_BYTES_MAX: usize = 600 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = start(listener.local_addr().unwrap(), false).await;
    let _client = dial(&proxy).await;
    let (server, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    socket2::SockRef::from(&server)
        .set_send_buffer_size(64 * 1024)
        .unwrap();
    proxy.links()[0].begin(Fault::HoleToClient);
    let mut held = 0;
    loop {
        let Ok(ready) = timeout(SILENCE, server.writable()).await else {
            break;
        };
        ready.unwrap();
        held += server.try_write(&[0; 4096]).unwrap_or(0);
        assert!(held <= HELD_BYTES_MAX, "the proxy swallowed {held} bytes");
    }
    assert!(held > 0);
}

#[tokio::test]
async fn refuse_resets_the_link_and_refuses_new_ones_until_it_ends() {
    let (proxy, mut stream) = proxied().await;
    let link = &proxy.links()[0];
    talk(&mut stream, b"hello").await;
    link.begin(Fault::Refuse);
    assert!(rest(&mut stream).await.1.is_err());
    let refused = poll_dial(link.address(), |dialled| dialled.is_err()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
    link.end(FaultKind::Refuse);
    let mut again = poll_dial(link.address(), |dialled| dialled.is_ok())
        .await
        .unwrap();
    talk(&mut again, b"again").await;
    assert_eq!(
        (link.counts().cuts, link.counts().felt(FaultKind::Refuse)),
        (1, 1)
    );
}

/// The listener closes and opens in a task of its own: dial until it did, or until the deadline.
async fn poll_dial(
    address: SocketAddr,
    wanted: impl Fn(&io::Result<TcpStream>) -> bool,
) -> io::Result<TcpStream> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let dialled = TcpStream::connect(address).await;
        if wanted(&dialled) || Instant::now() > deadline {
            return dialled;
        }
    }
}

#[tokio::test]
async fn an_armed_cut_waits_for_a_connection_and_heal_disarms_it() {
    let proxy = start(echo().await, false).await;
    let link = &proxy.links()[0];
    link.begin(Fault::Reset { after_bytes: 8 });
    let mut first = dial(&proxy).await;
    say(&mut first, b"five!").await;
    assert_eq!(rest(&mut first).await.0, 3);
    assert_eq!(link.counts().cuts, 1);
    link.begin(Fault::Cut { after_bytes: 2 });
    link.heal();
    talk(&mut dial(&proxy).await, b"whole").await;
    assert_eq!(link.counts().felt(FaultKind::Cut), 0);
}

#[tokio::test]
async fn a_dead_upstream_is_a_reset() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = start(closed, false).await;
    let mut stream = dial(&proxy).await;
    assert!(rest(&mut stream).await.1.is_err());
}

/// A text frame as a server sends it.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    [&[0x81, length], text.as_bytes()].concat()
}

#[tokio::test]
async fn rules_strike_frames_of_their_type_and_no_byte_else() {
    let proxy = start(echo().await, true).await;
    let link = &proxy.links()[0];
    let rule = |message, action| {
        link.add_rule(FrameRule {
            direction: Direction::ToClient,
            message,
            action,
        });
    };
    let mut stream = dial(&proxy).await;
    let (one, two) = (
        frame(r#"{"type":"acked","seq":1}"#),
        frame(r#"{"type":"ping"}"#),
    );
    talk(&mut stream, b"GET / HTTP/1.1\r\n\r\n").await;
    talk(&mut stream, &[one.clone(), two.clone()].concat()).await;

    rule("acked", FrameAction::Suppress);
    say(&mut stream, &[one.clone(), two.clone()].concat()).await;
    assert_eq!(hear(&mut stream, two.len()).await, two);
    rule("ping", FrameAction::Duplicate);
    say(&mut stream, &[two.clone(), one.clone()].concat()).await;
    let doubled = [two.clone(), two.clone(), one.clone()].concat();
    assert_eq!(hear(&mut stream, doubled.len()).await, doubled);
    rule("ping", FrameAction::Delay(SILENCE * 2));
    let begun = Instant::now();
    talk(&mut stream, &[two.clone(), one.clone()].concat()).await;
    assert!(begun.elapsed() >= SILENCE * 2);
    rule("acked", FrameAction::DisconnectAfter);
    say(&mut stream, &[one.clone(), two.clone()].concat()).await;
    assert_eq!(hear(&mut stream, one.len()).await, one);
    let (count, end) = rest(&mut stream).await;
    assert!(end.is_ok() && count == 0, "{count} {end:?}");

    assert_eq!(link.counts().cuts, 1);
    let struck = proxy.links()[0].struck();
    for name in [
        "suppress acked",
        "duplicate ping",
        "delay ping",
        "disconnect after acked",
    ] {
        assert_eq!(struck.get(name), Some(&1), "{name}");
    }
}

#[tokio::test]
async fn a_framed_link_passes_what_is_no_websocket() {
    let proxy = start(echo().await, true).await;
    let mut stream = dial(&proxy).await;
    let mut rng = Rng::new(SEED);
    let mut sent = b"no head\r\n\r\n".to_vec();
    sent.extend((0..100_000).map(|_| rng.next_u64() as u8));
    let (mut reader, mut writer) = stream.split();
    let heard = async {
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (heard, ()) = timeout(DEADLINE, async { tokio::join!(heard, write) })
        .await
        .unwrap();
    assert!(heard == sent, "{} of {} bytes", heard.len(), sent.len());
}
