//! An application that does its worst, to be attacked: `cargo run --example misbehaving -- --listen
//! 127.0.0.1:9000`. Other arguments are those of `bowline serve`, in whose place it is started, and are
//! not looked at.
//!
//! What a client sends is what happens: `"panic"`, `"hang"`, `"reject"`, and anything else is answered
//! by itself. A token `hang` is never judged, and one `panic` ends the judge.

use std::{future::pending, time::Duration};

use bowline::{
    AccessControl, BoxFuture, Code, Config, Credentials, Data, Identity, Incoming, OpenAccess,
    Operation, Payload, Rejection, Reply, Server,
};
use tokio::net::TcpListener;

/// Long enough for a loaded machine, short enough to be waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Everybody may do everything, but some get no verdict.
struct Hesitant(OpenAccess);

impl AccessControl for Hesitant {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials<'a>,
    ) -> BoxFuture<'a, Result<Identity, Code>> {
        match credentials.token {
            Some("hang") => Box::pin(pending()),
            Some("panic") => panic!("as it was asked to"),
            _ => self.0.authenticate(credentials),
        }
    }

    fn authorize<'a>(
        &'a self,
        identity: &'a Identity,
        operation: Operation,
        channel: &'a str,
    ) -> BoxFuture<'a, bool> {
        self.0.authorize(identity, operation, channel)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::DEBUG)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut arguments = std::env::args().skip_while(|word| word != "--listen");
    let address = arguments.nth(1).ok_or("--listen ADDRESS is missing")?;
    let config = Config {
        dev: true,
        handler_timeout: PATIENCE,
        access_timeout: PATIENCE,
        ..Config::default()
    };
    let server = Server::builder()
        .config(config)
        .access(Hesitant(OpenAccess))
        .on_message(worst)
        .build()?;
    let listener = TcpListener::bind(address).await?;
    server.serve(listener, pending()).await?;
    Ok(())
}

async fn worst(incoming: Incoming) -> Result<Reply, Rejection> {
    let data = match incoming.payload {
        Payload::Data(data) => data,
        Payload::Text(text) => return Ok(Reply::Text(text)),
        Payload::Bytes(bytes) => return Ok(Reply::Data(Data::Binary(bytes))),
    };
    match data.bytes().as_ref() {
        b"\"panic\"" => panic!("as it was asked to"),
        b"\"hang\"" => pending().await,
        b"\"reject\"" => Err(Rejection::new("as it was asked to")),
        _ => Ok(Reply::Data(data)),
    }
}
