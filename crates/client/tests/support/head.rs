//! The head of a client's upgrade request.

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads it whole.
pub(crate) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut head).await.expect("a request") > 0);
    }
    String::from_utf8(head).expect("ASCII")
}

/// Its headers.
pub(crate) fn headers(head: &str) -> impl Iterator<Item = (&str, &[u8])> + Clone {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, value)| (name, value.as_bytes()))
}
