//! Echoes every message: `cargo run --example echo -- 127.0.0.1:9000`.
//!
//! The way of a message is the one that `bowline serve` uses: accept, upgrade, read, the
//! application's handler, write.

use bowline::{Config, Incoming, Payload, Rejection, Reply, Server};
use tokio::net::TcpListener;

/// Room for the largest message of the Autobahn testsuite, 16 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Far above what an echo over loopback reaches.
const MESSAGES_PER_SECOND: u32 = 1_000_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let config = Config {
        message_bytes_max: MESSAGE_BYTES_MAX,
        send_queue_bytes_max: 2 * MESSAGE_BYTES_MAX,
        http_body_bytes_max: 2 * MESSAGE_BYTES_MAX,
        // Everything that gets shorter is compressed, to try it with every length.
        compression_bytes_min: 1,
        // The testsuite sends a thousand messages as fast as they are echoed.
        messages_per_second: MESSAGES_PER_SECOND,
        messages_burst_max: MESSAGES_PER_SECOND,
        ..Config::default()
    };
    let server = Server::builder().config(config).on_message(echo).build()?;
    let listener = TcpListener::bind(&address).await?;
    println!("listening on ws://{}/ws", listener.local_addr()?);
    server.serve(listener, std::future::pending()).await?;
    Ok(())
}

async fn echo(incoming: Incoming) -> Result<Reply, Rejection> {
    Ok(match incoming.payload {
        Payload::Data(data) => Reply::Data(data),
        Payload::Text(text) => Reply::Text(text),
        Payload::Bytes(bytes) => Reply::Data(bowline::Data::Binary(bytes)),
    })
}
