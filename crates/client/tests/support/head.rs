//! A client that dials, and the head of its upgrade request.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// Far above what a client takes for anything here: a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The next client's socket.
pub(crate) async fn dialled(listener: &TcpListener) -> TcpStream {
    let accepted = timeout(PATIENCE, listener.accept()).await;
    let (stream, _) = accepted
        .expect("a client dials in time")
        .expect("a client dials");
    stream
}

/// Reads the head whole.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let whole = timeout(PATIENCE, async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.expect("a request") > 0);
        }
        head
    });
    let head = whole.await.expect("a whole head in time");
    String::from_utf8(head).expect("ASCII")
}

/// Its headers.
pub(crate) fn headers(head: &str) -> impl Iterator<Item = (&str, &[u8])> + Clone {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name, value.as_bytes()))
}
