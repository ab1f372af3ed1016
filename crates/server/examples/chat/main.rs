//! A chat in one program: axum serves the page, Bowline keeps it connected.
//!
//! ```sh
//! npm --prefix clients/ts ci && npm --prefix clients/ts run build
//! cargo run -p bowline --example chat
//! ```
//!
//! Open <http://127.0.0.1:8001> twice, talk, stop this program and write on: what was written waits
//! in the page, and arrives once, in order, when the program runs again.

use std::{
    error::Error,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router, extract,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use bowline::{Embedded, EngineConfig, LogConfig, Server};
use tokio::net::TcpListener;

const PAGE: &str = include_str!("index.html");
/// What is said is kept here, so that it survives this program.
const FOLDER: &str = "bowline-chat-data";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if !client().join("index.js").exists() {
        return Err("the client is not built: npm --prefix clients/ts ci && npm --prefix clients/ts run build".into());
    }
    let engine = Embedded::open(
        Path::new(FOLDER),
        EngineConfig::default(),
        LogConfig::default(),
    )?;
    let server = Server::builder().engine(Arc::new(engine)).build()?;
    let program = Router::new()
        .route("/", get(Html(PAGE)))
        .route("/client/{*path}", get(script))
        .merge(server.router());
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:8001")).await?;
    let address = listener.local_addr()?;
    println!("open http://{address} twice; Ctrl-C stops it");
    let stopped = async move {
        // An error here means that nobody can stop it by a signal: then it runs on.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        println!("stopping: the pages are told to come back");
        server.drain().await;
    };
    axum::serve(
        listener,
        program.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .with_graceful_shutdown(stopped)
    .await?;
    Ok(())
}

/// The built `@bowline/client`; an application takes it from npm, with its bundler.
fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/ts/dist")
}

async fn script(extract::Path(path): extract::Path<PathBuf>) -> impl IntoResponse {
    let inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let read = inside.then(|| std::fs::read(client().join(&path)));
    match read {
        Some(Ok(text)) => Ok(([(header::CONTENT_TYPE, "text/javascript")], text)),
        _ => Err(StatusCode::NOT_FOUND),
    }
}
